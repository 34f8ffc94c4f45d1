//! Strings in any quotes, with or without the escapes that JSON asks for.

use super::Reader;
use crate::agent::step::{Repair, Why};

impl Reader<'_> {
    /// The quote that opens a string here.
    pub(super) fn quote(&self) -> Option<char> {
        self.peek().filter(|c| matches!(c, '"' | '\'' | '“' | '”' | '‘' | '’'))
    }

    /// From the opening quote to after the closing one.
    pub(super) fn string(&mut self, quote: char) -> Result<String, Why> {
        match quote {
            '"' => {}
            '\'' => self.repair(Repair::SingleQuotes),
            _ => self.repair(Repair::SmartQuotes),
        }
        self.bump();
        let mut text = String::new();
        loop {
            match self.bump() {
                None => return Err(Why::UnfinishedString),
                Some('\\') => self.escape(&mut text)?,
                Some(c) if closes(quote, c) => {
                    if self.string_ends_here() {
                        return Ok(text);
                    }
                    self.repair(Repair::InnerQuote);
                    text.push(c);
                }
                Some(c) => {
                    if c < ' ' {
                        self.repair(Repair::RawNewline);
                    }
                    text.push(c);
                }
            }
        }
    }

    /// After a string come a colon, a comma, the brace, a fence, another
    /// string or the end; anything else means that the quote was part of it.
    fn string_ends_here(&self) -> bool {
        let rest = self.rest();
        let next = rest.trim_start();
        next.is_empty()
            || next.starts_with([':', ',', '}', ']'])
            || next.starts_with("```")
            || (next.len() < rest.len() && next.starts_with(['"', '\'', '“', '‘']))
    }

    /// What follows a backslash.
    fn escape(&mut self, text: &mut String) -> Result<(), Why> {
        let c = self.bump().ok_or(Why::UnfinishedString)?;
        let plain = match c {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            '"' | '\\' | '/' => c,
            'u' => self.unicode(),
            _ => {
                self.repair(Repair::Escape);
                c
            }
        };
        text.push(plain);
        Ok(())
    }

    /// The four hexadecimal digits after `\u`, and the second half of a pair.
    fn unicode(&mut self) -> char {
        let first = self.hex();
        if let Some(high @ 0xd800..0xdc00) = first {
            let back = self.at;
            if self.rest().starts_with("\\u") {
                self.at += 2;
                if let Some(low @ 0xdc00..0xe000) = self.hex() {
                    let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                    return char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                }
            }
            self.at = back;
        }
        first.and_then(char::from_u32).unwrap_or_else(|| {
            self.repair(Repair::Escape);
            char::REPLACEMENT_CHARACTER
        })
    }

    fn hex(&mut self) -> Option<u32> {
        let digits =
            self.rest().get(..4).filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = u32::from_str_radix(digits?, 16).ok()?;
        self.at += 4;
        Some(code)
    }
}

/// Whether `c` may close a string that `quote` opened.
fn closes(quote: char, c: char) -> bool {
    match quote {
        '“' | '”' => matches!(c, '“' | '”' | '"'),
        '‘' | '’' => matches!(c, '‘' | '’' | '\''),
        _ => c == quote,
    }
}
