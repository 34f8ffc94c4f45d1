//! From a conversation to token ids: the agent itself plays it, so that
//! training sees, to the last token, what the agent will send.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};
use llama_agent::agent::event::Outcome;
use llama_agent::agent::prompts::Prompts;
use llama_agent::agent::{Agent, Options};
use llama_agent::chat::{Cancel, Dialect, Origin, Prompt, Segment};
use llama_agent::llama::Tokenizer;
use llama_agent::llm::{Completion, End, Llm, LlmError, Request, Stats};
use llama_agent::tool::Registry;

/// What the model saw and wrote up to an answer.
pub struct Paper {
    seen: Vec<Segment>,
    /// Segments of the system part.
    system: usize,
    /// Of the segments that the model wrote, in order: which it is to learn.
    learn: Vec<bool>,
}

/// Token ids to train on: the system part, what follows it, and for each id of
/// the latter whether the model is to learn to write it.
pub struct Sample {
    pub prefix: Vec<u32>,
    pub body: Vec<u32>,
    pub written: Vec<bool>,
}

/// A question and the replies it leads to, the last of them an answer.
pub struct Exchange<'a> {
    pub question: &'a str,
    pub replies: Vec<Reply>,
}

/// A reply as it follows `Assistant:`.
#[derive(Clone, Debug)]
pub struct Reply {
    pub text: String,
    /// The model is to learn to write it: not if it is a mishap that it is
    /// only to recover from.
    pub learn: bool,
    /// The clock cuts it off: nothing of it gets on paper.
    pub cut: bool,
}

/// What the model was asked last, and what it said.
#[derive(Default)]
struct Witness {
    script: VecDeque<Reply>,
    seen: Vec<Segment>,
}

/// Replies from a script, and remembers the paper they were written on.
struct Player(Arc<Mutex<Witness>>);

impl Player {
    fn witness(&self) -> MutexGuard<'_, Witness> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Llm for Player {
    fn complete(
        &mut self,
        request: &Request,
        _watch: &mut dyn FnMut(&str),
    ) -> Result<Completion, LlmError> {
        let mut witness = self.witness();
        let Reply { text, cut, .. } = witness.script.pop_front().ok_or(LlmError::ScriptEnded(0))?;
        let reply = Segment::new(Origin::Model, text);
        if cut {
            return Ok(Completion { reply, end: End::Cancelled, stats: Stats::default() });
        }
        witness.seen = request.prompt.segments.clone();
        witness.seen.push(reply.clone());
        Ok(Completion { reply, end: End::Closed, stats: Stats::default() })
    }

    fn prepare(&mut self, _prompt: &Prompt, _cancel: &Cancel) -> Result<(), LlmError> {
        Ok(())
    }

    fn count(&self, _prompt: &Prompt) -> Result<usize, LlmError> {
        Ok(0)
    }

    fn context(&self) -> usize {
        usize::MAX
    }
}

/// Plays a conversation and returns what there is to learn from it: one paper
/// of all exchanges as long as the window holds them, then one for each time
/// it has moved, of which only the newest exchange is to be learnt, because
/// the others were written when more was in sight.
///
/// # Errors
/// A conversation that does not go as written.
pub fn play(
    exchanges: &[Exchange],
    prompts: &Prompts,
    tools: Registry,
    persona: Option<&str>,
    options: Options,
) -> Result<Vec<Paper>> {
    let options = Options { strict: true, ..options };
    let window = options.memory;
    let witness = Arc::new(Mutex::new(Witness::default()));
    let player = Player(witness.clone());
    let llm = Box::new(Player(witness));
    let mut agent = Agent::new(llm, tools, Dialect::React, prompts.clone(), persona, options)?;
    let system = agent.prompt().segments.len();
    let (mut papers, mut learn) = (Vec::new(), Vec::new());
    for (index, exchange) in exchanges.iter().enumerate() {
        let replies = exchange.replies.iter();
        player.witness().script.extend(replies.clone().cloned());
        if index > window {
            learn.fill(false);
        }
        learn.extend(replies.filter(|reply| !reply.cut).map(|reply| reply.learn));
        let outcome = agent
            .ask(exchange.question, &Cancel::new(), &mut |_| {})
            .with_context(|| format!("playing \"{}\"", exchange.question))?;
        let left = player.witness().script.len();
        if !matches!(outcome, Outcome::Answered(_)) || left > 0 {
            bail!("\"{}\" ends in {outcome:?} with {left} replies left", exchange.question);
        }
        if index >= window || index + 1 == exchanges.len() {
            let seen = std::mem::take(&mut player.witness().seen);
            let written = seen.iter().filter(|segment| segment.origin == Origin::Model).count();
            // Older ones have left the window.
            let learn = learn[learn.len() - written..].to_vec();
            papers.push(Paper { seen, system, learn });
        }
    }
    Ok(papers)
}

impl Paper {
    /// The system part and what follows it, as text.
    pub fn texts(&self) -> (String, String) {
        let text = |segments: &[Segment]| segments.iter().map(|segment| &*segment.text).collect();
        let (system, body) = self.seen.split_at(self.system);
        (text(system), text(body))
    }

    /// The same as token ids.
    pub fn sample(&self, tokenizer: &Tokenizer) -> Sample {
        let (system, rest) = self.seen.split_at(self.system);
        let prefix = tokenizer.encode_prompt(&system.iter().cloned().collect());
        let (mut body, mut written) = (Vec::new(), Vec::new());
        let mut learn = self.learn.iter();
        for segment in rest {
            body.extend(tokenizer.encode(&segment.text, segment.origin == Origin::Frame, false));
            let learn = segment.origin == Origin::Model && learn.next().is_some_and(|&learn| learn);
            written.resize(body.len(), learn);
        }
        Sample { prefix, body, written }
    }
}
