//! The launches that write the cache and read it.

use super::{Launch, Plan, Structure, count};
use crate::llama::cuda::kernels::{JOINERS, MOST_COLUMNS, SPLIT, WIDE_COLUMNS, Width};
use crate::llama::cuda::layout::COLUMNS;
use crate::llama::cuda::memory::{layer_cache, pieces};
use crate::llama::{CacheType, LlamaConfig};

impl Plan<'_> {
    /// The layer's part of the cache.
    pub(super) fn cache(&self, layer: usize) -> (u64, u64) {
        let offset = (layer * layer_cache(self.config, self.cache)) as u64;
        (self.at.keys + offset, self.at.values + offset)
    }

    /// New keys and values `(kv heads, MOST_COLUMNS, head dim)` in f16.
    pub(super) fn fresh(&self) -> (u64, u64) {
        let keys = self.config.kv_heads * MOST_COLUMNS * self.config.head_dim * 2;
        (self.at.fresh, self.at.fresh + keys as u64)
    }

    /// Quantizes the new keys and values into a cache in q8_0.
    pub(super) fn quantize(&self, layer: usize) -> Option<Launch> {
        let (fresh, cache) = (self.fresh(), self.cache(layer));
        let LlamaConfig { kv_heads, head_dim, context, .. } = *self.config;
        let arguments = Structure::default()
            .pointers([fresh.0, fresh.1, cache.0])
            .pointer(cache.1)
            .pointer(self.at.state)
            .int(kv_heads)
            .int(context)
            .int(MOST_COLUMNS)
            .words();
        (self.cache == CacheType::Q8_0).then(|| Launch {
            kernel: "quantize_cache".into(),
            grid: (count(kv_heads), count(self.width.columns())),
            shares: false,
            threads: count(2 * head_dim),
            shared: 0,
            arguments: vec![arguments],
        })
    }

    pub(super) fn attention(&self, layer: usize) -> Vec<Launch> {
        let (keys, values) = self.cache(layer);
        let LlamaConfig { heads, kv_heads, head_dim, context, .. } = *self.config;
        let pieces = pieces(self.config);
        let attention = Structure::default()
            .pointers([self.at.queries, keys, values])
            .pointers([self.at.sums, self.at.tops, self.at.state])
            .int(heads)
            .int(kv_heads)
            .int(context)
            .int(pieces)
            .float(1.0 / (head_dim as f32).sqrt())
            .words();
        let x = Structure::default().pointer(self.at.mixed).words();
        let chunks = Structure::default().int((heads * head_dim).div_ceil(COLUMNS)).words();
        let kind = if self.cache == CacheType::Q8_0 { "_q8_0" } else { "" };
        // Keys and values in f16, rows padded against bank conflicts.
        let shared = count(2 * SPLIT * (head_dim + 8) * 2);
        if self.width == Width::Wide {
            return vec![Launch {
                kernel: format!("attend_wide_{head_dim}{kind}"),
                grid: (count(self.width.columns() / WIDE_COLUMNS.1), count(heads)),
                shares: false,
                threads: 128,
                shared,
                arguments: vec![attention, x, chunks],
            }];
        }
        let attend = Launch {
            kernel: format!("attend_{head_dim}{kind}"),
            grid: (count(pieces), count(kv_heads)),
            shares: false,
            threads: 128,
            shared,
            arguments: vec![attention.clone()],
        };
        let join = Launch {
            kernel: format!("join_{head_dim}"),
            grid: (count(heads), count(self.width.columns())),
            shares: false,
            threads: count(head_dim * JOINERS),
            shared: 0,
            arguments: vec![attention, x, chunks],
        };
        vec![attend, join]
    }
}
