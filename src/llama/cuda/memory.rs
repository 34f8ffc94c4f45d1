//! How much device memory a model takes, before any of it is taken.

use super::choose;
use super::kernels::{MOST_COLUMNS, NARROW, SPLIT};
use super::layout::COLUMNS;
use crate::llama::LlamaConfig;

/// Bytes of a half-precision number, of a float.
const HALF: usize = 2;
const FLOAT: usize = 4;

/// The state of a pass lies before the hidden states, which stay aligned.
pub(super) const STATE: usize = 256;

/// Bytes of a model's weights as they are kept on the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// Of each layer.
    pub(super) layers: Vec<usize>,
    /// Of the last norm and the output matrix.
    pub(super) output: usize,
}

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
    /// For the first `layers` layers of a model; all of them have the output
    /// matrix with them.
    pub(super) fn new(config: &LlamaConfig, stored: &Stored, layers: usize) -> Self {
        let layers = layers.min(stored.layers.len());
        let output = if layers == stored.layers.len() { stored.output } else { 0 };
        Self {
            weights: stored.layers[..layers].iter().sum::<usize>() + output,
            cache: 2 * layers * layer_cache(config),
            buffers: Sizes::new(config).all().iter().sum(),
        }
    }

    /// All of it.
    pub fn total(&self) -> usize {
        self.weights + self.cache + self.buffers
    }

    /// What the first `layers` layers need.
    ///
    /// # Errors
    /// It does not fit `free` bytes: one sentence with the numbers, and the
    /// context and the number of layers that would fit.
    pub(super) fn within(
        config: &LlamaConfig,
        stored: &Stored,
        layers: usize,
        free: usize,
    ) -> Result<Self, String> {
        let needs = Self::new(config, stored, layers);
        if needs.total() <= free {
            return Ok(needs);
        }
        let context = most(config.context, |context| {
            let config = LlamaConfig { context, ..config.clone() };
            Self::new(&config, stored, layers).total() <= free
        });
        let fewer = most(layers, |layers| Self::new(config, stored, layers).total() <= free);
        let mut would = Vec::new();
        if context >= SPLIT {
            would.push(format!("--context {context}"));
        }
        if fewer > 0 {
            would.push(format!("--gpu-layers {fewer}"));
        }
        let advice = match would.is_empty() {
            true => "use --device cpu or a smaller model".into(),
            false => format!("{} would fit", would.join(" or ")),
        };
        let what = match layers < stored.layers.len() {
            true => format!("the model's first {layers} layers need"),
            false => "the model needs".into(),
        };
        Err(format!(
            "{what} {} GiB of GPU memory ({} of weights, {} of cache for {} tokens, {} of buffers) \
             and {} GiB are free: {advice}",
            gib(needs.total()),
            gib(needs.weights),
            gib(needs.cache),
            config.context,
            gib(needs.buffers),
            gib(free)
        ))
    }
}

/// The largest number below `end` that fits, where 0 does; by halving.
fn most(end: usize, fits: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, end);
    while low + 1 < high {
        let middle = low + (high - low) / 2;
        if fits(middle) { low = middle } else { high = middle }
    }
    low
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
    pub(super) ask: usize,
    pub(super) weighed: usize,
    pub(super) answer: usize,
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
            ask: choose::question(config.vocab),
            // A row, and a word of weight for each of its logits.
            weighed: 2 * config.vocab * FLOAT,
            answer: size_of::<i32>(),
        }
    }

    fn all(&self) -> Vec<usize> {
        let Self { input, squares, model, mixed, inner, queries, sums, tops, turns, .. } = *self;
        let Self { logits, ask, weighed, answer, .. } = *self;
        vec![
            input, squares, model, mixed, inner, queries, sums, tops, turns, logits, ask, weighed,
            answer,
        ]
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
    fn stored(config: &LlamaConfig, bits: f64) -> Stored {
        let layer = config.dim * (2 * config.dim + 2 * config.kv_heads * config.head_dim)
            + 3 * config.dim * config.ffn;
        let bytes = |weights: usize| (weights as f64 * bits / 8.0) as usize;
        Stored {
            layers: vec![bytes(layer); config.layers],
            output: bytes(config.vocab * config.dim),
        }
    }

    #[test]
    fn a_70b_model_in_4_bits_takes_less_than_38_gib() {
        let config = llama_70b(4096);
        let stored = stored(&config, 4.5);
        let needs = Needs::new(&config, &stored, 80);
        assert_eq!(needs.cache, 80 * 2 * 8 * 4096 * 128 * 2);
        assert!(needs.total() < 38 << 30, "{needs:?}");
        assert_eq!(Needs::within(&config, &stored, 80, needs.total()), Ok(needs));
        // What one layer less saves: it, its cache, and the output matrix.
        let fewer = Needs::new(&config, &stored, 79);
        assert_eq!(needs.weights - fewer.weights, stored.layers[79] + stored.output);
        assert_eq!(fewer.cache, needs.cache / 80 * 79);
    }

    /// The number after an option that is named.
    fn named(why: &str, option: &str) -> Option<usize> {
        why.split(option).nth(1)?.split_whitespace().next()?.parse().ok()
    }

    #[test]
    fn what_does_not_fit_is_told_what_would() {
        let config = llama_70b(100_000);
        let stored = stored(&config, 4.5);
        let free = 48 << 30;
        let why = Needs::within(&config, &stored, 80, free).unwrap_err();
        let with = |context, layers| Needs::new(&llama_70b(context), &stored, layers).total();
        let context = named(&why, "--context ").unwrap();
        assert!(with(context, 80) <= free && with(context + 1, 80) > free, "{why}");
        let layers = named(&why, "--gpu-layers ").unwrap();
        assert!(with(100_000, layers) <= free && with(100_000, layers + 1) > free, "{why}");
        for part in ["36.0 of weights", "30.5 of cache for 100000 tokens", "48.0 GiB are free"] {
            assert!(why.contains(part), "{why}");
        }
        // No context makes the weights fit.
        let why = Needs::within(&llama_70b(4096), &stored, 80, 8 << 30).unwrap_err();
        assert_eq!((named(&why, "--context "), named(&why, "--gpu-layers ")), (None, Some(17)));
        let why = Needs::within(&llama_70b(4096), &stored, 80, 1 << 20).unwrap_err();
        assert!(why.ends_with("use --device cpu or a smaller model"), "{why}");
        let why = Needs::within(&llama_70b(4096), &stored, 20, 8 << 30).unwrap_err();
        assert!(why.starts_with("the model's first 20 layers need 9."), "{why}");
    }
}
