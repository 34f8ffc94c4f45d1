//! A small byte-level vocabulary of the Llama-3 kind, learnt from the
//! program's own prompts and a little of other scripts.

use candle_core::quantized::gguf_file::Value;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, Trainer};

use super::Tiny;

/// Control tokens, which come after all pieces.
pub const CONTROLS: [&str; 5] = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
];

const TEXTS: [&str; 3] = [
    include_str!("../../prompts/system.jinja"),
    include_str!("../../README.md"),
    "the and to of that is it was for on with as his they be at one have this from don't I'll \
     it's we're 2024 1969 100 3.14159 42 1,000,000 007 éclair Straße naïve façade \
     что это как его для они все так про мне 漢字かな交じり文 日本語 中文字 한국어 말 สวัสดี \
     नमस्ते दुनिया مرحبا بالعالم שלום עולם 👩‍👩‍👧‍👦 🦙🦙🦙 → ≥ ≤ ∀x∈ℝ\tif (x == y) {\n    return x;\n}\n\n\n",
];

/// The pieces in order, and the merges: `pieces` of them without the controls.
pub fn vocabulary(pieces: usize) -> (Vec<String>, Vec<String>) {
    let bytes = ByteLevel::new(false, false, true);
    let words = |line: &str| {
        let mut text = PreTokenizedString::from(line);
        bytes.pre_tokenize(&mut text)?;
        let splits = text.get_splits(OffsetReferential::Original, OffsetType::Byte);
        Ok(splits.into_iter().map(|(word, _, _)| word.to_string()).collect())
    };
    let mut trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(pieces)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    // Often enough that a pair of rare letters is worth a merge as well.
    trainer.feed(TEXTS.iter().cycle().take(4 * TEXTS.len()), words).expect("words");
    let mut model = BPE::default();
    trainer.train(&mut model).expect("a vocabulary");
    let model = serde_json::to_value(&model).expect("JSON");
    let mut ids: Vec<(u64, String)> = model["vocab"]
        .as_object()
        .expect("a vocabulary")
        .iter()
        .map(|(piece, id)| (id.as_u64().expect("an id"), piece.clone()))
        .collect();
    ids.sort();
    let merges = model["merges"].as_array().expect("merges").iter();
    let merges = merges.map(|pair| {
        format!("{} {}", pair[0].as_str().expect("text"), pair[1].as_str().expect("text"))
    });
    (ids.into_iter().map(|(_, piece)| piece).collect(), merges.collect())
}

/// The metadata of a vocabulary of `length` tokens that splits text as `pre` says.
pub fn metadata(pre: &str, length: usize) -> Vec<(String, Value)> {
    let (mut tokens, merges) = vocabulary(length - CONTROLS.len());
    let mut kinds = vec![1; tokens.len()];
    let controls = tokens.len() as u32;
    tokens.extend(CONTROLS.map(String::from));
    kinds.resize(tokens.len(), 3);
    while tokens.len() < length {
        tokens.push(format!("<|reserved_{}|>", tokens.len()));
        kinds.push(3);
    }
    let texts = |texts: Vec<String>| Value::Array(texts.into_iter().map(Value::String).collect());
    [
        ("tokenizer.ggml.model", Value::String("gpt2".into())),
        ("tokenizer.ggml.pre", Value::String(pre.into())),
        ("tokenizer.ggml.tokens", texts(tokens)),
        ("tokenizer.ggml.merges", texts(merges)),
        ("tokenizer.ggml.token_type", Value::Array(kinds.into_iter().map(Value::I32).collect())),
        ("tokenizer.ggml.bos_token_id", Value::U32(controls)),
        ("tokenizer.ggml.eos_token_id", Value::U32(controls + 4)),
    ]
    .map(|(key, value)| (key.to_string(), value))
    .into()
}

/// A small model of the Llama-3 kind: its vocabulary, its position scaling,
/// and the embedding as its output matrix.
pub fn tiny() -> Tiny {
    Tiny {
        vocab: 1000,
        context: 2048,
        scale: 0.3,
        tied: true,
        rope_base: 500_000.0,
        rope_factors: vec![1.0, 1.0, 1.0, 1.5, 3.0, 8.0, 8.0, 8.0],
        extra: metadata("llama-bpe", 1000),
        ..Tiny::default()
    }
}
