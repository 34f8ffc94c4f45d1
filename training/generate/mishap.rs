//! What goes wrong while the agent answers: replies that cannot be read, calls
//! made twice or of tools that do not exist, steps and time that run out. The
//! model must find its way back, or say that it could not come to the end.

use std::time::Duration;

use llama_agent::agent::Options;
use llama_agent::chat::reply::render;
use serde_json::Value;

use super::conversation::Conversation;
use super::rng::Rng;
use super::sample::{Exchange, Reply};
use super::turn::Turn;

/// What a model says when it forgets the form.
const PROSE: [&str; 6] = [
    "Sure, let me work that out.",
    "The answer is easy to find with the Calculator.",
    "I will use the Calculator for this.",
    "Calculator",
    "Hello! How can I help you today?",
    "Okay.",
];

/// Tools that nobody offered.
const ABSENT: [&str; 6] = ["Search", "Python", "Math", "Browser", "Wolfram", "Translator"];

/// What ends the turns of a conversation early.
#[derive(Clone, Copy, PartialEq)]
enum Limit {
    None,
    /// So many replies.
    Steps(usize),
    /// The clock, after the first reply.
    Late,
    /// The clock, during the first reply.
    Cut,
}

/// A conversation as it is played, and with which options.
pub fn exchanges<'a>(
    conversation: &'a Conversation,
    rng: &mut Rng,
) -> (Vec<Exchange<'a>>, Options) {
    let limit = match rng.below(200) {
        0..3 => Limit::Steps(rng.range(1, 2) as usize),
        3 => Limit::Late,
        4 => Limit::Cut,
        _ => Limit::None,
    };
    let mut options = Options::default();
    match limit {
        Limit::None => {}
        Limit::Steps(steps) => options.max_steps = steps,
        Limit::Late | Limit::Cut => options.max_time = Some(Duration::ZERO),
    }
    let mut exchanges = Vec::new();
    for turn in &conversation.turns {
        let (replies, whole) = match limit {
            Limit::None => mishaps(turn, rng),
            Limit::Steps(steps) => stopped(turn, steps),
            Limit::Late => stopped(turn, 1),
            Limit::Cut => cut(turn),
        };
        exchanges.push(Exchange { question: &turn.question, replies });
        if !whole {
            // What follows may speak of a result that never came.
            break;
        }
    }
    (exchanges, options)
}

fn right(turn: &Turn) -> Vec<Reply> {
    let replies = turn.replies().into_iter();
    replies.map(|text| Reply { text, learn: true, cut: false }).collect()
}

fn answer(text: &str) -> Reply {
    let text = format!(" {}", render(llama_agent::chat::reply::FINAL_ANSWER, text));
    Reply { text, learn: true, cut: false }
}

/// The replies when only `steps` calls can be made, and whether they are all.
fn stopped(turn: &Turn, steps: usize) -> (Vec<Reply>, bool) {
    let mut replies = right(turn);
    if turn.calls.len() <= steps {
        return (replies, true);
    }
    replies.truncate(steps);
    let known = turn.calls[..steps].iter().rev().find(|call| !call.failed);
    replies.push(answer(&match known {
        Some(call) => {
            format!("I had to stop before the end. The last result is {}.", call.observation)
        }
        None => "I had to stop before I could work that out.".into(),
    }));
    (replies, false)
}

/// The replies when the first is cut off.
fn cut(turn: &Turn) -> (Vec<Reply>, bool) {
    let mut replies = right(turn);
    replies.insert(0, Reply { text: String::new(), learn: false, cut: true });
    if turn.calls.is_empty() {
        return (replies, true);
    }
    replies.truncate(1);
    replies.push(answer("The time was up before I could work that out. Please ask me again."));
    (replies, false)
}

/// The replies, now and then with a mishap among them, and whether they are all.
fn mishaps(turn: &Turn, rng: &mut Rng) -> (Vec<Reply>, bool) {
    let mut replies = right(turn);
    let mishap = |text: String| Reply { text, learn: false, cut: false };
    let first = replies[0].text.clone();
    match rng.below(1000) {
        0..8 => {
            let cut = first.len() * rng.range(3, 8) as usize / 10;
            let end = (0..=cut).rev().find(|&end| first.is_char_boundary(end)).unwrap_or(0);
            replies.insert(0, mishap(first[..end].to_string()));
        }
        8..12 => replies.insert(0, mishap(format!(" {}", rng.word(&PROSE)))),
        12..18 => replies.insert(0, mishap(misshapen(turn, &first, rng))),
        18..24 => {
            let input = turn.calls.first().map_or(&turn.question, |call| &call.input);
            replies.insert(0, mishap(format!(" {}", render(rng.word(&ABSENT), input))));
        }
        24..44 if turn.calls.len() == 1 || turn.calls.len() > 1 && rng.chance(0.5) => {
            let last = replies.len() - 1;
            replies.insert(last, mishap(replies[last - 1].text.clone()));
        }
        44..48 if turn.calls.len() > 1 => {
            let (mut short, _) = stopped(turn, 1);
            short.insert(1, mishap(first));
            return (short, false);
        }
        _ => {}
    }
    (replies, true)
}

/// A reply that is not quite the form, for each of the reasons a notice gives.
fn misshapen(turn: &Turn, right: &str, rng: &mut Rng) -> String {
    match rng.below(7) {
        0 => " ".into(),
        1 => right.replacen("\"action\":", "\"action\"", 1),
        2 => right.replacen("\"action\"", "\"tool\"", 1),
        3 => right.replacen("\"action_input\"", "\"input\"", 1),
        4 => {
            let input = Value::from(turn.question.as_str());
            format!(" ```json\n{{\"action\": 1,\n \"action_input\": {input}}}\n```")
        }
        5 => format!(" Sure:{right}"),
        _ => right.replacen("{\"action\"", "{\"thought\": \"easy\", \"action\"", 1),
    }
}
