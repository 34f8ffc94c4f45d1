//! The weights of one transformer block.

use candle_core::Tensor;

use crate::llama::config::LlamaConfig;
use crate::llama::error::ModelError;
use crate::llama::linear::{Linear, Loader};

pub(super) struct Layer {
    pub(super) attention_norm: Tensor,
    /// Queries, keys and values side by side.
    pub(super) qkv: Linear,
    pub(super) attention_output: Linear,
    pub(super) ffn_norm: Tensor,
    /// Gate and value side by side.
    pub(super) gate_up: Linear,
    pub(super) down: Linear,
}

impl Layer {
    /// Layer `i` of a file.
    pub(super) fn load(load: &Loader, config: &LlamaConfig, i: usize) -> Result<Self, ModelError> {
        let (dim, ffn) = (config.dim, config.ffn);
        let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let linear = |parts: &[(&str, usize)], columns: usize| {
            let parts = parts
                .iter()
                .map(|(name, rows)| (format!("blk.{i}.{name}.weight"), *rows))
                .collect::<Vec<_>>();
            load.linear(&parts, columns)
        };
        Ok(Self {
            attention_norm: load.vector(&format!("blk.{i}.attn_norm.weight"), dim)?,
            qkv: linear(&[("attn_q", q), ("attn_k", kv), ("attn_v", kv)], dim)?,
            attention_output: linear(&[("attn_output", dim)], q)?,
            ffn_norm: load.vector(&format!("blk.{i}.ffn_norm.weight"), dim)?,
            gate_up: linear(&[("ffn_gate", ffn), ("ffn_up", ffn)], dim)?,
            down: linear(&[("ffn_down", dim)], ffn)?,
        })
    }
}
