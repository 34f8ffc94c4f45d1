//! Reading a reply. Parsing is total: whatever the model wrote is a `Step`.
//!
//! A reply in the form the model was asked for is read by serde_json. What is
//! only nearly that is read by `lenient`, and every liberty taken has a name.
//! An unfinished string is never read: half an expression is not a call.

mod lenient;
mod why;

use std::collections::BTreeSet;

use serde::Deserialize;

use self::lenient::Object;
pub use self::why::{Repair, Why};
use crate::chat::reply::{FINAL_ANSWER, names_final_answer};

/// What a reply asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Run a tool.
    Act { tool: String, input: String },
    /// End the turn.
    Answer(String),
    /// Nothing that can be read.
    Unreadable { why: Why },
}

/// A reply as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    pub step: Step,
    /// The liberties taken, in a fixed order, each once.
    pub repairs: Vec<Repair>,
}

/// Reads a reply. Strictly, it is one fenced block (```` ```json ````) with one
/// JSON object of the two strings `action` and `action_input`, white space
/// around it, and nothing else; otherwise what is nearly that is read too.
pub fn read(text: &str, strict: bool) -> Reading {
    let exact = read_strictly(text);
    if strict {
        let step = exact.unwrap_or_else(|why| Step::Unreadable { why });
        return Reading { step, repairs: Vec::new() };
    }
    match exact {
        // Right as JSON, so it is only what it says that may need repair.
        Ok(Step::Act { tool, input }) if names_final_answer(&tool) => {
            return Reading { step: Step::Answer(input), repairs: vec![Repair::FinalAnswer] };
        }
        Ok(step) => return Reading { step, repairs: Vec::new() },
        Err(_) => {}
    }
    let mut repairs = BTreeSet::new();
    match read_leniently(text, &mut repairs) {
        Ok(step) => Reading { step, repairs: repairs.into_iter().collect() },
        Err(why) => Reading { step: Step::Unreadable { why }, repairs: Vec::new() },
    }
}

impl Step {
    fn new(action: String, input: String) -> Self {
        match action.as_str() {
            FINAL_ANSWER => Self::Answer(input),
            _ => Self::Act { tool: action, input },
        }
    }
}

/// The object of a strict reply: both keys, once each, and no other.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Block {
    action: String,
    action_input: String,
}

fn read_strictly(text: &str) -> Result<Step, Why> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Why::Empty);
    }
    let json = text.strip_prefix("```json").map(str::trim_start).ok_or(Why::NotOneBlock)?;
    // serde would read a struct from an array too.
    if !json.starts_with('{') {
        return Err(Why::NotOneBlock);
    }
    let mut stream = serde_json::Deserializer::from_str(json).into_iter::<Block>();
    let block = match stream.next() {
        Some(Ok(block)) => block,
        Some(Err(error)) if error.is_data() => return Err(Why::NotTheTwoKeys),
        Some(Err(error)) if error.is_eof() => return Err(Why::Unfinished),
        _ => return Err(Why::NotJson),
    };
    let rest = json.get(stream.byte_offset()..).unwrap_or_default();
    if rest.trim_start() != "```" {
        return Err(Why::NotOneBlock);
    }
    Ok(Step::new(block.action, block.action_input))
}

/// The first object that has an action counts. One that is broken after its
/// action is not passed over for another one, which may stand inside it.
fn read_leniently(text: &str, repairs: &mut BTreeSet<Repair>) -> Result<Step, Why> {
    let mut why = if text.trim().is_empty() { Why::Empty } else { Why::NoObject };
    for (start, _) in text.match_indices('{').take(lenient::MAX_OBJECTS) {
        let mut taken = BTreeSet::new();
        let object = lenient::object(text, start, &mut taken);
        let fault = match object {
            Ok(object) => match step_of(&object, &mut taken) {
                Err(Why::NoAction) => Why::NoAction,
                step => {
                    surroundings(&text[..start], &text[object.end..], &mut taken);
                    *repairs = taken;
                    return step;
                }
            },
            Err(broken) if broken.had_action => return Err(broken.why),
            Err(broken) => broken.why,
        };
        if why == Why::NoObject {
            why = fault;
        }
    }
    Err(why)
}

/// What the object asks for.
fn step_of(object: &Object, repairs: &mut BTreeSet<Repair>) -> Result<Step, Why> {
    let action = object.action.as_ref().ok_or(Why::NoAction)?;
    let input = object.input.as_ref().ok_or(Why::NoInput)?;
    let action = action.text().ok_or(Why::ActionNotText)?;
    let action = match action {
        FINAL_ANSWER => FINAL_ANSWER,
        other if names_final_answer(other) => {
            repairs.insert(Repair::FinalAnswer);
            FINAL_ANSWER
        }
        other => other,
    };
    if input.text().is_none() {
        repairs.insert(Repair::InputNotText);
    }
    Ok(Step::new(action.into(), input.as_input()))
}

/// Names what is unusual before and after the object.
fn surroundings(before: &str, after: &str, repairs: &mut BTreeSet<Repair>) {
    const FENCE: &str = "```";
    let fences = before.matches(FENCE).count();
    let opened = before.rfind(FENCE).filter(|_| fences % 2 == 1);
    let mut prose = match opened {
        None => {
            repairs.insert(Repair::NoFence);
            before
        }
        Some(at) => {
            let tag = &before[at + FENCE.len()..];
            let word = tag.trim();
            if word.is_empty() {
                repairs.insert(Repair::BareFence);
            } else if !tag.starts_with("json") || word != "json" {
                repairs.insert(Repair::FenceTag);
            }
            &before[..at]
        }
    }
    .trim()
    .to_string();
    let after = after.trim_start();
    let rest = match after.strip_prefix(FENCE) {
        Some(rest) => rest.trim(),
        None => {
            if opened.is_some() {
                repairs.insert(Repair::UnclosedFence);
            }
            after.trim()
        }
    };
    let mut ignored = BTreeSet::new();
    let second = rest.match_indices('{').take(lenient::MAX_OBJECTS).any(|(at, _)| {
        lenient::object(rest, at, &mut ignored).is_ok_and(|object| object.action.is_some())
    });
    if second {
        repairs.insert(Repair::SecondBlock);
    } else {
        prose.push_str(rest);
    }
    if !prose.is_empty() {
        repairs.insert(Repair::Prose);
    }
}
