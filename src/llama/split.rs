//! A model in two places: its first layers where there is not room for all of
//! them, the rest on the CPU. Hidden states cross once a pass.

use anyhow::{Result, ensure};

use super::{CacheRows, Forward, Portable, Want};
use crate::chat::Cancel;

/// The first layers of a model, with their cache.
pub trait Front: Send {
    /// Appends `tokens` to the cache and returns their hidden states after the
    /// last of these layers, row-major `(tokens, dim)`. None if `cancel` was set
    /// meanwhile: the cache is then as it was.
    ///
    /// # Errors
    /// As for `Forward::forward`. The cache is as it was.
    fn hidden(&mut self, tokens: &[u32], cancel: &Cancel) -> Result<Option<Vec<f32>>>;

    /// As in `Forward`.
    fn truncate(&mut self, len: usize);

    /// As in `Forward`.
    fn fingerprint(&self) -> Option<String>;

    /// As in `Forward`.
    ///
    /// # Errors
    /// As there.
    fn export(&self, len: usize) -> Result<CacheRows>;

    /// As in `Forward`.
    ///
    /// # Errors
    /// As there.
    fn import(&mut self, rows: &CacheRows) -> Result<()>;
}

/// Layers elsewhere, and those behind them on the CPU.
pub struct Split {
    front: Box<dyn Front>,
    back: Portable,
}

impl Split {
    /// Both of the same file and context; `back` has the layers that `front`
    /// has not. Both are empty.
    pub fn new(front: Box<dyn Front>, back: Portable) -> Self {
        Self { front, back }
    }
}

impl Forward for Split {
    fn forward(&mut self, tokens: &[u32], want: Want, cancel: &Cancel) -> Result<Option<Vec<f32>>> {
        ensure!(!tokens.is_empty() || want == Want::Nothing, "logits of no tokens");
        if tokens.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let length = self.back.len();
        let Some(hidden) = self.front.hidden(tokens, cancel)? else { return Ok(None) };
        let result = self.back.finish(hidden, want, cancel);
        if !matches!(result, Ok(Some(_))) {
            self.front.truncate(length);
        }
        result
    }

    fn truncate(&mut self, len: usize) {
        self.front.truncate(len);
        Forward::truncate(&mut self.back, len);
    }

    fn len(&self) -> usize {
        self.back.len()
    }

    fn context(&self) -> usize {
        self.back.context()
    }

    fn vocab(&self) -> usize {
        self.back.vocab()
    }

    fn chunk(&self) -> usize {
        self.back.chunk()
    }

    fn fingerprint(&self) -> Option<String> {
        let (front, back) = (self.front.fingerprint()?, Forward::fingerprint(&self.back)?);
        Some(format!("{front}, then {back}"))
    }

    /// How many bytes the front's are, the front's, the back's.
    fn export(&self, len: usize) -> Result<CacheRows> {
        let (front, back) = (self.front.export(len)?, Forward::export(&self.back, len)?);
        let size = (front.bytes.len() as u64).to_le_bytes();
        Ok(CacheRows { tokens: len, bytes: [&size[..], &front.bytes, &back.bytes].concat() })
    }

    fn import(&mut self, rows: &CacheRows) -> Result<()> {
        let halves = rows.bytes.split_first_chunk().and_then(|(size, rest)| {
            rest.split_at_checked(usize::try_from(u64::from_le_bytes(*size)).ok()?)
        });
        let Some((front, back)) = halves else {
            anyhow::bail!("{} exported tokens are not of a model in two places", rows.tokens)
        };
        let part = |bytes: &[u8]| CacheRows { tokens: rows.tokens, bytes: bytes.to_vec() };
        let imported = self.front.import(&part(front));
        let imported = imported.and_then(|()| Forward::import(&mut self.back, &part(back)));
        if imported.is_err() {
            self.truncate(0);
        }
        imported
    }
}
