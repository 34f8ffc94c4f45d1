//! The loop: question, reply, step, tool, observation, answer.

mod budget;
pub mod event;
pub mod memory;
mod paper;
pub mod prompts;
pub mod step;
mod turn;

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::chat::{Cancel, Dialect, Prompt, Sampling};
use crate::llm::{Completion, End, Llm, LlmError, Request};
use crate::tool::{Registry, ToolError};
use event::{Event, Forgot, NoAnswer, Outcome, Stop};
use memory::{Exchange, Memory};
use paper::{Paper, Said};
use prompts::Prompts;
use step::Step;
use turn::Turn;

/// Replies in a row that cannot be read before a turn ends.
const UNREADABLE_REPLIES: usize = 3;

/// How an agent works. The defaults are those of the 2023 system this
/// program re-implements.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Replies in a turn before it is stopped early.
    pub max_steps: usize,
    /// Time for a turn before it is stopped early.
    pub max_time: Option<Duration>,
    /// Tokens in a reply; as many are reserved for it in the context.
    pub max_new_tokens: usize,
    /// Exchanges that are remembered.
    pub memory: usize,
    pub sampling: Sampling,
    /// Take no liberties in reading a reply.
    pub strict: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_steps: 15,
            max_time: None,
            max_new_tokens: 512,
            memory: 5,
            sampling: Sampling::default(),
            strict: false,
        }
    }
}

/// A model with tools and a memory. It never prints: it reports events.
pub struct Agent {
    llm: Box<dyn Llm>,
    tools: Registry,
    paper: Paper,
    memory: Memory,
    options: Options,
}

/// Where a turn's events go, in order.
pub type Report<'a> = &'a mut dyn FnMut(&Event);

impl Agent {
    /// # Errors
    /// A prompt that cannot be rendered.
    pub fn new(
        llm: Box<dyn Llm>,
        tools: Registry,
        dialect: Dialect,
        prompts: Prompts,
        persona: Option<&str>,
        options: Options,
    ) -> Result<Self> {
        let paper = Paper::new(dialect, prompts, &tools, persona)?;
        let memory = Memory::new(options.memory);
        Ok(Self { llm, tools, paper, memory, options })
    }

    /// One turn. Memory changes only if it ends in an answer.
    ///
    /// # Errors
    /// The engine failed; memory is as it was.
    pub fn ask(
        &mut self,
        question: &str,
        cancel: &Cancel,
        report: Report,
    ) -> Result<Outcome, LlmError> {
        let begun = Instant::now();
        report(&Event::Question { text: question });
        let mut turn = Turn::new(self.paper.question(question));
        let outcome = match self.run(&mut turn, cancel, report) {
            Err(LlmError::DoesNotFit { needed, context }) => {
                Outcome::DoesNotFit { needed, context }
            }
            outcome => outcome?,
        };
        let steps = turn.steps;
        if let Outcome::Answered(answer) = &outcome {
            self.remember(question, answer, turn, report);
        }
        for text in self.llm.notices() {
            report(&Event::Notice { text: &text });
        }
        report(&Event::Done { outcome: &outcome, steps, time: begun.elapsed() });
        Ok(outcome)
    }

    /// The loop: complete, read, act, until there is an answer. Once a turn is
    /// stopping, one last reply may be an answer and nothing else.
    fn run(
        &mut self,
        turn: &mut Turn,
        cancel: &Cancel,
        report: Report,
    ) -> Result<Outcome, LlmError> {
        let timed = cancel.within(self.options.max_time);
        loop {
            let reply = self.complete(turn, &timed, report)?;
            if cancel.asked() {
                return Ok(Outcome::Interrupted);
            }
            let said = match (self.read(turn, reply, report), turn.stopping) {
                (Some(Step::Answer(answer)), _) => return Ok(Outcome::Answered(answer)),
                (_, Some(stop)) => return Ok(Outcome::NoAnswer(NoAnswer::Stopped(stop))),
                (Some(Step::Unreadable { why }), _) if turn.unreadable == UNREADABLE_REPLIES => {
                    return Ok(Outcome::NoAnswer(NoAnswer::Unreadable(why)));
                }
                (Some(Step::Unreadable { why }), _) => self.paper.unreadable(why)?,
                (Some(Step::Act { tool, input }), _) if turn.is_new(&tool, &input) => {
                    self.call(&tool, &input, report)?
                }
                (Some(Step::Act { .. }), _) => {
                    turn.stopping = Some(Stop::Repeated);
                    Said::Nothing
                }
                (None, _) => Said::Nothing,
            };
            if timed.late() {
                turn.stopping = Some(Stop::Time);
            } else if turn.steps >= self.options.max_steps {
                turn.stopping = turn.stopping.or(Some(Stop::Steps));
            }
            if let Some(reason) = turn.stopping {
                report(&Event::Stopping { reason });
            }
            turn.segments.extend(self.paper.after_reply(said, turn.stopping)?);
        }
    }

    /// Asks for the next reply, with as much of memory as fits beside it.
    fn complete(
        &mut self,
        turn: &mut Turn,
        timed: &Cancel,
        report: Report,
    ) -> Result<Completion, LlmError> {
        let room = self.options.max_new_tokens;
        let fitted = budget::fit(&*self.llm, &self.paper, &self.memory, turn, room)?;
        let forgotten = self.memory.exchanges().take(fitted.left_out).skip(turn.left_out);
        for Exchange { question, .. } in forgotten {
            report(&Event::Forgot { question, reason: Forgot::Room });
        }
        turn.left_out = fitted.left_out;
        turn.steps += 1;
        let last = turn.stopping.is_some();
        report(&Event::Step { number: turn.steps, last, prompt_tokens: fitted.tokens });
        // The last reply may only answer, and takes the time it needs: there is no other.
        let (tools, cancel) = match last {
            true => (Vec::new(), timed.without_deadline()),
            false => (self.tools.forms(), timed.clone()),
        };
        let request = Request {
            prompt: &fitted.prompt,
            form: &self.paper.form(tools),
            sampling: &self.options.sampling,
            max_new_tokens: room,
            cancel: &cancel,
        };
        let reply = self.llm.complete(&request, &mut |text| report(&Event::Text { text }))?;
        report(&Event::Reply { text: &reply.reply.text, stats: reply.stats });
        Ok(reply)
    }

    /// Reads a reply and puts it on paper; `None` if it was cut off by the clock.
    fn read(&self, turn: &mut Turn, reply: Completion, report: Report) -> Option<Step> {
        if reply.end == End::Cancelled {
            return None;
        }
        let reading = step::read(&reply.reply.text, self.options.strict);
        turn.segments.push(reply.reply);
        if !reading.repairs.is_empty() {
            report(&Event::Repaired { repairs: &reading.repairs });
        }
        match reading.step {
            Step::Unreadable { why } => {
                turn.unreadable += 1;
                report(&Event::Unreadable { why });
            }
            _ => turn.unreadable = 0,
        }
        Some(reading.step)
    }

    /// Runs a tool. That it is unknown or fails is something to observe.
    fn call(&self, name: &str, input: &str, report: Report) -> Result<Said> {
        report(&Event::Call { tool: name, input });
        let (said, error) = match self.tools.get(name).map(|tool| tool.call(input)) {
            Some(Ok(text)) => (Said::Tool(text), false),
            Some(Err(ToolError(text))) => (Said::Tool(text), true),
            None => (self.paper.unknown_tool(name, &self.tools)?, true),
        };
        report(&Event::Observation { tool: name, text: said.text(), error });
        Ok(said)
    }

    /// A turn that ended in an answer becomes part of memory.
    fn remember(&mut self, question: &str, answer: &str, turn: Turn, report: Report) {
        self.memory.forget(turn.left_out);
        let forgotten = self.memory.remember(Exchange {
            question: question.into(),
            answer: answer.into(),
            segments: turn.segments,
        });
        for Exchange { question, .. } in &forgotten {
            report(&Event::Forgot { question, reason: Forgot::Window });
        }
    }

    /// Processes what the next prompt will begin with, ahead of need.
    ///
    /// # Errors
    /// The engine failed.
    pub fn prepare(&mut self, cancel: &Cancel) -> Result<(), LlmError> {
        let prompt = self.prompt();
        self.llm.prepare(&prompt, cancel)
    }

    /// What the next prompt will begin with: the system message and memory.
    pub fn prompt(&self) -> Prompt {
        self.paper.prompt(&self.memory, 0, None)
    }

    /// Exact tokens of a prompt, and how many fit.
    ///
    /// # Errors
    /// The engine failed.
    pub fn count(&self, prompt: &Prompt) -> Result<(usize, usize), LlmError> {
        Ok((self.llm.count(prompt)?, self.llm.context()))
    }

    /// The exchanges that are remembered.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Forgets every exchange.
    pub fn clear(&mut self) {
        self.memory.forget(usize::MAX);
    }

    /// How conversations are written down.
    pub fn dialect(&self) -> &Dialect {
        self.paper.dialect()
    }

    /// The tools that can be called.
    pub fn tools(&self) -> &Registry {
        &self.tools
    }
}
