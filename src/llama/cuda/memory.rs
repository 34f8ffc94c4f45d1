//! How much device memory a model takes, before any of it is taken.

use super::choose;
use super::kernels::{MOST_COLUMNS, NARROW, RECORD, SPLIT};
use super::layout::COLUMNS;
use crate::llama::{CacheType, LlamaConfig};

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
    /// Keys and values.
    pub cache: usize,
    /// Activations, pieces of attention, logits and rotations.
    pub buffers: usize,
}

impl Needs {
    /// For the first `layers` layers of a model; all of them have the output
    /// matrix with them.
    pub(super) fn new(
        config: &LlamaConfig,
        kind: CacheType,
        stored: &Stored,
        layers: usize,
    ) -> Self {
        let layers = layers.min(stored.layers.len());
        let output = if layers == stored.layers.len() { stored.output } else { 0 };
        Self {
            weights: stored.layers[..layers].iter().sum::<usize>() + output,
            cache: 2 * layers * layer_cache(config, kind),
            buffers: Sizes::new(config, kind).all().iter().sum(),
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
    /// context, the type of the cache and the number of layers that would fit.
    pub(super) fn within(
        config: &LlamaConfig,
        kind: CacheType,
        stored: &Stored,
        layers: usize,
        free: usize,
    ) -> Result<Self, String> {
        let needs = Self::new(config, kind, stored, layers);
        if needs.total() <= free {
            return Ok(needs);
        }
        let context = |kind: CacheType, end: usize| {
            most(end, |context| {
                let config = LlamaConfig { context, ..config.clone() };
                Self::new(&config, kind, stored, layers).total() <= free
            })
        };
        let fewer = most(layers, |layers| Self::new(config, kind, stored, layers).total() <= free);
        let shorter = context(kind, config.context);
        let mut would = Vec::new();
        if shorter >= SPLIT {
            would.push(format!("--context {shorter}"));
        }
        // With all of the context if that is enough, else with more of it.
        let narrow = context(CacheType::Q8_0, config.context + 1);
        if kind != CacheType::Q8_0 && narrow >= SPLIT {
            would.push(match narrow == config.context {
                true => "--cache-type q8_0".into(),
                false => format!("--cache-type q8_0 --context {narrow}"),
            });
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
            "{what} {} GiB of GPU memory ({} of weights, {} of {kind} cache for {} tokens, {} of \
             buffers) and {} GiB are free: {advice}",
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
pub(super) fn cache(config: &LlamaConfig, kind: CacheType) -> usize {
    config.layers * layer_cache(config, kind)
}

/// Bytes of one layer's keys `(kv heads, context, head dim)`; in q8_0 the scales
/// `(kv heads, context, head dim / 32)` are behind the quants. The next layer's
/// are aligned as the kernels read them.
pub(super) fn layer_cache(config: &LlamaConfig, kind: CacheType) -> usize {
    let LlamaConfig { kv_heads, context, head_dim, .. } = *config;
    (kv_heads * context * kind.bytes(head_dim)).next_multiple_of(16)
}

/// Bytes that a token takes of each array of a head's keys.
pub(super) fn row(config: &LlamaConfig, kind: CacheType) -> Vec<usize> {
    let whole = kind.bytes(config.head_dim);
    match kind {
        CacheType::Q8_0 => vec![config.head_dim, whole - config.head_dim],
        _ => vec![whole],
    }
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
    /// New keys, then values, in f16 before they are quantized.
    pub(super) fresh: usize,
    pub(super) sums: usize,
    pub(super) tops: usize,
    pub(super) turns: usize,
    pub(super) logits: usize,
    pub(super) ask: usize,
    pub(super) weighed: usize,
    pub(super) answer: usize,
}

impl Sizes {
    pub(super) fn new(config: &LlamaConfig, kind: CacheType) -> Self {
        let fresh = match kind {
            CacheType::Q8_0 => 2 * MOST_COLUMNS * config.kv_heads * config.head_dim * HALF,
            _ => 0,
        };
        let heads = config.heads * config.head_dim;
        let rows = NARROW * config.heads * pieces(config);
        Self {
            input: STATE + MOST_COLUMNS * config.dim * FLOAT,
            squares: MOST_COLUMNS * config.dim.div_ceil(32) * FLOAT,
            // Logits are of rows that a wide pass leaves in narrow records.
            model: records(MOST_COLUMNS, config.dim),
            mixed: halves(heads).max(records(NARROW, heads)),
            inner: halves(config.ffn).max(records(NARROW, config.ffn)),
            queries: MOST_COLUMNS * heads * HALF,
            fresh,
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
        let Self { input, squares, model, mixed, inner, queries, fresh, .. } = *self;
        let Self { sums, tops, turns, logits, ask, weighed, answer, .. } = *self;
        vec![
            input, squares, model, mixed, inner, queries, fresh, sums, tops, turns, logits, ask,
            weighed, answer,
        ]
    }
}

/// Activations of a wide product.
fn halves(elements: usize) -> usize {
    MOST_COLUMNS * elements.next_multiple_of(COLUMNS) * HALF
}

/// Activations of narrow ones: a record for each 4 columns and 64 elements.
fn records(columns: usize, elements: usize) -> usize {
    columns / 4 * elements.next_multiple_of(COLUMNS) / 64 * RECORD
}

#[cfg(test)]
mod tests;
