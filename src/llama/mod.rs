//! The model: a Llama read from a GGUF file, and the engines that run it.

mod attention;
mod blocks;
mod cache;
pub mod choice;
pub mod config;
pub mod convert;
pub mod cuda;
pub mod error;
pub mod gguf;
mod lanes;
mod linear;
mod matrix;
mod ops;
pub mod portable;
pub mod split;
pub mod synthetic;
pub mod threads;
pub mod tokenizer;

pub use cache::CacheType;
pub use choice::{Choice, Draw};
pub use config::LlamaConfig;
pub use error::ModelError;
pub use gguf::{Gguf, Header};
pub use portable::Portable;
pub use split::{Front, Split};
pub use tokenizer::Tokenizer;

use anyhow::{Context, Result, bail};

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

/// The rows of logits of a pass, wherever they were computed.
#[derive(Clone, Debug, PartialEq)]
pub enum Rows {
    /// f32, row-major `(rows, vocab)`.
    Here(Vec<f32>),
    /// In the engine, until its next pass.
    There,
}

impl Rows {
    /// A row of so many logits, if it is here.
    pub fn row(&self, row: usize, vocab: usize) -> Option<&[f32]> {
        match self {
            Self::Here(rows) => rows.get(row * vocab..(row + 1) * vocab),
            Self::There => None,
        }
    }
}

/// Why nothing can be chosen from a row.
const NO_ROW: &str = "the engine has no such row of logits";

/// What a cache holds of its first tokens, in the engine's own form: importing
/// it leaves the cache as if the engine had processed the tokens itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheRows {
    pub tokens: usize,
    pub bytes: Vec<u8>,
}

/// Bytes that an engine holds in its device's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub weights: u64,
    /// Of the weights, those that every pass reads: an embedding is looked up.
    pub read: u64,
    /// Keys and values of as many tokens as there is room for now.
    pub cache: u64,
    /// Keys and values of one token.
    pub token: u64,
    /// Everything else that a pass needs.
    pub buffers: u64,
    /// What is taken besides, where that is known: on a GPU, by the driver for
    /// each program that uses it, and by other programs.
    pub elsewhere: u64,
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

    /// As `forward`, for rows that tokens are only chosen from: where the
    /// engine's logits are not in the machine's own memory, they may stay.
    ///
    /// # Errors
    /// As for `forward`.
    fn process(&mut self, tokens: &[u32], want: Want, cancel: &Cancel) -> Result<Option<Rows>> {
        Ok(self.forward(tokens, want, cancel)?.map(Rows::Here))
    }

    /// The id that is chosen from row `row` of what `process` returned last. One
    /// row at a time and after the pass, so that the form, the words said and a
    /// wrong guess are known: a pass that chose itself would need masks made
    /// ahead for every guess, most of them in vain.
    ///
    /// # Errors
    /// The choice's, there is no such row, or whatever the engine may run into.
    fn choose(&mut self, rows: &Rows, row: usize, choice: &Choice) -> Result<u32> {
        Ok(choice.of(rows.row(row, self.vocab()).context(NO_ROW)?)?)
    }

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

    /// What it holds, where that is known.
    fn memory(&self) -> Option<Memory> {
        None
    }

    /// Bytes a second that copying within the device's memory reads and writes
    /// together, measured now; None where that is the machine's own memory.
    ///
    /// # Errors
    /// The device's.
    fn copy_rate(&mut self) -> Result<Option<f64>> {
        Ok(None)
    }

    /// All that decides what the cache holds besides the tokens: the model,
    /// the engine and its version, the type of its cache, the processor. None
    /// if the cache cannot be exported.
    fn fingerprint(&self) -> Option<String> {
        None
    }

    /// A copy of the cache's first `len` tokens.
    ///
    /// # Errors
    /// The cache holds fewer, or cannot be exported.
    fn export(&self, _len: usize) -> Result<CacheRows> {
        bail!("this engine's cache cannot be exported")
    }

    /// Makes the cache hold exactly what was exported by an engine of the same
    /// fingerprint.
    ///
    /// # Errors
    /// The rows are of another shape or do not fit the context. The cache is
    /// as it was, or empty.
    fn import(&mut self, _rows: &CacheRows) -> Result<()> {
        bail!("this engine's cache cannot be imported")
    }
}
