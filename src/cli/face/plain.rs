//! The face for people: the answer on standard output, everything else on
//! standard error, in colour where the terminal shows it.

use std::io;

use super::reply::answer_so_far;
use super::sink::{DIM, STRONG, Sink, WRONG};
use super::{Face, words};
use crate::agent::event::{Event, Forgot, Outcome};

/// How much is shown beside the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Nothing.
    Answer,
    /// Calls and what they said, a line each: for somebody who is watching.
    Calls,
    /// Steps, replies, repairs, calls, observations and what they cost.
    Trace,
}

/// The face for people.
pub struct Plain {
    out: Sink,
    err: Sink,
    detail: Detail,
    /// The reply that is being written, for a terminal.
    reply: String,
    /// What of the answer is on the screen already.
    shown: String,
    /// The input of the call that is running.
    input: String,
}

impl Plain {
    /// Answers go to `out`; where that is a terminal, as they are made.
    pub fn new(out: Sink, err: Sink, detail: Detail) -> Self {
        let (reply, shown, input) = Default::default();
        Self { out, err, detail, reply, shown, input }
    }

    /// Shows more of the answer that is being written.
    fn stream(&mut self, text: &str) -> io::Result<()> {
        self.reply.push_str(text);
        match answer_so_far(&self.reply) {
            Some(now) if now.starts_with(&self.shown) => {
                self.out.text(&now[self.shown.len()..])?;
                self.shown = now;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Shows what is missing of the answer. If a repair made it another text
    /// than the one on the screen, it is shown once more, whole.
    fn answer(&mut self, answer: &str) -> io::Result<()> {
        let missing = match answer.strip_prefix(self.shown.as_str()) {
            Some(missing) => missing,
            None => {
                self.out.text("\n")?;
                answer
            }
        };
        self.out.text(missing)?;
        self.shown.clear();
        self.out.text("\n")
    }

    /// A line on standard error, below anything streamed so far.
    fn note(&mut self, style: clap::builder::styling::Style, text: &str) -> io::Result<()> {
        if !self.shown.is_empty() {
            self.shown.clear();
            self.out.text("\n")?;
        }
        // What nobody can read is lost, and no reason to stop.
        let _ = self.err.line(style, text);
        Ok(())
    }

    fn trace(&mut self, text: &str) -> io::Result<()> {
        if self.detail == Detail::Trace { self.note(DIM, text) } else { Ok(()) }
    }

    fn call_or_trace(&mut self, call: &str, trace: &str) -> io::Result<()> {
        match self.detail {
            Detail::Answer => Ok(()),
            Detail::Calls => self.note(DIM, call),
            Detail::Trace => self.note(DIM, trace),
        }
    }
}

impl Face for Plain {
    fn show(&mut self, event: &Event) -> io::Result<()> {
        match event {
            Event::Question { text } => {
                self.reply.clear();
                self.shown.clear();
                self.trace(&format!("question: {text}"))
            }
            Event::Forgot { question, reason } => {
                let line = format!("forgot ({}): {question}", words::forgot(*reason));
                match reason {
                    Forgot::Window => self.trace(&line),
                    Forgot::Room => self.note(DIM, &line),
                }
            }
            Event::Step { number, last, prompt_tokens } => {
                self.reply.clear();
                let last = if *last { ", the last" } else { "" };
                let prompt = words::plural(*prompt_tokens, "token");
                self.trace(&format!("step {number}{last}: {prompt} of prompt"))
            }
            Event::Text { text } if self.out.is_terminal() && self.detail != Detail::Trace => {
                self.stream(text)
            }
            Event::Text { .. } => Ok(()),
            Event::Reply { text, stats } => {
                if self.detail == Detail::Trace {
                    self.note(STRONG, &format!("  {}", text.trim().replace('\n', "\n  ")))?;
                    self.note(DIM, &format!("  {}", words::cost(stats)))?;
                }
                Ok(())
            }
            Event::Repaired { repairs } => {
                let names: Vec<_> = repairs.iter().map(|repair| repair.name()).collect();
                self.trace(&format!("repaired: {}", names.join(", ")))
            }
            Event::Unreadable { why } => {
                let line = format!("unreadable ({}): {why}", words::unreadable(*why));
                self.call_or_trace(&line, &line)
            }
            Event::Call { tool, input } => {
                self.input = input.to_string();
                self.trace(&format!("call: {tool}: {input}"))
            }
            Event::Observation { tool, text, error } => {
                let kind = if *error { "error" } else { "observation" };
                let sign = if *error { "!" } else { "=" };
                let call = format!("  {tool}: {} {sign} {text}", self.input);
                self.call_or_trace(&call, &format!("{kind}: {text}"))
            }
            Event::Stopping { reason } => {
                let line = format!("stopping ({}): {reason}", words::stop(*reason));
                self.call_or_trace(&line, &line)
            }
            Event::Notice { text } => self.trace(&format!("note: {text}")),
            Event::Done { outcome, steps, time } => {
                match outcome {
                    Outcome::Answered(answer) => self.answer(answer)?,
                    other => {
                        let regret = words::regret(other).unwrap_or_default();
                        self.note(WRONG, &regret)?;
                    }
                }
                let name = words::outcome(outcome);
                let steps = words::plural(*steps, "step");
                self.trace(&format!("{name} in {steps}, {}", words::seconds(*time)))
            }
        }
    }

    fn fail(&mut self, error: &str) -> io::Result<()> {
        self.note(WRONG, &format!("error: {error}"))
    }
}
