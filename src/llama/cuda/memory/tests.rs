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
    Stored { layers: vec![bytes(layer); config.layers], output: bytes(config.vocab * config.dim) }
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
    for part in ["36.0 of weights", "30.5 of f16 cache for 100000 tokens", "48.0 GiB are free"] {
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
