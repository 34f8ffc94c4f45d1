//! What fills the slots of a family.
//!
//! Kinds: the numbers of `number.rs`; `list LEAST MOST KIND`; `word LIST`;
//! `coins LEAST MOST` (cents); `mixed` (`2 1/2`); `expr PROFILE` (typed); `term` (worded, nested; `term flat` holds no list); `calc EXPRESSION`;
//! `map PHRASE => TEXT ; MORE | PHRASE => …`. `digits` at the end of a kind
//! keeps its numbers from being typed as words.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use super::expression;
use super::family::Family;
use super::hand::Hand;
use super::number::{self, Typing};
use super::phrases::Phrases;
use super::rng::Rng;
use super::template::parse;
use super::term::{list, mixed, term, term_of, without_lists};
use super::wording::{ask, input};

/// A slot's content: as typed, and as an expression or an answer has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value {
    pub surface: String,
    /// The fields of a `map`, the items of a list, or the one value.
    pub fields: Vec<String>,
    pub sort: Sort,
}

/// What a value is, as far as it matters for how it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    #[default]
    Plain,
    List,
    Money,
    Term,
}

impl Value {
    pub fn plain(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { surface: text.clone(), fields: vec![text], sort: Sort::Plain }
    }
}

/// The slots of a question by name.
pub type Slots = BTreeMap<String, Value>;

/// Fills a family's slots; `None` if chance found nothing that meets its
/// needs. `known` holds what the conversation says of itself, as `last`.
pub fn fill(
    family: &Family,
    phrases: &Phrases,
    known: &Slots,
    hand: Hand,
    rng: &mut Rng,
) -> Result<Option<Slots>> {
    'attempt: for _ in 0..60 {
        let mut slots = known.clone();
        for (name, kind) in &family.slots {
            match one(kind, &slots, phrases, hand, rng)
                .with_context(|| format!("slot {name} of {}", family.name))?
            {
                Some(value) => slots.insert(name.clone(), value),
                None => continue 'attempt,
            };
        }
        if holds(family, &slots)? {
            return Ok(Some(slots));
        }
    }
    Ok(None)
}

/// Everything a family asks of its slots.
pub fn holds(family: &Family, slots: &Slots) -> Result<bool> {
    for need in &family.needs {
        if !meets(need, slots).with_context(|| format!("a need of {}", family.name))? {
            return Ok(false);
        }
    }
    Ok(true)
}

pub fn meets(need: &str, slots: &Slots) -> Result<bool> {
    const SIGNS: [&str; 6] = [" >= ", " <= ", " != ", " == ", " > ", " < "];
    let Some(sign) = SIGNS.iter().find(|sign| need.contains(*sign)) else {
        bail!("\"{need}\" compares nothing");
    };
    let (left, right) = need.split_once(sign).unwrap_or_default();
    let value = |side: &str| -> Result<Option<f64>> {
        let text = input(&parse(side, &Default::default())?, slots)?;
        Ok(super::calculate(&text).ok().and_then(|value| value.parse().ok()))
    };
    let (Some(left), Some(right)) = (value(left)?, value(right)?) else { return Ok(false) };
    Ok(match sign.trim() {
        ">" => left > right,
        "<" => left < right,
        ">=" => left >= right,
        "<=" => left <= right,
        "!=" => left != right,
        _ => left == right,
    })
}

/// One slot's content.
pub fn one(
    kind: &str,
    slots: &Slots,
    phrases: &Phrases,
    hand: Hand,
    rng: &mut Rng,
) -> Result<Option<Value>> {
    let (name, rest) = kind.split_once(' ').unwrap_or((kind, ""));
    let typing = if kind.ends_with(" digits") { Typing::Digits } else { hand.typing };
    if let Some(value) = number::sample(kind, rng)? {
        let mut typed = number::typed(&value, typing, rng);
        let mut sort = Sort::Plain;
        match name {
            "pct" => typed.push_str(rng.word(match typing {
                Typing::Words => &[" percent", " percent", "%", " per cent"],
                _ => &["%", "%", "%", " percent", " %", " per cent"],
            })),
            "money" => {
                let (sign, word, _) = hand.money;
                let size = if sign.is_empty() {
                    typed
                } else {
                    number::typed(&value, Typing::Grouped, rng)
                };
                typed = hand.coined(&value, rng).unwrap_or_else(|| format!("{sign}{size}{word}"));
                sort = Sort::Money;
            }
            _ => {}
        }
        return Ok(Some(Value { surface: typed, fields: vec![value], sort }));
    }
    Ok(match name {
        "list" => Some(list(rest, typing, rng)?),
        "coins" => {
            let (low, high) = rest.split_once(' ').context("coins LEAST MOST")?;
            let cents = rng.range(low.parse()?, high.parse()?);
            let (_, _, word) = hand.money;
            let name = if word.contains("pound") || word == "£" { "pence" } else { "cents" };
            let value = super::calculate(&format!("{cents}/100")).ok();
            value.map(|value| Value {
                surface: format!("{cents} {name}"),
                fields: vec![value],
                sort: Sort::Money,
            })
        }
        "mixed" => Some(mixed(rng)),
        "word" => {
            let words =
                phrases.lists.get(rest.trim()).with_context(|| format!("no list {rest}"))?;
            Some(Value::plain(rng.pick(words).as_str()))
        }
        "expr" => {
            let typed = expression::random(rest.trim(), rng);
            match super::calculate(&typed.call) {
                Ok(_) => Some(Value {
                    surface: typed.surface,
                    fields: vec![typed.call],
                    sort: Sort::Plain,
                }),
                Err(_) => None,
            }
        }
        "term" => {
            let depth = if rng.chance(0.4) { 2 } else { 1 };
            let (surface, call) = match rest {
                "flat" => term_of(phrases, without_lists(phrases), depth, hand, rng)?,
                _ => term(phrases, depth, hand, rng)?,
            };
            Some(Value { surface, fields: vec![call], sort: Sort::Term })
        }
        "calc" => {
            let text = input(&parse(rest, &phrases.macros)?, slots)?;
            let value = super::calculate(&text).ok();
            value.map(|value| Value {
                surface: number::typed(&value, typing, rng),
                fields: vec![value],
                sort: Sort::Plain,
            })
        }
        "cost" => {
            let text = input(&parse(rest, &phrases.macros)?, slots)?;
            let (sign, word, _) = hand.money;
            let value = super::calculate(&text).ok();
            value.map(|value| Value {
                surface: format!("{sign}{value}{word}"),
                fields: vec![value],
                sort: Sort::Money,
            })
        }
        "map" => {
            let options: Vec<&str> = split_top(rest);
            let (phrase, fields) =
                rng.pick(&options).split_once("=>").context("a map is PHRASE => TEXT | …")?;
            let pattern = parse(phrase.trim(), &phrases.macros)?;
            let surface = ask(&pattern, slots, rng)?;
            let fields = fields.split(';').map(|field| field.trim().to_string()).collect();
            Some(Value { surface, fields, sort: Sort::Plain })
        }
        _ => bail!("\"{kind}\" is no kind of slot"),
    })
}

/// Parts between bars that are in no brace.
fn split_top(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            '|' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts
}
