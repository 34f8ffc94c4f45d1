//! Faces: how events look to whoever reads them. The agent reports, a face
//! renders; no face changes what happens in a turn.

pub mod json;
pub mod plain;
mod reply;
pub mod sink;
pub mod words;

use std::io;

use crate::agent::event::Event;

/// Renders the events of turns.
pub trait Face {
    /// Shows one event.
    ///
    /// # Errors
    /// Standard output cannot be written to. Standard error never fails: what
    /// nobody can read is lost.
    fn show(&mut self, event: &Event) -> io::Result<()>;

    /// Shows what ended a turn without an outcome: the engine failed.
    ///
    /// # Errors
    /// As for `show`.
    fn fail(&mut self, error: &str) -> io::Result<()>;
}
