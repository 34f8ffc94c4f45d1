//! The forward pass on candle's tensor operations.

mod fingerprint;
mod front;
mod layer;
mod memory;

use std::ops::Range;

use anyhow::{Context, Result, ensure};
use candle_core::quantized::QTensor;
use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::attention::{Queries, attention};
use super::cache::{Cache, CacheType};
use super::config::{LlamaConfig, Rope};
use super::error::ModelError;
use super::gguf::Gguf;
use super::linear::{Linear, Loader};
use super::ops::{self, Heads};
use super::{CacheRows, Forward, Memory, Want};
use crate::chat::Cancel;
use fingerprint::identity;
use layer::Layer;

pub use super::linear::Precision;

/// Multiplications between two looks at the wish to stop: a quarter of a second
/// on two cores (a layer of 7B has 0.2 of these 20 a token).
const LAYER_WORK: usize = 20_000_000_000;

/// A Llama on the CPU, or some of its layers.
pub struct Portable {
    config: LlamaConfig,
    /// Where the first layer is.
    embedding: Option<QTensor>,
    layers: Vec<Layer>,
    /// Where the last layer is.
    end: Option<End>,
    /// What each pair's frequency is divided by.
    factors: Option<Vec<f32>>,
    cache: Cache,
    /// All that decides what the cache holds besides the tokens and its type.
    identity: String,
}

/// From the hidden states after the last layer to logits.
struct End {
    norm: Tensor,
    output: Linear,
}

impl Portable {
    /// Loads a model. `context` may be less than the file's, to save memory.
    pub fn new(gguf: &Gguf, context: Option<usize>) -> Result<Self, ModelError> {
        Self::with_precision(gguf, context, Precision::of(gguf))
    }

    /// Loads a model, its weights kept as told.
    pub fn with_precision(
        gguf: &Gguf,
        context: Option<usize>,
        precision: Precision,
    ) -> Result<Self, ModelError> {
        Self::part(gguf, context, precision, 0..usize::MAX)
    }

    /// Loads those of a model's layers that are in the range, with the embedding
    /// if the first is, and the output matrix if the last is.
    pub fn part(
        gguf: &Gguf,
        context: Option<usize>,
        precision: Precision,
        layers: Range<usize>,
    ) -> Result<Self, ModelError> {
        let mut config = LlamaConfig::from_gguf(gguf)?;
        config.context = context.unwrap_or(config.context).clamp(1, config.context);
        let range = layers.start.min(config.layers)..layers.end.min(config.layers);
        let load = Loader { gguf, precision };
        let (dim, vocab) = (config.dim, config.vocab);
        // On all cores: most of the time goes into memory that is touched for
        // the first time. The first error in the order of the layers counts.
        let layers: Vec<Result<Layer, ModelError>> =
            range.clone().into_par_iter().map(|i| Layer::load(&load, &config, i)).collect();
        let layers = layers.into_iter().collect::<Result<Vec<_>, _>>()?;
        let (first, last) = (range.start == 0, range.end == config.layers);
        let embedding = match first {
            true => Some(gguf.tensor("token_embd.weight", &[vocab, dim])?),
            false => None,
        };
        let output = if config.tied { "token_embd.weight" } else { "output.weight" };
        let output = || load.linear(&[(output.into(), vocab)], dim);
        let end = match last {
            true => Some(End { norm: load.vector("output_norm.weight", dim)?, output: output()? }),
            false => None,
        };
        let factors = match config.rope.factors {
            true => Some(load.vector("rope_freqs.weight", config.rope.dims / 2)?.to_vec1()?),
            false => None,
        };
        // A large model's cache is large too, and 11 bits of a value are enough for it.
        let kind = match precision {
            Precision::Float => CacheType::F32,
            Precision::Stored => CacheType::F16,
        };
        let heads = (config.kv_heads, config.head_dim);
        let cache = Cache::new(layers.len(), heads, config.context, kind);
        let identity = identity(gguf, precision, range);
        Ok(Self { embedding, layers, end, factors, cache, config, identity })
    }

    /// The same, with keys and values kept like this instead. The cache is empty.
    pub fn with_cache(mut self, kind: CacheType) -> Self {
        let heads = (self.config.kv_heads, self.config.head_dim);
        self.cache = Cache::new(self.layers.len(), heads, self.config.context, kind);
        self
    }

    /// The model's constants; `context` is the one in force.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// Goes on from the hidden states `(n, dim)` of `n` new tokens after the
    /// layers before these; otherwise as `forward` does.
    ///
    /// # Errors
    /// As for `forward`.
    pub fn finish(
        &mut self,
        hidden: Vec<f32>,
        want: Want,
        cancel: &Cancel,
    ) -> Result<Option<Vec<f32>>> {
        let n = hidden.len() / self.config.dim;
        let x = Tensor::from_vec(hidden, (n, self.config.dim), &Device::Cpu)?;
        rayon::scope(|_| self.logits(x, want, cancel))
    }

    fn described(&self) -> String {
        format!("{}, cache {}", self.identity, self.cache.kind())
    }

    /// The hidden states that tokens begin with, `(n, dim)`.
    fn embed(&self, tokens: &[u32]) -> Result<Tensor> {
        if let Some(id) = tokens.iter().find(|&&id| id as usize >= self.config.vocab) {
            anyhow::bail!("the token {id} is outside the vocabulary of {}", self.config.vocab);
        }
        let embedding = self.embedding.as_ref().context("the first layers are not here")?;
        Ok(embedding.embedding(&Tensor::new(tokens, &Device::Cpu)?)?)
    }

    /// From the hidden states before these layers to logits.
    fn logits(&mut self, x: Tensor, want: Want, cancel: &Cancel) -> Result<Option<Vec<f32>>> {
        let wanted = want.rows(x.dim(0)?);
        ensure!(wanted == 0 || self.end.is_some(), "the last layers are not here");
        let Some(x) = self.run(x, wanted, cancel)? else { return Ok(None) };
        match &self.end {
            Some(End { norm, output }) if wanted > 0 => {
                let x = ops::rms_norm(&x, norm, self.config.norm_eps)?;
                Ok(Some(output.forward(&x)?.flatten_all()?.to_vec1()?))
            }
            _ => Ok(Some(Vec::new())),
        }
    }

    /// The layers that are here, over `x (n, dim)`; returns the hidden states
    /// of the last `wanted` tokens.
    fn run(&mut self, mut x: Tensor, wanted: usize, cancel: &Cancel) -> Result<Option<Tensor>> {
        let n = x.dim(0)?;
        self.cache.reserve(n)?;
        let turn = Turn::new(&self.config.rope, self.factors.as_deref(), self.cache.len(), n)?;
        for i in 0..self.layers.len() {
            if cancel.is_set() {
                return Ok(None);
            }
            let rows = if i + 1 == self.layers.len() { wanted } else { n };
            x = self.block(i, x, rows, &turn)?;
        }
        self.cache.advance(n);
        Ok(Some(x))
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
        ensure!(!tokens.is_empty() || want == Want::Nothing, "logits of no tokens");
        if tokens.is_empty() {
            return Ok(Some(Vec::new()));
        }
        // From inside the pool, its threads share work at once; from outside,
        // every operation would have to wake them first.
        rayon::scope(|_| {
            let x = self.embed(tokens)?;
            self.logits(x, want, cancel)
        })
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
        Some(self.described())
    }

    fn export(&self, len: usize) -> Result<CacheRows> {
        Ok(self.cache.export(len)?)
    }

    fn import(&mut self, rows: &CacheRows) -> Result<()> {
        Ok(self.cache.import(rows)?)
    }
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
