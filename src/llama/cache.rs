//! The keys and values of the tokens processed so far.

use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Result, Storage, Tensor};
use rayon::prelude::*;

use super::CacheRows;
use super::ops::values;

/// Rows reserved at first: a short conversation costs a small model little.
const FIRST: usize = 1024;

/// Keys and values of every layer, `(kv_heads, capacity, head_dim)` in f32.
/// Room is made ahead by doubling, so that appending copies only what is new.
pub struct Cache {
    layers: Vec<(Tensor, Tensor)>,
    length: usize,
    capacity: usize,
    context: usize,
    shape: (usize, usize),
}

impl Cache {
    /// An empty cache for up to `context` tokens.
    pub fn new(layers: usize, kv_heads: usize, head_dim: usize, context: usize) -> Result<Self> {
        let mut cache = Self {
            layers: Vec::new(),
            length: 0,
            capacity: context.min(FIRST),
            context,
            shape: (kv_heads, head_dim),
        };
        for _ in 0..layers {
            cache.layers.push((cache.room()?, cache.room()?));
        }
        Ok(cache)
    }

    fn room(&self) -> Result<Tensor> {
        let (kv_heads, head_dim) = self.shape;
        Tensor::zeros((kv_heads, self.capacity, head_dim), DType::F32, &Device::Cpu)
    }

    /// Makes room for `more` tokens past the current length.
    pub fn reserve(&mut self, more: usize) -> Result<()> {
        let needed = self.length + more;
        if needed <= self.capacity {
            return Ok(());
        }
        if needed > self.context {
            candle_core::bail!("{needed} tokens do not fit the context of {}", self.context);
        }
        let before = self.capacity;
        self.capacity = needed.next_power_of_two().min(self.context);
        let grown = self.grown();
        if grown.is_err() {
            self.capacity = before;
        }
        self.layers = grown?;
        Ok(())
    }

    fn grown(&self) -> Result<Vec<(Tensor, Tensor)>> {
        let grow = |old: &Tensor| -> Result<Tensor> {
            let new = self.room()?;
            if self.length > 0 {
                new.slice_set(&old.narrow(1, 0, self.length)?.contiguous()?, 1, 0)?;
            }
            Ok(new)
        };
        self.layers.iter().map(|(keys, values)| Ok((grow(keys)?, grow(values)?))).collect()
    }

    /// Writes the keys and values of new tokens, `(kv_heads, n, head_dim)`,
    /// behind the current length, and returns those of all tokens up to there.
    /// They count only after `advance`: until then they may be overwritten.
    pub fn append(
        &mut self,
        layer: usize,
        keys: &Tensor,
        values: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let (all_keys, all_values) = &self.layers[layer];
        all_keys.slice_set(keys, 1, self.length)?;
        all_values.slice_set(values, 1, self.length)?;
        let total = self.length + keys.dim(1)?;
        Ok((all_keys.narrow(1, 0, total)?, all_values.narrow(1, 0, total)?))
    }

    /// A copy of the first `length` tokens: for every layer the keys and then
    /// the values, `(kv_heads, length, head_dim)`, f32, little-endian.
    pub fn export(&self, length: usize) -> Result<CacheRows> {
        if length > self.length {
            candle_core::bail!("{length} tokens of a cache that holds {}", self.length);
        }
        let mut bytes = vec![0; self.bytes(length)];
        let (head, room) = (length * self.shape.1, self.capacity * self.shape.1);
        let mut heads = bytes.chunks_exact_mut((head * size_of::<f32>()).max(1));
        for tensor in self.layers.iter().flat_map(|(keys, values)| [keys, values]) {
            let (storage, layout) = tensor.storage_and_layout();
            let Storage::Cpu(storage) = &*storage else {
                candle_core::bail!("the cache is on the CPU");
            };
            for (from, to) in values(storage, layout)?.chunks_exact(room).zip(&mut heads) {
                for (to, from) in to.as_chunks_mut().0.iter_mut().zip(&from[..head]) {
                    *to = from.to_le_bytes();
                }
            }
        }
        Ok(CacheRows { tokens: length, bytes })
    }

    /// Holds exactly the tokens that were exported by a cache of this shape.
    pub fn import(&mut self, rows: &CacheRows) -> Result<()> {
        if rows.tokens > self.context || rows.bytes.len() != self.bytes(rows.tokens) {
            candle_core::bail!("{} bytes are not {} tokens", rows.bytes.len(), rows.tokens);
        }
        self.length = 0;
        self.reserve(rows.tokens)?;
        let (head, room) = (rows.tokens * self.shape.1, self.capacity * self.shape.1);
        let part = (rows.bytes.len() / self.layers.len() / 2).max(1);
        let parts: Vec<_> = rows.bytes.chunks_exact(part).collect();
        self.layers.par_iter().zip(parts.par_chunks(2)).try_for_each(
            |((keys, values), parts)| {
                keys.inplace_op1(&Put { bytes: parts[0], head, room })?;
                values.inplace_op1(&Put { bytes: parts[1], head, room })
            },
        )?;
        self.length = rows.tokens;
        Ok(())
    }

    fn bytes(&self, tokens: usize) -> usize {
        let (kv_heads, head_dim) = self.shape;
        self.layers.len() * 2 * kv_heads * tokens * head_dim * size_of::<f32>()
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

/// Writes exported values to the start of each head.
struct Put<'a> {
    bytes: &'a [u8],
    /// Values of a head, and the room there is for them.
    head: usize,
    room: usize,
}

impl InplaceOp1 for Put<'_> {
    fn name(&self) -> &'static str {
        "put"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (CpuStorage::F32(all), Some((start, end))) = (storage, layout.contiguous_offsets())
        else {
            candle_core::bail!("contiguous f32 is needed");
        };
        let heads = self.bytes.chunks_exact((self.head * size_of::<f32>()).max(1));
        for (to, from) in all[start..end].chunks_exact_mut(self.room).zip(heads) {
            for (to, from) in to.iter_mut().zip(from.as_chunks().0) {
                *to = f32::from_le_bytes(*from);
            }
        }
        Ok(())
    }
}
