use super::*;
use crate::llama::config::Rope;

fn config() -> LlamaConfig {
    LlamaConfig {
        layers: 2,
        dim: 512,
        heads: 8,
        kv_heads: 2,
        head_dim: 64,
        ffn: 1376,
        vocab: 1000,
        context: 1000,
        norm_eps: 1e-5,
        rope: Rope { dims: 64, base: 10_000.0, scale: 1.0, factors: false },
        tied: false,
    }
}

fn weights() -> Weights {
    let part = |at, rows, first, format| Part { format, at, rows, first };
    let layer = |i: u64| Layer {
        heads: vec![part(i, 640, 0, Format::Q4K), part(i + 1, 128, 640, Format::Q6K)],
        output: part(i + 2, 512, 0, Format::Q4K),
        inner: part(i + 3, 2752, 0, Format::Q4K),
        down: part(i + 4, 512, 0, Format::Q6K),
        attention_norm: i + 5,
        ffn_norm: i + 6,
    };
    Weights {
        layers: vec![layer(100), layer(200)],
        norm: 300,
        output: Some(part(301, 1024, 0, Format::Q6K)),
    }
}

/// With a cache in f16.
fn planned<'a>(
    config: &'a LlamaConfig,
    weights: &'a Weights,
    at: &'a Addresses,
    width: Width,
) -> Plan<'a> {
    Plan { config, cache: CacheType::F16, weights, at, width, hopper: true }
}

#[test]
fn a_pass_is_six_launches_a_layer_and_one_for_each_other_format() {
    let (config, weights, at) = (config(), weights(), Addresses::default());
    let plan = planned(&config, &weights, &at, Width::of(3));
    let names: Vec<String> = plan.layers().into_iter().map(|launch| launch.kernel).collect();
    let layer = [
        "heads_Q4_K_4",
        "heads_Q6_K_4",
        "attend_64",
        "join_64",
        "residual_Q4_K_4",
        "inner_Q4_K_4",
        "residual_Q6_K_4",
    ];
    assert_eq!(names, [&["begin"][..], &layer, &layer].concat());
    let logits = plan.logits();
    assert_eq!((logits[0].kernel.as_str(), logits[0].grid), ("logits_Q6_K_4", (32, 1)));
}

#[test]
fn each_norm_prepares_the_product_that_follows() {
    let (config, weights, at) = (config(), weights(), Addresses::default());
    let plan = planned(&config, &weights, &at, Width::of(1));
    // The second field of a residual is the weight of the norm after it.
    let launches = plan.layers();
    let norms = launches.iter().filter_map(|launch| match launch.kernel.as_str() {
        "begin" => Some(launch.arguments[0][1]),
        name if name.starts_with("residual") => Some(launch.arguments[1][1]),
        _ => None,
    });
    assert_eq!(norms.collect::<Vec<_>>(), [105, 106, 205, 206, 300]);
}

#[test]
fn structures_are_laid_out_as_c_does() {
    let words = Structure::default().pointer(7).int(1).float(1.0).int(2).pointer(9).words();
    assert_eq!(words, [7, 1 | 0x3f80_0000 << 32, 2, 9]);
}

#[test]
fn a_wide_pass_has_one_launch_for_attention() {
    let (config, weights, at) = (config(), weights(), Addresses::default());
    let plan = planned(&config, &weights, &at, Width::of(300));
    let names: Vec<String> = plan.layers().into_iter().map(|launch| launch.kernel).collect();
    let layer = [
        "heads_Q4_K_wide",
        "heads_Q6_K_wide",
        "attend_wide_64",
        "residual_Q4_K_wide",
        "inner_Q4_K_wide",
        "residual_Q6_K_wide",
    ];
    assert_eq!(names, [&["begin"][..], &layer, &layer].concat());
}

#[test]
fn blocks_cover_every_row_once() {
    let (config, weights, at) = (config(), weights(), Addresses::default());
    for (width, hopper) in [
        (Width::Four, true),
        (Width::Four, false),
        (Width::Eight, true),
        (Width::Sixteen, false),
        (Width::Wide, true),
    ] {
        let plan = Plan { hopper, ..planned(&config, &weights, &at, width) };
        for launch in plan.layers() {
            let rows = match launch.kernel.rsplit_once('_').map_or("", |(name, _)| name) {
                "inner_Q4_K" => 2752,
                "heads_Q4_K" => 640,
                "heads_Q6_K" => 128,
                name if name.starts_with("residual") => 512,
                _ => continue,
            };
            // What a narrow block makes something of together, or takes at once.
            let least = match launch.kernel.split('_').next() {
                Some("inner") => 64,
                Some("residual") => 32,
                _ => 16,
            };
            let at_once = match (hopper, width, launch.kernel.contains("Q6_K")) {
                (false, ..) => 16,
                (true, Width::Four, _) | (true, _, true) => 32,
                _ if least == 16 => 32,
                _ => 64,
            };
            let expected = match width {
                Width::Wide => (4, u32::div_ceil(rows, 128)),
                _ => (u32::div_ceil(rows, at_once.max(least)), 1),
            };
            assert_eq!(launch.grid, expected, "{}", launch.kernel);
            assert_eq!(launch.shares, width != Width::Wide);
        }
    }
}

#[test]
fn a_cache_in_q8_0_is_quantized_into_before_it_is_read() {
    let (config, weights) = (config(), weights());
    let at = Addresses { fresh: 1 << 20, keys: 1 << 30, values: 2 << 30, ..Addresses::default() };
    for (width, attention) in [
        (Width::Eight, &["attend_64_q8_0", "join_64"][..]),
        (Width::Sixteen, &["attend_64_q8_0", "join_64"]),
        (Width::Wide, &["attend_wide_64_q8_0"]),
    ] {
        let plan = planned(&config, &weights, &at, width);
        let f16 = plan.layers().len();
        let launches = Plan { cache: CacheType::Q8_0, ..plan }.layers();
        assert_eq!(launches.len(), f16 + 2);
        let found = |layer: usize| {
            let start = 1 + layer * (launches.len() - 1) / 2;
            &launches[start..start + 3 + attention.len()]
        };
        for layer in 0..2 {
            let [heads, _, quantize, rest @ ..] = found(layer) else { panic!("too few") };
            let names: Vec<_> = rest.iter().map(|launch| launch.kernel.as_str()).collect();
            assert_eq!((quantize.kernel.as_str(), &names[..]), ("quantize_cache", attention));
            assert_eq!((quantize.grid, quantize.threads), ((2, count(width.columns())), 128));
            // Written beside the cache, by position within a pass's columns.
            let fresh = [1 << 20, (1 << 20) + 2 * 512 * 64 * 2];
            assert_eq!(heads.arguments[2][1..3], fresh);
            assert_eq!(heads.arguments[2].last(), Some(&(32 | 512 << 32)));
            // 1,000 positions of 2 heads: 64 quants and 2 scales each.
            let offset = (layer * 2 * 1000 * (64 + 4)) as u64;
            let cache = [(1 << 30) + offset, (2 << 30) + offset];
            assert_eq!(quantize.arguments[0][..4], [&fresh[..], &cache].concat());
            assert_eq!(rest[0].arguments[0][1..3], cache);
        }
    }
}
