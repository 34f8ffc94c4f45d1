//! The keys and values of the tokens processed so far.

mod kind;
mod panels;

use std::borrow::Cow;
use std::ops::Range;

use candle_core::Result;
use rayon::prelude::*;

use super::CacheRows;
use super::lanes::{Panel, WIDTH};
use panels::{Panels, Side};

pub use kind::CacheType;

/// Tokens there is room for at first: a short conversation costs a small model
/// little.
const FIRST: usize = 1024;

/// Keys and values of every layer, with room for `capacity` tokens, which
/// doubles as needed. They lie as attention reads them: of each key-value head
/// the keys with `WIDTH` tokens side by side, `(capacity / WIDTH, head_dim)`
/// panels, and the values with `WIDTH` dimensions side by side, `(parts,
/// capacity)` panels, where `parts` of them hold a head.
pub struct Cache {
    layers: Vec<(Panels, Panels)>,
    kind: CacheType,
    length: usize,
    capacity: usize,
    context: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl Cache {
    /// An empty cache for up to `context` tokens of `kv_heads` heads of
    /// `head_dim` values.
    pub fn new(
        layers: usize,
        (kv_heads, head_dim): (usize, usize),
        context: usize,
        kind: CacheType,
    ) -> Self {
        let capacity = context.min(FIRST).next_multiple_of(WIDTH);
        let mut cache =
            Self { layers: Vec::new(), kind, length: 0, capacity, context, kv_heads, head_dim };
        cache.layers = (0..layers).map(|_| cache.room()).collect();
        cache
    }

    /// The keys and values of a layer: zeros.
    fn room(&self) -> (Panels, Panels) {
        let (keys, values) = (self.head_of_keys(), self.parts() * self.capacity);
        (
            Panels::new(self.kind, self.keys_side(), self.kv_heads * keys),
            Panels::new(self.kind, Side::Dimensions, self.kv_heads * values),
        )
    }

    /// How keys and values are kept.
    pub fn kind(&self) -> CacheType {
        self.kind
    }

    /// Bytes of all there is room for, and of one token.
    pub fn held_bytes(&self) -> (usize, usize) {
        let heads = self.layers.len() * self.kv_heads;
        let held = self.panel_bytes(self.head_of_keys(), self.parts() * self.capacity);
        (held, heads * 2 * self.kind.bytes(self.head_dim))
    }

    /// Bytes of all layers and heads, each with so many panels of keys and values.
    fn panel_bytes(&self, keys: usize, values: usize) -> usize {
        let head =
            self.keys_side().bytes(self.kind, keys) + Side::Dimensions.bytes(self.kind, values);
        self.layers.len() * self.kv_heads * head
    }

    /// How keys lie.
    fn keys_side(&self) -> Side {
        Side::Tokens { head_dim: self.head_dim }
    }

    /// Key-value heads, and the values of each.
    pub fn shape(&self) -> (usize, usize) {
        (self.kv_heads, self.head_dim)
    }

    /// Panels of a head's keys.
    fn head_of_keys(&self) -> usize {
        self.capacity / WIDTH * self.head_dim
    }

    /// Panels that a head's values at one token take.
    fn parts(&self) -> usize {
        self.head_dim.div_ceil(WIDTH)
    }

    /// Makes room for `more` tokens past the current length.
    ///
    /// # Errors
    /// They do not fit the context.
    pub fn reserve(&mut self, more: usize) -> Result<()> {
        let needed = self.length.saturating_add(more);
        if needed <= self.capacity && needed <= self.context {
            return Ok(());
        }
        if needed > self.context {
            candle_core::bail!("{needed} tokens do not fit the context of {}", self.context);
        }
        let before = self.held(self.length);
        self.capacity = needed.next_power_of_two().min(self.context).next_multiple_of(WIDTH);
        let after = self.held(self.length);
        for i in 0..self.layers.len() {
            let (mut keys, mut values) = self.room();
            let (old_keys, old_values) = &self.layers[i];
            keys.copy(&after.0, old_keys, &before.0);
            values.copy(&after.1, old_values, &before.1);
            self.layers[i] = (keys, values);
        }
        Ok(())
    }

    /// Where the first `length` tokens are: panels of keys, and of values.
    fn held(&self, length: usize) -> (Vec<Range<usize>>, Vec<Range<usize>>) {
        let (head, used) = (self.head_of_keys(), length.div_ceil(WIDTH) * self.head_dim);
        let keys = (0..self.kv_heads).map(|i| i * head..i * head + used).collect();
        let parts = 0..self.kv_heads * self.parts();
        let values = parts.map(|i| i * self.capacity..i * self.capacity + length).collect();
        (keys, values)
    }

    /// Writes the keys and values of new tokens, `(kv_heads, n, head_dim)`,
    /// behind the current length. They count only after `advance`: until then
    /// they may be overwritten.
    pub fn append(&mut self, layer: usize, keys: &[f32], values: &[f32]) {
        let (head_dim, length, capacity) = (self.head_dim, self.length, self.capacity);
        let (head, parts) = (self.head_of_keys(), self.parts());
        let n = keys.len() / (self.kv_heads * head_dim);
        let (all_keys, all_values) = &mut self.layers[layer];
        let rows = keys.chunks_exact(head_dim).zip(values.chunks_exact(head_dim));
        for (row, (keys, values)) in rows.enumerate() {
            let (i, at) = (row / n, length + row % n);
            let blocks = keys.chunks(WIDTH).zip(values.chunks(WIDTH));
            for (part, (keys, values)) in blocks.enumerate() {
                let panel = i * head + at / WIDTH * head_dim + part * WIDTH;
                all_keys.put(panel, at % WIDTH, keys);
                all_values.put((i * parts + part) * capacity + at, 0, values);
            }
        }
    }

    /// A head's keys of the first `length` tokens, and a few more.
    pub fn keys(&self, layer: usize, head: usize, length: usize) -> Cow<'_, [Panel]> {
        let start = head * self.head_of_keys();
        self.layers[layer].0.get(start..start + length.div_ceil(WIDTH) * self.head_dim)
    }

    /// A part of a head's values of the first `length` tokens.
    pub fn values(
        &self,
        layer: usize,
        head: usize,
        part: usize,
        length: usize,
    ) -> Cow<'_, [Panel]> {
        let start = (head * self.parts() + part) * self.capacity;
        self.layers[layer].1.get(start..start + length)
    }

    /// A copy of the first `length` tokens: for every layer the panels of keys
    /// and then those of values, little-endian.
    ///
    /// # Errors
    /// The cache holds fewer.
    pub fn export(&self, length: usize) -> Result<CacheRows> {
        if length > self.length {
            candle_core::bail!("{length} tokens of a cache that holds {}", self.length);
        }
        let (keys, values) = self.held(length);
        let mut bytes = Vec::with_capacity(self.bytes(length));
        for (all_keys, all_values) in &self.layers {
            // What is past the last token is whatever was there before.
            all_keys.write(&keys, length % WIDTH, &mut bytes);
            all_values.write(&values, 0, &mut bytes);
        }
        Ok(CacheRows { tokens: length, bytes })
    }

    /// Holds exactly the tokens that were exported by a cache of this shape.
    ///
    /// # Errors
    /// They are of another shape, or do not fit the context.
    pub fn import(&mut self, rows: &CacheRows) -> Result<()> {
        if rows.tokens > self.context || rows.bytes.len() != self.bytes(rows.tokens) {
            candle_core::bail!("{} bytes are not {} tokens", rows.bytes.len(), rows.tokens);
        }
        self.length = 0;
        self.reserve(rows.tokens)?;
        let (keys, values) = self.held(rows.tokens);
        let part = (rows.bytes.len() / self.layers.len()).max(1);
        self.layers.par_iter_mut().zip(rows.bytes.par_chunks(part)).for_each(
            |((all_keys, all_values), bytes)| {
                let rest = all_keys.read(&keys, bytes);
                all_values.read(&values, rest);
            },
        );
        self.length = rows.tokens;
        Ok(())
    }

    /// Bytes of an export.
    fn bytes(&self, tokens: usize) -> usize {
        self.panel_bytes(tokens.div_ceil(WIDTH) * self.head_dim, self.parts() * tokens)
    }

    /// Keeps `more` tokens that were appended to every layer.
    pub fn advance(&mut self, more: usize) {
        self.length += more;
    }

    /// Forgets everything past the first `length` tokens.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// Tokens that count.
    pub fn len(&self) -> usize {
        self.length
    }
}
