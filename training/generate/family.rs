//! Families of questions, read from text files.
//!
//! ```text
//! @what = {what is|what's}            a macro, for patterns below it
//! list fruit: apples, pears           words for slots
//! share percent: 8                    how often a category is chosen, 5 unless told
//! tool Clock: tells the time          a made-up tool, and `list clash Clock: time` what it answers
//! term: the sum of <x> and <y> => (<x>+<y>)
//! before question: {hey|hi},          politeness around a question
//! after: {thanks|please}
//!
//! ## percent.of                       a family: category, dot, name
//! weight: 2                           how often, 1 unless told
//! p = pct                             a slot and its kind
//! n = pos
//! need: <n> > 1                       sampled again until it holds
//! ask: @what <p> of <n>               a question; several are as likely
//! call: <p>% of <n>                   what the Calculator is asked: <r1>, <r2>, …, the last <r>
//! answer: <p>% of <n> is <r>.         the i-th question takes answer i modulo their number
//! answer if <r> < 0: It is below.     the answer if that holds; the first that does
//! again p: {and|what about} <p>       the same once more with another p
//! then:                               the next turn of the same conversation
//! ```
//!
//! Flags on lines of their own: `follows` (needs a result to refer to, as
//! `<last>`), `first` (only while there is none), `bare` (no politeness, no
//! mark at the end), `story` (already sentences), `many` (several results, so
//! nothing to refer to). `call!:` must fail, `call Clock: x => y` asks
//! another tool, which will say y. In a pattern `\{` is a brace, and `\n` ends
//! a line.

use super::template::Pattern;

/// What a slot is filled with; see `slot.rs`.
pub type Kind = String;

/// A tool call in a family.
#[derive(Clone, Debug)]
pub struct Call {
    pub tool: String,
    pub input: Pattern,
    /// What a made-up tool says.
    pub says: Option<Pattern>,
    /// The Calculator must refuse.
    pub fails: bool,
}

/// How a question is answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// A comparison that must hold, if it depends on one.
    pub need: Option<String>,
    pub pattern: Pattern,
}

/// One exchange of a family.
#[derive(Clone, Debug, Default)]
pub struct Part {
    pub asks: Vec<Pattern>,
    pub calls: Vec<Call>,
    pub answers: Vec<Answer>,
}

/// Questions that differ in wording and numbers and are answered the same way.
#[derive(Clone, Debug, Default)]
pub struct Family {
    pub name: String,
    pub weight: f64,
    /// How often it is chosen, next to all others.
    pub likelihood: f64,
    pub slots: Vec<(String, Kind)>,
    pub needs: Vec<String>,
    pub parts: Vec<Part>,
    pub again: Vec<(String, Pattern)>,
    pub follows: bool,
    pub first: bool,
    pub bare: bool,
    pub story: bool,
    pub many: bool,
    /// It speaks of the result before the last as well.
    pub before: bool,
}

impl Family {
    /// The part of the name before the dot.
    pub fn category(&self) -> &str {
        self.name.split('.').next().unwrap_or(&self.name)
    }

    /// The made-up tools that it needs.
    pub fn tools(&self) -> impl Iterator<Item = &str> {
        self.parts
            .iter()
            .flat_map(|part| &part.calls)
            .map(|call| call.tool.as_str())
            .filter(|tool| *tool != "Calculator")
    }
}

/// A phrase for a value that holds other values.
#[derive(Clone, Debug)]
pub struct Term {
    pub surface: Pattern,
    pub call: Pattern,
}

/// A made-up tool.
#[derive(Clone, Debug)]
pub struct ToolText {
    pub name: String,
    pub usages: Pattern,
}
