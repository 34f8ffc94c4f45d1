//! The words that faces share: names for what can happen, and sentences.

use std::time::Duration;

use crate::agent::event::{Forgot, NoAnswer, Outcome, Stop};
use crate::agent::step::Why;
use crate::cli::args::DialectName;
use crate::llm::Stats;

/// The name of a `Stop` in traces, JSON lines and conversation files.
pub fn stop(stop: Stop) -> &'static str {
    match stop {
        Stop::Steps => "steps",
        Stop::Time => "time",
        Stop::Repeated => "repeated",
    }
}

/// The name of why an exchange left memory.
pub fn forgot(reason: Forgot) -> &'static str {
    match reason {
        Forgot::Window => "window",
        Forgot::Room => "room",
    }
}

/// The name of why there is no answer.
pub fn no_answer(why: NoAnswer) -> &'static str {
    match why {
        NoAnswer::Stopped(reason) => stop(reason),
        NoAnswer::Unreadable(_) => "unreadable",
    }
}

/// The name of a dialect, as it is written in flags and files.
pub fn dialect(dialect: DialectName) -> &'static str {
    match dialect {
        DialectName::React => "react",
        DialectName::Llama2 => "llama-2",
        DialectName::Template => "template",
    }
}

/// The name of an outcome.
pub fn outcome(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Answered(_) => "answered",
        Outcome::NoAnswer(_) => "no answer",
        Outcome::DoesNotFit { .. } => "does not fit",
        Outcome::Interrupted => "interrupted",
    }
}

/// What a person is told of a turn that has no answer, and what they can do.
pub fn regret(outcome: &Outcome) -> Option<String> {
    Some(match outcome {
        Outcome::Answered(_) => return None,
        Outcome::NoAnswer(NoAnswer::Unreadable(_)) => {
            "no answer: three replies in a row could not be read (-v shows them)".into()
        }
        Outcome::NoAnswer(NoAnswer::Stopped(reason)) => {
            let why = match reason {
                Stop::Steps => "the steps ran out (--max-steps)",
                Stop::Time => "the time ran out (--max-time)",
                Stop::Repeated => "the model repeated a call",
            };
            format!("no answer: {why}, and the last reply was no answer either")
        }
        Outcome::DoesNotFit { needed, context } => format!(
            "the question does not fit: it needs {needed} tokens with the room for a reply, and \
             the context is {context}; ask a shorter one, or lower --max-new-tokens"
        ),
        Outcome::Interrupted => "interrupted".into(),
    })
}

/// A time that a person reads: `0.41 s`, `73 ms`.
pub fn seconds(time: Duration) -> String {
    match time.as_secs_f64() {
        short if short < 0.1 => format!("{:.0} ms", short * 1000.0),
        long => format!("{long:.2} s"),
    }
}

/// Bytes in the largest unit of which there is at least one.
pub fn bytes(bytes: u64) -> String {
    match [(30, "GiB"), (20, "MiB"), (10, "KiB")].iter().find(|(bits, _)| bytes >> bits > 0) {
        Some((bits, unit)) => format!("{:.1} {unit}", bytes as f64 / (1u64 << bits) as f64),
        None => format!("{bytes} B"),
    }
}

/// `1 step`, `2 steps`.
pub fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// The name of why a reply could not be read: `NoObject` is `no_object`.
pub fn unreadable(why: Why) -> String {
    let mut name = String::new();
    for c in format!("{why:?}").chars() {
        if c.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(c.to_lowercase());
    }
    name
}

/// What replies cost, on one line.
pub fn cost(stats: &Stats) -> String {
    let Stats { prompt, reused, produced, passes, forced, drafted, accepted, .. } = *stats;
    let Stats { prefill, decode, .. } = *stats;
    let rate = match decode.as_secs_f64() {
        seconds if seconds > 0.0 => format!(" ({:.1} a second)", produced as f64 / seconds),
        _ => String::new(),
    };
    format!(
        "{reused} of {} reused, prefill {}, {} in {}{rate}, {passes} passes, \
         {forced} forced, {accepted} of {drafted} guessed right",
        plural(prompt, "prompt token"),
        seconds(prefill),
        plural(produced, "new token"),
        seconds(decode),
    )
}
