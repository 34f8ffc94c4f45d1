//! One exchange: the question, the calls and what came of them, the answer.

use anyhow::{Context, Result, ensure};

use super::calculate;
use super::family::{Family, Part};
use super::hand::Hand;
use super::slot::{Slots, Value, meets};
use super::template::{Pattern, slots as slots_of};
use super::wording::{answer, input};
use llama_agent::chat::reply::{FINAL_ANSWER, render};

/// One tool call and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub tool: String,
    pub input: String,
    pub observation: String,
    pub failed: bool,
}

/// One exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    pub question: String,
    pub calls: Vec<Call>,
    pub answer: String,
    /// The results that the answer states.
    pub values: Vec<String>,
    pub family: String,
}

impl Turn {
    /// What the model writes after `Assistant:`, reply by reply. The prompt
    /// ends without a space, so each begins with one.
    pub fn replies(&self) -> Vec<String> {
        let calls = self.calls.iter().map(|call| (&*call.tool, &*call.input));
        let steps = calls.chain([(FINAL_ANSWER, &*self.answer)]);
        steps.map(|(action, input)| format!(" {}", render(action, input))).collect()
    }

    /// The part of the family's name before the dot.
    pub fn category(&self) -> &str {
        self.family.split('.').next().unwrap_or(&self.family)
    }
}

/// Works out a part's calls and its answer; `None` if chance or the
/// conversation so far made an expression without a value. `which` of its questions was asked
/// decides the answer's wording.
pub fn turn(
    family: &Family,
    part: &Part,
    question: String,
    which: usize,
    slots: &mut Slots,
    hand: Hand,
) -> Result<Option<Turn>> {
    let mut calls = Vec::new();
    slots.retain(|name, _| !is_result(name));
    for call in &part.calls {
        let at = || format!("a call of {}", family.name);
        let text = input(&call.input, slots).with_context(at)?;
        let result = match &call.says {
            Some(says) => Ok(answer(says, slots, hand).with_context(at)?),
            None => calculate(&text),
        };
        let failed = result.is_err();
        if failed != call.fails {
            // What was said before, or random expressions, can be too much.
            let open = |kind: &str| kind.starts_with("expr") || kind.starts_with("term");
            ensure!(
                family.follows || family.slots.iter().any(|(_, kind)| open(kind)),
                "{}: \"{question}\" asks the Calculator for {text}: {result:?}",
                family.name
            );
            return Ok(None);
        }
        let observation = result.unwrap_or_else(|error| error);
        if !failed {
            let value = Value::plain(observation.as_str());
            slots.insert(format!("r{}", calls.len() + 1), value.clone());
            slots.insert("r".into(), value);
        }
        calls.push(Call { tool: call.tool.clone(), input: text, observation, failed });
    }
    let pattern = wording(part, which, slots)?;
    let answer =
        answer(pattern, slots, hand).with_context(|| format!("the answer of {}", family.name))?;
    let values = stated(pattern, slots);
    Ok(Some(Turn { question, calls, answer, values, family: family.name.clone() }))
}

/// The first answer whose comparison holds, else the one for question `which`.
fn wording<'a>(part: &'a Part, which: usize, slots: &Slots) -> Result<&'a Pattern> {
    let mut always = Vec::new();
    for answer in &part.answers {
        match &answer.need {
            Some(need) if meets(need, slots)? => return Ok(&answer.pattern),
            Some(_) => {}
            None => always.push(&answer.pattern),
        }
    }
    ensure!(!always.is_empty(), "no answer fits the results");
    Ok(always[which % always.len()])
}

/// `r`, `r1`, `r2`, …
fn is_result(name: &str) -> bool {
    name.strip_prefix('r').is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit()))
}

/// The results that an answer states, and what was known before.
fn stated(pattern: &Pattern, slots: &Slots) -> Vec<String> {
    let mut names = slots_of(pattern);
    for name in &mut names {
        *name = name.trim_start_matches('$').to_string();
    }
    let results: Vec<&String> = names.iter().filter(|name| is_result(name)).collect();
    let names = match results.is_empty() {
        true => names.iter().filter(|name| *name == "last").collect(),
        false => results,
    };
    names.iter().filter_map(|name| slots.get(*name)).map(|value| value.fields[0].clone()).collect()
}
