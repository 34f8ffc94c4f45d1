//! A line on standard error that says how far something slow is.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Between two of its states.
const PAUSE: Duration = Duration::from_millis(200);

/// The line; on a terminal only, where it can be rewritten.
pub struct Meter {
    watched: bool,
    shown: Option<Instant>,
}

impl Meter {
    pub fn stderr() -> Self {
        Self { watched: io::stderr().is_terminal(), shown: None }
    }

    /// Shows what is done now, unless something was shown just before.
    pub fn show(&mut self, what: &str) {
        if self.watched && self.shown.is_none_or(|shown| shown.elapsed() >= PAUSE) {
            self.shown = Some(Instant::now());
            // A meter that cannot be shown is no reason to stop.
            let _ = write!(io::stderr(), "\r{what}\u{1b}[K");
        }
    }

    /// Takes the line away.
    pub fn clear(&mut self) {
        if self.shown.take().is_some() {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
        }
    }
}
