//! Reads an object that is JSON, or nearly.

mod quoted;

use std::collections::BTreeSet;

use super::{Repair, Why};

/// How many `{` of a reply are tried as the start of its object.
pub const MAX_OBJECTS: usize = 32;

/// What an object says, as far as a step needs it.
pub struct Object {
    pub action: Option<Value>,
    pub input: Option<Value>,
    /// The byte after it.
    pub end: usize,
}

/// A value as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    /// A number, `true`, `false`, a list or an object: its own text, or that
    /// of the one value inside it.
    Other(String),
    Null,
}

impl Value {
    /// The string, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Other(_) | Self::Null => None,
        }
    }

    /// What a tool is given for it.
    pub fn as_input(&self) -> String {
        match self {
            Self::Text(text) | Self::Other(text) => text.clone(),
            Self::Null => String::new(),
        }
    }
}

/// Where reading gave up.
pub struct Broken {
    pub why: Why,
    /// The key `action` had been read by then.
    pub had_action: bool,
}

/// Reads the object whose `{` is at byte `start`.
pub fn object(text: &str, start: usize, repairs: &mut BTreeSet<Repair>) -> Result<Object, Broken> {
    let mut reader = Reader { text, at: start, repairs };
    let mut object = Object { action: None, input: None, end: start };
    match reader.members(&mut |key, value, repairs| place(&mut object, key, value, repairs)) {
        Ok(()) => {
            object.end = reader.at;
            Ok(object)
        }
        Err(why) => Err(Broken { why, had_action: object.action.is_some() }),
    }
}

/// Puts a pair where it belongs. Of two equal keys the first counts.
fn place(object: &mut Object, key: &str, value: Value, repairs: &mut BTreeSet<Repair>) {
    let letters: String =
        key.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    let (slot, name) = match letters.as_str() {
        "action" => (&mut object.action, "action"),
        "actioninput" => (&mut object.input, "action_input"),
        _ => {
            repairs.insert(Repair::ExtraKey);
            return;
        }
    };
    if slot.is_some() {
        repairs.insert(Repair::ExtraKey);
        return;
    }
    if key != name {
        repairs.insert(Repair::KeySpelling);
    }
    *slot = Some(value);
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    repairs: &'a mut BTreeSet<Repair>,
}

/// Receives each pair of an object.
type Visit<'v> = &'v mut dyn FnMut(&str, Value, &mut BTreeSet<Repair>);

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn repair(&mut self, repair: Repair) {
        self.repairs.insert(repair);
    }

    fn skip_space(&mut self) {
        while let Some(c) = self.peek().filter(|c| c.is_whitespace()) {
            if !matches!(c, ' ' | '\t' | '\n' | '\r') {
                self.repair(Repair::Whitespace);
            }
            self.at += c.len_utf8();
        }
    }

    /// From `{` to after `}`.
    fn members(&mut self, visit: Visit) -> Result<(), Why> {
        self.bump();
        let (mut first, mut comma) = (true, false);
        loop {
            self.skip_space();
            match self.peek() {
                Some('}') => {
                    self.bump();
                    if comma {
                        self.repair(Repair::TrailingComma);
                    }
                    return Ok(());
                }
                Some('`') if !first => {
                    self.repair(Repair::MissingBrace);
                    return Ok(());
                }
                None if first || comma => return Err(Why::Unfinished),
                None => {
                    self.repair(Repair::MissingBrace);
                    return Ok(());
                }
                Some(_) if !first && !comma => self.repair(Repair::MissingComma),
                Some(_) => {}
            }
            let key = self.key()?;
            self.skip_space();
            match self.bump() {
                Some(':') => self.skip_space(),
                Some(_) => return Err(Why::NotJson),
                None => return Err(Why::Unfinished),
            }
            let value = self.value()?;
            visit(&key, value, self.repairs);
            self.skip_space();
            first = false;
            comma = self.peek() == Some(',');
            if comma {
                self.bump();
            }
        }
    }

    fn key(&mut self) -> Result<String, Why> {
        if let Some(quote) = self.quote() {
            return self.string(quote);
        }
        let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '\\');
        let length = self.rest().find(|c| !word(c)).unwrap_or(self.rest().len());
        if length == 0 {
            return Err(Why::NotJson);
        }
        self.repair(Repair::NoQuotes);
        let key = self.rest()[..length].to_string();
        self.at += length;
        Ok(key)
    }

    fn value(&mut self) -> Result<Value, Why> {
        if let Some(quote) = self.quote() {
            return self.string(quote).map(Value::Text);
        }
        match self.peek() {
            None => Err(Why::Unfinished),
            Some('{' | '[') => self.nested(),
            Some(_) => self.bare(),
        }
    }

    /// A number, a literal or words without quotes: as far as a comma before
    /// another key, the brace, or the end of the line.
    fn bare(&mut self) -> Result<Value, Why> {
        let rest = self.rest();
        let ends = |(at, c): (usize, char)| match c {
            '}' | '\n' => true,
            ',' => rest[at + 1..].trim_start().starts_with(['"', '\'', '“', '}']),
            '`' => rest[at..].starts_with("```"),
            _ => false,
        };
        let length = rest.char_indices().find(|part| ends(*part)).map(|(at, _)| at);
        let length = length.ok_or(Why::Unfinished)?;
        let word = rest[..length].trim().trim_end_matches(',').to_string();
        self.at += rest[..length].trim_end().trim_end_matches(',').len();
        let python = matches!(word.as_str(), "True" | "False" | "None");
        let number = word.parse::<serde_json::Number>().is_ok();
        if python {
            self.repair(Repair::PythonLiteral);
        }
        Ok(match word.as_str() {
            "" => return Err(Why::NotJson),
            "None" | "null" => Value::Null,
            "True" | "true" => Value::Other("true".into()),
            "False" | "false" => Value::Other("false".into()),
            _ if number => Value::Other(word),
            _ => {
                self.repair(Repair::NoQuotes);
                Value::Text(word)
            }
        })
    }

    /// A list or an object. An object with a single plain value stands for
    /// that value: `{"expression": "1+1"}`.
    fn nested(&mut self) -> Result<Value, Why> {
        let start = self.at;
        let length = balanced(self.rest()).ok_or(Why::Unfinished)?;
        let raw = &self.text[start..start + length];
        let mut values = Vec::new();
        let mut ignored = BTreeSet::new();
        if raw.starts_with('{') && raw[1..].find(['{', '[']).is_none() {
            let mut inner = Reader { text: raw, at: 0, repairs: &mut ignored };
            if inner.members(&mut |_, value, _| values.push(value)).is_err() {
                values.clear();
            }
        }
        self.at = start + length;
        Ok(match values.as_slice() {
            [value @ (Value::Text(_) | Value::Other(_))] => Value::Other(value.as_input()),
            _ => Value::Other(raw.to_string()),
        })
    }
}

/// The length of the list or object at the start of `text`, if it is closed.
fn balanced(text: &str) -> Option<usize> {
    let (mut depth, mut string, mut escaped) = (0usize, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if string => escaped = true,
            '"' => string = !string,
            '{' | '[' if !string => depth += 1,
            '}' | ']' if !string => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at + c.len_utf8());
                }
            }
            _ => {}
        }
    }
    None
}
