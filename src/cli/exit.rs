//! What the program's exit code says.

use std::process::ExitCode;

use crate::agent::event::Outcome;

/// How a run ended. The order is from best to worst: a list of questions
/// exits with the worst of its turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    Answered,
    NoAnswer,
    DoesNotFit,
    Failed,
    NoModel,
    Usage,
    Interrupted,
}

/// The table that `--help` ends with.
pub const HELP: &str = "\
Exit codes:
  0    answered (or: every test passed)
  1    a test failed, or any error not named here
  2    the command line or a setting is wrong
  3    no model: none was named and none is built in, or it cannot be opened
  4    a turn ended without an answer
  5    a question does not fit the model's context
  130  interrupted
A list of questions exits with the code of its worst turn. A reader that closes
the pipe early is no error.";

impl Exit {
    /// The number the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Answered => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NoModel => 3,
            Self::NoAnswer => 4,
            Self::DoesNotFit => 5,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl From<&Outcome> for Exit {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Answered(_) => Self::Answered,
            Outcome::NoAnswer(_) => Self::NoAnswer,
            Outcome::DoesNotFit { .. } => Self::DoesNotFit,
            Outcome::Interrupted => Self::Interrupted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_documented_once() {
        let documented: Vec<u8> = HELP
            .lines()
            .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next()?.parse().ok())
            .collect();
        let mut codes = [
            Exit::Answered,
            Exit::NoAnswer,
            Exit::DoesNotFit,
            Exit::Failed,
            Exit::NoModel,
            Exit::Usage,
            Exit::Interrupted,
        ]
        .map(Exit::code);
        codes.sort_unstable();
        assert_eq!(documented, codes);
    }
}
