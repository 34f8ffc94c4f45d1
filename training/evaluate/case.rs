//! Conversations to ask, with what is expected of each turn; how the ones
//! written by hand are read.

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

/// A part of the evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Phrasings of the training, with numbers that it never saw.
    Numbers,
    /// Phrasings that the training never saw.
    Phrasings,
    /// Questions written by hand.
    Questions,
}

impl Part {
    pub const ALL: [Self; 3] = [Self::Numbers, Self::Phrasings, Self::Questions];

    /// What a table of it is called.
    pub fn title(self) -> &'static str {
        match self {
            Self::Numbers => "Held-out numbers",
            Self::Phrasings => "Held-out phrasings",
            Self::Questions => "Questions written by hand",
        }
    }
}

/// What a turn must come to.
#[derive(Clone, Debug, PartialEq)]
pub enum Want {
    /// The Calculator finds every one of these, the last of them last, and
    /// the answer states them.
    Values(Vec<f64>),
    /// The Calculator finds this last; the answer need not state it.
    Found(f64),
    /// The answer states this from memory, or finds it again.
    Said(f64),
    /// The Calculator refuses, and the answer has no number of its own.
    Refusal,
    /// No tool is called, and the answer has no number of its own.
    Talk,
}

/// A question, and what would be right: any of these.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    pub question: String,
    pub category: String,
    pub wants: Vec<Want>,
}

/// A conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    pub part: Part,
    pub turns: Vec<Turn>,
}

/// Reads the questions written by hand; their format is told at the top of
/// `questions.txt`.
///
/// # Errors
/// A line that is not QUESTION => EXPECTED, with its number.
pub fn read(text: &str) -> Result<Vec<Case>> {
    let mut category = None;
    let mut cases: Vec<Case> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let at = || format!("line {}", index + 1);
        if let Some(name) = line.strip_prefix("## ") {
            category = Some(name.trim().to_string());
            continue;
        }
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (question, wants) = line.rsplit_once(" => ").with_context(at)?;
        let wants: Result<Vec<Want>> = wants.split(" | ").map(want).collect();
        let turn = Turn {
            question: question.trim().into(),
            category: category.clone().context("a question before the first category")?,
            wants: wants.with_context(at)?,
        };
        if line.starts_with(' ') {
            let case = cases.last_mut().with_context(|| format!("{} continues nothing", at()))?;
            case.turns.push(turn);
        } else {
            cases.push(Case { part: Part::Questions, turns: vec![turn] });
        }
    }
    Ok(cases)
}

fn want(text: &str) -> Result<Want> {
    Ok(match text.trim() {
        "none" => Want::Talk,
        "error" => Want::Refusal,
        text => match text.strip_prefix("said ") {
            Some(value) => Want::Said(number(value)?),
            None => Want::Values(text.split(';').map(number).collect::<Result<_>>()?),
        },
    })
}

fn number(text: &str) -> Result<f64> {
    let text = text.trim();
    let value: f64 = text.parse().with_context(|| format!("\"{text}\" is no number"))?;
    ensure!(value.is_finite(), "{value} is no value");
    if text.starts_with('+') {
        bail!("a sign before {text}");
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use llama_agent::tool::Tool;
    use llama_agent::tool::calculator::Calculator;

    use super::*;

    #[test]
    fn reads_conversations() {
        let text = "# a comment\n\n## sums\n2+2 => 4\nhi => none\n    5/0 => error\n    \
                    both => 1.5; -2 | said 3\n";
        let cases = read(text).unwrap();
        let turn = |question: &str, wants: Vec<Want>| Turn {
            question: question.into(),
            category: "sums".into(),
            wants,
        };
        assert_eq!(cases.len(), 2);
        assert_eq!(cases[0].turns, [turn("2+2", vec![Want::Values(vec![4.0])])]);
        let both = vec![Want::Values(vec![1.5, -2.0]), Want::Said(3.0)];
        assert_eq!(
            cases[1].turns,
            [turn("hi", vec![Want::Talk]), turn("5/0", vec![Want::Refusal]), turn("both", both),]
        );
    }

    #[test]
    fn says_what_is_wrong() {
        for text in ["2+2 => 4", "## a\n2+2", "## a\n2 => x", "## a\n    2 => 2", "## a\n2 => inf"]
        {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_the_questions() {
        let cases = read(include_str!("questions.txt")).unwrap();
        let turns: usize = cases.iter().map(|case| case.turns.len()).sum();
        assert!(turns >= 400, "{turns}");
    }

    /// Where a question is an expression as it stands, the Calculator agrees
    /// with what is expected.
    #[test]
    fn expressions_are_worth_what_is_expected() {
        let cases = read(include_str!("questions.txt")).unwrap();
        let mut checked = 0;
        for turn in cases.iter().filter_map(|case| case.turns.first()) {
            let Ok(said) = Calculator.call(&turn.question) else { continue };
            let found: f64 = said.parse().unwrap();
            let agrees = |want: &Want| match want {
                Want::Values(values) => (values[0] - found).abs() <= 1e-9 * found.abs(),
                _ => false,
            };
            assert!(turn.wants.iter().any(agrees), "{} is {said}", turn.question);
            checked += 1;
        }
        assert!(checked >= 50, "{checked}");
    }
}
