//! Patterns with their slots filled: as a person types them, as the Calculator
//! reads them, and as an answer has them.

use anyhow::{Context, Result, bail};

use super::hand::Hand;
use super::rng::Rng;
use super::slot::{Slots, Sort, Value};
use super::spelling::ordinal;
use super::template::{Node, Pattern};

/// A pattern as a person types it. Slots come between marks, so that noise
/// leaves them alone; see [`super::noise`].
pub fn ask(pattern: &Pattern, slots: &Slots, rng: &mut Rng) -> Result<String> {
    let mut out = String::new();
    for node in pattern {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Choice(options) => out.push_str(&ask(rng.pick(options), slots, rng)?),
            Node::Slot { name, filter } => {
                let value = slots.get(name).with_context(|| format!("no slot <{name}>"))?;
                let text = match filter.as_str() {
                    "" => value.surface.clone(),
                    "cap" => capital(&value.surface),
                    "th" => ordinal(&value.fields[0], rng)?,
                    "raw" => value.fields.join(", "),
                    _ => field(value, filter)?,
                };
                out.push_str(&super::noise::kept(&text));
            }
        }
    }
    Ok(out)
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn field(value: &Value, filter: &str) -> Result<String> {
    let index: usize = filter.parse().with_context(|| format!("what is the filter .{filter}?"))?;
    value.fields.get(index).cloned().with_context(|| format!("no field {index}"))
}

/// One pair of brackets, or one function's, holds all of it.
fn enclosed(text: &str) -> bool {
    let start = text.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
    let mut depth = 0i32;
    start.starts_with('(')
        && start.char_indices().all(|(at, c)| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth > 0 || at + 1 == start.len()
        })
}

/// A pattern as an expression. A negative number is put in brackets unless it
/// begins the expression or an argument and no power follows.
pub fn input(pattern: &Pattern, slots: &Slots) -> Result<String> {
    let mut out = String::new();
    for (index, node) in pattern.iter().enumerate() {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Choice(_) => bail!("an expression has no alternatives"),
            Node::Slot { name, filter } => {
                let value = slots.get(name).with_context(|| format!("no slot <{name}>"))?;
                let bind = |text: &String| match text.strip_prefix('-') {
                    Some(size) if size.starts_with(|c: char| c.is_ascii_digit()) => {
                        let next = match pattern.get(index + 1) {
                            Some(Node::Text(text)) => text.as_str(),
                            _ => "",
                        };
                        let tight = ["**", "^", "!", "%"].iter().any(|sign| next.starts_with(sign));
                        let starts = out.is_empty() || out.ends_with(['(', ',']);
                        if starts && !tight { text.clone() } else { format!("({text})") }
                    }
                    _ if value.sort == Sort::Term => {
                        let alone = pattern.len() == 1;
                        let power = matches!(pattern.get(index + 1),
                            Some(Node::Text(text)) if text.starts_with("**"));
                        let argument = out.ends_with('(')
                            && matches!(pattern.get(index + 1),
                                Some(Node::Text(text)) if text.starts_with(')'));
                        if (alone || argument) && enclosed(text) && text.starts_with('(') {
                            text[1..text.len() - 1].to_string()
                        } else if power && !enclosed(text) {
                            format!("({text})")
                        } else {
                            text.clone()
                        }
                    }
                    _ => text.clone(),
                };
                let text = match filter.as_str() {
                    "" if value.sort == Sort::List => value.fields.join(","),
                    "plus" => value.fields.iter().map(bind).collect::<Vec<_>>().join("+"),
                    "times" => value.fields.iter().map(bind).collect::<Vec<_>>().join("*"),
                    "count" => value.fields.len().to_string(),
                    "" => bind(value.fields.first().context("an empty slot")?),
                    _ => field(value, filter)?,
                };
                out.push_str(&text);
            }
        }
    }
    Ok(out)
}

/// A pattern as an answer.
pub fn answer(pattern: &Pattern, slots: &Slots, hand: Hand) -> Result<String> {
    let mut out = String::new();
    for node in pattern {
        match node {
            Node::Text(text) => out.push_str(text),
            // One wording for one question: the first of each.
            Node::Choice(options) => out.push_str(&answer(&options[0], slots, hand)?),
            Node::Slot { name, filter } => {
                let (name, money) = match name.strip_prefix('$') {
                    Some(name) => (name, true),
                    None => (name.as_str(), false),
                };
                let value = slots.get(name).with_context(|| format!("no slot <{name}>"))?;
                let text = match filter.as_str() {
                    "" if value.sort == Sort::List => value.fields.join(", "),
                    "" => value.fields.first().cloned().unwrap_or_default(),
                    "cap" => capital(&value.fields[0]),
                    "typed" => super::noise::plain(&value.surface),
                    _ => field(value, filter)?,
                };
                let amount = money || value.sort == Sort::Money && filter.is_empty();
                out.push_str(&if amount { hand.amount(&text) } else { text });
            }
        }
    }
    Ok(out)
}
