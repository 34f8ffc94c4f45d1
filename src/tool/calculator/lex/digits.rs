//! Numbers: digits as people group, raise and round them.

use super::Lexer;
use crate::tool::calculator::Fault;
use crate::tool::calculator::signs::{superscript, vulgar_fraction};
use crate::tool::calculator::token::Kind;

impl Lexer<'_> {
    /// Digits with separators, a fraction, an exponent, and `½` after it.
    pub(super) fn number(&mut self) -> Result<(), Fault> {
        let start = self.at;
        let mut text = String::new();
        let mut grouped = false;
        while let Some(c) = self.peek(0) {
            if c.is_ascii_digit() {
                text.push(c);
                self.at += 1;
            } else if c == '_' && self.digit(1) && !text.is_empty() {
                self.at += 1;
            } else if self.thousands(&text, grouped) {
                grouped = true;
                text.extend(&self.chars[self.at + 1..self.at + 4]);
                self.at += 4;
            } else {
                break;
            }
        }
        if self.peek(0) == Some('.') {
            text.push('.');
            self.at += 1;
            while let Some(c) = self.peek(0).filter(char::is_ascii_digit) {
                text.push(c);
                self.at += 1;
            }
            if self.peek(0) == Some('.') {
                return Err(Fault::new(self.at, "A number has only one decimal point"));
            }
        }
        let sign = usize::from(matches!(self.peek(1), Some('+' | '-' | '−')));
        if matches!(self.peek(0), Some('e' | 'E')) && self.digit(1 + sign) {
            text.push('e');
            if matches!(self.peek(1), Some('-' | '−')) {
                text.push('-');
            }
            self.at += 1 + sign;
            while let Some(c) = self.peek(0).filter(char::is_ascii_digit) {
                text.push(c);
                self.at += 1;
            }
        }
        let mut value = text.parse::<f64>().unwrap_or(f64::INFINITY);
        if let Some(part) = self.peek(0).and_then(vulgar_fraction) {
            value += part;
            self.at += 1;
        }
        if !value.is_finite() {
            return Err(Fault::new(start, "This number is too large"));
        }
        self.push(Kind::Number(value), start, 0);
        Ok(())
    }

    /// A separator and a group of exactly three digits come next. The first
    /// group has one to three digits.
    fn thousands(&self, so_far: &str, grouped: bool) -> bool {
        let separator = match self.peek(0) {
            Some(',') => self.commas.last().copied().unwrap_or(true),
            // The thin and the no-break spaces only ever group digits.
            Some('\u{a0}' | '\u{2009}' | '\u{202f}' | '\'' | '’') => true,
            _ => false,
        };
        let started = grouped || (1..=3).contains(&so_far.len());
        separator && started && (1..=3).all(|ahead| self.digit(ahead)) && !self.digit(4)
    }

    /// A run of superscript digits, with a sign before them perhaps.
    pub(super) fn superscripts(&mut self) -> Result<(), Fault> {
        let start = self.at;
        let text: String = self.chars[start..].iter().map_while(|c| superscript(*c)).collect();
        let value = text.parse::<f64>();
        let length = text.chars().count();
        let Ok(value) = value else {
            return Err(Fault::new(start, "These superscripts are not a number"));
        };
        self.push(Kind::Raised(value), start, length);
        Ok(())
    }
}
