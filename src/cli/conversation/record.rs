//! What happened in a turn, collected from its events.

use crate::agent::event::{Event, Forgot, Outcome, Stop};
use crate::cli::face::words;
use crate::llm::Stats;

/// One turn as it went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    pub question: String,
    /// The replies, as the model wrote them.
    pub replies: Vec<String>,
    /// The names of the repairs, in order.
    pub repairs: Vec<String>,
    /// The names of why replies could not be read, in order.
    pub unreadable: Vec<String>,
    /// Tools and inputs, in order.
    pub calls: Vec<(String, String)>,
    /// What the calls gave, and whether it was an error.
    pub observations: Vec<(String, bool)>,
    pub stopping: Option<Stop>,
    /// Questions of the exchanges that left memory.
    pub forgot: Vec<(String, Forgot)>,
    pub steps: usize,
    /// What the replies cost together.
    pub cost: Stats,
    /// None if the engine failed.
    pub outcome: Option<Outcome>,
}

impl Record {
    /// Takes note of an event.
    pub fn note(&mut self, event: &Event) {
        match event {
            Event::Question { text } => self.question = text.to_string(),
            Event::Forgot { question, reason } => self.forgot.push((question.to_string(), *reason)),
            Event::Step { number, .. } => self.steps = *number,
            Event::Text { .. } | Event::Notice { .. } => {}
            Event::Reply { text, stats } => {
                self.replies.push(text.to_string());
                self.cost += *stats;
            }
            Event::Repaired { repairs } => {
                self.repairs.extend(repairs.iter().map(|repair| repair.name().to_string()))
            }
            Event::Unreadable { why } => self.unreadable.push(words::unreadable(*why)),
            Event::Call { tool, input } => self.calls.push((tool.to_string(), input.to_string())),
            Event::Observation { text, error, .. } => {
                self.observations.push((text.to_string(), *error));
            }
            Event::Stopping { reason } => self.stopping = Some(*reason),
            Event::Done { outcome, steps, .. } => {
                self.steps = *steps;
                self.outcome = Some((*outcome).clone());
            }
        }
    }

    /// The answer, if there is one.
    pub fn answer(&self) -> Option<&str> {
        match &self.outcome {
            Some(Outcome::Answered(answer)) => Some(answer),
            _ => None,
        }
    }
}
