//! Cases from the generator: training's phrasings with numbers of their own,
//! or the held-out phrasings.

use std::path::Path;

use anyhow::Result;

use super::case::{Case, Part, Turn, Want};
use super::judge::{no_new_digits, numbers};
use generate::conversation::conversation;
use generate::phrases::Phrases;
use generate::rng::Rng;
use generate::system::System;

/// The generator that wrote the training, as far as it writes conversations.
#[path = "../generate"]
#[allow(dead_code, reason = "the generator's other uses are its own")]
mod generate {
    pub mod conversation;
    pub mod expression;
    pub mod family;
    pub mod hand;
    pub mod long_expression;
    pub mod noise;
    pub mod number;
    pub mod phrases;
    pub mod rng;
    pub mod slot;
    pub mod spelling;
    pub mod system;
    pub mod template;
    pub mod term;
    pub mod tools;
    pub mod turn;
    pub mod wording;

    use llama_agent::tool::Tool;
    use llama_agent::tool::calculator::Calculator;

    /// What the Calculator says, either way.
    fn calculate(input: &str) -> Result<String, String> {
        Calculator.call(input).map_err(|error| error.0)
    }
}

/// Conversations of about `count` turns together.
///
/// # Errors
/// Phrases that cannot be read, or that ask what cannot be computed.
pub fn cases(part: Part, folder: &Path, seed: u64, count: usize) -> Result<Vec<Case>> {
    let phrases = phrases(folder, part == Part::Phrasings)?;
    let tools = System::shipped().tools;
    let (mut cases, mut turns) = (Vec::new(), 0);
    while turns < count {
        // The seeds of training are small numbers, so this stream is not theirs.
        let mut rng = Rng::at(seed ^ (1 << 63), cases.len() as u64);
        let conversation = conversation(&phrases, &tools, &mut rng)?;
        let several = |turn: &generate::turn::Turn| {
            phrases.families.iter().any(|family| family.name == turn.family && family.many)
        };
        let case: Vec<Turn> = conversation
            .turns
            .iter()
            .map(|turn| Turn {
                question: turn.question.clone(),
                // `talk2` is more talk, in other files.
                category: turn.category().trim_end_matches(|c: char| c.is_ascii_digit()).into(),
                wants: vec![want(turn, several(turn))],
            })
            .collect();
        turns += case.len();
        cases.push(Case { part, turns: case });
    }
    Ok(cases)
}

/// Training's families, or only those that it does not have, with its words
/// around a question.
fn phrases(folder: &Path, heldout: bool) -> Result<Phrases> {
    let training = folder.join("phrases");
    let known = Phrases::read(&[&training])?;
    if !heldout {
        return Ok(known);
    }
    let mut phrases = Phrases::read(&[&training, &folder.join("heldout")])?;
    phrases.retain(|family| known.families.iter().all(|other| other.name != family.name));
    Ok(phrases)
}

/// What the generator's own answer to the question shows.
fn want(turn: &generate::turn::Turn, several: bool) -> Want {
    let stated: Vec<f64> = turn.values.iter().filter_map(|value| value.parse().ok()).collect();
    let found = turn.calls.last().filter(|call| !call.failed);
    match (turn.calls.is_empty(), found.and_then(|call| call.observation.parse().ok())) {
        // A number to be kept in mind may be said in words, or was said before.
        (true, _) if stated.is_empty() && !no_new_digits(&turn.question, &[], &turn.answer) => {
            numbers(&turn.answer).last().map_or(Want::Talk, |value| Want::Said(*value))
        }
        (true, _) => stated.last().map_or(Want::Talk, |value| Want::Said(*value)),
        (false, None) => Want::Refusal,
        // A comparison's last result only decides between a yes and a no.
        (false, Some(value)) if several && stated.contains(&value) => Want::Values(stated),
        (false, Some(value)) if stated.contains(&value) => Want::Values(vec![value]),
        (false, Some(value)) => Want::Found(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_was_said_in_words_or_before_is_wanted_again() {
        let turn = |question: &str, answer: &str| generate::turn::Turn {
            question: question.into(),
            calls: Vec::new(),
            answer: answer.into(),
            values: Vec::new(),
            family: "memory.test".into(),
        };
        for (question, answer, wanted) in [
            ("keep thirteen in mind", "All right, 13.", Want::Said(13.0)),
            ("what was my number", "The number is -4.6.", Want::Said(-4.6)),
            ("keep 38 in mind", "All right, 38.", Want::Talk),
            ("hello", "Hi! What shall we calculate?", Want::Talk),
        ] {
            assert_eq!(want(&turn(question, answer), false), wanted, "{question}");
        }
    }
}
