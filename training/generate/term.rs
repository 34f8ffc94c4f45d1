//! Lists of numbers, and worded values that hold other worded values.

use anyhow::{Context, Result};

use super::family::Term;
use super::hand::Hand;
use super::number::{self, Typing};
use super::phrases::Phrases;
use super::rng::Rng;
use super::slot::{Slots, Sort, Value, one};
use super::wording::{ask, input};

pub fn list(rest: &str, typing: Typing, rng: &mut Rng) -> Result<Value> {
    let mut words = rest.splitn(3, ' ');
    let (least, most) =
        (words.next().unwrap_or("2").parse()?, words.next().unwrap_or("5").parse()?);
    let kind = words.next().unwrap_or("int 1 100");
    let mut fields = Vec::new();
    for _ in 0..rng.range(least, most) {
        fields.push(number::sample(kind, rng)?.with_context(|| format!("\"{kind}\" in a list"))?);
    }
    // Separators of thousands among commas cannot be read.
    let typing = if typing == Typing::Words { typing } else { Typing::Digits };
    let typed: Vec<String> = fields.iter().map(|value| number::typed(value, typing, rng)).collect();
    let (last, start) = typed.split_last().context("an empty list")?;
    let surface = match rng.below(8) {
        0..4 => format!("{} and {last}", start.join(", ")),
        4 if typing == Typing::Digits => typed.join(" "),
        5 => format!("{}, and {last}", start.join(", ")),
        6 => typed.join(" and "),
        7 if typing == Typing::Digits => typed.join(","),
        _ => typed.join(", "),
    };
    Ok(Value { surface, fields, sort: Sort::List })
}

/// A whole number and a fraction, `2 1/2` or `2½`: the Calculator adds them up.
pub fn mixed(rng: &mut Rng) -> Value {
    const PARTS: [(&str, &str); 11] = [
        ("1/2", "½"),
        ("1/2", "½"),
        ("1/4", "¼"),
        ("3/4", "¾"),
        ("1/3", "⅓"),
        ("2/3", "⅔"),
        ("1/5", "⅕"),
        ("3/5", "⅗"),
        ("1/8", "⅛"),
        ("3/8", "⅜"),
        ("5/6", "⅚"),
    ];
    let (whole, (part, sign)) = (rng.range(1, 30), rng.pick(&PARTS));
    let surface = match rng.below(5) {
        0 => format!("{whole}{sign}"),
        1 => format!("{whole} {sign}"),
        _ => format!("{whole} {part}"),
    };
    Value { surface, fields: vec![format!("({whole}+{part})")], sort: Sort::Plain }
}

/// A worded value, with other values inside.
pub fn term(
    phrases: &Phrases,
    depth: usize,
    hand: Hand,
    rng: &mut Rng,
) -> Result<(String, String)> {
    term_of(phrases, phrases.terms.len(), depth, hand, rng)
}

/// How many terms come before the first with a list in it.
pub fn without_lists(phrases: &Phrases) -> usize {
    let lists = |term: &Term| super::template::slots(&term.call).iter().any(|slot| slot == "xs");
    phrases.terms.iter().position(lists).unwrap_or(phrases.terms.len())
}

/// One of the first `among` terms, or any: those with a list in them come
/// last in the file, because a list inside another phrase cannot be read.
pub fn term_of(
    phrases: &Phrases,
    among: usize,
    depth: usize,
    hand: Hand,
    rng: &mut Rng,
) -> Result<(String, String)> {
    let term = rng.pick(&phrases.terms[..among]);
    let mut inner = Slots::new();
    for name in super::template::slots(&term.call) {
        if inner.contains_key(&name) {
            continue;
        }
        let deeper = depth > 1 && matches!(name.as_str(), "x" | "y") && rng.chance(0.55);
        let value = if deeper {
            let (surface, call) = term_of(phrases, without_lists(phrases), depth - 1, hand, rng)?;
            Value { surface, fields: vec![call], sort: Sort::Term }
        } else {
            let kind = match name.as_str() {
                "p" => "pct",
                "n" => "int 2 12",
                "xs" => "list 2 5 int 1 100",
                _ => rng.word(&["int 1 20", "int 1 100", "int 1 100", "int 2 1000", "dec 0 20 2"]),
            };
            one(kind, &inner, phrases, hand, rng)?.unwrap_or_default()
        };
        inner.insert(name, value);
    }
    Ok((ask(&term.surface, &inner, rng)?, input(&term.call, &inner)?))
}
