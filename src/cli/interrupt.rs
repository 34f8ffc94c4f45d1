//! Ctrl-C: stops the running turn, or the program where no turn runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::exit::Exit;
use crate::chat::Cancel;

/// Connects Ctrl-C to the turn that runs.
#[derive(Clone, Default)]
pub struct Interrupt {
    cancel: Cancel,
    running: Arc<AtomicBool>,
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
            if !seen.running.load(Ordering::SeqCst) || seen.cancel.asked() {
                std::process::exit(Exit::Interrupted.code().into());
            }
            seen.cancel.ask();
        })?;
        Ok(this)
    }

    /// Runs a turn that Ctrl-C stops.
    pub fn during<T>(&self, turn: impl FnOnce(&Cancel) -> T) -> T {
        self.cancel.reset();
        self.running.store(true, Ordering::SeqCst);
        let result = turn(&self.cancel);
        self.running.store(false, Ordering::SeqCst);
        result
    }
}
