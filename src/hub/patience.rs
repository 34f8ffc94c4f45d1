//! Trying again what may pass.

use std::time::Duration;

use super::error::HubError;

/// How often and how long to try again what may pass.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Tries in a row that get nowhere, before giving up.
    pub tries: u32,
    /// Wait after the first of them; doubled after each, up to 30 seconds.
    pub first: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { tries: 6, first: Duration::from_secs(1) }
    }
}

impl Patience {
    /// How long to wait after so many failures, at least one.
    pub fn wait(&self, failures: u32) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(16));
        doubled.min(Duration::from_secs(30))
    }

    /// Asks until there is an answer, or an error that does not pass.
    ///
    /// # Errors
    /// The last one.
    pub(super) fn insist<T>(&self, ask: impl Fn() -> Result<T, HubError>) -> Result<T, HubError> {
        let mut failures = 0;
        loop {
            match ask() {
                Err(error) if error.passes() && failures + 1 < self.tries => {
                    failures += 1;
                    std::thread::sleep(self.wait(failures));
                }
                result => return result,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit() {
        let patience = Patience::default();
        assert_eq!(patience.wait(1), Duration::from_secs(1));
        assert_eq!(patience.wait(4), Duration::from_secs(8));
        assert_eq!(patience.wait(99), Duration::from_secs(30));
    }
}
