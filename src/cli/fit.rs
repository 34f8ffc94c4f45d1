//! Does a model fit this machine's memory, and how fast could it be?

use crate::hub::Known;
use crate::llama::{CacheType, LlamaConfig, convert};

/// What the engine needs besides weights and cache: the program, the
/// vocabulary and its grammar, activations of a prompt's chunk, and the f32
/// copy of a model so small that it is kept in f32.
const ROOM: u64 = 768 << 20;

/// Weights that take more than this are not kept in f32 (`llama::portable`).
const FLOAT: u64 = 512 << 20;

/// What the GPU engine takes besides weights and cache for 4,096 tokens of
/// Llama-2-70B, rounded up: `llama::cuda::Needs` has the exact sum of a file.
const GPU_ROOM: u64 = 64 << 20;

/// The least context that is worth running: the system message and a turn.
const LEAST: usize = 1024;

/// What decides how large a model's cache is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub layers: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    /// Tokens the model was made for.
    pub context: usize,
    /// How keys and values are kept; None is what the engine takes by itself.
    pub cache: Option<CacheType>,
}

impl Shape {
    /// The same, with keys and values kept as asked for.
    pub fn kept(self, cache: Option<CacheType>) -> Self {
        Self { cache, ..self }
    }
}

impl From<&LlamaConfig> for Shape {
    fn from(config: &LlamaConfig) -> Self {
        let LlamaConfig { layers, kv_heads, head_dim, context, .. } = *config;
        Self { layers, kv_heads, head_dim, context, cache: None }
    }
}

impl From<&convert::Config> for Shape {
    fn from(config: &convert::Config) -> Self {
        let convert::Config { layers, kv_heads, head_dim, context, .. } = *config;
        Self { layers, kv_heads, head_dim, context, cache: None }
    }
}

impl From<&Known> for Shape {
    fn from(known: &Known) -> Self {
        let Known { layers, kv_heads, head_dim, context, .. } = *known;
        Self { layers, kv_heads, head_dim, context, cache: None }
    }
}

/// Whether a model fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// With all of the context that was asked for.
    Whole,
    /// With a smaller context of so many tokens.
    With(usize),
    /// With keys and values in q8_0; or else with so many tokens, if any.
    Narrow(Option<usize>),
    No,
}

impl Fit {
    /// `fits`, ` the GPU` say after it, and with which context or type of the
    /// cache; None where it does not.
    pub fn said(self, place: &str) -> Option<String> {
        match self {
            Self::Whole => Some(format!("fits{place}")),
            Self::With(tokens) => Some(format!("fits{place} with --context {tokens}")),
            Self::Narrow(None) => Some(format!("fits{place} with --cache-type q8_0")),
            Self::Narrow(Some(tokens)) => {
                Some(format!("fits{place} with --context {tokens} or --cache-type q8_0"))
            }
            Self::No => None,
        }
    }
}

/// Bytes of memory that a model needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// All of its tensors, as they are in the file.
    pub weights: u64,
    /// The keys and values of a full context.
    pub cache: u64,
    /// Everything else, at most.
    pub room: u64,
}

impl Need {
    /// What a model of `weights` bytes needs for `context` tokens, or for as
    /// many as it was made for.
    pub fn of(weights: u64, shape: Shape, context: Option<usize>) -> Self {
        let tokens = context.map_or(shape.context, |context| context.min(shape.context));
        // Keys and values in every layer: f16, but f32 for models so small that
        // they are kept in f32, which takes at least as much as their file.
        let own = if weights > FLOAT { CacheType::F16 } else { CacheType::F32 };
        let head = shape.cache.unwrap_or(own).bytes(shape.head_dim);
        let token = [shape.layers, 2, shape.kv_heads, head];
        let cache = token.iter().fold(tokens as u64, |all, n| all.saturating_mul(*n as u64));
        // The cache grows by doubling: the last time, the half that is full
        // still exists beside the new one.
        Self { weights, cache, room: ROOM.saturating_add(cache / 2) }
    }

    /// The same on a GPU, where the cache is f16 if nothing else is asked for, and
    /// never moves.
    pub fn on_gpu(weights: u64, shape: Shape, context: Option<usize>) -> Self {
        let cache = Self::of(u64::MAX, shape, context).cache;
        Self { weights, cache, room: GPU_ROOM }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights.saturating_add(self.cache).saturating_add(self.room)
    }
}

/// Whether a model of `weights` bytes runs in `memory` bytes, if need be with
/// half of its context, a quarter, and so on, or with its cache in q8_0.
pub fn fit(weights: u64, shape: Shape, context: Option<usize>, memory: u64) -> Fit {
    let wanted = context.map_or(shape.context, |context| context.min(shape.context));
    halving(wanted, shape.cache, |context, cache| {
        Need::of(weights, shape.kept(cache), Some(context)).total() <= memory
    })
}

/// The same for the memory that is free on a GPU.
pub fn fit_gpu(weights: u64, shape: Shape, context: Option<usize>, free: u64) -> Fit {
    let wanted = context.map_or(shape.context, |context| context.min(shape.context));
    halving(wanted, shape.cache, |context, cache| {
        Need::on_gpu(weights, shape.kept(cache), Some(context)).total() <= free
    })
}

/// Whether so many tokens fit, or else half of them, a quarter, and so on, in a
/// cache of the type that is asked for; or all of them in q8_0.
pub fn halving(
    wanted: usize,
    cache: Option<CacheType>,
    fits: impl Fn(usize, Option<CacheType>) -> bool,
) -> Fit {
    if fits(wanted, cache) {
        return Fit::Whole;
    }
    let smaller = std::iter::successors(Some(wanted / 2), |tokens| Some(tokens / 2));
    let mut smaller = smaller.take_while(|tokens| *tokens >= LEAST);
    let smaller = smaller.find(|tokens| fits(*tokens, cache));
    match fits(wanted, Some(CacheType::Q8_0)) {
        true => Fit::Narrow(smaller),
        false => smaller.map_or(Fit::No, Fit::With),
    }
}

/// Tokens a second at most, one at a time: every weight is read from memory
/// for each token, so no engine is faster than memory is.
pub fn tokens_a_second(bandwidth: f64, weights: u64) -> f64 {
    bandwidth / weights.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const LLAMA_2_7B: Shape =
        Shape { layers: 32, kv_heads: 32, head_dim: 128, context: 4096, cache: None };
    const GIB: u64 = 1 << 30;

    #[test]
    fn a_cache_is_as_large_as_the_engine_makes_it() {
        // 32 layers x 2 x 32 heads x 128 values x 4 bytes: 1 MiB a token.
        assert_eq!(Need::of(GIB, LLAMA_2_7B, None).cache, 2 * GIB);
        let need = Need::of(0, LLAMA_2_7B, None);
        assert_eq!((need.cache, need.room), (4 * GIB, ROOM + 2 * GIB));
        assert_eq!(Need::of(0, LLAMA_2_7B, Some(1024)).cache, GIB);
        // In 8 bits 17/32 of f16, whatever the model.
        let narrow = LLAMA_2_7B.kept(Some(CacheType::Q8_0));
        assert_eq!(Need::of(GIB, narrow, None).cache, 2 * GIB / 32 * 17);
        assert_eq!(Need::of(0, narrow, None).cache, Need::on_gpu(0, narrow, None).cache);
        // More than the model was made for is not used.
        assert_eq!(Need::of(0, LLAMA_2_7B, Some(100_000)), need);
    }

    #[test]
    fn a_smaller_context_is_offered_where_it_helps() {
        let fit = |gib| fit(4 * GIB, LLAMA_2_7B, None, gib * GIB);
        assert_eq!(fit(8), Fit::Whole);
        assert_eq!(fit(7), Fit::Narrow(Some(2048)));
        assert_eq!(fit(6), Fit::With(1024));
        assert_eq!(fit(5), Fit::No);
        let fit = |cache| super::fit(4 * GIB, LLAMA_2_7B.kept(Some(cache)), None, 7 * GIB);
        assert_eq!(fit(CacheType::F32), Fit::Narrow(Some(1024)));
        assert_eq!(fit(CacheType::Q8_0), Fit::Whole);
        assert_eq!(super::fit(u64::MAX, LLAMA_2_7B, None, u64::MAX - 1), Fit::No);
    }

    #[test]
    fn a_gpu_has_a_cache_in_half_precision_that_does_not_grow() {
        let need = Need::on_gpu(GIB, LLAMA_2_7B, None);
        assert_eq!((need.cache, need.room), (2 * GIB, GPU_ROOM));
        let fit = |gib| fit_gpu(4 * GIB, LLAMA_2_7B, None, gib * GIB);
        let narrow = Fit::Narrow(Some(2048));
        assert_eq!([7, 6, 5, 4].map(fit), [Fit::Whole, narrow, Fit::With(1024), Fit::No]);
        let said = |fit: Fit| fit.said(" the GPU").unwrap_or_default();
        assert_eq!(said(fit(6)), "fits the GPU with --context 2048 or --cache-type q8_0");
        assert_eq!(said(fit(5)), "fits the GPU with --context 1024");
        assert_eq!(said(Fit::Narrow(None)), "fits the GPU with --cache-type q8_0");
    }

    #[test]
    fn speed_is_what_memory_allows() {
        assert_eq!(tokens_a_second(20e9, 4_000_000_000), 5.0);
    }
}
