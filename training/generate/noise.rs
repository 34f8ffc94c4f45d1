//! What people do to a question while typing it: greetings and thanks around
//! it, case, marks, spaces and slips. Slots are left alone by slips.

use anyhow::Result;

use super::family::Family;
use super::phrases::Phrases;
use super::rng::Rng;
use super::slot::Slots;
use super::template::Pattern;
use super::wording::ask;

const OPEN: char = '\u{1}';
const CLOSE: char = '\u{2}';

/// Words that people in a hurry write shorter.
const SHORT: [(&str, &str); 8] = [
    ("what is", "wats"),
    (" you ", " u "),
    (" are ", " r "),
    ("please", "plz"),
    ("thanks", "thx"),
    ("thank you", "ty"),
    ("because", "cuz"),
    ("about", "abt"),
];

/// A slot's text between marks.
pub fn kept(text: &str) -> String {
    format!("{OPEN}{text}{CLOSE}")
}

/// Without the marks.
pub fn plain(text: &str) -> String {
    text.chars().filter(|c| *c != OPEN && *c != CLOSE).collect()
}

/// How a question begins, which decides what may stand around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Question,
    Request,
    Order,
    /// Begins with a number or an expression.
    Fragment,
    /// Begins with any other word.
    Loose,
    Story,
}

/// The question as it is typed in the end.
pub fn typed(question: &str, family: &Family, phrases: &Phrases, rng: &mut Rng) -> Result<String> {
    written(question, !family.bare, family, phrases, rng)
}

/// The same, with words around it only where `polite`.
pub fn written(
    question: &str,
    polite: bool,
    family: &Family,
    phrases: &Phrases,
    rng: &mut Rng,
) -> Result<String> {
    let mut text = question.trim().to_string();
    let sort = sort(&text, family, phrases);
    if polite {
        if rng.chance(if sort == Sort::Story { 0.12 } else { 0.3 })
            && let Some(before) = around(phrases.before.get(key(sort)), rng)?
        {
            text = format!("{} {text}", before.trim_end());
        }
        if rng.chance(if sort == Sort::Story { 0.05 } else { 0.14 })
            && !text.ends_with(['?', '.', '!'])
            && let Some(after) = around(Some(&phrases.after), rng)?
        {
            text = format!("{text}{after}");
        }
        text = marked(text, sort, rng);
    }
    if rng.chance(0.1) {
        text = slips(&text, rng);
    }
    if rng.chance(0.04) {
        for (long, short) in SHORT {
            if rng.chance(0.6) {
                text = text.replace(long, short);
            }
        }
    }
    if rng.chance(0.25) {
        text = text.replace(['\'', '’'], "");
    }
    text = cased(&text, sort, rng);
    text = plain(&text);
    if rng.chance(0.02) {
        text = text.replacen(' ', "  ", 1);
    }
    if rng.chance(0.01) {
        text = format!("{text} ");
    }
    Ok(text.trim_start().to_string())
}

fn around(patterns: Option<&Vec<Pattern>>, rng: &mut Rng) -> Result<Option<String>> {
    match patterns {
        Some(patterns) if !patterns.is_empty() => {
            Ok(Some(ask(rng.pick(patterns), &Slots::new(), rng)?))
        }
        _ => Ok(None),
    }
}

fn key(sort: Sort) -> &'static str {
    match sort {
        Sort::Question => "question",
        Sort::Request => "request",
        Sort::Order => "order",
        Sort::Fragment => "fragment",
        Sort::Loose => "loose",
        Sort::Story => "story",
    }
}

fn sort(text: &str, family: &Family, phrases: &Phrases) -> Sort {
    if family.story {
        return Sort::Story;
    }
    let start: String = text.chars().take_while(|c| c.is_alphabetic() || *c == '\'').collect();
    match start.to_lowercase().as_str() {
        "what" | "what's" | "whats" | "how" | "which" => Sort::Question,
        "can" | "could" | "would" | "will" | "do" | "does" | "is" | "are" | "please" | "i"
        | "who" | "where" | "when" | "why" | "did" | "let's" | "lets" | "was" | "were" | "has"
        | "have" | "should" | "shall" | "am" | "may" | "must" | "whose" | "by" | "any" | "had" => {
            Sort::Request
        }
        word if phrases.lists.get("orders").is_some_and(|list| list.iter().any(|w| w == word)) => {
            Sort::Order
        }
        _ if text.starts_with(|c: char| c == OPEN || c.is_ascii_digit() || c == '(') => {
            Sort::Fragment
        }
        "the" | "a" | "half" | "sqrt" => Sort::Fragment,
        _ => Sort::Loose,
    }
}

fn marked(mut text: String, sort: Sort, rng: &mut Rng) -> String {
    if text.ends_with(['?', '.', '!', '=']) || text.ends_with(":)") {
        return text;
    }
    let mark = match (sort, rng.below(20)) {
        (Sort::Question | Sort::Request, 0..11) => "?",
        (Sort::Question | Sort::Request, 11) => "??",
        (Sort::Question | Sort::Request, 12) => " ?",
        (Sort::Question | Sort::Request | Sort::Order, 13) => ".",
        (Sort::Order, 0..6) => ".",
        (Sort::Fragment | Sort::Loose, 0..6) => "?",
        (Sort::Story, 0..16) => "?",
        _ => "",
    };
    text.push_str(mark);
    text
}

fn cased(text: &str, sort: Sort, rng: &mut Rng) -> String {
    let style = rng.unit();
    let lower = if sort == Sort::Story { 0.3 } else { 0.45 };
    if style < lower {
        return text.to_lowercase();
    }
    if style < lower + 0.02 {
        return shouted(text);
    }
    if style < lower + 0.12 {
        return text.to_string();
    }
    // A sentence: capitals where sentences begin, and "I".
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::new();
    let mut starts = true;
    let mut depth = 0usize;
    for (index, &c) in chars.iter().enumerate() {
        match c {
            OPEN => depth += 1,
            CLOSE => depth = depth.saturating_sub(1),
            _ => {}
        }
        let word = |at: Option<&char>| at.is_some_and(|c| c.is_alphanumeric() || *c == '\'');
        let alone = !word(chars.get(index + 1))
            && !word(index.checked_sub(1).and_then(|before| chars.get(before)));
        if c == 'i' && depth == 0 && (alone || apostrophe(&chars, index)) {
            out.push('I');
        } else if starts && c.is_alphabetic() && (depth == 0 || spelled(&chars[index..])) {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
        if matches!(c, '.' | '?' | '!') && chars.get(index + 1) == Some(&' ') {
            starts = true;
        } else if c != OPEN && c != CLOSE && !c.is_whitespace() {
            starts = false;
        }
    }
    out
}

/// The `i` of `i'm`.
fn apostrophe(chars: &[char], at: usize) -> bool {
    chars.get(at + 1) == Some(&'\'') && (at == 0 || !chars[at - 1].is_alphanumeric())
}

/// A kept part that is words, up to its mark.
fn spelled(rest: &[char]) -> bool {
    rest.iter().take_while(|c| **c != CLOSE).all(|c| c.is_alphabetic() || " -".contains(*c))
}

fn shouted(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let (mut out, mut depth, mut leave) = (String::new(), 0usize, false);
    for (index, &c) in chars.iter().enumerate() {
        match c {
            OPEN => {
                depth += 1;
                leave = leave || !spelled(&chars[index + 1..]);
            }
            CLOSE => {
                depth = depth.saturating_sub(1);
                leave = leave && depth > 0;
            }
            _ => {}
        }
        if leave { out.push(c) } else { out.extend(c.to_uppercase()) }
    }
    out
}

/// One or two slips of the fingers in longer words outside of slots.
fn slips(text: &str, rng: &mut Rng) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..if rng.chance(0.25) { 2 } else { 1 } {
        let mut places = Vec::new();
        let (mut depth, mut start) = (0usize, None);
        for (index, &c) in chars.iter().enumerate() {
            match c {
                OPEN => depth += 1,
                CLOSE => depth = depth.saturating_sub(1),
                _ => {}
            }
            if c.is_ascii_alphabetic() && depth == 0 {
                let start = *start.get_or_insert(index);
                // The first letter stays, so that the word can be read.
                if index > start && chars.get(index + 1).is_some_and(char::is_ascii_alphabetic) {
                    places.push(index);
                }
            } else {
                start = None;
            }
        }
        if places.is_empty() {
            break;
        }
        let at = *rng.pick(&places);
        match rng.below(4) {
            0 => chars.swap(at, at + 1),
            1 => drop(chars.remove(at)),
            2 => chars.insert(at, chars[at]),
            _ => chars[at] = neighbour(chars[at], rng),
        }
    }
    chars.into_iter().collect()
}

/// A key beside it on the keyboard.
fn neighbour(c: char, rng: &mut Rng) -> char {
    const ROWS: [&[u8]; 3] = [b"qwertyuiop", b"asdfghjkl", b"zxcvbnm"];
    for row in ROWS {
        if let Some(at) = row.iter().position(|key| char::from(*key) == c) {
            let left = at.checked_sub(1).map(|left| row[left]);
            let right = row.get(at + 1).copied();
            let keys: Vec<u8> = [left, right].into_iter().flatten().collect();
            return char::from(*rng.pick(&keys));
        }
    }
    c
}
