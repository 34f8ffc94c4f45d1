//! Something that continues a conversation: this machine, another one, or a
//! recording.

pub mod local;
pub mod remote;
pub mod scripted;

use std::sync::Arc;
use std::time::Duration;

use crate::chat::{Cancel, Dialect, Prompt, ReplyForm, Sampling, Segment, Template};

/// Something that continues a conversation.
pub trait Llm: Send {
    /// Continues `request.prompt` with one reply. `watch` receives the reply's
    /// text as it is made, in pieces that concatenate to the reply's text and
    /// never split a character.
    fn complete(
        &mut self,
        request: &Request,
        watch: &mut dyn FnMut(&str),
    ) -> Result<Completion, LlmError>;

    /// Processes a prompt ahead of need. May do nothing.
    fn prepare(&mut self, prompt: &Prompt, cancel: &Cancel) -> Result<(), LlmError>;

    /// How many tokens the prompt is, exactly as it would be sent.
    fn count(&self, prompt: &Prompt) -> Result<usize, LlmError>;

    /// How many tokens fit, prompt and reply together.
    fn context(&self) -> usize;

    /// The chat template that comes with the model, if it can be used.
    fn template(&self) -> Option<Arc<Template>> {
        None
    }

    /// The dialect that the model was trained with, if it knows no other.
    fn dialect(&self) -> Option<Dialect> {
        None
    }

    /// What went wrong since the last call that cost nothing but time.
    fn notices(&mut self) -> Vec<String> {
        Vec::new()
    }
}

/// One completion asked for.
pub struct Request<'a> {
    pub prompt: &'a Prompt,
    pub form: &'a ReplyForm,
    pub sampling: &'a Sampling,
    pub max_new_tokens: usize,
    pub cancel: &'a Cancel,
}

/// Why a reply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its JSON object was complete and its fence closed.
    Closed,
    /// The model ended its turn, or was about to write another's line.
    Turn,
    /// `max_new_tokens` were spent, or the context was full.
    Length,
    /// The person or the clock stopped it.
    Cancelled,
}

/// One reply.
#[derive(Clone, Debug)]
pub struct Completion {
    /// Origin `Model`, with the ids it is made of where ids are known.
    pub reply: Segment,
    pub end: End,
    pub stats: Stats,
}

/// What a completion cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Tokens of the prompt that were in the cache already.
    pub reused: usize,
    /// Tokens of the reply.
    pub produced: usize,
    /// Forward passes, prefill chunks included.
    pub passes: usize,
    /// Tokens of the reply that its form left no choice about, and that were
    /// not chosen by the model.
    pub forced: usize,
    /// Tokens that were guessed ahead.
    pub drafted: usize,
    /// Guessed tokens that turned out right.
    pub accepted: usize,
    pub prefill: Duration,
    pub decode: Duration,
}

impl std::ops::AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.prompt += other.prompt;
        self.reused += other.reused;
        self.produced += other.produced;
        self.passes += other.passes;
        self.forced += other.forced;
        self.drafted += other.drafted;
        self.accepted += other.accepted;
        self.prefill += other.prefill;
        self.decode += other.decode;
    }
}

/// Why there is no completion.
#[derive(Debug, thiserror::Error)]
pub enum LlmError {
    /// The prompt and the room for a reply are more than the context.
    #[error(
        "the prompt is {needed} tokens with the room for a reply, and the model's context is {context}"
    )]
    DoesNotFit { needed: usize, context: usize },
    /// A recording has no reply left.
    #[error("the script has no reply left: this is completion {0}, add a reply for it")]
    ScriptEnded(usize),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] anyhow::Error),
}
