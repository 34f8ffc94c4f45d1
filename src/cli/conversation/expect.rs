//! What a conversation file expects of a turn.

use std::ops::RangeInclusive;

use regex::Regex;

use crate::tool::Registry;

/// The names of expectations.
pub const NAMES: [&str; 14] = [
    "call",
    "observation",
    "error",
    "answer",
    "not answer",
    "number",
    "steps",
    "repairs",
    "unreadable",
    "stopping",
    "forgot",
    "outcome",
    "prompt",
    "not prompt",
];

/// An expectation and the line it stands on.
#[derive(Clone, Debug)]
pub struct Expected {
    pub line: usize,
    pub what: Expectation,
}

/// Something that a turn must show.
#[derive(Clone, Debug)]
pub enum Expectation {
    NoCall,
    Call { tool: String, input: Input },
    Observation { text: Text, error: bool },
    Answer { text: Text, wanted: bool },
    Number { value: f64, tolerance: f64 },
    Steps(RangeInclusive<usize>),
    Repairs(Vec<String>),
    Unreadable(Vec<String>),
    Stopping(Option<String>),
    Forgot(Option<String>),
    Outcome(String),
    Prompt { pattern: Regex, wanted: bool },
}

/// Text as it is, or a pattern that matches somewhere in it.
#[derive(Clone, Debug)]
pub enum Text {
    Exactly(String),
    Pattern(Regex),
}

/// The input of a call.
#[derive(Clone, Debug)]
pub enum Input {
    Any,
    Text(Text),
    /// The tool gives the same for it as for this.
    SameValue(String),
}

impl Expectation {
    /// Reads `name: value`.
    ///
    /// # Errors
    /// What is wrong with the value.
    pub fn parse(name: &str, value: &str) -> Result<Self, String> {
        let given = (value != "none").then(|| value.to_string());
        if value.is_empty() {
            return Err("a value is missing".into());
        }
        Ok(match name {
            "call" => match given {
                None => Self::NoCall,
                Some(_) => {
                    let (tool, input) =
                        value.split_once(char::is_whitespace).unwrap_or((value, ""));
                    Self::Call { tool: tool.into(), input: Input::parse(input.trim())? }
                }
            },
            "observation" => Self::Observation { text: Text::parse(value)?, error: false },
            "error" => Self::Observation { text: Text::parse(value)?, error: true },
            "answer" => Self::Answer { text: Text::parse(value)?, wanted: true },
            "not answer" => Self::Answer { text: Text::parse(value)?, wanted: false },
            "number" => number(value)?,
            "steps" => Self::Steps(steps(value)?),
            "repairs" => Self::Repairs(list(given)),
            "unreadable" => Self::Unreadable(list(given)),
            "stopping" => match value {
                "steps" | "time" | "repeated" | "none" => Self::Stopping(given),
                _ => return Err("it must be steps, time, repeated or none".into()),
            },
            "forgot" => Self::Forgot(given),
            "outcome" => match value {
                "answered"
                | "no answer"
                | "does not fit"
                | "no answer steps"
                | "no answer time"
                | "no answer repeated"
                | "no answer unreadable" => Self::Outcome(value.into()),
                _ => {
                    return Err(
                        "it must be answered, does not fit or no answer, this with steps, \
                                time, repeated or unreadable after it if the reason matters"
                            .into(),
                    );
                }
            },
            "prompt" => Self::Prompt { pattern: pattern(value)?, wanted: true },
            "not prompt" => Self::Prompt { pattern: pattern(value)?, wanted: false },
            _ => return Err("there is no such expectation".into()),
        })
    }
}

impl Expectation {
    /// It is about how the turn ends.
    pub fn is_outcome(&self) -> bool {
        matches!(self, Self::Outcome(_))
    }
}

impl Text {
    fn parse(value: &str) -> Result<Self, String> {
        if value.len() > 1 && value.starts_with('/') {
            return pattern(value).map(Self::Pattern);
        }
        Ok(Self::Exactly(value.into()))
    }

    /// The text is this, or has it in it.
    pub(super) fn fits(&self, text: &str) -> bool {
        match self {
            Self::Exactly(wanted) => wanted == text.trim(),
            Self::Pattern(pattern) => pattern.is_match(text),
        }
    }
}

impl Input {
    fn parse(value: &str) -> Result<Self, String> {
        Ok(match value.strip_prefix('~') {
            Some(expression) => Self::SameValue(expression.trim().into()),
            None if value.is_empty() => Self::Any,
            None => Self::Text(Text::parse(value)?),
        })
    }

    /// A call of `tool` with `input` is meant.
    pub(super) fn fits(&self, tool: &str, input: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Text(Text::Exactly(wanted)) => {
                let dense = |text: &str| text.split_whitespace().collect::<String>();
                dense(wanted) == dense(input)
            }
            Self::Text(text) => text.fits(input),
            Self::SameValue(wanted) => {
                let tools = Registry::standard();
                let value = |input: &str| tools.get(tool)?.call(input).ok();
                value(input).is_some_and(|given| value(wanted) == Some(given))
            }
        }
    }
}

/// `/pattern/`, or `/pattern/i` whatever the case.
fn pattern(value: &str) -> Result<Regex, String> {
    let form = "a pattern stands between slashes, with an i after them if case does not matter";
    let inside = value.strip_prefix('/').ok_or(form)?;
    let (inside, flags) = inside.rsplit_once('/').ok_or(form)?;
    let source = match flags {
        "" => inside.to_string(),
        "i" => format!("(?i){inside}"),
        _ => return Err(form.into()),
    };
    Regex::new(&source).map_err(|error| error.to_string().replace('\n', " "))
}

/// `18.5`, or `18.5 ± 0.1`, also written `+-` or `+/-`.
fn number(value: &str) -> Result<Expectation, String> {
    let form = "it must be a number, with `± tolerance` after it if it need not be exact";
    let value = value.replace("+/-", "±").replace("+-", "±");
    let (number, tolerance) = value.split_once('±').unwrap_or((&value, "0"));
    let read = |text: &str| text.trim().parse().ok().filter(|x: &f64| x.is_finite());
    match (read(number), read(tolerance)) {
        (Some(value), Some(tolerance)) if tolerance >= 0.0 => {
            Ok(Expectation::Number { value, tolerance })
        }
        _ => Err(form.into()),
    }
}

/// `2`, or `1-3`.
fn steps(value: &str) -> Result<RangeInclusive<usize>, String> {
    let form = "it must be a whole number or a range (1-3)";
    let (from, to) = value.split_once('-').unwrap_or((value, value));
    match (from.trim().parse(), to.trim().parse()) {
        (Ok(from), Ok(to)) if from <= to => Ok(from..=to),
        _ => Err(form.into()),
    }
}

fn list(value: Option<String>) -> Vec<String> {
    let value = value.unwrap_or_default();
    value.split(',').map(|name| name.trim().to_string()).filter(|name| !name.is_empty()).collect()
}
