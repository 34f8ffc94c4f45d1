//! Replies that were recorded, followed instead of the model's own choices, so
//! that a conversation can be timed whatever the weights are. The model is still
//! asked for every token that it would be asked for.

use std::collections::VecDeque;

use anyhow::{Result, ensure};

use crate::llama::Tokenizer;
use crate::llm::LlmError;

/// The replies of a conversation, in order.
pub(super) struct Recording {
    replies: Vec<String>,
    /// Completions so far.
    taken: usize,
}

impl Recording {
    pub(super) fn new(replies: Vec<String>) -> Self {
        Self { replies, taken: 0 }
    }

    /// The next reply.
    ///
    /// # Errors
    /// `ScriptEnded` after the last.
    pub(super) fn next(&mut self) -> Result<Followed, LlmError> {
        self.taken += 1;
        match self.replies.get_mut(self.taken - 1) {
            Some(reply) => Ok(Followed::new(std::mem::take(reply))),
            None => Err(LlmError::ScriptEnded(self.taken)),
        }
    }
}

/// A reply that is being followed. Tokens may also come from its form, which
/// can split the same text differently.
pub(super) struct Followed {
    text: String,
    /// Bytes of the text that are said.
    said: usize,
    /// The tokens of the rest, if they are known.
    rest: VecDeque<u32>,
}

impl Followed {
    fn new(text: String) -> Self {
        Self { text, said: 0, rest: VecDeque::new() }
    }

    /// The token that the recording goes on with; the end of the sequence
    /// after its last.
    ///
    /// # Errors
    /// A character was said in part, or the vocabulary has no end.
    pub(super) fn choice(&mut self, tokenizer: &Tokenizer) -> Result<u32> {
        if self.rest.is_empty() {
            let rest = self.text.get(self.said..);
            ensure!(rest.is_some(), "the recording cannot go on in the middle of a character");
            self.rest = tokenizer.encode(rest.unwrap_or_default(), false, false).into();
        }
        let next = self.rest.front().copied().or(tokenizer.eos());
        ensure!(next.is_some(), "the vocabulary has no token that ends a reply");
        Ok(next.unwrap_or_default())
    }

    /// Notes a token of the reply, wherever it came from.
    ///
    /// # Errors
    /// It is not how the recording goes on.
    pub(super) fn note(&mut self, tokenizer: &Tokenizer, id: u32) -> Result<()> {
        let (rest, piece) = (&self.text.as_bytes()[self.said..], tokenizer.piece(id));
        ensure!(
            rest.starts_with(piece),
            "the form of replies goes on with {:?} where the recording has {:?}: --no-grammar \
             replays it as it is",
            tokenizer.name(id),
            String::from_utf8_lossy(&rest[..rest.len().min(24)])
        );
        self.said += piece.len();
        if self.rest.pop_front() != Some(id) {
            self.rest.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llama::cuda::Format;
    use crate::llama::synthetic::{Shape, Synthetic};

    #[test]
    fn a_reply_is_followed_however_its_text_was_split_so_far() {
        let synthetic = Synthetic::new(&Shape::ALL[3], Format::Q8_0, 0).expect("a model");
        let tokenizer = Tokenizer::from_gguf(synthetic.gguf()).expect("a vocabulary");
        let mut recording = Recording::new(vec![" the answer é".into(), "x".into()]);
        let mut reply = recording.next().expect("a reply");
        // A space alone is not how the vocabulary would begin.
        let space = tokenizer.encode(" ", false, false);
        assert_ne!(reply.choice(&tokenizer).expect("a token"), space[0]);
        reply.note(&tokenizer, space[0]).expect("a beginning");
        let mut text = b" ".to_vec();
        loop {
            let id = reply.choice(&tokenizer).expect("a token");
            if Some(id) == tokenizer.eos() {
                break;
            }
            text.extend(tokenizer.piece(id));
            reply.note(&tokenizer, id).expect("the recording");
        }
        assert_eq!(String::from_utf8(text).expect("text"), " the answer é");
        let mut other = recording.next().expect("a reply");
        let error = other.note(&tokenizer, space[0]).expect_err("another text").to_string();
        assert!(error.contains("--no-grammar"), "{error}");
        assert!(matches!(recording.next(), Err(LlmError::ScriptEnded(3))));
    }
}
