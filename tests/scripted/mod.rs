//! An agent on scripted replies, for tests of the loop.

// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use llama_agent::agent::event::{Event, Outcome};
use llama_agent::agent::prompts::Prompts;
use llama_agent::agent::{Agent, Options};
use llama_agent::chat::reply::render;
use llama_agent::chat::{Cancel, Dialect, InputForm, Prompt};
use llama_agent::llm::scripted::Scripted;
use llama_agent::llm::{Completion, End, Llm, LlmError, Request};
use llama_agent::tool::{Registry, Tool, ToolError};

/// Scripted replies, with every prompt written down and a delay before each reply.
struct Recorder {
    script: Scripted,
    prompts: Arc<Mutex<Vec<Prompt>>>,
    delay: Duration,
}

impl Llm for Recorder {
    fn complete(
        &mut self,
        request: &Request,
        watch: &mut dyn FnMut(&str),
    ) -> Result<Completion, LlmError> {
        self.prompts.lock().expect("it works").push(request.prompt.clone());
        std::thread::sleep(self.delay);
        let mut completion = self.script.complete(request, watch)?;
        if request.cancel.is_set() {
            completion.end = End::Cancelled;
        }
        Ok(completion)
    }

    fn prepare(&mut self, prompt: &Prompt, cancel: &Cancel) -> Result<(), LlmError> {
        self.script.prepare(prompt, cancel)
    }

    fn count(&self, prompt: &Prompt) -> Result<usize, LlmError> {
        self.script.count(prompt)
    }

    fn context(&self) -> usize {
        self.script.context()
    }
}

/// Says back what it is told; `fail` in the input makes it fail.
struct Echo;

impl Tool for Echo {
    fn name(&self) -> &str {
        "Echo"
    }
    fn usage(&self) -> &str {
        "says back what it is told"
    }
    fn form(&self) -> InputForm {
        InputForm::Text
    }
    fn call(&self, input: &str) -> Result<String, ToolError> {
        if input.contains("fail") { Err(ToolError("it failed".into())) } else { Ok(input.into()) }
    }
}

pub struct Bench {
    pub agent: Agent,
    pub prompts: Arc<Mutex<Vec<Prompt>>>,
}

pub fn bench_with(options: Options, context: usize, delay: u64, replies: &[String]) -> Bench {
    bench_in(Dialect::React, options, context, delay, replies)
}

pub fn bench_in(
    dialect: Dialect,
    options: Options,
    context: usize,
    delay: u64,
    replies: &[String],
) -> Bench {
    let prompts = Arc::new(Mutex::new(Vec::new()));
    let llm = Recorder {
        script: Scripted::new(replies.iter().cloned(), context),
        prompts: prompts.clone(),
        delay: Duration::from_millis(delay),
    };
    let mut tools = Registry::standard();
    tools.add(Box::new(Echo));
    let agent = Agent::new(Box::new(llm), tools, dialect, Prompts::shipped(), None, options)
        .expect("it works");
    Bench { agent, prompts }
}

pub fn bench(options: Options, replies: &[String]) -> Bench {
    bench_with(options, 1 << 20, 0, replies)
}

impl Bench {
    /// One turn: its outcome, and a line for each event that is not text.
    pub fn ask(&mut self, question: &str) -> (Outcome, Vec<String>) {
        let mut events = Vec::new();
        let outcome = self
            .agent
            .ask(question, &Cancel::new(), &mut |event| match event {
                Event::Forgot { question, reason } => {
                    events.push(format!("forgot {question}: {reason:?}"))
                }
                Event::Observation { text, error, .. } => {
                    events.push(format!("observed {text} {error}"))
                }
                Event::Stopping { reason } => events.push(format!("stopping {reason:?}")),
                Event::Unreadable { .. } => events.push("unreadable".into()),
                Event::Step { last: true, .. } => events.push("last".into()),
                _ => {}
            })
            .expect("it works");
        (outcome, events)
    }

    pub fn remembered(&self) -> Vec<String> {
        self.agent.memory().exchanges().map(|exchange| exchange.question.clone()).collect()
    }
}

pub fn call(input: &str) -> String {
    format!(" {}", render("Calculator", input))
}

pub fn answer(text: &str) -> String {
    format!(" {}", render("Final Answer", text))
}

pub fn answered(text: &str) -> Outcome {
    Outcome::Answered(text.into())
}
