//! How much device memory a model takes, before any of it is taken.

use super::kernels::{MOST_COLUMNS, NARROW, SPLIT};
use super::layout::COLUMNS;
use crate::llama::LlamaConfig;

/// Bytes of a half-precision number, of a float.
const HALF: usize = 2;
const FLOAT: usize = 4;

/// The state of a pass lies before the hidden states, which stay aligned.
pub(super) const STATE: usize = 256;

/// Bytes that an engine takes on the device. The driver's own context, some
/// 0.5 GiB, comes on top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Matrices and norms.
    pub weights: usize,
    /// Keys and values in f16.
    pub cache: usize,
    /// Activations, pieces of attention, logits and rotations.
    pub buffers: usize,
}

impl Needs {
    /// For a model whose weights take this much.
    pub fn new(config: &LlamaConfig, weights: usize) -> Self {
        Self { weights, cache: 2 * cache(config), buffers: Sizes::new(config).all().iter().sum() }
    }

    /// All of it.
    pub fn total(&self) -> usize {
        self.weights + self.cache + self.buffers
    }

    /// # Errors
    /// It does not fit `free` bytes: one sentence with the numbers and the
    /// context that would fit.
    pub fn check(&self, config: &LlamaConfig, free: usize) -> Result<(), String> {
        if self.total() <= free {
            return Ok(());
        }
        let fits = |context: usize| {
            Self::new(&LlamaConfig { context, ..config.clone() }, self.weights).total() <= free
        };
        // The largest that fits, by halving.
        let (mut low, mut high) = (0, config.context);
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            if fits(middle) { low = middle } else { high = middle }
        }
        let advice = match low {
            0..SPLIT => "use --device cpu or a smaller model".to_string(),
            context => format!("--context {context} would fit"),
        };
        Err(format!(
            "the model needs {} GiB of device memory ({} of weights, {} of cache for {} tokens, {} \
             of buffers) and {} GiB are free: {advice}",
            gib(self.total()),
            gib(self.weights),
            gib(self.cache),
            config.context,
            gib(self.buffers),
            gib(free)
        ))
    }
}

fn gib(bytes: usize) -> String {
    format!("{:.1}", bytes as f64 / (1u64 << 30) as f64)
}

/// Bytes of the keys of all layers; the values take as many.
pub(super) fn cache(config: &LlamaConfig) -> usize {
    config.layers * layer_cache(config)
}

/// Bytes of one layer's keys `(kv heads, context, head dim)`.
pub(super) fn layer_cache(config: &LlamaConfig) -> usize {
    config.kv_heads * config.context * config.head_dim * HALF
}

/// Pieces that attention splits the whole context into.
pub(super) fn pieces(config: &LlamaConfig) -> usize {
    config.context.div_ceil(SPLIT)
}

/// Bytes of each buffer of a pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) input: usize,
    pub(super) squares: usize,
    pub(super) model: usize,
    pub(super) mixed: usize,
    pub(super) inner: usize,
    pub(super) queries: usize,
    pub(super) sums: usize,
    pub(super) tops: usize,
    pub(super) turns: usize,
    pub(super) logits: usize,
}

impl Sizes {
    pub(super) fn new(config: &LlamaConfig) -> Self {
        let heads = config.heads * config.head_dim;
        let rows = NARROW * config.heads * pieces(config);
        Self {
            input: STATE + MOST_COLUMNS * config.dim * FLOAT,
            squares: MOST_COLUMNS * config.dim.div_ceil(32) * FLOAT,
            model: activations(config.dim),
            mixed: activations(heads),
            inner: activations(config.ffn),
            queries: MOST_COLUMNS * heads * HALF,
            sums: rows * config.head_dim * FLOAT,
            tops: rows * 2 * FLOAT,
            turns: config.context * config.rope.dims * FLOAT,
            logits: NARROW * config.vocab * FLOAT,
        }
    }

    fn all(&self) -> Vec<usize> {
        let Self { input, squares, model, mixed, inner, queries, sums, tops, turns, logits } =
            *self;
        vec![input, squares, model, mixed, inner, queries, sums, tops, turns, logits]
    }
}

/// Halves of all columns.
fn activations(elements: usize) -> usize {
    MOST_COLUMNS * elements.next_multiple_of(COLUMNS) * HALF
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llama::config::Rope;

    fn llama_70b(context: usize) -> LlamaConfig {
        LlamaConfig {
            layers: 80,
            dim: 8192,
            heads: 64,
            kv_heads: 8,
            head_dim: 128,
            ffn: 28672,
            vocab: 32000,
            context,
            norm_eps: 1e-5,
            rope: Rope { dims: 128, base: 10_000.0, scale: 1.0, factors: false },
            tied: false,
        }
    }

    /// Weights of all matrices but the embedding, at this many bits.
    fn weights(config: &LlamaConfig, bits: f64) -> usize {
        let layer = config.dim * (2 * config.dim + 2 * config.kv_heads * config.head_dim)
            + 3 * config.dim * config.ffn;
        ((config.layers * layer + config.vocab * config.dim) as f64 * bits / 8.0) as usize
    }

    #[test]
    fn a_70b_model_in_4_bits_takes_less_than_38_gib() {
        let config = llama_70b(4096);
        let needs = Needs::new(&config, weights(&config, 4.5));
        assert_eq!(needs.cache, 80 * 2 * 8 * 4096 * 128 * 2);
        assert!(needs.total() < 38 << 30, "{needs:?}");
        assert!(needs.check(&config, needs.total()).is_ok());
    }

    #[test]
    fn what_does_not_fit_is_told_what_would() {
        let config = llama_70b(100_000);
        let weights = weights(&config, 4.5);
        let why = Needs::new(&config, weights).check(&config, 48 << 30).unwrap_err();
        let fitting = why.split("--context ").nth(1).and_then(|rest| rest.split(' ').next());
        let context: usize = fitting.unwrap().parse().unwrap();
        let with = |context| Needs::new(&llama_70b(context), weights).total();
        assert!(with(context) <= 48 << 30 && with(context + 1) > 48 << 30, "{why}");
        let why = Needs::new(&config, weights).check(&config, 8 << 30).unwrap_err();
        assert!(why.contains("--device cpu"), "{why}");
    }
}
