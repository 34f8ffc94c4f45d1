//! The engine on an NVIDIA GPU against the portable one in f32, where there is
//! a GPU; elsewhere these tests say that they are skipped.

mod support;

use std::collections::BTreeSet;

use candle_core::quantized::GgmlDType;
use llama_agent::chat::Cancel;
use llama_agent::llama::cuda::{self, Cuda};
use llama_agent::llama::portable::Precision;
use llama_agent::llama::{CacheType, Choice, Draw, Forward, Gguf, Portable, Rows, Want};
use support::{Random, Tiny};

/// Formats that the kernels multiply.
const KINDS: [GgmlDType; 5] =
    [GgmlDType::Q4_0, GgmlDType::Q4K, GgmlDType::Q5K, GgmlDType::Q6K, GgmlDType::Q8_0];
/// ‖ours - reference‖ / ‖reference‖ of any row. Keys and values are rounded to 11 bits as
/// they are kept, in long passes weights and activations too as they are multiplied.
const TOLERANCE: f32 = 1e-2;
/// With both caches in 8 bits: of values that differ in their last bits some become
/// quants that differ by one, which is as much as they are rounded by.
const BYTE_TOLERANCE: f32 = 2e-2;

fn tiny(kind: GgmlDType) -> Tiny {
    Tiny {
        layers: 3,
        dim: 512,
        heads: 8,
        kv_heads: 2,
        ffn: 1280,
        context: 512,
        kind,
        scale: 0.05,
        ..Tiny::default()
    }
}

/// The engine, or None where there is no GPU.
fn engine(tiny: &Tiny, cache: Option<CacheType>) -> Option<Cuda> {
    if cuda::devices() == 0 {
        println!("skipped: there is no NVIDIA GPU here");
        return None;
    }
    let gguf = Gguf::from_bytes(tiny.bytes()).expect("a model");
    Some(Cuda::open(&gguf, None, cache, 0, &mut |_| {}).expect("an engine"))
}

fn tokens(count: usize, vocab: usize) -> Vec<u32> {
    let mut random = Random(3);
    (0..count).map(|_| (random.next() % vocab as u64) as u32).collect()
}

fn rows(engine: &mut dyn Forward, tokens: &[u32], pieces: usize) -> Vec<f32> {
    engine.truncate(0);
    let pass = |piece| engine.forward(piece, Want::All, &Cancel::new());
    let logits = tokens.chunks(pieces).map(pass);
    logits.flat_map(|logits| logits.expect("a pass").expect("not cancelled")).collect()
}

fn best(row: &[f32]) -> (usize, f32) {
    let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("a row");
    let next = (0..row.len()).filter(|&i| i != best).map(|i| row[i]);
    (best, row[best] - next.fold(f32::NEG_INFINITY, f32::max))
}

#[test]
fn logits_are_those_of_the_portable_engine() {
    for kind in KINDS {
        let tiny = tiny(kind);
        let Some(mut cuda) = engine(&tiny, None) else { return };
        agrees(kind, &tiny, &mut cuda, CacheType::F32);
    }
}

#[test]
fn a_cache_in_8_bits_is_that_of_the_portable_engine() {
    for head_dim in [32, 64, 128] {
        let heads = 512 / head_dim;
        let tiny = Tiny { heads, kv_heads: heads / 2, ..tiny(GgmlDType::Q8_0) };
        let Some(mut cuda) = engine(&tiny, Some(CacheType::Q8_0)) else { return };
        agrees(GgmlDType::Q8_0, &tiny, &mut cuda, CacheType::Q8_0);
    }
}

fn agrees(kind: GgmlDType, tiny: &Tiny, cuda: &mut Cuda, cache: CacheType) {
    // In f32 from the same rounded weights.
    let gguf = Gguf::from_bytes(tiny.rounded_bytes()).expect("a model");
    let portable = Portable::with_precision(&gguf, None, Precision::Float).expect("one");
    let tokens = tokens(200, tiny.vocab);
    let reference = rows(&mut portable.with_cache(cache), &tokens, 50);
    // One at a time, and all in a wide pass.
    for pieces in [1, 200] {
        let ours = rows(cuda, &tokens, pieces);
        agree((kind, cache), pieces, &ours, &reference, tiny.vocab);
    }
}

fn agree(
    (kind, cache): (GgmlDType, CacheType),
    pieces: usize,
    ours: &[f32],
    reference: &[f32],
    vocab: usize,
) {
    let (mut worst, mut skipped) = (0f32, 0);
    let mut pairs = Vec::new();
    for (ours, reference) in ours.chunks(vocab).zip(reference.chunks(vocab)) {
        assert!(ours.iter().all(|logit| logit.is_finite()), "{kind:?}");
        let distance: f32 = ours.iter().zip(reference).map(|(a, b)| (a - b).powi(2)).sum();
        let size: f32 = reference.iter().map(|b| b * b).sum();
        let furthest = ours.iter().zip(reference).map(|(a, b)| (a - b).abs());
        pairs.push((best(ours).0, best(reference), furthest.fold(0f32, f32::max)));
        worst = worst.max((distance / size).sqrt());
    }
    let error = pairs.iter().map(|pair| pair.2).fold(0f32, f32::max);
    for (ours, (reference, margin), _) in &pairs {
        if *margin <= 2.0 * error {
            skipped += 1;
        } else {
            assert_eq!(ours, reference, "{kind:?}");
        }
    }
    println!(
        "{kind:?} by {pieces}: relative error of the worst row {worst:.1e}, {skipped} of {} near \
         ties skipped",
        pairs.len()
    );
    let tolerance = if cache == CacheType::Q8_0 { BYTE_TOLERANCE } else { TOLERANCE };
    assert!(worst < tolerance, "{kind:?} by {pieces}: {worst}");
    assert!(skipped < pairs.len() / 2, "{kind:?} by {pieces}: {skipped} near ties");
}

#[test]
fn a_row_does_not_depend_on_the_rows_beside_it() {
    let caches = KINDS.map(|kind| (kind, CacheType::F16));
    for (kind, cache) in caches.into_iter().chain([(GgmlDType::Q4_0, CacheType::Q8_0)]) {
        let tiny = tiny(kind);
        let Some(mut cuda) = engine(&tiny, Some(cache)) else { return };
        let tokens = tokens(150, tiny.vocab);
        let alone = rows(&mut cuda, &tokens, 1);
        for pieces in (2..=16).chain([17, 40]) {
            let together = rows(&mut cuda, &tokens, pieces);
            let same = alone.iter().zip(&together).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "{kind:?}, {cache}: rows differ when {pieces} are processed together");
        }
        // Wide passes have bits of their own, the same for any number of columns.
        let (whole, halves) = (rows(&mut cuda, &tokens, 150), rows(&mut cuda, &tokens, 75));
        let same = whole.iter().zip(&halves).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same, "{kind:?}, {cache}: rows of wide passes differ");
    }
}

#[test]
fn a_cache_comes_back_as_it_was() {
    let tiny = tiny(GgmlDType::Q4_0);
    let tokens = tokens(100, tiny.vocab);
    for cache in [CacheType::F16, CacheType::Q8_0] {
        let Some(mut cuda) = engine(&tiny, Some(cache)) else { return };
        let whole = rows(&mut cuda, &tokens, 10);
        let saved = cuda.export(70).expect("rows");
        assert_eq!(saved.bytes.len(), 3 * 2 * 2 * 70 * cache.bytes(64));
        rows(&mut cuda, &tokens[30..], 16);
        cuda.import(&saved).expect("the rows fit");
        assert_eq!(cuda.len(), 70);
        let rest = cuda.forward(&tokens[70..], Want::All, &Cancel::new()).expect("a pass");
        assert!(rest.expect("not cancelled") == whole[70 * tiny.vocab..]);
        cuda.truncate(60);
        let last = cuda.forward(&tokens[60..], Want::Last, &Cancel::new()).expect("a pass");
        assert!(last.expect("not cancelled") == whole[99 * tiny.vocab..]);
    }
}

#[test]
fn ids_are_those_that_the_host_chooses_from_the_same_rows() {
    let tiny = tiny(GgmlDType::Q4_0);
    let Some(mut cuda) = engine(&tiny, None) else { return };
    let (tokens, cancel, mut random) = (tokens(300, tiny.vocab), Cancel::new(), Random(8));
    let penalized = (0..tiny.vocab as u32).step_by(3).collect();
    let mut different = BTreeSet::new();
    // In the first tile of a pass or further on; of two passes, or too many: those leave.
    for (n, rows, stays) in [
        (1, 1, true),
        (16, 9, true),
        (20, 4, true),
        (20, 9, false),
        (300, 9, true),
        (300, 17, false),
    ] {
        cuda.truncate(0);
        let logits = cuda.forward(&tokens[..n], Want::Tail(rows), &cancel).expect("a pass");
        cuda.truncate(0);
        let kept = cuda.process(&tokens[..n], Want::Tail(rows), &cancel).expect("a pass");
        let (logits, kept) = (logits.expect("not cancelled"), kept.expect("not cancelled"));
        assert_eq!(kept == Rows::There, stays, "{rows} rows of {n}");
        for (i, row) in logits.chunks(tiny.vocab).enumerate() {
            for temperature in [0.0, 0.5, 2.0] {
                let mask: Vec<u32> = (0..tiny.vocab / 32).map(|_| random.next() as u32).collect();
                let choice = Choice {
                    allowed: (i % 2 == 0).then_some(&mask),
                    penalized: &penalized,
                    penalty: 1.1,
                    draw: (temperature > 0.0).then(|| Draw {
                        temperature,
                        top_k: [0, 20][i % 2],
                        top_p: [1.0, 0.9, 0.5][i % 3],
                        random: random.next(),
                    }),
                };
                let id = cuda.choose(&kept, i, &choice).expect("an id");
                assert_eq!(Ok(id), choice.of(row), "row {i} of {n}: {:?}", choice.draw);
                different.insert(id);
            }
        }
        // Neither a row that no pass gave nor one of the pass before.
        assert!(cuda.choose(&kept, rows, &greedy(&penalized)).is_err());
        cuda.truncate(0);
        cuda.forward(&tokens[..3], Want::Nothing, &cancel).expect("a pass");
        assert_eq!(cuda.choose(&kept, 0, &greedy(&penalized)).is_err(), stays);
    }
    assert!(different.len() > 20, "{different:?}");
}

fn greedy(penalized: &BTreeSet<u32>) -> Choice<'_> {
    Choice { allowed: None, penalized, penalty: 1.1, draw: None }
}
