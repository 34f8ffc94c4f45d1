//! The first layers on a GPU that has not the memory for all.

use anyhow::Result;

use super::Cuda;
use super::kernels::MOST_COLUMNS;
use crate::chat::Cancel;
use crate::llama::{CacheRows, CacheType, Forward, Front, Gguf, Want};

/// The first layers of a model on a GPU. The output matrix is not there.
pub struct First(Cuda);

impl First {
    /// Loads fewer layers of a model than it has; otherwise as `Cuda::open`.
    ///
    /// # Errors
    /// As for that.
    pub fn open(
        gguf: &Gguf,
        context: Option<usize>,
        cache: Option<CacheType>,
        layers: usize,
        ordinal: usize,
        tell: &mut dyn FnMut(usize),
    ) -> Result<Self> {
        Ok(Self(Cuda::part(gguf, (context, cache), layers, ordinal, tell)?))
    }

    /// The GPU's name.
    pub fn device(&self) -> &str {
        self.0.device()
    }

    /// The hidden states after a pass, which lie where the embeddings were.
    fn piece(&mut self, tokens: &[u32], cancel: &Cancel) -> Result<Option<Vec<f32>>> {
        let cuda = &mut self.0;
        if cuda.forward(tokens, Want::Nothing, cancel)?.is_none() {
            return Ok(None);
        }
        let mut rows = vec![0.0; tokens.len() * cuda.config.dim];
        cuda.device.read(&mut rows, cuda.at.hidden)?;
        Ok(Some(rows))
    }
}

impl Front for First {
    fn hidden(&mut self, tokens: &[u32], cancel: &Cancel) -> Result<Option<Vec<f32>>> {
        let length = self.0.length;
        let mut hidden = Vec::with_capacity(tokens.len() * self.0.config.dim);
        for piece in tokens.chunks(MOST_COLUMNS) {
            match self.piece(piece, cancel) {
                Ok(Some(rows)) => hidden.extend(rows),
                other => {
                    self.0.length = length;
                    return other;
                }
            }
        }
        Ok(Some(hidden))
    }

    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    fn fingerprint(&self) -> Option<String> {
        Forward::fingerprint(&self.0)
    }

    fn export(&self, len: usize) -> Result<CacheRows> {
        Forward::export(&self.0, len)
    }

    fn import(&mut self, rows: &CacheRows) -> Result<()> {
        Forward::import(&mut self.0, rows)
    }
}
