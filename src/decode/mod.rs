//! What makes local decoding valid and quick.

pub mod draft;
pub mod form;
mod gbnf;
mod grammar;
pub mod sampler;
pub mod session;
pub mod snapshot;
mod vocabulary;

pub use draft::Drafter;
pub use form::{Form, Forms};
pub use gbnf::gbnf;
pub use sampler::Sampler;
pub use session::Session;
pub use snapshot::Snapshots;

/// What is done to make decoding valid and quick. Only `form` changes which
/// tokens come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switches {
    /// Keep replies to their form.
    pub form: bool,
    /// Append what the form leaves no choice about without asking the model.
    pub force: bool,
    /// Tokens guessed ahead at a time, at most; 0 guesses none.
    pub draft: usize,
    /// Keep what was processed for the next prompt.
    pub cache: bool,
}

impl Default for Switches {
    fn default() -> Self {
        Self { form: true, force: true, draft: 8, cache: true }
    }
}
