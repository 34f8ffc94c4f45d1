//! The first layers of a model on the CPU, for others to go on from.

use anyhow::Result;

use super::Portable;
use crate::chat::Cancel;
use crate::llama::{CacheRows, Front};

impl Front for Portable {
    fn hidden(&mut self, tokens: &[u32], cancel: &Cancel) -> Result<Option<Vec<f32>>> {
        rayon::scope(|_| {
            let x = self.embed(tokens)?;
            let x = self.run(x, tokens.len(), cancel)?;
            Ok(x.map(|x| x.flatten_all()?.to_vec1()).transpose()?)
        })
    }

    fn truncate(&mut self, len: usize) {
        self.cache.truncate(len);
    }

    fn fingerprint(&self) -> Option<String> {
        Some(self.described())
    }

    fn export(&self, len: usize) -> Result<CacheRows> {
        Ok(self.cache.export(len)?)
    }

    fn import(&mut self, rows: &CacheRows) -> Result<()> {
        Ok(self.cache.import(rows)?)
    }
}
