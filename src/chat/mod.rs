//! What a conversation is made of: plain types without behaviour of their
//! own beyond how they look on paper. Knows no model, no tool and no terminal.

mod cancel;
pub mod dialect;
pub mod reply;
mod sampling;
mod segment;

pub use cancel::Cancel;
pub use dialect::{Dialect, Template};
pub use reply::{InputForm, ReplyForm, ToolForm};
pub use sampling::Sampling;
pub use segment::{Origin, Prompt, Segment};
