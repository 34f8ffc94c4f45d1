//! What fills the slots of a family.
//!
//! Kinds: the numbers of `number.rs`; `list LEAST MOST KIND`; `word LIST`;
//! `expr PROFILE` (typed); `term` (worded, nested; `term flat` holds no list); `calc EXPRESSION`;
//! `map PHRASE => TEXT ; MORE | PHRASE => …`. `digits` at the end of a kind
//! keeps its numbers from being typed as words.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use super::expression;
use super::family::{Family, Phrases};
use super::number::{self, Typing};
use super::rng::Rng;
use super::template::{Node, Pattern, parse};

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

/// How one question writes numbers and money.
#[derive(Clone, Copy, Debug)]
pub struct Hand {
    pub typing: Typing,
    /// A sign before an amount or a word after it, and the word in answers.
    pub money: (&'static str, &'static str, &'static str),
}

impl Hand {
    pub fn choose(rng: &mut Rng) -> Self {
        const MONEY: [(&str, &str, &str); 11] = [
            ("$", "", "$"),
            ("$", "", "$"),
            ("$", "", "$"),
            ("£", "", "£"),
            ("€", "", "€"),
            ("", " dollars", " dollars"),
            ("", " euros", " euros"),
            ("", " pounds", " pounds"),
            ("", " bucks", " bucks"),
            ("", "€", "€"),
            ("", " rupees", " rupees"),
        ];
        Self { typing: Typing::choose(rng), money: *rng.pick(&MONEY) }
    }

    /// An amount in an answer.
    pub fn amount(&self, value: &str) -> String {
        let (sign, _, word) = self.money;
        match (sign.is_empty(), value.strip_prefix('-')) {
            (true, _) => format!("{value}{word}"),
            (false, Some(size)) => format!("-{sign}{size}"),
            (false, None) => format!("{sign}{value}"),
        }
    }
}

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

fn meets(need: &str, slots: &Slots) -> Result<bool> {
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
                typed = format!("{sign}{size}{word}");
                sort = Sort::Money;
            }
            _ => {}
        }
        return Ok(Some(Value { surface: typed, fields: vec![value], sort }));
    }
    Ok(match name {
        "list" => Some(list(rest, typing, rng)?),
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

fn list(rest: &str, typing: Typing, rng: &mut Rng) -> Result<Value> {
    let mut words = rest.splitn(3, ' ');
    let (least, most) =
        (words.next().unwrap_or("2").parse()?, words.next().unwrap_or("5").parse()?);
    let kind = words.next().unwrap_or("int 1 100");
    let mut fields = Vec::new();
    for _ in 0..rng.range(least, most) {
        fields.push(number::sample(kind, rng)?.with_context(|| format!("\"{kind}\" in a list"))?);
    }
    // Separators of thousands among commas cannot be read.
    let typing = if typing == Typing::Grouped { Typing::Digits } else { typing };
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

/// A worded value, with other values inside.
fn term(phrases: &Phrases, depth: usize, hand: Hand, rng: &mut Rng) -> Result<(String, String)> {
    term_of(phrases, phrases.terms.len(), depth, hand, rng)
}

/// How many terms come before the first with a list in it.
fn without_lists(phrases: &Phrases) -> usize {
    let lists = |term: &super::family::Term| {
        super::template::slots(&term.call).iter().any(|slot| slot == "xs")
    };
    phrases.terms.iter().position(lists).unwrap_or(phrases.terms.len())
}

/// One of the first `among` terms, or any: those with a list in them come
/// last in the file, because a list inside another phrase cannot be read.
fn term_of(
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
                    "th" => number::ordinal(&value.fields[0], rng)?,
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
