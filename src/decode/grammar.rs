//! The grammar of replies, in llguidance's dialect of Lark: the frame, one of
//! the names, then that tool's own kind of input.
//!
//! What it accepts is what `chat::reply::render` writes, after the space that
//! follows `Assistant:` where the dialect has one, and nothing else. An arithmetic expression is one that
//! the calculator's `check` accepts: of functions also those that it does not
//! know, since a person may ask for one, and to be told that there is none is
//! better than to get the value of another. Lengths are no matter of the grammar: the
//! form sees to it that a reply closes while there is room.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::chat::reply::{FINAL_ANSWER, render};
use crate::chat::{InputForm, ReplyForm};
use crate::tool::calculator;

/// Brackets in brackets, calls included.
pub const DEPTH: usize = 8;

/// What stands around a name and an input.
pub struct Frame {
    pub open: String,
    pub between: String,
    pub close: String,
}

impl Frame {
    /// The frame that `render` writes, with what a reply begins with before it.
    pub fn after(lead: &str) -> Self {
        // Marks that occur in no frame; `render` writes them escaped.
        let text = format!("{lead}{}", render("\u{1}", "\u{2}"));
        let text = text.replace("\\u0001", "\u{1}").replace("\\u0002", "\u{2}");
        let (open, rest) = text.split_once('\u{1}').unwrap_or((&text, ""));
        let (between, close) = rest.split_once('\u{2}').unwrap_or((rest, ""));
        Self { open: open.into(), between: between.into(), close: close.into() }
    }
}

/// A name as it stands inside a JSON string.
pub fn escaped(name: &str) -> String {
    let quoted = serde_json::Value::from(name).to_string();
    quoted[1..quoted.len() - 1].into()
}

/// The grammar of a reply that calls one of the form's tools or is the final
/// answer.
pub fn lark(form: &ReplyForm) -> String {
    let Frame { open, between, close } = Frame::after(form.lead);
    let mut names: Vec<(&str, InputForm)> = Vec::new();
    for (name, input) in form
        .tools
        .iter()
        .map(|tool| (tool.name.as_str(), tool.input))
        .chain([(FINAL_ANSWER, InputForm::Text)])
    {
        if !names.iter().any(|(known, _)| *known == name) {
            names.push((name, input));
        }
    }
    let replies: Vec<String> = names
        .iter()
        .map(|(name, input)| {
            let input = match input {
                InputForm::Arithmetic => format!("e{DEPTH}"),
                InputForm::Text => "TEXT".into(),
            };
            format!("{} {input}", literal(format!("{}{between}", escaped(name))))
        })
        .collect();
    let mut text = format!(
        "start: {} reply {}\nreply: {}\n{TEXT}\n",
        literal(&open),
        literal(&close),
        replies.join(" | ")
    );
    if names.iter().any(|(_, input)| *input == InputForm::Arithmetic) {
        arithmetic(&mut text);
    }
    text
}

/// The inside of a JSON string. Not `\u`: half of a surrogate pair is no text,
/// and every character that it could spell can stand for itself.
const TEXT: &str = r#"TEXT: /([^"\\\x00-\x1f\x7f]|\\["\\\/bfnrt])*/"#;

/// Numbers that an f64 holds, in as many digits as anybody needs.
const NUMBER: &str = r"NUMBER: /([0-9]{1,32}(\.[0-9]{1,32})?|\.[0-9]{1,32})([eE][+\-]?[0-9]{1,2})?/ | /[0-9](\.[0-9]{1,32})?[eE]([+]?([12][0-9]{2}|30[0-7])|-[0-9]{3})/";

/// Signs between two operands, one space around them or none.
const OPERATORS: [&str; 12] = ["+", "-", "−", "*", "×", "·", "/", "÷", "**", "^", "%", "of"];

/// The rules of an expression: operands with operators between them. Each
/// level of brackets has rules of its own, which bounds their number.
fn arithmetic(text: &mut String) {
    let (words, signs): (Vec<&str>, Vec<&str>) =
        OPERATORS.iter().partition(|sign| sign.starts_with(char::is_alphabetic));
    let signs = signs.into_iter().map(literal).collect::<Vec<_>>().join(" | ");
    let operators = words.into_iter().map(|word| literal(format!(" {word} "))).collect::<Vec<_>>();
    let (mut names, mut bare): ([BTreeSet<String>; 4], BTreeSet<String>) = Default::default();
    for (name, least, most) in calculator::functions() {
        let kind = match (least, most) {
            (1, 1) => 0,
            (2, 2) => 1,
            (1, 2) => 2,
            _ => 3,
        };
        names[kind].insert(literal(format!("{name}(")));
        if kind == 0 {
            bare.insert(literal(format!("{name} ")));
        }
    }
    // Words that mean something to the calculator by themselves.
    let words = calculator::words().flat_map(str::split_whitespace);
    let known: Vec<&str> = calculator::functions()
        .map(|(name, ..)| name)
        .chain(words)
        .chain(["and", "tau", "square", "cube", "cubic", "root"])
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_lowercase()))
        .collect();
    let unknown = format!("/[a-z]{{3,16}}\\(/ & ~/({})\\(/", known.join("|"));
    let alternatives = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>().join(" | ");
    let [one, two, one_or_two, many] = names.map(alternatives);
    let bare = alternatives(bare);
    let _ = write!(
        text,
        "{NUMBER}\nconstant: \"pi\" | \"π\" | \"e\"\nsign: {signs}\n\
         operator: \" \"? sign \" \"? | {}\nafter: \"!\" | \"%\" | \"°\"\ncomma: \",\" \" \"?\n\
         BARE: {bare}\nONE: {one}\nTWO: {two}\nONE_OR_TWO: {one_or_two}\nMANY: {many}\nUNKNOWN: {unknown}\n",
        operators.join(" | ")
    );
    for depth in 0..=DEPTH {
        let mut operand = "NUMBER | NUMBER? constant | (\"√\" | BARE) NUMBER".to_string();
        if let Some(inner) = depth.checked_sub(1) {
            let _ = write!(
                operand,
                " | (NUMBER | \"√\")? \"(\" e{inner} \")\" | ONE e{inner} \")\" \
                 | TWO e{inner} comma e{inner} \")\" \
                 | ONE_OR_TWO e{inner} (comma e{inner})? \")\" \
                 | (MANY | UNKNOWN) e{inner} (comma e{inner})* \")\""
            );
        }
        let _ = write!(
            text,
            "v{depth}: {operand}\nu{depth}: (\"-\" \"-\"?)? v{depth} after?\n\
             e{depth}: u{depth} | e{depth} operator u{depth}\n"
        );
    }
}

/// A string of the grammar: as JSON writes it, which Lark reads the same way.
fn literal(text: impl AsRef<str>) -> String {
    serde_json::Value::from(text.as_ref()).to_string()
}
