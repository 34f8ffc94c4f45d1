//! The forward pass against candle-transformers' `quantized_llama`, and
//! against itself when the same tokens arrive in other pieces.

mod support;

use std::io::Cursor;

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::{Device, Tensor};
use candle_transformers::models::quantized_llama::ModelWeights;
use llama_agent::chat::Cancel;
use llama_agent::llama::portable::Precision;
use llama_agent::llama::{Forward, Gguf, Portable, Want};
use proptest::prelude::*;
use support::{Random, Tiny};

fn load(bytes: Vec<u8>, precision: Precision) -> Portable {
    Portable::with_precision(&Gguf::from_bytes(bytes).unwrap(), None, precision).unwrap()
}

fn run(model: &mut Portable, tokens: &[u32], want: Want) -> Vec<f32> {
    model.forward(tokens, want, &Cancel::new()).unwrap().unwrap()
}

struct Oracle(ModelWeights);

impl Oracle {
    fn new(bytes: &[u8]) -> Self {
        let mut file = Cursor::new(bytes);
        let content = Content::read(&mut file).unwrap();
        Self(ModelWeights::from_gguf(content, &mut file, &Device::Cpu).unwrap())
    }

    fn run(&mut self, tokens: &[u32], at: usize) -> Vec<f32> {
        let input = Tensor::new(tokens, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        self.0.forward(&input, at).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }
}

fn best(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.unwrap().0 as u32
}

fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().all(|value| value.is_finite()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

fn tokens(n: usize, vocab: usize) -> Vec<u32> {
    let mut random = Random(n as u64);
    (0..n).map(|_| (random.next() % vocab as u64) as u32).collect()
}

/// The same logits on a prompt, and the same greedy tokens after it.
fn agree(name: &str, mut model: Portable, mut oracle: Oracle, tolerance: f32) {
    let prompt = tokens(37, model.vocab());
    let (mut ours, mut theirs) = (run(&mut model, &prompt, Want::Last), oracle.run(&prompt, 0));
    let spread = ours.iter().fold(0.0f32, |top, value| top.max(value.abs()));
    assert!(spread > 0.5, "{name}: logits too flat to tell anything: {spread}");
    for i in 0..20 {
        let off = difference(&ours, &theirs);
        assert!(off < tolerance, "{name}: logits differ by {off} after {i} tokens");
        assert_eq!(best(&ours), best(&theirs), "{name}: another token after {i}");
        let next = [best(&ours)];
        ours = run(&mut model, &next, Want::Last);
        theirs = oracle.run(&next, prompt.len() + i);
    }
}

#[test]
fn weights_agree_for_every_quantization() {
    for kind in [
        GgmlDType::F32,
        GgmlDType::F16,
        GgmlDType::BF16,
        GgmlDType::Q4_0,
        GgmlDType::Q4_1,
        GgmlDType::Q5_0,
        GgmlDType::Q5_1,
        GgmlDType::Q8_0,
        GgmlDType::Q2K,
        GgmlDType::Q3K,
        GgmlDType::Q4K,
        GgmlDType::Q5K,
        GgmlDType::Q6K,
    ] {
        let tiny = Tiny { kind, dim: 256, ffn: 512, scale: 0.08, ..Tiny::default() };
        let oracle = Oracle::new(&tiny.rounded_bytes());
        agree(&format!("{kind:?}"), load(tiny.bytes(), Precision::Float), oracle, 1e-3);
        // Multiplied where they lie; the cache is in f16, which is what differs.
        let oracle = Oracle::new(&tiny.rounded_bytes());
        agree(&format!("{kind:?}, stored"), load(tiny.bytes(), Precision::Stored), oracle, 1e-2);
    }
}

#[test]
fn shapes_agree() {
    let default = Tiny::default();
    for (name, tiny) in [
        ("heads of their own", Tiny { kv_heads: 4, ..default.clone() }),
        ("one key-value head", Tiny { kv_heads: 1, ..default.clone() }),
        ("tied", Tiny { tied: true, ..default.clone() }),
        ("another base", Tiny { rope_base: 1e6, ..default.clone() }),
        // The constants of Llama-2 7B, on smaller matrices.
        (
            "like 7B",
            Tiny { layers: 4, kv_heads: 4, context: 4096, kind: GgmlDType::Q8_0, ..default },
        ),
    ] {
        let oracle = Oracle::new(&tiny.rounded_bytes());
        agree(name, load(tiny.bytes(), Precision::Float), oracle, 1e-3);
    }
}

/// Linear scaling by 2 puts a token at position 2p where it was at p: what the
/// oracle cannot do, the model itself can be asked.
#[test]
fn linear_scaling_divides_positions() {
    let plain = Tiny { layers: 1, ..Tiny::default() };
    let scaled = Tiny {
        extra: vec![
            ("llama.rope.scaling.type".into(), Value::String("linear".into())),
            ("llama.rope.scaling.factor".into(), Value::F32(1e9)),
        ],
        ..plain.clone()
    };
    let [mut plain, mut scaled] = [plain, scaled].map(|tiny| load(tiny.bytes(), Precision::Float));
    // Without positions the order of earlier tokens makes no difference.
    let (one, other) = ([5, 9, 300, 7], [300, 5, 9, 7]);
    let differ = |model: &mut Portable| {
        let first = run(model, &one, Want::Last);
        model.truncate(0);
        difference(&first, &run(model, &other, Want::Last))
    };
    assert!(differ(&mut scaled) < 1e-4);
    assert!(differ(&mut plain) > 1e-2);
}

#[test]
fn rows_and_wants_are_consistent() {
    let mut model = load(Tiny::default().bytes(), Precision::Float);
    let tokens = tokens(20, 512);
    let all = run(&mut model, &tokens, Want::All);
    assert_eq!((all.len(), model.len()), (20 * 512, 20));
    for (i, row) in all.chunks(512).enumerate() {
        model.truncate(i);
        assert_eq!(bits(row), bits(&run(&mut model, &tokens[i..=i], Want::Last)));
    }
    model.truncate(0);
    assert!(run(&mut model, &tokens[..19], Want::Nothing).is_empty());
    assert_eq!(bits(&all[19 * 512..]), bits(&run(&mut model, &tokens[19..], Want::Last)));
}

#[test]
fn what_does_not_fit_leaves_the_cache_alone() {
    let mut model = load(Tiny { context: 16, ..Tiny::default() }.bytes(), Precision::Float);
    let cancel = Cancel::new();
    run(&mut model, &[1, 2, 3], Want::Nothing);
    assert!(model.forward(&[512], Want::Last, &cancel).is_err());
    assert!(model.forward(&[1; 14], Want::Last, &cancel).is_err());
    cancel.ask();
    assert!(model.forward(&[1], Want::Last, &cancel).unwrap().is_none());
    assert_eq!(model.len(), 3);
    run(&mut model, &[1; 13], Want::Last);
    assert_eq!(model.len(), 16);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However the tokens arrive, and whatever was there before and forgotten,
    /// the logits are the same.
    #[test]
    fn pieces_make_no_difference(
        cuts in proptest::collection::vec(1usize..40, 1..8),
        keep in 0usize..60,
        wrong in 1usize..50,
    ) {
        let tokens = tokens(60, 512);
        // More than the cache makes room for at first.
        let tiny = Tiny { context: 4096, ..Tiny::default() };
        let mut model = load(tiny.bytes(), Precision::Float);
        let whole = run(&mut model, &tokens, Want::Last);
        model.truncate(keep);
        run(&mut model, &vec![3; wrong], Want::Nothing);
        model.truncate(keep);
        let mut rest = &tokens[keep..];
        let mut logits = Vec::new();
        for cut in cuts.into_iter().chain([60]) {
            let (part, later) = rest.split_at(cut.min(rest.len()));
            if !part.is_empty() {
                logits = run(&mut model, part, Want::Last);
            }
            rest = later;
        }
        prop_assert_eq!(bits(&whole), bits(&logits));
    }
}

#[test]
fn a_cache_that_grows_keeps_what_it_holds() {
    let tiny = Tiny { layers: 1, context: 4096, ..Tiny::default() };
    let mut model = load(tiny.bytes(), Precision::Float);
    let tokens = tokens(1500, 512);
    let whole = run(&mut model, &tokens, Want::Last);
    let mut again = load(tiny.bytes(), Precision::Float);
    let mut logits = Vec::new();
    for part in tokens.chunks(100) {
        logits = run(&mut again, part, Want::Last);
    }
    assert_eq!(bits(&whole), bits(&logits));
}

/// A row does not depend on how many rows are processed with it, bit for bit:
/// a prompt in one piece, in pieces, and token by token.
#[test]
fn rows_do_not_depend_on_each_other() {
    use Precision::{Float, Stored};
    let tokens = tokens(100, 512);
    for (kind, precision, context) in [
        (GgmlDType::F32, Float, 256),
        (GgmlDType::Q8_0, Float, 256),
        (GgmlDType::Q4_0, Float, 2048),
        (GgmlDType::Q4_0, Stored, 256),
        (GgmlDType::Q8_0, Stored, 256),
        (GgmlDType::Q3K, Stored, 256),
        (GgmlDType::Q4K, Stored, 256),
        (GgmlDType::Q6K, Stored, 256),
        (GgmlDType::F16, Stored, 256),
    ] {
        let tiny = Tiny { kind, dim: 256, ffn: 512, heads: 8, context, ..Tiny::default() };
        let mut model = load(Tiny { scale: 0.08, ..tiny }.bytes(), precision);
        let whole = run(&mut model, &tokens, Want::All);
        for size in [1, 3, 9, 70] {
            model.truncate(0);
            let mut pieces = Vec::new();
            for piece in tokens.chunks(size) {
                pieces.extend(run(&mut model, piece, Want::All));
            }
            assert!(bits(&whole) == bits(&pieces), "{kind:?}, {precision:?} in pieces of {size}");
        }
    }
}
