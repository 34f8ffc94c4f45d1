//! The configuration file: TOML, a flag's long name and its value a line.

use toml_edit::{Document, Item, Value};

use crate::cli::home;

/// A line of the file.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    pub flag: String,
    /// As it would be typed; a path's `~/` is the home folder, as in a shell.
    pub value: String,
    pub line: usize,
}

/// Reads the text of a file.
///
/// # Errors
/// It is not TOML, or more than names and plain values: what, and on which line.
pub fn parse(text: &str) -> Result<Vec<Entry>, String> {
    let document = Document::parse(text).map_err(|error| error.to_string().trim().to_string())?;
    let table = document.as_table();
    let entry = |(flag, item): (&str, &Item)| {
        let start = table.key(flag).and_then(|key| key.span()).map_or(0, |span| span.start);
        let line = 1 + text.get(..start).map_or(0, |before| before.matches('\n').count());
        let value = match item.as_value() {
            Some(Value::String(text)) => home(text.value()).to_string_lossy().into_owned(),
            Some(Value::Integer(number)) => number.value().to_string(),
            Some(Value::Float(number)) => number.value().to_string(),
            Some(Value::Boolean(truth)) => truth.value().to_string(),
            _ => {
                return Err(format!("line {line}: {flag} must be a text, a number, true or false"));
            }
        };
        Ok(Entry { flag: flag.into(), value, line })
    };
    table.iter().map(entry).collect()
}

/// A value as the file has it.
pub fn value(text: &str) -> String {
    match text.parse() {
        Ok(Value::Integer(_) | Value::Float(_) | Value::Boolean(_)) => text.into(),
        // What JSON escapes, TOML reads; it wants one character more escaped.
        _ => serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_plain_values_are_read_with_their_lines() {
        let text = "# a comment\nmemory = 3\n\ntop-p = 0.5\nstrict = true\nsystem = '''\na\n\"b\"'''\nseed=1";
        let entries = parse(text).expect("entries");
        let found: Vec<_> =
            entries.iter().map(|e| (e.flag.as_str(), e.value.as_str(), e.line)).collect();
        assert_eq!(
            found,
            [
                ("memory", "3", 2),
                ("top-p", "0.5", 4),
                ("strict", "true", 5),
                ("system", "a\n\"b\"", 6),
                ("seed", "1", 9)
            ]
        );
    }

    #[test]
    fn what_is_more_than_that_is_refused_with_its_line() {
        for (text, said) in [
            ("a = 1\nb = [1]", "line 2: b must be"),
            ("\n[model]\npath = 1", "line 2: model must be"),
            ("a.b = 1", "line 1: a must be"),
            ("a = 2026-01-01", "line 1: a must be"),
            ("a = 1\na = 2", "line 2"),
            ("memory 3", "line 1"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn values_are_written_as_they_are_read() {
        for text in ["3", "-0.5", "true", "auto", "a \"b\"\n\\c", "", "007", "\u{7f}é"] {
            let written = format!("x = {}", value(text));
            assert_eq!(parse(&written).expect("an entry")[0].value, text, "{written}");
        }
    }
}
