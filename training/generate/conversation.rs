//! Conversations: turns of different families, with what is said before in
//! reach of what comes after.

use anyhow::{Context, Result, bail, ensure};

use super::family::{Family, Part};
use super::hand::Hand;
use super::noise;
use super::phrases::Phrases;
use super::rng::Rng;
use super::slot::{Slots, Value, fill, holds, one};
use super::tools::Listed;
use super::turn::{Call, Turn, turn};
use super::wording::ask;

/// Turns in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversation {
    pub turns: Vec<Turn>,
}

/// A family with its slots filled, to be asked again in part.
struct Asked<'a> {
    family: &'a Family,
    slots: Slots,
    hand: Hand,
}

/// What a conversation has said so far.
#[derive(Default)]
struct Said<'a> {
    conversation: Conversation,
    /// Results that a follow-up may mean, and the turn of the last.
    results: Vec<String>,
    result_turn: usize,
    expression: String,
    asked: Option<Asked<'a>>,
    /// There was a result at all, if only one that cannot be referred to.
    counted: bool,
}

/// Exchanges that the model still sees.
const WINDOW: usize = 5;

/// A conversation with these tools at hand.
///
/// # Errors
/// A family whose expression the Calculator refuses, or accepts where it must not.
pub fn conversation(phrases: &Phrases, tools: &[Listed], rng: &mut Rng) -> Result<Conversation> {
    let turns = 1 + rng.weighted(&[3.0, 2.5, 2.0, 1.5, 1.2, 1.0, 0.9, 0.9, 0.5, 0.3]);
    let mut said = Said::default();
    let mut failures = 0;
    while said.conversation.turns.len() < turns {
        if !said.next(phrases, tools, rng)? {
            failures += 1;
            ensure!(failures < 1000, "no family fits any more");
        }
    }
    Ok(said.conversation)
}

impl<'a> Said<'a> {
    /// A result that the next question may refer to.
    fn last(&self) -> Option<&String> {
        let near = self.conversation.turns.len() < self.result_turn + WINDOW;
        self.results.last().filter(|_| near)
    }

    /// Adds a turn or several; false if chance chose what does not fit.
    fn next(&mut self, phrases: &'a Phrases, tools: &[Listed], rng: &mut Rng) -> Result<bool> {
        let recent = self.conversation.turns.len() == self.result_turn + 1;
        if let (true, Some(asked)) = (recent, &self.asked)
            && !asked.family.again.is_empty()
            && rng.chance(0.25)
        {
            return self.again(phrases, rng);
        }
        let follow = self.last().is_some() && rng.chance(0.5);
        let known = self.known();
        let family = choose(phrases, rng, |family| {
            family.follows == follow
                && (!family.before || known.contains_key("before"))
                && (!family.first || !self.counted)
                && family.tools().all(|tool| tools.iter().any(|listed| listed.name == tool))
        });
        let Some(family) = family else { return Ok(false) };
        let hand = Hand::choose(rng);
        let Some(slots) = fill(family, phrases, &known, hand, rng)? else { return Ok(false) };
        self.tell(Asked { family, slots, hand }, phrases, tools, rng)
    }

    /// What slots may refer to without naming it.
    fn known(&self) -> Slots {
        let mut known = Slots::new();
        if let Some(last) = self.last() {
            known.insert("last".into(), Value::plain(last.as_str()));
            known.insert("expression".into(), Value::plain(self.expression.as_str()));
            if self.results.len() > 1 && self.conversation.turns.len() < 3 {
                let before = &self.results[self.results.len() - 2];
                known.insert("before".into(), Value::plain(before.as_str()));
            }
        }
        known
    }

    /// The last question once more, with one thing changed.
    fn again(&mut self, phrases: &'a Phrases, rng: &mut Rng) -> Result<bool> {
        let Some(asked) = &self.asked else { return Ok(false) };
        let (family, hand) = (asked.family, asked.hand);
        let (name, pattern) = rng.pick(&family.again);
        let Some((_, kind)) = family.slots.iter().find(|(slot, _)| slot == name) else {
            bail!("{} asks again for <{name}>, which is no slot", family.name);
        };
        let mut slots = asked.slots.clone();
        let Some(old) = slots.get(name).cloned() else { return Ok(false) };
        let Some(new) = one(kind, &slots, phrases, hand, rng)? else { return Ok(false) };
        if new.fields == old.fields {
            return Ok(false);
        }
        slots.insert(format!("old_{name}"), old);
        slots.insert(name.clone(), new);
        // Slots that were worked out from others would no longer fit them.
        if family.slots.iter().any(|(_, kind)| kind.starts_with("calc ")) || !holds(family, &slots)?
        {
            return Ok(false);
        }
        let question = ask(pattern, &slots, rng)?;
        let mut question = noise::written(&question, false, family, phrases, rng)?;
        if !question.ends_with('?') && rng.chance(0.6) {
            question.push('?');
        }
        let Some(part) = family.parts.first() else { return Ok(false) };
        let Some(turn) = turn(family, part, question, 0, &mut slots, hand)? else {
            return Ok(false);
        };
        self.push(turn, Some(Asked { family, slots, hand }));
        Ok(true)
    }

    /// Every part of a family, one turn each.
    fn tell(
        &mut self,
        mut asked: Asked<'a>,
        phrases: &Phrases,
        tools: &[Listed],
        rng: &mut Rng,
    ) -> Result<bool> {
        let family = asked.family;
        let mut turns = Vec::new();
        for part in &family.parts {
            let which = part_weighted(part, rng);
            let question = ask(&part.asks[which], &asked.slots, rng)
                .with_context(|| format!("a question of {}", family.name))?;
            let question = noise::typed(&question, family, phrases, rng)?;
            if family.tools().next().is_none() && clashes(&question, phrases, tools) {
                return Ok(false);
            }
            match turn(family, part, question, which, &mut asked.slots, asked.hand)? {
                Some(turn) => turns.push(turn),
                None => return Ok(false),
            }
        }
        let repeats = turns.iter().any(|turn| {
            turn.calls.iter().any(|call| self.conflicts(call))
                || (1..turn.calls.len()).any(|at| turn.calls[..at].contains(&turn.calls[at]))
        });
        if repeats {
            return Ok(false);
        }
        let several = turns.len() > 1;
        for turn in turns {
            let Asked { family, ref slots, hand } = asked;
            let asked = (!several).then(|| Asked { family, slots: slots.clone(), hand });
            self.push(turn, asked);
        }
        Ok(true)
    }

    /// A made-up tool said something else to the same input before.
    fn conflicts(&self, call: &Call) -> bool {
        let earlier = self.conversation.turns.iter().flat_map(|turn| &turn.calls);
        earlier
            .filter(|old| old.tool == call.tool && old.input == call.input)
            .any(|old| old != call)
    }

    fn push(&mut self, turn: Turn, asked: Option<Asked<'a>>) {
        let at = self.conversation.turns.len();
        let many = asked.as_ref().is_some_and(|asked| asked.family.many);
        let sum = turn.calls.iter().rev().find(|call| call.tool == "Calculator" && !call.failed);
        if let Some(call) = sum {
            self.counted = true;
            if many {
                self.results.clear();
            } else {
                self.results.push(call.observation.clone());
                self.expression = call.input.clone();
                self.result_turn = at;
            }
        } else if turn.calls.iter().any(|call| call.failed || call.tool != "Calculator") {
            // After a failure, "it" could mean anything.
            self.results.clear();
        }
        self.asked = asked.filter(|asked| sum.is_some() && asked.family.parts.len() == 1);
        self.conversation.turns.push(turn);
    }
}

/// Sentences with more alternatives in them are asked more often.
fn part_weighted(part: &Part, rng: &mut Rng) -> usize {
    let weights: Vec<f64> =
        part.asks.iter().map(|ask| super::template::count(ask).sqrt().min(12.0)).collect();
    rng.weighted(&weights)
}

/// One of the families that fit, by the share of its category and its weight.
fn choose<'a>(
    phrases: &'a Phrases,
    rng: &mut Rng,
    fits: impl Fn(&Family) -> bool,
) -> Option<&'a Family> {
    let fitting: Vec<&Family> = phrases.families.iter().filter(|family| fits(family)).collect();
    let weights: Vec<f64> = fitting.iter().map(|family| family.likelihood).collect();
    if fitting.is_empty() {
        return None;
    }
    Some(fitting[rng.weighted(&weights)])
}

/// The question is one for a listed tool, though its family does not know it.
fn clashes(question: &str, phrases: &Phrases, tools: &[Listed]) -> bool {
    let question = question.to_lowercase();
    tools.iter().any(|tool| {
        phrases
            .lists
            .get(&format!("clash {}", tool.name))
            .is_some_and(|words| words.iter().any(|word| question.contains(word.as_str())))
    })
}
