//! What the agent reports while it works. It never prints: faces do.

use std::time::Duration;

use super::step::{Repair, Why};
use crate::llm::Stats;

/// Something that happened in a turn, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// A question arrived.
    Question { text: &'a str },
    /// The oldest exchange left memory: by the window's size, or to make room.
    Forgot { question: &'a str, reason: Forgot },
    /// A completion begins. Steps count from 1 in each turn; `last` marks the
    /// one that may only answer.
    Step { number: usize, last: bool, prompt_tokens: usize },
    /// A piece of the reply, as it is made.
    Text { text: &'a str },
    /// The reply is complete.
    Reply { text: &'a str, stats: Stats },
    /// The reply was not quite JSON; these liberties made it readable.
    Repaired { repairs: &'a [Repair] },
    /// The reply could not be read; the model is told why.
    Unreadable { why: Why },
    /// A tool is called.
    Call { tool: &'a str, input: &'a str },
    /// What the tool said; `error` if it refused or failed.
    Observation { tool: &'a str, text: &'a str, error: bool },
    /// No more calls in this turn: one last completion is asked for an answer.
    Stopping { reason: Stop },
    /// Something went wrong that cost nothing but time.
    Notice { text: &'a str },
    /// The turn ended.
    Done { outcome: &'a Outcome, steps: usize, time: Duration },
}

/// Why an exchange left memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgot {
    /// The window holds no more exchanges.
    Window,
    /// Its tokens were needed.
    Room,
}

/// Why a turn's calls came to an end before its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// `max_steps` were taken.
    Steps,
    /// `max_time` has passed.
    Time,
    /// The same call came a second time.
    Repeated,
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With an answer; the exchange is remembered.
    Answered(String),
    /// Without one; memory is as it was.
    NoAnswer(NoAnswer),
    /// The question does not fit the context beside the system message and
    /// the room for a reply: no token was spent.
    DoesNotFit { needed: usize, context: usize },
    /// The person stopped it; memory is as it was.
    Interrupted,
}

/// Why a turn has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// Calls came to an end, and the last completion was no answer either.
    Stopped(Stop),
    /// Three replies in a row could not be read.
    Unreadable(Why),
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            Self::Steps => "The steps for this question are used up.",
            Self::Time => "The time for this question is used up.",
            Self::Repeated => "That call was made before and would say the same again.",
        })
    }
}
