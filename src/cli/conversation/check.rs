//! Whether what is expected of a turn came true.

use std::sync::LazyLock;

use regex::Regex;

use super::expect::{Expectation, Expected};
use super::record::Record;
use crate::agent::event::Outcome;
use crate::cli::face::words;

/// What did not come true of `expected`, with the line it stands on. `prompt`
/// is what the model will have read before the next question.
pub fn failures(expected: &[Expected], record: &Record, prompt: &str) -> Vec<(usize, String)> {
    let mut failures = Vec::new();
    let (mut calls, mut observations, mut forgot) = (0, 0, 0);
    for Expected { line, what } in expected {
        let place = match what {
            Expectation::Call { .. } => next(&mut calls),
            Expectation::Observation { .. } => next(&mut observations),
            Expectation::Forgot(Some(_)) => next(&mut forgot),
            _ => 0,
        };
        if let Err(why) = check(what, place, record, prompt) {
            failures.push((*line, why));
        }
    }
    let last = expected.last().map_or(0, |expected| expected.line);
    for (kind, named, happened) in [
        ("call", calls, record.calls.len()),
        ("observation", observations, record.observations.len()),
        ("forgotten exchange", forgot, record.forgot.len()),
    ] {
        if named > 0 && happened > named {
            let expected = words::plural(named, kind);
            failures.push((last, format!("expected {expected}, there were {happened}")));
        }
    }
    failures
}

fn next(place: &mut usize) -> usize {
    *place += 1;
    *place - 1
}

fn check(what: &Expectation, place: usize, record: &Record, prompt: &str) -> Result<(), String> {
    let holds = |true_: bool, why: &dyn Fn() -> String| if true_ { Ok(()) } else { Err(why()) };
    let answer = record.answer().unwrap_or_default();
    match what {
        Expectation::NoCall => holds(record.calls.is_empty(), &|| {
            let (tool, input) = &record.calls[0];
            format!("expected no call, there was {tool} {input}")
        }),
        Expectation::Call { tool, input } => match record.calls.get(place) {
            None => Err(format!("expected a call of {tool}, there was none")),
            Some((called, given)) => holds(called == tool && input.fits(tool, given), &|| {
                format!("the call was another: {called} {given}")
            }),
        },
        Expectation::Observation { text, error } => match record.observations.get(place) {
            None => Err("expected an observation, there was none".into()),
            Some((said, failed)) => holds(failed == error && text.fits(said), &|| {
                let kind = if *failed { "error" } else { "observation" };
                format!("the {kind} was: {said}")
            }),
        },
        Expectation::Answer { text, wanted } => {
            holds(record.answer().is_some() && text.fits(answer) == *wanted, &|| {
                format!("the answer is: {answer}")
            })
        }
        Expectation::Number { value, tolerance } => {
            let near = |number: f64| (number - value).abs() <= *tolerance;
            holds(numbers(answer).any(near), &|| {
                format!("expected {value} ± {tolerance}, the answer is: {answer}")
            })
        }
        Expectation::Steps(range) => holds(range.contains(&record.steps), &|| {
            format!("the turn took {}", words::plural(record.steps, "step"))
        }),
        Expectation::Repairs(names) => same("repairs", names, &record.repairs),
        Expectation::Unreadable(names) => same("unreadable replies", names, &record.unreadable),
        Expectation::Stopping(reason) => {
            let stopped = record.stopping.map(words::stop);
            holds(stopped == reason.as_deref(), &|| {
                format!("the turn was stopped early: {}", stopped.unwrap_or("no"))
            })
        }
        Expectation::Forgot(None) => same("forgotten exchanges", &[], &questions(record)),
        Expectation::Forgot(Some(question)) => {
            let gone = questions(record);
            holds(gone.get(place) == Some(question), &|| match gone.get(place) {
                Some(other) => format!("another exchange was forgotten: {other}"),
                None => "nothing was forgotten".into(),
            })
        }
        Expectation::Outcome(name) => {
            let actual = outcome(record);
            holds(actual == *name || actual.starts_with(&format!("{name} ")), &|| {
                format!("the outcome was: {actual}")
            })
        }
        Expectation::Prompt { pattern, wanted } => {
            holds(pattern.is_match(prompt) == *wanted, &|| match wanted {
                true => "it is not in the prompt".into(),
                false => "it is in the prompt".into(),
            })
        }
    }
}

fn same(kind: &str, expected: &[String], actual: &[String]) -> Result<(), String> {
    let show = |names: &[String]| match names {
        [] => "none".to_string(),
        names => names.join(", "),
    };
    if expected == actual {
        return Ok(());
    }
    Err(format!("{kind}: expected {}, there were {}", show(expected), show(actual)))
}

fn questions(record: &Record) -> Vec<String> {
    record.forgot.iter().map(|(question, _)| question.clone()).collect()
}

/// The name of a turn's outcome, with its reason.
pub fn outcome(record: &Record) -> String {
    match &record.outcome {
        None => "an error".into(),
        Some(outcome @ Outcome::NoAnswer(why)) => {
            format!("{} {}", words::outcome(outcome), words::no_answer(*why))
        }
        Some(outcome) => words::outcome(outcome).into(),
    }
}

/// Every number in a text, thousands separators aside.
fn numbers(text: &str) -> impl Iterator<Item = f64> {
    static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
        let number = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+";
        Regex::new(&format!(r"[-−]?(?:{number})(?:[eE][-+]?\d+)?")).expect("a valid pattern")
    });
    NUMBER
        .find_iter(text)
        .filter_map(|found| found.as_str().replace('−', "-").replace(',', "").parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_sentences() {
        for (text, expected) in [
            ("It is 18.37917367995256!", &[18.37917367995256][..]),
            ("1,250 and -3, or 2.", &[1250.0, -3.0, 2.0]),
            ("about 1.5e-7 or −0.5 (.25)", &[1.5e-7, -0.5, 0.25]),
            ("1082152022374638.", &[1082152022374638.0]),
            ("none", &[]),
        ] {
            assert_eq!(numbers(text).collect::<Vec<_>>(), expected, "{text}");
        }
    }

    fn record() -> Record {
        Record {
            calls: vec![("Calculator".into(), "4 ** 2".into())],
            observations: vec![("16".into(), false)],
            steps: 2,
            outcome: Some(Outcome::Answered("It is 16.".into())),
            ..Record::default()
        }
    }

    #[test]
    fn expectations_come_true_or_say_why_not() {
        for (name, value, holds) in [
            ("call", "Calculator", true),
            ("call", "Calculator 4**2", true),
            ("call", "Calculator 4**3", false),
            ("call", "Calculator ~ 4*4", true),
            ("call", "Calculator ~ 4*5", false),
            ("call", "Calculator /^4/", true),
            ("call", "Clock", false),
            ("call", "none", false),
            ("observation", "16", true),
            ("observation", "17", false),
            ("error", "16", false),
            ("answer", "It is 16.", true),
            ("answer", "it is 16.", false),
            ("answer", "/it IS/i", true),
            ("not answer", "/17/", true),
            ("not answer", "/16/", false),
            ("number", "16", true),
            ("number", "16.4 ± 0.5", true),
            ("number", "16.4 +- 0.1", false),
            ("steps", "2", true),
            ("steps", "1-3", true),
            ("steps", "1", false),
            ("repairs", "none", true),
            ("repairs", "prose", false),
            ("unreadable", "none", true),
            ("stopping", "none", true),
            ("stopping", "time", false),
            ("forgot", "none", true),
            ("forgot", "hello", false),
            ("outcome", "answered", true),
            ("outcome", "no answer", false),
            ("prompt", "/^SYS/", true),
            ("not prompt", "/^SYS/", false),
        ] {
            let what = Expectation::parse(name, value).expect(value);
            let failures = failures(&[Expected { line: 3, what }], &record(), "SYSTEM");
            assert_eq!(failures.is_empty(), holds, "{name}: {value}: {failures:?}");
        }
    }

    #[test]
    fn a_call_too_many_is_a_failure() {
        let mut record = record();
        record.calls.push(("Calculator".into(), "1".into()));
        let what = Expectation::parse("call", "Calculator").expect("a call");
        assert_eq!(failures(&[Expected { line: 3, what }], &record, "").len(), 1);
    }
}
