//! How much device memory a model takes, before any of it is taken.

use super::kernels::{MOST_COLUMNS, NARROW, SPLIT};
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
            model: activations(config.dim),
            mixed: activations(heads),
            inner: activations(config.ffn),
            queries: MOST_COLUMNS * heads * HALF,
            fresh,
            sums: rows * config.head_dim * FLOAT,
            tops: rows * 2 * FLOAT,
            turns: config.context * config.rope.dims * FLOAT,
            logits: NARROW * config.vocab * FLOAT,
        }
    }

    fn all(&self) -> Vec<usize> {
        let Self { input, squares, model, mixed, inner, queries, fresh, .. } = *self;
        let Self { sums, tops, turns, logits, .. } = *self;
        vec![input, squares, model, mixed, inner, queries, fresh, sums, tops, turns, logits]
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
        let needs = Needs::new(&config, CacheType::F16, &stored, 80);
        assert_eq!(needs.cache, 80 * 2 * 8 * 4096 * 128 * 2);
        assert!(needs.total() < 38 << 30, "{needs:?}");
        let free = needs.total();
        assert_eq!(Needs::within(&config, CacheType::F16, &stored, 80, free), Ok(needs));
        // What one layer less saves: it, its cache, and the output matrix.
        let fewer = Needs::new(&config, CacheType::F16, &stored, 79);
        assert_eq!(needs.weights - fewer.weights, stored.layers[79] + stored.output);
        assert_eq!(fewer.cache, needs.cache / 80 * 79);
    }

    #[test]
    fn a_cache_in_8_bits_takes_about_half_and_room_for_what_is_new() {
        let config = llama_70b(4096);
        let stored = stored(&config, 4.5);
        let [half, byte] =
            [CacheType::F16, CacheType::Q8_0].map(|kind| Needs::new(&config, kind, &stored, 80));
        assert_eq!(byte.cache, 80 * 2 * 8 * 4096 * (128 + 4 * 2));
        assert_eq!(byte.cache * 32, half.cache * 17);
        assert_eq!(byte.buffers - half.buffers, 2 * 512 * 8 * 128 * 2);
        assert_eq!(byte.weights, half.weights);
        assert_eq!(row(&config, CacheType::Q8_0), [128, 8]);
        // Every layer begins where 16 bytes can be read at once.
        let odd = LlamaConfig { kv_heads: 1, head_dim: 32, ..llama_70b(1001) };
        assert_eq!(layer_cache(&odd, CacheType::Q8_0), (1001 * 34usize).next_multiple_of(16));
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
        let half = CacheType::F16;
        let within = |context: usize, kind, layers, free| {
            Needs::within(&llama_70b(context), kind, &stored, layers, free).unwrap_err()
        };
        let why = within(100_000, half, 80, free);
        let needs =
            |kind, context, layers| Needs::new(&llama_70b(context), kind, &stored, layers).total();
        let with = |context, layers| needs(half, context, layers);
        let context = named(&why, "--context ").unwrap();
        assert!(with(context, 80) <= free && with(context + 1, 80) > free, "{why}");
        let layers = named(&why, "--gpu-layers ").unwrap();
        assert!(with(100_000, layers) <= free && with(100_000, layers + 1) > free, "{why}");
        for part in ["36.0 of weights", "30.5 of f16 cache for 100000 tokens", "48.0 GiB are free"]
        {
            assert!(why.contains(part), "{why}");
        }
        // More of the context fits in 8 bits, or all of it, and nothing is narrower.
        let narrow = why.split("--cache-type q8_0").nth(1).unwrap();
        let context = named(narrow, "--context ").unwrap();
        let with = |context| needs(CacheType::Q8_0, context, 80);
        assert!(with(context) <= free && with(context + 1) > free, "{why}");
        let why = within(60_000, half, 80, free);
        assert!(why.contains(" or --cache-type q8_0 or --gpu-layers "), "{why}");
        assert!(with(60_000) <= free);
        let why = within(100_000, CacheType::Q8_0, 80, free);
        assert!(why.contains("of q8_0 cache") && !why.contains("--cache-type"), "{why}");
        assert_eq!(named(&why, "--context "), Some(context));
        // No context makes the weights fit.
        let why = within(4096, half, 80, 8 << 30);
        assert_eq!((named(&why, "--context "), named(&why, "--gpu-layers ")), (None, Some(17)));
        let why = within(4096, half, 80, 1 << 20);
        assert!(why.ends_with("use --device cpu or a smaller model"), "{why}");
        let why = within(4096, half, 20, 8 << 30);
        assert!(why.starts_with("the model's first 20 layers need 9."), "{why}");
    }
}
