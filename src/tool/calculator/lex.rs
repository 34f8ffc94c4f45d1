//! Characters to tokens: every notation people and models use for the same
//! thing becomes the same token.

mod digits;

use super::Fault;
use super::functions;
use super::signs::{WORDS, digit_in_name, means_nothing, superscript, vulgar_fraction};
use super::token::{Binary, Kind, Token};

/// The tokens of an expression, at least one, and what is wrong with the first
/// function in it that nobody knows: such an expression can be read and has no
/// value.
pub fn tokens(chars: &[char]) -> Result<(Vec<Token>, Option<Fault>), Fault> {
    let (start, end) = bounds(chars);
    let mut lexer =
        Lexer { chars: &chars[..end], at: start, tokens: vec![], commas: vec![], unknown: None };
    loop {
        match lexer.step() {
            Ok(true) => {}
            Ok(false) => break,
            // The first thing that is wrong is the one to tell.
            Err(fault) => return Err(lexer.unknown.unwrap_or(fault)),
        }
    }
    if lexer.tokens.is_empty() {
        return Err(Fault::new(0, "There is nothing to work out, the expression is empty"));
    }
    Ok((lexer.tokens, lexer.unknown))
}

/// Where the expression is in what was written: without quotes around it, a
/// spreadsheet's `=` before it, and `= ?` or a full stop after it.
fn bounds(chars: &[char]) -> (usize, usize) {
    let before = |c: &char| c.is_whitespace() || matches!(c, '=' | '"' | '\'' | '`');
    let after = |c: &char| before(c) || matches!(c, '?' | '.' | ';');
    let start = chars.iter().position(|c| !before(c)).unwrap_or(chars.len());
    let end = chars.iter().rposition(|c| !after(c)).map_or(start, |last| last + 1);
    (start, end.max(start))
}

struct Lexer<'a> {
    chars: &'a [char],
    at: usize,
    tokens: Vec<Token>,
    /// For every open bracket, whether a comma in it may group thousands.
    commas: Vec<bool>,
    /// The first name before a bracket that is no function's.
    unknown: Option<Fault>,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn digit(&self, ahead: usize) -> bool {
        self.peek(ahead).is_some_and(|c| c.is_ascii_digit())
    }

    fn push(&mut self, kind: Kind, at: usize, length: usize) {
        self.tokens.push(Token { kind, at });
        self.at += length;
    }

    /// What stands to the left is an operand that has ended.
    fn after_operand(&self) -> bool {
        self.tokens.last().is_some_and(|token| {
            use Kind::*;
            match token.kind {
                Number(_) | Constant(_) | Percent | PercentSign | Factorial | Degrees
                | Raised(_) | Close(_) => true,
                Function(_) | Operator(_) | Of | Open(_) | Comma => false,
            }
        })
    }

    /// Reads one token, or skips what means nothing; false at the end.
    fn step(&mut self) -> Result<bool, Fault> {
        use Kind::*;
        let at = self.at;
        let Some(c) = self.peek(0) else { return Ok(false) };
        let next = self.peek(1);
        let (kind, length) = match c {
            _ if c.is_whitespace() || means_nothing(c) => {
                self.at += 1;
                return Ok(true);
            }
            // LaTeX: `\\times`, `\\sqrt{2}`, `\\%`.
            '\\' if next.is_some_and(|c| c.is_alphabetic() || matches!(c, '%' | '$')) => {
                self.at += 1;
                return Ok(true);
            }
            '0'..='9' => return self.number().map(|()| true),
            '.' if next.is_some_and(|c| c.is_ascii_digit()) => {
                return self.number().map(|()| true);
            }
            '+' | '＋' => (Operator(Binary::Add), 1),
            '-' | '−' | '–' | '—' | '‒' | '‐' | '‑' | '﹣' => {
                (Operator(Binary::Subtract), 1)
            }
            '*' if next == Some('*') => (Operator(Binary::Power), 2),
            '*' | '×' | '·' | '⋅' | '•' | '∙' | '∗' | '✕' | '✖' => {
                (Operator(Binary::Multiply), 1)
            }
            'x' | 'X' if self.after_operand() => (Operator(Binary::Multiply), 1),
            '/' if next == Some('/') => {
                return Err(Fault::new(at, "// is not an operator, write floor(a/b)"));
            }
            '/' | '÷' | '∕' | '⁄' => (Operator(Binary::Divide), 1),
            '^' | 'ˆ' => (Operator(Binary::Power), 1),
            '%' | '﹪' => (PercentSign, 1),
            '!' if next == Some('=') => return Err(comparison(at)),
            '!' => (Factorial, 1),
            '°' | 'º' => (Degrees, 1),
            '(' | '[' | '{' => {
                let call = match self.tokens.last() {
                    Some(Token { kind: Function(function), .. }) if c == '(' => Some(*function),
                    _ => None,
                };
                self.commas.push(call.is_none_or(|function| function.groups_thousands()));
                (Open(c), 1)
            }
            ')' | ']' | '}' => {
                self.commas.pop();
                (Close(c), 1)
            }
            ',' | ';' => (Comma, 1),
            '=' | '<' | '>' | '≈' | '≠' | '≤' | '≥' => return Err(comparison(at)),
            '√' => return self.named("sqrt", at),
            '∛' => return self.named("cbrt", at),
            'π' | 'τ' => {
                let value = functions::constant(&c.to_string()).unwrap_or_default();
                (Constant(value), 1)
            }
            _ if vulgar_fraction(c).is_some() => (Number(vulgar_fraction(c).unwrap_or(0.0)), 1),
            _ if superscript(c).is_some() => return self.superscripts().map(|()| true),
            _ if c.is_alphabetic() => return self.word().map(|()| true),
            _ => return Err(Fault::new(at, format!("The character {c} means nothing here"))),
        };
        self.push(kind, at, length);
        Ok(true)
    }

    /// A sign that is a function.
    fn named(&mut self, name: &str, at: usize) -> Result<bool, Fault> {
        if let Some(function) = functions::find(name) {
            self.push(Kind::Function(function), at, 1);
        }
        Ok(true)
    }

    /// A word operator, a function or a constant.
    fn word(&mut self) -> Result<(), Fault> {
        let at = self.at;
        for prefix in ["math.", "np.", "numpy."] {
            if let Some(length) = self.phrase(prefix) {
                self.at += length;
                break;
            }
        }
        for (root, name) in [("square root", "sqrt"), ("cube root", "cbrt"), ("cubic root", "cbrt")]
        {
            if let (Some(length), Some(function)) = (self.phrase(root), functions::find(name)) {
                self.push(Kind::Function(function), at, length);
                return Ok(());
            }
        }
        for (words, kind) in WORDS {
            if let Some(length) = self.phrase(words) {
                self.push(*kind, at, length);
                return Ok(());
            }
        }
        let rest = &self.chars[self.at..];
        let letters = rest.iter().take_while(|c| c.is_alphabetic() && **c != 'π').count();
        let digits = rest[letters..].iter().map_while(|c| digit_in_name(*c)).count();
        let name: String = rest[..letters].iter().flat_map(|c| c.to_lowercase()).collect();
        let index: String =
            rest[letters..letters + digits].iter().filter_map(|c| digit_in_name(*c)).collect();
        // `log2` is a name; in `sqrt16` the digits are what it is taken of.
        if let Some(function) = functions::find(&format!("{name}{index}")) {
            self.push(Kind::Function(function), at, letters + digits);
        } else if let Some(function) = functions::find(&name) {
            self.push(Kind::Function(function), at, letters);
        } else if let Some(value) = functions::constant(&name).filter(|_| digits == 0) {
            self.push(Kind::Constant(value), at, letters);
        } else {
            let name: String = rest.iter().take(letters + digits).take(24).collect();
            let fault = Fault::new(at, format!("The name {name} is unknown"));
            if digits > 0 || rest.get(letters) != Some(&'(') {
                return Err(fault);
            }
            self.unknown.get_or_insert(fault);
            self.push(Kind::Function(functions::UNKNOWN), at, letters);
        }
        Ok(())
    }

    /// How long `words` is here, in any case and with any space between its
    /// words, if it is here and ends where a word ends.
    fn phrase(&self, words: &str) -> Option<usize> {
        let mut at = self.at;
        for expected in words.chars() {
            let found = *self.chars.get(at)?;
            at += 1;
            if expected == ' ' {
                if !found.is_whitespace() {
                    return None;
                }
                while self.chars.get(at).is_some_and(|c| c.is_whitespace()) {
                    at += 1;
                }
            } else if found.to_ascii_lowercase() != expected {
                return None;
            }
        }
        let ended = words.ends_with('.') || !self.chars.get(at).is_some_and(|c| c.is_alphabetic());
        ended.then_some(at - self.at)
    }
}

fn comparison(at: usize) -> Fault {
    Fault::new(at, "An expression has no =, < or > in it")
}
