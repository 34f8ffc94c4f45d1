//! Running a conversation and comparing it with what is expected.

use std::time::{Duration, Instant};

use super::check;
use super::{Conversation, Record, Turn};
use crate::agent::Agent;
use crate::agent::event::{Event, Outcome};
use crate::chat::Cancel;
use crate::cli::face::words;

/// How a turn went.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnResult {
    pub question: String,
    /// What did not come true, with its line in the file.
    pub failures: Vec<(usize, String)>,
    pub record: Record,
    pub time: Duration,
}

impl TurnResult {
    /// Everything expected came true.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }

    /// A person stopped it.
    pub fn interrupted(&self) -> bool {
        self.record.outcome == Some(Outcome::Interrupted)
    }
}

/// Asks the questions of a conversation in order. Ends early where going on
/// would mean nothing: after an error, an interruption, or when a script is
/// out of step with its turns. Each result is also given to `each`.
pub fn run(
    conversation: &Conversation,
    agent: &mut Agent,
    cancel: &Cancel,
    report: &mut dyn FnMut(&Event),
    each: &mut dyn FnMut(&TurnResult),
) -> Vec<TurnResult> {
    let mut results = Vec::new();
    for turn in &conversation.turns {
        let begun = Instant::now();
        let mut record = Record { question: turn.question.clone(), ..Record::default() };
        let error = agent.ask(&turn.question, cancel, &mut |event| {
            record.note(event);
            report(event);
        });
        let mut failures = Vec::new();
        let mut out_of_step = false;
        if let Err(error) = error {
            failures.push((turn.line, format!("{:#}", anyhow::Error::from(error))));
        } else if conversation.is_scripted() {
            failures.extend(script(turn, &record));
            out_of_step = !failures.is_empty();
        }
        failures.extend(outcome(turn, &record));
        let prompt = agent.prompt().text();
        failures.extend(check::failures(&turn.expected, &record, &prompt));
        let ended = record.outcome.is_none() || out_of_step;
        let result =
            TurnResult { question: turn.question.clone(), failures, record, time: begun.elapsed() };
        each(&result);
        let ended = ended || result.interrupted();
        results.push(result);
        if ended {
            break;
        }
    }
    results
}

/// Each turn takes the replies that are written below it, no more and no less.
fn script(turn: &Turn, record: &Record) -> Option<(usize, String)> {
    let (written, taken) = (turn.replies.len(), record.replies.len());
    let replies = words::plural(written, "reply").replace("replys", "replies");
    (written != taken).then(|| (turn.line, format!("the script has {replies} here, {taken} taken")))
}

/// A turn is expected to be answered unless the file says otherwise.
fn outcome(turn: &Turn, record: &Record) -> Option<(usize, String)> {
    let said = turn.expected.iter().any(|expected| expected.what.is_outcome());
    (!said && record.outcome.is_some() && record.answer().is_none())
        .then(|| (turn.line, format!("the outcome was: {}", check::outcome(record))))
}
