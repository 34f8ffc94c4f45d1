//! Arithmetic. meval does the sums; a small front turns what people and models
//! write into what meval reads, and refuses what has no number as its result:
//! an infinity or a NaN never leaves this module.
//!
//! `lex` turns characters into tokens, `render` turns tokens into an
//! expression for meval, `functions` is what meval calls, `number` writes
//! results. None of them recurses, so nesting costs no stack.

mod functions;
mod lex;
mod number;
mod operand;
mod render;
mod signs;
mod token;
mod whole;

use self::functions::Functions;
pub use self::number::format_number;
use super::{Tool, ToolError};
use crate::chat::InputForm;

/// The longest expression that is read, in characters.
pub const MAX_LENGTH: usize = 4096;

/// Works out one arithmetic expression.
pub struct Calculator;

impl Tool for Calculator {
    fn name(&self) -> &str {
        "Calculator"
    }

    fn usage(&self) -> &str {
        "works out one arithmetic expression: + - * / ** ! and brackets, 7 % 4 (remainder), 20% \
         of 50, 50+20% (is 60), pi, e, sqrt cbrt abs min max round floor ceil mod gcd lcm \
         factorial exp ln log (base 10) log2, sin cos tan asin acos atan (radians)"
    }

    fn form(&self) -> InputForm {
        InputForm::Arithmetic
    }

    fn call(&self, input: &str) -> Result<String, ToolError> {
        evaluate(input).map(format_number)
    }
}

/// The value of an expression: always finite. An error is one sentence that
/// ends in the expression with `→` before the place that is wrong.
pub fn evaluate(input: &str) -> Result<f64, ToolError> {
    let chars: Vec<char> = input.chars().map(signs::plain).collect();
    let fail = |fault: Fault| ToolError(fault.sentence(&chars));
    let (text, unknown) = translate(&chars).map_err(fail)?;
    if let Some(fault) = unknown {
        return Err(fail(fault));
    }
    let functions = Functions::default();
    let value = meval::eval_str_with_context(&text, &functions);
    if let Some(fault) = functions.fault() {
        return Err(fail(fault));
    }
    match value {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(fail(Fault::new(0, "This has no value that a calculator can hold"))),
    }
}

/// Whether an expression can be read at all, whatever its value: `1/0` can, and
/// so can `f(1)`, though nobody knows the function.
pub fn check(input: &str) -> Result<(), ToolError> {
    let chars: Vec<char> = input.chars().map(signs::plain).collect();
    translate(&chars).map(drop).map_err(|fault| ToolError(fault.sentence(&chars)))
}

/// The names of the functions, with how many arguments each takes at least and
/// at most.
pub fn functions() -> impl Iterator<Item = (&'static str, usize, usize)> {
    functions::all()
}

/// The expression as meval reads it, and what is wrong with a function in it
/// that nobody knows.
fn translate(chars: &[char]) -> Result<(String, Option<Fault>), Fault> {
    if chars.len() > MAX_LENGTH {
        let message = format!(
            "The expression has {} characters, and at most {MAX_LENGTH} can be read",
            chars.len()
        );
        return Err(Fault::new(MAX_LENGTH, message));
    }
    let (tokens, unknown) = lex::tokens(chars)?;
    match render::render(&tokens) {
        Ok(text) => Ok((text, unknown)),
        Err(fault) => Err(unknown.unwrap_or(fault)),
    }
}

/// The words that stand for signs.
pub fn words() -> impl Iterator<Item = &'static str> {
    signs::WORDS.iter().map(|(words, _)| *words)
}

/// What is wrong, and at which character.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault {
    at: usize,
    message: String,
}

impl Fault {
    fn new(at: usize, message: impl Into<String>) -> Self {
        Self { at, message: message.into() }
    }

    /// The message and the expression, with `→` before the place.
    fn sentence(&self, chars: &[char]) -> String {
        const AROUND: usize = 24;
        let at = self.at.min(chars.len());
        let (start, end) = (at.saturating_sub(AROUND), (at + AROUND).min(chars.len()));
        let quote = |range: &[char]| -> String {
            range.iter().map(|c| if c.is_control() { ' ' } else { *c }).collect()
        };
        let (before, after) = (quote(&chars[start..at]), quote(&chars[at..end]));
        let open = if start > 0 { "…" } else { "" };
        let close = if end < chars.len() { "…" } else { "" };
        let marked = format!("{open}{before}→{after}{close}");
        if marked.trim() == "→" {
            return format!("{}.", self.message);
        }
        format!("{}: {}", self.message, marked.trim())
    }
}
