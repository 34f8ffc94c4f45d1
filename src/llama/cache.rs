//! The keys and values of the tokens processed so far.

use candle_core::{DType, Device, Result, Tensor};

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
