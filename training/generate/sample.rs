//! From a conversation to token ids: the agent itself plays it, so that
//! training sees, to the last token, what the agent will send.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};
use llama_agent::agent::event::Outcome;
use llama_agent::agent::prompts::Prompts;
use llama_agent::agent::{Agent, Options};
use llama_agent::chat::{Cancel, Dialect, Origin, Prompt, Segment};
use llama_agent::llama::tokenizer::Tokenizer;
use llama_agent::llm::{Completion, End, Llm, LlmError, Request, Stats};
use llama_agent::tool::Registry;

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
    /// As `chat::reply::render` writes them.
    pub replies: &'a [String],
}

/// What the model was asked last, and what it said.
#[derive(Default)]
struct Witness {
    script: VecDeque<String>,
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
        let text = witness.script.pop_front().ok_or(LlmError::ScriptEnded(0))?;
        // The prompt ends in `Assistant:`, and words start with a space.
        let reply = Segment::new(Origin::Model, format!(" {text}"));
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

/// Plays a conversation and returns what there is to learn from it: one sample
/// of all exchanges as long as the window holds them, then one for each time
/// it has moved, of which only the newest exchange is to be learnt, because
/// the others were written when more was in sight.
pub fn samples(
    exchanges: &[Exchange],
    prompts: &Prompts,
    tools: Registry,
    persona: Option<&str>,
    tokenizer: &Tokenizer,
) -> Result<Vec<Sample>> {
    let options = Options { strict: true, ..Options::default() };
    let window = options.memory;
    let witness = Arc::new(Mutex::new(Witness::default()));
    let player = Player(witness.clone());
    let mut agent = Agent::new(
        Box::new(Player(witness)),
        tools,
        Dialect::React,
        prompts.clone(),
        persona,
        options,
    )?;
    let system = agent.prompt().segments.len();
    let mut samples = Vec::new();
    for (index, exchange) in exchanges.iter().enumerate() {
        player.witness().script.extend(exchange.replies.iter().cloned());
        let outcome = agent
            .ask(exchange.question, &Cancel::new(), &mut |_| {})
            .with_context(|| format!("playing \"{}\"", exchange.question))?;
        let left = player.witness().script.len();
        if !matches!(outcome, Outcome::Answered(_)) || left > 0 {
            bail!("\"{}\" ends in {outcome:?} with {left} replies left", exchange.question);
        }
        let moved = index > window;
        if moved || index == window || index + 1 == exchanges.len() {
            let seen = std::mem::take(&mut player.witness().seen);
            // The newest exchange begins behind the last frame that a question's reminder opens.
            let newest = if moved { newest_exchange(&seen, exchange.question) } else { system };
            samples.push(sample(&seen, system, newest, tokenizer));
        }
    }
    Ok(samples)
}

/// Where the last exchange begins: at its question, the last thing a person said.
fn newest_exchange(seen: &[Segment], question: &str) -> usize {
    let said = seen.iter().rposition(|segment| segment.origin == Origin::Person);
    said.unwrap_or_else(|| unreachable!("\"{question}\" was asked"))
}

fn sample(seen: &[Segment], system: usize, newest: usize, tokenizer: &Tokenizer) -> Sample {
    let prefix = tokenizer.encode_prompt(&seen[..system].iter().cloned().collect());
    let (mut body, mut written) = (Vec::new(), Vec::new());
    for (index, segment) in seen.iter().enumerate().skip(system) {
        body.extend(tokenizer.encode(&segment.text, segment.origin == Origin::Frame, false));
        written.resize(body.len(), segment.origin == Origin::Model && index >= newest);
    }
    Sample { prefix, body, written }
}
