#![doc = include_str!("json.md")]

use std::io;

use serde_json::{Value, json};

use super::sink::Sink;
use super::{Face, words};
use crate::agent::event::{Event, Outcome};

/// The version of the format, in every line.
pub const VERSION: u32 = 1;

/// Prints one event a line.
pub struct Json {
    out: Sink,
}

impl Json {
    /// Lines go to `out`.
    pub fn new(out: Sink) -> Self {
        Self { out }
    }
}

impl Face for Json {
    fn show(&mut self, event: &Event) -> io::Result<()> {
        self.out.text(&format!("{}\n", line(event)))
    }

    fn fail(&mut self, error: &str) -> io::Result<()> {
        self.out.text(&format!("{}\n", named("error", json!({ "text": error }))))
    }
}

/// The object of an event, as the table documents it.
fn line(event: &Event) -> Value {
    match event {
        Event::Question { text } => named("question", json!({ "text": text })),
        Event::Forgot { question, reason } => {
            named("forgot", json!({ "question": question, "reason": words::forgot(*reason) }))
        }
        Event::Step { number, last, prompt_tokens } => {
            named("step", json!({ "number": number, "last": last, "prompt_tokens": prompt_tokens }))
        }
        Event::Text { text } => named("text", json!({ "text": text })),
        Event::Reply { text, stats } => named(
            "reply",
            json!({
                "text": text,
                "prompt_tokens": stats.prompt,
                "reused_tokens": stats.reused,
                "new_tokens": stats.produced,
                "passes": stats.passes,
                "forced_tokens": stats.forced,
                "drafted_tokens": stats.drafted,
                "accepted_tokens": stats.accepted,
                "prefill_seconds": stats.prefill.as_secs_f64(),
                "decode_seconds": stats.decode.as_secs_f64(),
            }),
        ),
        Event::Repaired { repairs } => {
            let names: Vec<_> = repairs.iter().map(|repair| repair.name()).collect();
            named("repaired", json!({ "repairs": names }))
        }
        Event::Unreadable { why } => {
            named("unreadable", json!({ "why": words::unreadable(*why), "text": why.to_string() }))
        }
        Event::Call { tool, input } => named("call", json!({ "tool": tool, "input": input })),
        Event::Observation { tool, text, error } => {
            named("observation", json!({ "tool": tool, "text": text, "error": error }))
        }
        Event::Stopping { reason } => named("stopping", json!({ "reason": words::stop(*reason) })),
        Event::Notice { text } => named("notice", json!({ "text": text })),
        Event::Done { outcome, steps, time } => {
            let (answer, why, needed, context) = match outcome {
                Outcome::Answered(answer) => (Some(answer), None, None, None),
                Outcome::NoAnswer(why) => (None, Some(words::no_answer(*why)), None, None),
                Outcome::DoesNotFit { needed, context } => {
                    (None, None, Some(needed), Some(context))
                }
                Outcome::Interrupted => (None, None, None, None),
            };
            named(
                "done",
                json!({
                    "outcome": words::outcome(outcome).replace(' ', "_"),
                    "answer": answer,
                    "why": why,
                    "needed_tokens": needed,
                    "context_tokens": context,
                    "steps": steps,
                    "seconds": time.as_secs_f64(),
                }),
            )
        }
    }
}

fn named(event: &str, fields: Value) -> Value {
    let mut line = json!({ "v": VERSION, "event": event });
    if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields) {
        line.extend(fields);
    }
    line
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::agent::event::{Forgot, NoAnswer, Stop};
    use crate::agent::step::{Repair, Why};
    use crate::llm::Stats;

    /// One event of every kind; a new variant does not compile here until it is listed.
    fn every_event() -> Vec<Event<'static>> {
        static OUTCOME: Outcome = Outcome::NoAnswer(NoAnswer::Stopped(Stop::Time));
        let events = vec![
            Event::Question { text: "a \"question\"\n" },
            Event::Forgot { question: "q", reason: Forgot::Room },
            Event::Step { number: 1, last: false, prompt_tokens: 9 },
            Event::Text { text: "t" },
            Event::Reply { text: "t", stats: Stats::default() },
            Event::Repaired { repairs: &[] },
            Event::Unreadable { why: Why::NoObject },
            Event::Call { tool: "Calculator", input: "1+1" },
            Event::Observation { tool: "Calculator", text: "2", error: false },
            Event::Stopping { reason: Stop::Repeated },
            Event::Notice { text: "the disk is full" },
            Event::Done { outcome: &OUTCOME, steps: 2, time: Duration::from_millis(1500) },
        ];
        for event in &events {
            match event {
                Event::Question { .. } | Event::Forgot { .. } | Event::Step { .. } => {}
                Event::Text { .. } | Event::Reply { .. } | Event::Repaired { .. } => {}
                Event::Unreadable { .. } | Event::Call { .. } | Event::Observation { .. } => {}
                Event::Stopping { .. } | Event::Notice { .. } | Event::Done { .. } => {}
            }
        }
        events
    }

    /// The names and keys that the table documents.
    fn documented() -> BTreeMap<String, Vec<String>> {
        let ticked = |cell: &str| -> Vec<String> {
            cell.split('`').skip(1).step_by(2).map(String::from).collect()
        };
        include_str!("json.md")
            .lines()
            .filter(|row| row.starts_with("| `"))
            .map(|row| {
                let cells: Vec<_> = row.split('|').collect();
                (ticked(cells[1]).concat(), ticked(cells[2]))
            })
            .collect()
    }

    #[test]
    fn what_is_documented_is_what_is_printed() {
        let mut lines: Vec<Value> = every_event().iter().map(line).collect();
        lines.push(named("error", json!({ "text": "it broke" })));
        let printed: BTreeMap<String, Vec<String>> = lines
            .iter()
            .map(|line| {
                let keys: Vec<_> = line.as_object().expect("an object").keys().cloned().collect();
                assert_eq!(keys[..2], ["v", "event"]);
                (line["event"].as_str().expect("a name").into(), keys[2..].to_vec())
            })
            .collect();
        assert_eq!(printed, documented());
    }

    #[test]
    fn an_event_is_one_line() {
        for event in every_event() {
            assert!(!line(&event).to_string().contains('\n'));
        }
    }

    #[test]
    fn the_names_of_repairs_and_faults_are_documented() {
        let document = include_str!("json.md");
        let repairs = Repair::ALL.iter().map(|repair| repair.name().to_string());
        let faults = [Why::Empty, Why::NoObject, Why::UnfinishedString, Why::Unfinished]
            .into_iter()
            .chain([Why::NotJson, Why::NoAction, Why::NoInput, Why::ActionNotText])
            .chain([Why::NotOneBlock, Why::NotTheTwoKeys])
            .map(words::unreadable);
        for name in repairs.chain(faults) {
            assert!(document.contains(&format!("`{name}`")), "{name}");
        }
    }
}
