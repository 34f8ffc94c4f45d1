//! Passes: tokens in, logits out, or ids.

use std::ops::Range;

use anyhow::{Context, Result, ensure};
use candle_core::{Device as Host, Tensor};

use super::kernels::{MOST_COLUMNS, NARROW, WIDE_FROM, Width};
use super::memory::{STATE, layer_cache, row};
use super::{Cuda, Needs};
use crate::chat::Cancel;
use crate::llama::{CacheRows, Choice, Forward, LlamaConfig, Memory, NO_ROW, Rows, Want};

/// Places of a pass's activations that the last rows' logits are taken from are
/// multiples of this.
const TILE: usize = 8;

/// How many of `left` tokens the next pass takes. What a wide pass would do for few
/// is quicker by 16.
fn pass_of(left: usize) -> usize {
    if left >= WIDE_FROM { left.min(MOST_COLUMNS) } else { left.min(NARROW) }
}

/// Where in the logits' buffer the last `rows` of `tokens` new tokens are after the
/// passes, if all of them are.
fn kept(tokens: usize, rows: usize) -> Option<Range<usize>> {
    let mut last = tokens;
    while last > pass_of(last) {
        last -= pass_of(last);
    }
    let skipped = last.checked_sub(rows)? % TILE;
    (rows > 0 && skipped + rows <= NARROW).then_some(skipped..skipped + rows)
}

impl Cuda {
    /// Passes over all tokens; returns the logits after the last `rows`, or nothing
    /// if `read` is false: those that `kept` tells are in the buffer then.
    fn passes(
        &mut self,
        tokens: &[u32],
        rows: usize,
        read: bool,
        cancel: &Cancel,
    ) -> Result<Option<Vec<f32>>> {
        let (n, vocab) = (tokens.len(), self.config.vocab);
        if let Some(id) = tokens.iter().find(|&&id| id as usize >= vocab) {
            anyhow::bail!("the token {id} is outside the vocabulary of {vocab}");
        }
        let (needed, context) = (self.length + n, self.config.context);
        ensure!(needed <= context, "{needed} tokens do not fit the context of {context}");
        self.device.bind()?;
        self.kept = 0..0;
        let first = n - rows;
        let mut logits = Vec::new();
        let mut start = 0;
        while start < n {
            if cancel.is_set() {
                return Ok(None);
            }
            let end = start + pass_of(n - start);
            let rows = end.saturating_sub(first.max(start));
            logits.extend(self.pass(&tokens[start..end], self.length + start, rows, read)?);
            start = end;
        }
        self.device.synchronize(self.device.stream)?;
        self.length = needed;
        Ok(Some(logits))
    }

    /// One pass at `start`; returns the logits after the last `rows` tokens, if they
    /// are to be read.
    fn pass(&mut self, tokens: &[u32], start: usize, rows: usize, read: bool) -> Result<Vec<f32>> {
        let n = tokens.len();
        let hidden = self.embeddings(tokens)?;
        self.device.synchronize(self.device.stream)?;
        let input = &mut self.input.bytes()[STATE..];
        for (to, from) in input.chunks_exact_mut(4).zip(&hidden) {
            to.copy_from_slice(&from.to_le_bytes());
        }
        let mut first = (n - rows) / TILE * TILE;
        self.state(start, n, first, STATE + hidden.len() * size_of::<f32>())?;
        self.device.run(&self.layers[Width::of(n) as usize])?;
        if !read && rows > 0 {
            self.device.run(&self.logits[Width::of(n - first) as usize])?;
            return Ok(Vec::new());
        }
        let vocab = self.config.vocab;
        let mut result = vec![0.0; rows * vocab];
        let mut unread = &mut result[..];
        while !unread.is_empty() {
            let columns = (n - first).min(NARROW);
            self.device.run(&self.logits[Width::of(columns) as usize])?;
            // Rows before those asked for share a tile with them.
            let skipped = first + columns - (n - unread.len() / vocab);
            let (here, rest) = unread.split_at_mut(skipped * vocab);
            let from = ((columns - skipped) * vocab * size_of::<f32>()) as u64;
            self.device.read(here, self.at.logits + from)?;
            unread = rest;
            first += columns;
            if !unread.is_empty() {
                self.state(start, n, first, STATE)?;
            }
        }
        Ok(result)
    }

    /// Tells the kernels how many tokens are cached and new, and which are the first
    /// that logits are asked of; uploads this many bytes of the input with it.
    fn state(&mut self, length: usize, columns: usize, first: usize, bytes: usize) -> Result<()> {
        let words = [length, columns, first].map(|value| (value as u32).to_le_bytes());
        self.input.bytes()[..12].copy_from_slice(words.as_flattened());
        self.device.upload(self.at.state, &self.input, bytes, self.device.stream)
    }

    fn embeddings(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        let ids = Tensor::new(tokens, &Host::Cpu)?;
        Ok(self.embedding.embedding(&ids)?.flatten_all()?.to_vec1()?)
    }

    /// Where each layer's and head's cached rows begin, and the bytes of one of them:
    /// keys before values, quants before scales.
    fn cached(&self) -> Vec<(u64, usize)> {
        let LlamaConfig { layers, kv_heads, context, .. } = self.config;
        let layer = layer_cache(&self.config, self.cache);
        let mut places = Vec::new();
        for at in [self.at.keys, self.at.values] {
            for i in 0..layers {
                let mut at = at + (i * layer) as u64;
                for row in row(&self.config, self.cache) {
                    for _ in 0..kv_heads {
                        places.push((at, row));
                        at += (context * row) as u64;
                    }
                }
            }
        }
        places
    }
}

impl Forward for Cuda {
    fn forward(&mut self, tokens: &[u32], want: Want, cancel: &Cancel) -> Result<Option<Vec<f32>>> {
        ensure!(!tokens.is_empty() || want == Want::Nothing, "logits of no tokens");
        self.passes(tokens, want.rows(tokens.len()), true, cancel)
    }

    /// Rows of several passes, or more than a buffer holds, leave it.
    fn process(&mut self, tokens: &[u32], want: Want, cancel: &Cancel) -> Result<Option<Rows>> {
        let rows = want.rows(tokens.len());
        let Some(kept) = kept(tokens.len(), rows) else {
            return Ok(self.forward(tokens, want, cancel)?.map(Rows::Here));
        };
        let processed = self.passes(tokens, rows, false, cancel)?;
        self.kept = kept;
        Ok(processed.map(|_| Rows::There))
    }

    fn choose(&mut self, rows: &Rows, row: usize, choice: &Choice) -> Result<u32> {
        if let Some(row) = rows.row(row, self.config.vocab) {
            return Ok(choice.of(row)?);
        }
        let row = self.kept.clone().nth(row).context(NO_ROW)?;
        self.choose_from(row, choice)
    }

    fn truncate(&mut self, len: usize) {
        self.length = self.length.min(len);
    }

    fn len(&self) -> usize {
        self.length
    }

    fn context(&self) -> usize {
        self.config.context
    }

    fn vocab(&self) -> usize {
        self.config.vocab
    }

    fn chunk(&self) -> usize {
        MOST_COLUMNS
    }

    fn memory(&self) -> Option<Memory> {
        let Needs { weights, cache, buffers } = self.needs;
        let [weights, cache, buffers] = [weights, cache, buffers].map(|bytes| bytes as u64);
        let token = cache / self.config.context as u64;
        // The embedding is not there.
        let elsewhere = self.elsewhere().unwrap_or_default();
        Some(Memory { weights, read: weights, cache, token, buffers, elsewhere })
    }

    fn copy_rate(&mut self) -> Result<Option<f64>> {
        self.device.bind()?;
        Ok(Some(self.device.copy_rate()?))
    }

    fn fingerprint(&self) -> Option<String> {
        self.fingerprint.clone()
    }

    fn export(&self, len: usize) -> Result<CacheRows> {
        ensure!(len <= self.length, "{len} of {} tokens cannot be exported", self.length);
        self.device.bind()?;
        let places = self.cached();
        let mut bytes = vec![0u8; len * places.iter().map(|(_, row)| row).sum::<usize>()];
        let mut unread = &mut bytes[..];
        for (at, row) in places.into_iter().filter(|_| len > 0) {
            let (here, rest) = unread.split_at_mut(len * row);
            self.device.read(here, at)?;
            unread = rest;
        }
        Ok(CacheRows { tokens: len, bytes })
    }

    fn import(&mut self, rows: &CacheRows) -> Result<()> {
        self.device.bind()?;
        let (places, n) = (self.cached(), rows.tokens);
        let token: usize = places.iter().map(|(_, row)| row).sum();
        let fits = n <= self.config.context && rows.bytes.len() == n * token;
        ensure!(fits, "{n} exported tokens do not fit this cache");
        // A pass that was cancelled may still be under way.
        self.device.synchronize(self.device.stream)?;
        self.length = 0;
        let mut unwritten = &rows.bytes[..];
        for (at, row) in places.into_iter().filter(|_| n > 0) {
            let (here, rest) = unwritten.split_at(n * row);
            self.device.write(at, here)?;
            unwritten = rest;
        }
        self.length = n;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stay_where_one_pass_left_all_of_them() {
        assert_eq!(kept(1, 1), Some(0..1));
        assert_eq!(kept(9, 1), Some(0..1));
        assert_eq!(kept(16, 9), Some(7..16));
        assert_eq!(kept(16, 16), Some(0..16));
        // Of 20 tokens the last pass takes 4, of 520 it takes 8.
        assert_eq!((kept(20, 4), kept(20, 5)), (Some(0..4), None));
        assert_eq!((kept(520, 8), kept(520, 9)), (Some(0..8), None));
        // A wide pass leaves what two tiles hold.
        assert_eq!((kept(300, 9), kept(300, 14)), (Some(3..12), None));
        assert_eq!((kept(0, 0), kept(40, 0), kept(300, 17)), (None, None, None));
    }
}
