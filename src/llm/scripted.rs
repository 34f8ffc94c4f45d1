//! Replayed replies: an `Llm` that answers from a list, for conversations
//! whose replies are written down beside their questions.

use std::collections::VecDeque;

use super::{Completion, End, Llm, LlmError, Request, Stats};
use crate::chat::{Cancel, Origin, Prompt, Segment};

/// Answers from a list of replies, in order. Each is cut where a model's own
/// reply would have been, so that a script cannot show what no model can do.
#[derive(Debug)]
pub struct Scripted {
    replies: VecDeque<String>,
    served: usize,
    context: usize,
}

impl Scripted {
    /// Replies in the order in which they will be asked for. Tokens are
    /// counted as bytes, and `context` of them fit.
    pub fn new(replies: impl IntoIterator<Item = String>, context: usize) -> Self {
        Self { replies: replies.into_iter().collect(), served: 0, context }
    }

    /// Replies that nobody asked for yet.
    pub fn left(&self) -> usize {
        self.replies.len()
    }
}

impl Llm for Scripted {
    fn complete(
        &mut self,
        request: &Request,
        watch: &mut dyn FnMut(&str),
    ) -> Result<Completion, LlmError> {
        let prompt = self.count(request.prompt)?;
        self.served += 1;
        let mut text = self.replies.pop_front().ok_or(LlmError::ScriptEnded(self.served))?;
        let (length, end) = match request.form.end(&text) {
            Some((length, closed)) => (length, if closed { End::Closed } else { End::Turn }),
            None => (text.len(), End::Turn),
        };
        text.truncate(length);
        watch(&text);
        let stats = Stats { prompt, produced: text.len(), ..Stats::default() };
        Ok(Completion { reply: Segment::new(Origin::Model, text), end, stats })
    }

    fn prepare(&mut self, _prompt: &Prompt, _cancel: &Cancel) -> Result<(), LlmError> {
        Ok(())
    }

    fn count(&self, prompt: &Prompt) -> Result<usize, LlmError> {
        Ok(prompt.segments.iter().map(|segment| segment.text.len()).sum())
    }

    fn context(&self) -> usize {
        self.context
    }
}
