//! The model: a Llama read from a GGUF file, and the engines that run it.

mod cache;
pub mod config;
pub mod error;
pub mod gguf;
mod linear;
mod ops;
pub mod portable;
mod q8;
pub mod tokenizer;

pub use config::LlamaConfig;
pub use error::ModelError;
pub use gguf::Gguf;
pub use portable::Portable;
pub use tokenizer::Tokenizer;

use anyhow::Result;

use crate::chat::Cancel;

/// What a forward pass should return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Nothing: fill the cache.
    Nothing,
    /// The logits after the last token: one row.
    Last,
    /// The logits after each of the last so many tokens: a row each.
    Tail(usize),
    /// The logits after every token: a row each.
    All,
}

impl Want {
    /// How many rows that is of a pass over `tokens` tokens.
    pub fn rows(self, tokens: usize) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Last => 1.min(tokens),
            Self::Tail(rows) => rows.min(tokens),
            Self::All => tokens,
        }
    }
}

/// One model, several engines behind it.
pub trait Forward: Send {
    /// Appends `tokens` to the cache and returns logits, f32, row-major
    /// `(rows, vocab)`, with as many rows as `want` asks for. None if `cancel`
    /// was set meanwhile: the cache is then as it was.
    ///
    /// # Errors
    /// Tokens that do not fit the context or are not in the vocabulary, and
    /// whatever the engine may run into. The cache is as it was.
    fn forward(&mut self, tokens: &[u32], want: Want, cancel: &Cancel) -> Result<Option<Vec<f32>>>;

    /// Forgets everything past the first `len` tokens.
    fn truncate(&mut self, len: usize);

    /// Tokens in the cache.
    fn len(&self) -> usize;

    /// Nothing is in the cache.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens the cache can hold.
    fn context(&self) -> usize;

    /// Logits in a row.
    fn vocab(&self) -> usize;

    /// Tokens to process at a time: as many as make a pass efficient while a
    /// wish to stop is still noticed well within a second. Depends on the model
    /// alone, so that the same prompt is always processed in the same pieces.
    fn chunk(&self) -> usize;
}
