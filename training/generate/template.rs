//! Sentence patterns: text, `<slots>`, `{this|or that}` and `@macros`.
//!
//! `{a|}` is an optional part. A macro is a pattern with a name, defined by a
//! line `@name = pattern` before its use. A slot may carry a filter after a
//! dot: `<a.th>`. A backslash takes away what the next character means, and
//! `\n` ends a line.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    Text(String),
    Slot { name: String, filter: String },
    Choice(Vec<Pattern>),
}

/// Parts in order.
pub type Pattern = Vec<Node>;

/// Patterns by name.
pub type Macros = HashMap<String, Pattern>;

/// Reads a pattern, with macros put in.
pub fn parse(text: &str, macros: &Macros) -> Result<Pattern> {
    let chars: Vec<char> = text.chars().collect();
    let mut at = 0;
    let pattern = sequence(&chars, &mut at, macros, false)
        .with_context(|| format!("in the pattern \"{text}\""))?;
    if at < chars.len() {
        bail!("unmatched '}}' in the pattern \"{text}\"");
    }
    Ok(pattern)
}

fn sequence(chars: &[char], at: &mut usize, macros: &Macros, inner: bool) -> Result<Pattern> {
    let mut nodes = Vec::new();
    let mut text = String::new();
    while let Some(&c) = chars.get(*at) {
        match c {
            '}' => break,
            '|' if inner => break,
            '\\' => {
                let next = chars.get(*at + 1).context("a pattern ends in a backslash")?;
                text.push(if *next == 'n' { '\n' } else { *next });
                *at += 2;
            }
            '{' => {
                flush(&mut nodes, &mut text);
                *at += 1;
                let mut options = vec![sequence(chars, at, macros, true)?];
                while chars.get(*at) == Some(&'|') {
                    *at += 1;
                    options.push(sequence(chars, at, macros, true)?);
                }
                if chars.get(*at) != Some(&'}') {
                    bail!("'{{' without '}}'");
                }
                *at += 1;
                nodes.push(Node::Choice(options));
            }
            '<' => {
                flush(&mut nodes, &mut text);
                *at += 1;
                let inside = take_while(chars, at, |c| c != '>');
                *at += 1;
                let (name, filter) = inside.split_once('.').unwrap_or((&inside, ""));
                nodes.push(Node::Slot { name: name.into(), filter: filter.into() });
            }
            '@' => {
                flush(&mut nodes, &mut text);
                *at += 1;
                let name = take_while(chars, at, |c| c.is_ascii_alphanumeric() || c == '_');
                let pattern =
                    macros.get(&name).with_context(|| format!("unknown macro @{name}"))?;
                nodes.extend(pattern.iter().cloned());
            }
            _ => {
                text.push(c);
                *at += 1;
            }
        }
    }
    flush(&mut nodes, &mut text);
    Ok(nodes)
}

fn flush(nodes: &mut Pattern, text: &mut String) {
    if !text.is_empty() {
        nodes.push(Node::Text(std::mem::take(text)));
    }
}

fn take_while(chars: &[char], at: &mut usize, wanted: impl Fn(char) -> bool) -> String {
    let start = *at;
    while chars.get(*at).is_some_and(|&c| wanted(c)) {
        *at += 1;
    }
    chars[start..*at].iter().collect()
}

/// Every slot that the pattern names, in any of its forms.
pub fn slots(pattern: &[Node]) -> Vec<String> {
    let mut names = Vec::new();
    for node in pattern {
        match node {
            Node::Text(_) => {}
            Node::Slot { name, .. } => names.push(name.clone()),
            Node::Choice(options) => names.extend(options.iter().flat_map(|option| slots(option))),
        }
    }
    names
}

/// How many sentences the pattern can make, slots aside.
pub fn count(pattern: &[Node]) -> f64 {
    pattern
        .iter()
        .map(|node| match node {
            Node::Choice(options) => options.iter().map(|option| count(option)).sum(),
            _ => 1.0,
        })
        .product()
}

/// A regular expression for the skeletons of everything the pattern can make;
/// see [`skeleton`]. A slot is `#`.
#[allow(dead_code, reason = "only the test of the held-out families compares skeletons")]
pub fn skeleton_regex(pattern: &[Node]) -> String {
    let mut out = String::new();
    for node in pattern {
        match node {
            Node::Text(text) => out.push_str(&regex::escape(&skeleton(text))),
            Node::Slot { .. } => out.push('#'),
            Node::Choice(options) => {
                let options: Vec<String> =
                    options.iter().map(|option| skeleton_regex(option)).collect();
                out.push_str(&format!("(?:{})", options.join("|")));
            }
        }
    }
    out
}

/// A sentence without what noise may change: letters in lower case, digits
/// and `#` for slots, and neither space nor punctuation.
#[allow(dead_code, reason = "only the test of the held-out families compares skeletons")]
pub fn skeleton(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_alphanumeric() || "#+*/=^%".contains(*c))
        .flat_map(char::to_lowercase)
        .collect()
}

/// Every sentence the pattern can make, with `#` for slots.
#[allow(dead_code, reason = "only the test of the held-out families lists them")]
pub fn expansions(pattern: &[Node]) -> Vec<String> {
    let mut sentences = vec![String::new()];
    for node in pattern {
        let parts = match node {
            Node::Text(text) => vec![text.clone()],
            Node::Slot { .. } => vec!["#".into()],
            Node::Choice(options) => options.iter().flat_map(|option| expansions(option)).collect(),
        };
        sentences = sentences
            .iter()
            .flat_map(|start| parts.iter().map(move |part| format!("{start}{part}")))
            .collect();
    }
    sentences
}
