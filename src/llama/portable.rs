//! The forward pass on candle's tensor operations.

mod memory;

use std::sync::Arc;

use anyhow::{Result, ensure};
use candle_core::quantized::{QMatMul, QTensor};
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::attention::{Queries, attention};
use super::cache::{Cache, CacheType};
use super::config::{LlamaConfig, Rope};
use super::error::ModelError;
use super::gguf::Gguf;
use super::linear::{Linear, Loader};
use super::matrix::Matrix;
use super::ops::{self, Heads};
use super::{CacheRows, Forward, Memory, Want};
use crate::chat::Cancel;

pub use super::linear::Precision;

/// Models whose weights take no more than this in f32 are kept in f32: they
/// multiply faster, and exactly.
const FLOAT_LIMIT: usize = 512 << 20;

/// Multiplications between two looks at the wish to stop: about half a second
/// on two slow and busy cores (a layer of 7B has 0.2 of these 4 a token).
const LAYER_WORK: usize = 4_000_000_000;

/// A Llama on the CPU.
pub struct Portable {
    config: LlamaConfig,
    embedding: Arc<QTensor>,
    layers: Vec<Layer>,
    norm: Tensor,
    /// Where the embedding is the output matrix too, they share their memory.
    output: Linear,
    /// What each pair's frequency is divided by.
    factors: Option<Vec<f32>>,
    cache: Cache,
    fingerprint: String,
}

struct Layer {
    attention_norm: Tensor,
    /// Queries, keys and values side by side.
    qkv: Linear,
    attention_output: Linear,
    ffn_norm: Tensor,
    /// Gate and value side by side.
    gate_up: Linear,
    down: Linear,
}

impl Portable {
    /// Loads a model. `context` may be less than the file's, to save memory.
    pub fn new(gguf: &Gguf, context: Option<usize>) -> Result<Self, ModelError> {
        let small = gguf.size().1.saturating_mul(size_of::<f32>()) <= FLOAT_LIMIT;
        let precision = if small { Precision::Float } else { Precision::Quantized };
        Self::with_precision(gguf, context, precision)
    }

    /// Loads a model, its weights kept as told.
    pub fn with_precision(
        gguf: &Gguf,
        context: Option<usize>,
        precision: Precision,
    ) -> Result<Self, ModelError> {
        let mut config = LlamaConfig::from_gguf(gguf)?;
        config.context = context.unwrap_or(config.context).clamp(1, config.context);
        let load = Loader { gguf, precision };
        let (dim, ffn, vocab) = (config.dim, config.ffn, config.vocab);
        let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let layer = |i: usize| {
            let linear = |parts: &[(&str, usize)], columns: usize| {
                let parts = parts
                    .iter()
                    .map(|(name, rows)| (format!("blk.{i}.{name}.weight"), *rows))
                    .collect::<Vec<_>>();
                load.linear(&parts, columns)
            };
            Ok(Layer {
                attention_norm: load.vector(&format!("blk.{i}.attn_norm.weight"), dim)?,
                qkv: linear(&[("attn_q", q), ("attn_k", kv), ("attn_v", kv)], dim)?,
                attention_output: linear(&[("attn_output", dim)], q)?,
                ffn_norm: load.vector(&format!("blk.{i}.ffn_norm.weight"), dim)?,
                gate_up: linear(&[("ffn_gate", ffn), ("ffn_up", ffn)], dim)?,
                down: linear(&[("ffn_down", dim)], ffn)?,
            })
        };
        // On all cores: most of the time goes into memory that is touched for
        // the first time. The first error in the order of the layers counts.
        let layers: Vec<Result<Layer, ModelError>> =
            (0..config.layers).into_par_iter().map(layer).collect();
        let layers = layers.into_iter().collect::<Result<Vec<_>, _>>()?;
        let embedding = Arc::new(gguf.tensor("token_embd.weight", &[vocab, dim])?);
        let output = match (config.tied, precision) {
            (false, _) => load.linear(&[("output.weight".into(), vocab)], dim)?,
            (true, Precision::Float) => Linear::Float(Matrix::new(&[&embedding], dim)?),
            (true, Precision::Quantized) => {
                Linear::Quantized(vec![QMatMul::QTensor(embedding.clone())])
            }
        };
        let factors = match config.rope.factors {
            true => Some(load.vector("rope_freqs.weight", config.rope.dims / 2)?.to_vec1()?),
            false => None,
        };
        let norm = load.vector("output_norm.weight", dim)?;
        // Where activations are rounded to 8 bits, 11 are enough for what they become.
        let kind = match precision {
            Precision::Float => CacheType::F32,
            Precision::Quantized => CacheType::F16,
        };
        let heads = (config.kv_heads, config.head_dim);
        let cache = Cache::new(config.layers, heads, config.context, kind);
        let fingerprint = fingerprint(gguf, precision, kind);
        Ok(Self { embedding, layers, norm, output, factors, cache, config, fingerprint })
    }

    /// The model's constants; `context` is the one in force.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    fn pass(&mut self, tokens: &[u32], want: Want, cancel: &Cancel) -> Result<Option<Vec<f32>>> {
        let n = tokens.len();
        if let Some(id) = tokens.iter().find(|&&id| id as usize >= self.config.vocab) {
            anyhow::bail!("the token {id} is outside the vocabulary of {}", self.config.vocab);
        }
        ensure!(n > 0 || want == Want::Nothing, "logits of no tokens");
        if n == 0 {
            return Ok(Some(Vec::new()));
        }
        self.cache.reserve(n)?;
        let ids = Tensor::new(tokens, &Device::Cpu)?;
        let mut x = self.embedding.embedding(&ids)?;
        let wanted = want.rows(n);
        let turn = Turn::new(&self.config.rope, self.factors.as_deref(), self.cache.len(), n)?;
        for i in 0..self.layers.len() {
            if cancel.is_set() {
                return Ok(None);
            }
            let rows = if i + 1 == self.layers.len() { wanted } else { n };
            x = self.block(i, x, rows, &turn)?;
        }
        self.cache.advance(n);
        if wanted == 0 {
            return Ok(Some(Vec::new()));
        }
        let x = ops::rms_norm(&x, &self.norm, self.config.norm_eps)?;
        let logits = self.output.forward(&x)?;
        Ok(Some(logits.flatten_all()?.to_vec1()?))
    }

    /// One transformer block over `x (n, dim)`, the hidden states of the last
    /// `n` tokens; returns those of the last `rows` of them.
    fn block(&mut self, i: usize, x: Tensor, rows: usize, turn: &Turn) -> Result<Tensor> {
        let (layer, config) = (&self.layers[i], &self.config);
        let LlamaConfig { heads, kv_heads, head_dim, norm_eps: eps, .. } = *config;
        let n = x.dim(0)?;
        let qkv = layer.qkv.forward(&ops::rms_norm(&x, &layer.attention_norm, eps)?)?;
        let part = |offset, heads, rotate| {
            let part = Heads { offset: offset * head_dim, heads, head_dim, rotate };
            ops::heads(&qkv, part, &turn.cos, &turn.sin)
        };
        let keys = part(heads, kv_heads, true)?;
        let values = part(heads + kv_heads, kv_heads, false)?;
        ops::with_values(&keys, |keys| {
            ops::with_values(&values, |values| self.cache.append(i, keys, values))
        })??;
        if rows == 0 {
            return Ok(x.narrow(0, 0, 0)?);
        }
        let queries = part(0, heads, true)?;
        let mixed = ops::with_values(&queries, |values| {
            let queries = Queries { values, heads, tokens: n, total: self.cache.len() + n };
            attention(&queries, rows, &self.cache, i)
        })?;
        let mixed = Tensor::from_vec(mixed, (rows, heads * head_dim), &Device::Cpu)?;
        let x = (x.narrow(0, n - rows, rows)? + layer.attention_output.forward(&mixed)?)?;
        let inner = layer.gate_up.forward(&ops::rms_norm(&x, &layer.ffn_norm, eps)?)?;
        Ok((&x + layer.down.forward(&ops::swiglu(&inner)?)?)?)
    }
}

impl Forward for Portable {
    fn forward(&mut self, tokens: &[u32], want: Want, cancel: &Cancel) -> Result<Option<Vec<f32>>> {
        // From inside the pool, its threads share work at once; from outside,
        // every operation would have to wake them first.
        rayon::scope(|_| self.pass(tokens, want, cancel))
    }

    fn truncate(&mut self, len: usize) {
        self.cache.truncate(len);
    }

    fn len(&self) -> usize {
        self.cache.len()
    }

    fn context(&self) -> usize {
        self.config.context
    }

    fn vocab(&self) -> usize {
        self.config.vocab
    }

    fn chunk(&self) -> usize {
        let LlamaConfig { dim, ffn, heads, kv_heads, head_dim, .. } = self.config;
        let layer = dim * head_dim * 2 * (heads + kv_heads) + 3 * dim * ffn;
        (LAYER_WORK / layer.max(1)).clamp(8, 256)
    }

    fn memory(&self) -> Option<Memory> {
        Some(self.held())
    }

    fn fingerprint(&self) -> Option<String> {
        Some(self.fingerprint.clone())
    }

    fn export(&self, len: usize) -> Result<CacheRows> {
        Ok(self.cache.export(len)?)
    }

    fn import(&mut self, rows: &CacheRows) -> Result<()> {
        Ok(self.cache.import(rows)?)
    }
}

/// The sources that decide what the cache holds, so that rows computed by
/// other sources are never taken for these.
const SOURCES: [&str; 9] = [
    include_str!("attention.rs"),
    include_str!("cache.rs"),
    include_str!("cache/panels.rs"),
    include_str!("lanes.rs"),
    include_str!("lanes/vector.rs"),
    include_str!("linear.rs"),
    include_str!("matrix.rs"),
    include_str!("ops.rs"),
    include_str!("portable.rs"),
];

/// All that decides what the cache holds besides the tokens.
fn fingerprint(gguf: &Gguf, precision: Precision, kind: CacheType) -> String {
    // The vector instructions decide the order of additions.
    #[cfg(target_arch = "x86_64")]
    let processor = [
        is_x86_feature_detected!("avx2"),
        is_x86_feature_detected!("fma"),
        is_x86_feature_detected!("avx512f"),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let processor = std::env::consts::ARCH;
    let mut sources = Sha256::new();
    SOURCES.iter().for_each(|source| sources.update(source));
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "portable {version} {:x?}, cache {kind:?}, weights {precision:?}, on {processor:?}, of {:x?}",
        sources.finalize(),
        gguf.identity()
    )
}

/// Cosines and sines of the angles by which positions turn a head's pairs.
struct Turn {
    /// `(n, pairs)`.
    cos: Tensor,
    sin: Tensor,
}

impl Turn {
    /// For `n` tokens from position `start`.
    fn new(rope: &Rope, factors: Option<&[f32]>, start: usize, n: usize) -> Result<Self> {
        let pairs = rope.dims / 2;
        let (cos, sin) = rope.turns(factors, start, n);
        Ok(Self {
            cos: Tensor::from_vec(cos, (n, pairs), &Device::Cpu)?,
            sin: Tensor::from_vec(sin, (n, pairs), &Device::Cpu)?,
        })
    }
}
