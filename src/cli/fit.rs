//! Does a model fit this machine's memory, and how fast could it be?

use half::f16;

use crate::hub::Known;
use crate::llama::{LlamaConfig, convert};

/// What the engine needs besides weights and cache: the program, the
/// vocabulary and its grammar, activations of a prompt's chunk, and the f32
/// copy of a model so small that it is kept in f32.
const ROOM: u64 = 768 << 20;

/// Weights that take more than this are not kept in f32 (`llama::portable`).
const FLOAT: u64 = 512 << 20;

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
}

impl From<&LlamaConfig> for Shape {
    fn from(config: &LlamaConfig) -> Self {
        let LlamaConfig { layers, kv_heads, head_dim, context, .. } = *config;
        Self { layers, kv_heads, head_dim, context }
    }
}

impl From<&convert::Config> for Shape {
    fn from(config: &convert::Config) -> Self {
        let convert::Config { layers, kv_heads, head_dim, context, .. } = *config;
        Self { layers, kv_heads, head_dim, context }
    }
}

impl From<&Known> for Shape {
    fn from(known: &Known) -> Self {
        let Known { layers, kv_heads, head_dim, context, .. } = *known;
        Self { layers, kv_heads, head_dim, context }
    }
}

/// Whether a model fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// With all of the context that was asked for.
    Whole,
    /// With a smaller context of so many tokens.
    With(usize),
    No,
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
        let value = if weights > FLOAT { size_of::<f16>() } else { size_of::<f32>() };
        let token = [shape.layers, 2, shape.kv_heads, shape.head_dim, value];
        let cache = token.iter().fold(tokens as u64, |all, n| all.saturating_mul(*n as u64));
        // The cache grows by doubling: the last time, the half that is full
        // still exists beside the new one.
        Self { weights, cache, room: ROOM.saturating_add(cache / 2) }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights.saturating_add(self.cache).saturating_add(self.room)
    }
}

/// Whether a model of `weights` bytes runs in `memory` bytes, if need be with
/// half of its context, a quarter, and so on.
pub fn fit(weights: u64, shape: Shape, context: Option<usize>, memory: u64) -> Fit {
    let fits = |context| Need::of(weights, shape, context).total() <= memory;
    if fits(context) {
        return Fit::Whole;
    }
    let wanted = context.map_or(shape.context, |context| context.min(shape.context));
    let mut smaller = wanted / 2;
    while smaller >= LEAST {
        if fits(Some(smaller)) {
            return Fit::With(smaller);
        }
        smaller /= 2;
    }
    Fit::No
}

/// Tokens a second at most, one at a time: every weight is read from memory
/// for each token, so no engine is faster than memory is.
pub fn tokens_a_second(bandwidth: f64, weights: u64) -> f64 {
    bandwidth / weights.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const LLAMA_2_7B: Shape = Shape { layers: 32, kv_heads: 32, head_dim: 128, context: 4096 };
    const GIB: u64 = 1 << 30;

    #[test]
    fn a_cache_is_as_large_as_the_engine_makes_it() {
        // 32 layers x 2 x 32 heads x 128 values x 4 bytes: 1 MiB a token.
        assert_eq!(Need::of(GIB, LLAMA_2_7B, None).cache, 2 * GIB);
        let need = Need::of(0, LLAMA_2_7B, None);
        assert_eq!((need.cache, need.room), (4 * GIB, ROOM + 2 * GIB));
        assert_eq!(Need::of(0, LLAMA_2_7B, Some(1024)).cache, GIB);
        // More than the model was made for is not used.
        assert_eq!(Need::of(0, LLAMA_2_7B, Some(100_000)), need);
    }

    #[test]
    fn a_smaller_context_is_offered_where_it_helps() {
        let fit = |gib| fit(4 * GIB, LLAMA_2_7B, None, gib * GIB);
        assert_eq!(fit(8), Fit::Whole);
        assert_eq!(fit(7), Fit::With(2048));
        assert_eq!(fit(6), Fit::With(1024));
        assert_eq!(fit(5), Fit::No);
        assert_eq!(super::fit(u64::MAX, LLAMA_2_7B, None, u64::MAX - 1), Fit::No);
    }

    #[test]
    fn speed_is_what_memory_allows() {
        assert_eq!(tokens_a_second(20e9, 4_000_000_000), 5.0);
    }
}
