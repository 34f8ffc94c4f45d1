//! Whether a turn went right: the final number is right, and it came from a
//! right expression.

use llama_agent::agent::event::{Event, Outcome};
use llama_agent::llm::Stats;

use super::case::{Turn, Want};

/// A call, and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub tool: String,
    pub input: String,
    pub said: String,
    pub refused: bool,
}

impl Call {
    /// The number that the Calculator found.
    fn value(&self) -> Option<f64> {
        if self.refused { None } else { self.said.parse().ok() }
    }
}

/// What an agent did in one turn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heard {
    pub calls: Vec<Call>,
    /// Replies that were not exactly as they must be.
    pub unreadable: usize,
    pub answer: Option<String>,
    /// How the turn ended, if not with an answer.
    pub end: String,
    /// What its replies cost.
    pub cost: Stats,
}

impl Heard {
    /// Takes note of an event.
    pub fn note(&mut self, event: &Event) {
        match event {
            Event::Call { tool, input } => self.calls.push(Call {
                tool: tool.to_string(),
                input: input.to_string(),
                said: String::new(),
                refused: true,
            }),
            Event::Observation { text, error, .. } => {
                if let Some(call) = self.calls.last_mut() {
                    (call.said, call.refused) = (text.to_string(), *error);
                }
            }
            Event::Reply { stats, .. } => self.cost += *stats,
            Event::Repaired { .. } | Event::Unreadable { .. } => self.unreadable += 1,
            Event::Done { outcome: Outcome::Answered(answer), .. } => {
                self.answer = Some(answer.clone());
            }
            Event::Done { outcome, .. } => self.end = format!("{outcome:?}"),
            _ => {}
        }
    }

    /// The last number that the Calculator found.
    fn found(&self) -> Option<&Call> {
        self.calls.iter().rev().find(|call| call.value().is_some())
    }
}

/// How a turn went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub right: bool,
    /// Where a result was to be stated: the answer has the last one that the
    /// Calculator found, digit for digit.
    pub copied: Option<bool>,
}

/// Judges a turn by any of what would be right.
pub fn judge(turn: &Turn, heard: &Heard) -> Verdict {
    let right = turn.wants.iter().any(|want| meets(want, turn, heard));
    let states_result = turn.wants.iter().all(|want| matches!(want, Want::Values(_)));
    let copied = match (heard.found(), &heard.answer) {
        (Some(call), Some(answer)) if states_result => Some(states(answer, &call.said)),
        _ => None,
    };
    Verdict { right, copied }
}

fn meets(want: &Want, turn: &Turn, heard: &Heard) -> bool {
    let Some(answer) = heard.answer.as_deref().filter(|answer| !answer.trim().is_empty()) else {
        return false;
    };
    let last = || heard.found().and_then(Call::value);
    match want {
        Want::Values(values) => {
            let every = values.iter().all(|value| {
                heard.calls.iter().any(|call| {
                    call.value().is_some_and(|found| near(found, *value))
                        && states(answer, &call.said)
                })
            });
            let is_one = |found| values.iter().any(|value| near(found, *value));
            every && last().is_some_and(is_one)
        }
        Want::Found(value) => last().is_some_and(|found| near(found, *value)),
        Want::Said(value) => {
            last().is_none_or(|found| near(found, *value))
                && numbers(answer).iter().any(|said| near(*said, *value))
        }
        Want::Refusal => {
            let refused = heard.calls.last().is_some_and(|call| call.refused);
            refused && no_new_digits(&turn.question, &heard.calls, answer)
        }
        Want::Talk => heard.calls.is_empty() && no_new_digits(&turn.question, &heard.calls, answer),
    }
}

/// Within 1e-9 of the larger one's size.
fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

/// Every run of digits in the answer is one in the question, or in what the
/// Calculator was asked and said.
pub fn no_new_digits(question: &str, calls: &[Call], answer: &str) -> bool {
    let mut known = runs(question);
    for call in calls {
        known.extend(runs(&call.input));
        known.extend(runs(&call.said));
    }
    runs(answer).iter().all(|run| known.contains(run))
}

fn runs(text: &str) -> Vec<&str> {
    text.split(|c: char| !c.is_ascii_digit()).filter(|run| !run.is_empty()).collect()
}

/// The numbers in a text, as the calculator writes them.
pub fn numbers(text: &str) -> Vec<f64> {
    let words = text.split(|c: char| !(c.is_ascii_digit() || ".-e".contains(c)));
    words.filter_map(|word| word.trim_matches('.').parse().ok()).collect()
}

/// The text has this number, digit for digit, and not as a part of a longer
/// one. A sign of money may stand between minus and digits.
fn states(text: &str, number: &str) -> bool {
    let size = number.strip_prefix('-').unwrap_or(number);
    let negative = size.len() < number.len();
    text.match_indices(size).any(|(at, _)| {
        let before: Vec<char> = text[..at].chars().rev().take(3).collect();
        let after: Vec<char> = text[at + size.len()..].chars().take(3).collect();
        starts(&before, negative) && ends(&after)
    })
}

/// What stands before, nearest first, is no part of the number but its sign.
fn starts(before: &[char], negative: bool) -> bool {
    let digit = |at: usize| before.get(at).is_some_and(char::is_ascii_digit);
    let sign = match before.first() {
        Some('$' | '£' | '€') => 1,
        _ => 0,
    };
    // Between two numbers a minus is subtraction.
    let minus = before.get(sign) == Some(&'-') && !digit(sign + 1);
    let part = digit(0) || matches!(before.first(), Some('.' | ',')) && digit(1);
    minus == negative && !part
}

/// What stands after is no part of the number.
fn ends(after: &[char]) -> bool {
    let digit = |at: usize| after.get(at).is_some_and(char::is_ascii_digit);
    match after.first() {
        Some(c) if c.is_ascii_digit() => false,
        Some('.' | ',') => !digit(1),
        Some('e') => !(digit(1) || after.get(1) == Some(&'-') && digit(2)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(question: &str, wants: &[Want]) -> Turn {
        Turn { question: question.into(), category: "c".into(), wants: wants.to_vec() }
    }

    fn heard(calls: &[(&str, &str, bool)], answer: &str) -> Heard {
        let call = |&(input, said, refused): &(&str, &str, bool)| Call {
            tool: "Calculator".into(),
            input: input.into(),
            said: said.into(),
            refused,
        };
        Heard {
            calls: calls.iter().map(call).collect(),
            answer: Some(answer.into()),
            ..Heard::default()
        }
    }

    #[test]
    fn a_number_is_stated_whole() {
        for (text, number, stated) in [
            ("It is 36.", "36", true),
            ("It is 36", "36", true),
            ("It is 136.", "36", false),
            ("It is 36.5.", "36", false),
            ("It is 0.36.", "36", false),
            ("It is 36,000.", "36", false),
            ("It is 1,036.", "036", false),
            ("3, 36, 4", "36", true),
            ("It is -36.", "36", false),
            ("It is -36.", "-36", true),
            ("You lose -$36!", "-36", true),
            ("That is $36.", "36", true),
            ("40-36", "36", true),
            ("1e3 is it", "1", false),
            ("2.5e-7 then", "2.5e-7", true),
            ("That's 36%, so 36", "36", true),
            ("36€", "36", true),
            ("18.37917367995256!", "18.37917367995256", true),
            ("18.3791736799525!", "18.37917367995256", false),
        ] {
            assert_eq!(states(text, number), stated, "{text} {number}");
        }
    }

    #[test]
    fn a_value_needs_its_expression() {
        let asked = turn("what's 15% of 240", &[Want::Values(vec![36.0])]);
        let right =
            |calls: &[(&str, &str, bool)], answer: &str| judge(&asked, &heard(calls, answer)).right;
        assert!(right(&[("15% of 240", "36", false)], "15% of 240 is 36."));
        assert!(!right(&[], "15% of 240 is 36."));
        assert!(!right(&[("15%*24", "3.6", false)], "15% of 240 is 36."));
        assert!(!right(&[("15% of 240", "36", false)], "It is 3.6."));
        assert!(!right(&[("15% of 240", "36", false), ("36*2", "72", false)], "36, or 72"));
        assert!(right(&[("15 %% 240", "No.", true), ("15% of 240", "36", false)], "36"));
    }

    #[test]
    fn several_values_are_all_needed() {
        let asked = turn("7*8 and 9*9", &[Want::Values(vec![56.0, 81.0])]);
        let calls = [("7*8", "56", false), ("9*9", "81", false)];
        assert!(judge(&asked, &heard(&calls, "They are 56 and 81.")).right);
        assert!(!judge(&asked, &heard(&calls, "The second is 81.")).right);
        assert!(!judge(&asked, &heard(&calls[..1], "They are 56 and 81.")).right);
    }

    #[test]
    fn talk_has_no_call_and_no_number() {
        let asked = turn("who won in 1998?", &[Want::Talk]);
        assert!(judge(&asked, &heard(&[], "I cannot know that about 1998.")).right);
        assert!(!judge(&asked, &heard(&[], "France, 3 to 0.")).right);
        assert!(!judge(&asked, &heard(&[("1998", "1998", false)], "Sorry.")).right);
        assert!(!judge(&asked, &Heard::default()).right);
    }

    #[test]
    fn a_refusal_is_told() {
        let asked = turn("5/0", &[Want::Refusal]);
        let refused = [("5/0", "Division by zero: 5→/0", true)];
        assert!(judge(&asked, &heard(&refused, "5 cannot be divided by 0.")).right);
        assert!(!judge(&asked, &heard(&refused, "It is 7.")).right);
        assert!(!judge(&asked, &heard(&[("5/1", "5", false)], "It is 5.")).right);
        assert!(!judge(&asked, &heard(&[], "You cannot do that.")).right);
    }

    #[test]
    fn what_was_said_may_be_said_again() {
        let asked = turn("are you sure?", &[Want::Talk, Want::Said(69.0)]);
        assert!(judge(&asked, &heard(&[], "Yes, it's 69.")).right);
        assert!(judge(&asked, &heard(&[("23*3", "69", false)], "Yes, it is 69")).right);
        assert!(judge(&asked, &heard(&[], "Yes.")).right);
        assert!(!judge(&asked, &heard(&[], "No, 70.")).right);
    }

    #[test]
    fn copies_are_counted_where_a_result_is_stated() {
        let asked = turn("sqrt 2", &[Want::Values(vec![2f64.sqrt()])]);
        let call = [("sqrt(2)", "1.4142135623730951", false)];
        assert_eq!(judge(&asked, &heard(&call, "1.4142135623730951")).copied, Some(true));
        assert_eq!(judge(&asked, &heard(&call, "1.414213562373095")).copied, Some(false));
        assert_eq!(judge(&asked, &heard(&[], "1.4142135623730951")).copied, None);
        let talk = turn("hi", &[Want::Talk]);
        assert_eq!(judge(&talk, &heard(&call, "hello")).copied, None);
    }
}
