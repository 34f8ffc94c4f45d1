//! Ctrl-C: stops the running turn, or the program where no turn runs.

use std::sync::{Arc, Mutex, PoisonError};

use super::exit::Exit;
use crate::chat::Cancel;

/// Connects Ctrl-C to the turn that runs.
#[derive(Clone, Default)]
pub struct Interrupt {
    cancel: Cancel,
    /// Held while Ctrl-C decides what to stop, so that it is never lost
    /// between a turn's end and what comes after.
    running: Arc<Mutex<bool>>,
}

impl Interrupt {
    /// Catches Ctrl-C from now on. A second one during the same turn, or one
    /// while nothing runs (a model is loading, input is awaited), ends the
    /// program.
    ///
    /// # Errors
    /// The system refuses the handler.
    pub fn install() -> anyhow::Result<Self> {
        let this = Self::default();
        let seen = this.clone();
        ctrlc::set_handler(move || {
            let running = seen.running.lock().unwrap_or_else(PoisonError::into_inner);
            if !*running || seen.cancel.asked() {
                std::process::exit(Exit::Interrupted.code().into());
            }
            seen.cancel.ask();
        })?;
        Ok(this)
    }

    /// Runs a turn that Ctrl-C stops. The second result is true if it was
    /// pressed, even too late to stop anything.
    pub fn during<T>(&self, turn: impl FnOnce(&Cancel) -> T) -> (T, bool) {
        self.cancel.reset();
        self.run(true);
        let result = turn(&self.cancel);
        self.run(false);
        (result, self.cancel.asked())
    }

    fn run(&self, running: bool) {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = running;
    }
}
