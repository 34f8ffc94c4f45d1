//! How much memory the engine holds.

use super::{Forward, LlamaConfig, Memory, Portable};

impl Portable {
    pub(super) fn held(&self) -> Memory {
        let LlamaConfig { dim, ffn, heads, kv_heads, head_dim, .. } = self.config;
        let layer = |layer: &super::Layer| {
            let matrices = [&layer.qkv, &layer.attention_output, &layer.gate_up, &layer.down];
            let norms = 2 * dim * size_of::<f32>();
            matrices.map(super::Linear::bytes).iter().sum::<usize>() + norms
        };
        let layers: usize = self.layers.iter().map(layer).sum();
        let norm = dim * size_of::<f32>();
        let read = layers + self.end.as_ref().map_or(0, |end| end.output.bytes() + norm);
        let embedding = self.embedding.as_ref().map_or(0, |rows| rows.storage_size_in_bytes());
        let (cache, token) = self.cache.held_bytes();
        // Hidden states, twice, with what a layer makes of them at its widest.
        let attention = (heads + 2 * kv_heads) * head_dim + heads * head_dim;
        let row = 2 * dim + attention.max(3 * ffn);
        Memory {
            weights: (read + embedding) as u64,
            read: read as u64,
            cache: cache as u64,
            token: token as u64,
            buffers: (self.chunk() * row * size_of::<f32>()) as u64,
            elsewhere: 0,
        }
    }
}
