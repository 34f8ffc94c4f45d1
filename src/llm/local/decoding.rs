//! One completion: prompt in, tokens out.
//!
//! Tokens come from three places: the model, one row of logits each; the form,
//! where it leaves one continuation; and guesses, which the model confirms
//! several at a time. Which place a token came from never changes which token
//! it is: what the model would choose at a position is a function of the tokens
//! before it, and a guess counts only where it is that choice.

use std::ops::Range;
use std::time::Instant;

use anyhow::{Context, Result};

use super::recording::Followed;
use super::reply::Reply;
use crate::chat::{Origin, Prompt};
use crate::decode::{Drafter, Form, Sampler, Session, Switches};
use crate::llama::Tokenizer;
use crate::llm::{Completion, End, LlmError, Request, Stats};

/// Why a recording cannot be followed under a form.
const NO_FORM: &str = "a recorded reply is none that the form of replies allows: --no-grammar \
                       replays it as it is";

/// What a completion is made with.
pub(super) struct Means<'a> {
    pub session: &'a mut Session,
    pub tokenizer: &'a Tokenizer,
    pub switches: Switches,
    /// The form to keep to, if any.
    pub form: Option<Form>,
    /// The recorded reply whose tokens are chosen, if any.
    pub followed: Option<Followed>,
}

/// A completion in the making.
pub(super) struct Decoding<'a> {
    means: Means<'a>,
    request: &'a Request<'a>,
    sampler: Sampler<'a>,
    drafter: Drafter,
    reply: Reply<'a>,
    /// The prompt, then the reply so far.
    ids: Vec<u32>,
    /// Where the last guess is, and how many of its tokens were right.
    guess: Range<usize>,
    right: usize,
    stats: Stats,
    start: Instant,
}

impl<'a> Decoding<'a> {
    pub(super) fn new(means: Means<'a>, prompt: Vec<u32>, request: &'a Request<'a>) -> Self {
        let observation = observation(means.tokenizer, request.prompt);
        Self {
            sampler: Sampler::new(request.sampling),
            drafter: Drafter::new(observation, means.switches.draft),
            reply: Reply::new(means.tokenizer, request.form),
            guess: 0..0,
            right: 0,
            stats: Stats { prompt: prompt.len(), ..Stats::default() },
            start: Instant::now(),
            ids: prompt,
            means,
            request,
        }
    }

    /// Decodes until the reply ends.
    pub(super) fn run(mut self, watch: &mut dyn FnMut(&str)) -> Result<Completion, LlmError> {
        let passes = self.means.session.passes();
        let end = self.decode(watch);
        // What was guessed past the end was never said.
        self.means.session.keep(self.ids.len());
        let (end, reply) = (end?, self.reply.finish(watch));
        self.stats.produced = reply.ids.as_ref().map_or(0, Vec::len);
        self.stats.passes = self.means.session.passes() - passes;
        self.stats.decode = self.start.elapsed().saturating_sub(self.stats.prefill);
        Ok(Completion { reply, end, stats: self.stats })
    }

    fn decode(&mut self, watch: &mut dyn FnMut(&str)) -> Result<End> {
        loop {
            if self.reply.len() == self.request.max_new_tokens {
                return Ok(End::Length);
            }
            let id = match self.forced() {
                Some(id) => id,
                None => match self.chosen()? {
                    Some(id) => id,
                    None => return Ok(End::Cancelled),
                },
            };
            // The end of the sequence, or a mark that only the frame writes.
            if self.means.tokenizer.is_control(id) {
                return Ok(End::Turn);
            }
            self.push(id, watch)?;
            if let Some(end) = self.reply.end() {
                return Ok(end);
            }
        }
    }

    /// The next token if the form leaves no choice and that may be used.
    fn forced(&mut self) -> Option<u32> {
        let form = self.means.form.as_mut().filter(|_| self.means.switches.force)?;
        let id = form.forced()?;
        self.stats.forced += 1;
        Some(id)
    }

    /// The token that the model chooses; None if it was told to stop.
    fn chosen(&mut self) -> Result<Option<u32>> {
        let position = self.ids.len();
        if !self.means.session.has_row(position) && !self.pass()? {
            return Ok(None);
        }
        let allowed = self.means.form.as_mut().map(Form::allowed).transpose()?;
        let choice = self.sampler.choice(allowed.as_ref(), position);
        let id = self.means.session.choose(position, &choice)?;
        Ok(Some(match &mut self.means.followed {
            Some(recorded) => recorded.choice(self.means.tokenizer)?,
            None => id,
        }))
    }

    /// Processes what is new, and a guess at what follows.
    fn pass(&mut self) -> Result<bool> {
        self.drafter.learn(self.guess.len(), std::mem::take(&mut self.right));
        let mut guess = self.drafter.guess(&self.ids);
        // The last token of all needs no row after it.
        let room = self.request.max_new_tokens - self.reply.len();
        guess.truncate(room.saturating_sub(1));
        if let Some(form) = &mut self.means.form {
            form.cut(&mut guess)?;
        }
        let filled = self.means.session.fill(&self.ids, &guess, self.request.cancel)?;
        let Some(kept) = filled else { return Ok(false) };
        if self.stats.prefill.is_zero() {
            self.stats.reused = kept.min(self.stats.prompt);
            self.stats.prefill = self.start.elapsed();
        }
        self.stats.drafted += guess.len();
        self.guess = self.ids.len()..self.ids.len() + guess.len();
        Ok(true)
    }

    /// Appends a token to the reply.
    fn push(&mut self, id: u32, watch: &mut dyn FnMut(&str)) -> Result<()> {
        let position = self.ids.len();
        if let Some(recorded) = &mut self.means.followed {
            recorded.note(self.means.tokenizer, id)?;
        }
        if self.means.session.settle(position, id) && self.guess.contains(&position) {
            self.right += 1;
            self.stats.accepted += 1;
        }
        if let Some(form) = &mut self.means.form {
            let pushed = form.push(id);
            match self.means.followed {
                Some(_) => pushed.context(NO_FORM)?,
                None => pushed?,
            }
        }
        self.ids.push(id);
        if self.reply.push(id, watch) {
            self.sampler.said(self.means.tokenizer, id);
        }
        Ok(())
    }
}

/// The tokens of what a tool said last.
fn observation(tokenizer: &Tokenizer, prompt: &Prompt) -> Vec<u32> {
    let said = prompt.segments.iter().rev().find(|segment| segment.origin == Origin::Tool);
    said.map_or_else(Vec::new, |segment| tokenizer.encode(&segment.text, false, false))
}
