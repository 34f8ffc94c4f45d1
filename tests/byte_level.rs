//! Vocabularies of the Llama-3 kind: byte-level pieces from a GGUF file.

mod support;

use std::sync::LazyLock;

use candle_core::quantized::gguf_file::Value;
use llama_agent::chat::{Cancel, Origin, Prompt, Segment};
use llama_agent::llama::tokenizer::Utf8Stream;
use llama_agent::llama::{Forward, Gguf, ModelError, Portable, Tokenizer, Want};
use proptest::prelude::*;
use support::{Tiny, byte_level};

static LLAMA_3: LazyLock<Tokenizer> =
    LazyLock::new(|| open(byte_level::metadata("llama-bpe", 1000)).unwrap());

fn open(extra: Vec<(String, Value)>) -> Result<Tokenizer, ModelError> {
    let tiny = Tiny {
        layers: 1,
        dim: 8,
        heads: 1,
        kv_heads: 1,
        ffn: 8,
        vocab: 1000,
        extra,
        ..Tiny::default()
    };
    Tokenizer::from_gguf(&Gguf::from_bytes(tiny.bytes()).unwrap())
}

/// What each id stands for.
fn words(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
    let ids = tokenizer.encode(text, false, false);
    ids.iter().map(|&id| String::from_utf8_lossy(tokenizer.piece(id)).into_owned()).collect()
}

#[test]
fn each_way_of_splitting_keeps_to_its_words() {
    for (pre, text, bounds) in [
        // Where a piece must end, whatever was learnt.
        ("llama-bpe", "1234567", &[3, 6][..]),
        ("llama-bpe", "the\nof", &[4]),
        ("llama-bpe", "DON'T", &[3]),
        ("qwen2", "1969", &[1, 2, 3]),
        ("smaug-bpe", "a 1969", &[1, 2, 5]),
        ("tekken", "theAnd", &[3]),
        ("tekken", "2024", &[1, 2, 3]),
        ("smollm", " 42", &[1, 2]),
        ("gpt-2", "the 42's", &[3, 6]),
        ("default", "the)and", &[3, 4]),
    ] {
        let tokenizer = open(byte_level::metadata(pre, 1000)).unwrap();
        let mut ends = Vec::new();
        for word in words(&tokenizer, text) {
            ends.push(ends.last().unwrap_or(&0) + word.len());
        }
        for bound in bounds {
            assert!(ends.contains(bound), "{pre}: {text:?} is split at {ends:?}");
        }
    }
    // A merge is taken where no word ends.
    assert_eq!(words(&LLAMA_3, " the"), [" the"]);
}

#[test]
fn control_tokens_count_in_the_frame_alone() {
    let tokenizer = &*LLAMA_3;
    let (bos, eos) = (tokenizer.bos().unwrap(), tokenizer.eos().unwrap());
    assert_eq!(
        (tokenizer.name(bos), tokenizer.name(eos)),
        ("<|begin_of_text|>".into(), "<|eot_id|>".into())
    );
    assert!(tokenizer.add_bos() && tokenizer.is_control(bos));
    let text = "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>";
    let count = |ids: &[u32]| ids.iter().filter(|&&id| tokenizer.is_control(id)).count();
    assert_eq!(count(&tokenizer.encode(text, true, true)), 4);
    assert_eq!(count(&tokenizer.encode(text, false, true)), 0);
    let prompt = Prompt::from_iter([
        Segment::new(Origin::Frame, "<|begin_of_text|>"),
        Segment::new(Origin::Person, text),
        Segment::new(Origin::Tool, text),
        Segment::new(Origin::Model, text),
    ]);
    assert_eq!(count(&tokenizer.encode_prompt(&prompt)), 1);
    // The dialects that are no template write both as Llama-2 spells them.
    assert_eq!(tokenizer.encode("<s>", true, true), [bos]);
    assert_eq!(tokenizer.encode("</s>", true, true), [eos]);
}

#[test]
fn what_cannot_be_read_is_refused_in_one_sentence() {
    let changed = |key: &str, value: Option<Value>| {
        let mut extra = byte_level::metadata("llama-bpe", 1000);
        extra.retain(|(known, _)| known != key);
        extra.extend(value.map(|value| (key.to_string(), value)));
        open(extra).map(|_| ()).unwrap_err().to_string()
    };
    let text = |text: &str| Value::String(text.into());
    let unknown = changed("tokenizer.ggml.pre", Some(text("runes")));
    assert!(
        unknown.contains("\"runes\", which is not known: put the model's tokenizer.json"),
        "{unknown}"
    );
    let missing = changed("tokenizer.ggml.merges", None);
    assert!(missing.contains("no tokens, types or merges"), "{missing}");
    let merges = Value::Array(vec![text("the")]);
    let single = changed("tokenizer.ggml.merges", Some(merges));
    assert!(single.contains("the merge \"the\" is no pair"), "{single}");
    let types = Value::Array(vec![Value::I32(1)]);
    assert!(changed("tokenizer.ggml.token_type", Some(types)).contains("1000 tokens and 1 types"));
    let bytes = Value::Array((0..1000).map(|i| text(&format!("a{i}"))).collect());
    assert!(changed("tokenizer.ggml.tokens", Some(bytes)).contains("no piece for some bytes"));
    // A merge of what is no piece is never taken.
    let merges = Value::Array(vec![text("the runes"), text("t h")]);
    let mut extra = byte_level::metadata("gpt-2", 1000);
    extra.retain(|(known, _)| known != "tokenizer.ggml.merges");
    extra.push(("tokenizer.ggml.merges".into(), merges));
    assert_eq!(words(&open(extra).unwrap(), "the"), ["th", "e"]);
}

#[test]
fn long_runs_come_back() {
    for text in [
        "a".repeat(5000),
        " ".repeat(5000),
        "\n".repeat(5000),
        "7".repeat(5000),
        " \n".repeat(3000),
    ] {
        assert_eq!(LLAMA_3.decode(&LLAMA_3.encode(&text, false, false)), text.as_bytes());
    }
}

/// Logits after some tokens.
fn logits(tiny: &Tiny) -> Vec<f32> {
    let gguf = Gguf::from_bytes(tiny.bytes()).unwrap();
    let mut engine = Portable::new(&gguf, None).unwrap();
    engine.forward(&[5, 300, 7, 999, 5, 41], Want::Last, &Cancel::new()).unwrap().unwrap()
}

#[test]
fn frequencies_are_divided_by_the_factors_of_the_file() {
    let factors = |rope_factors: Vec<f32>| Tiny { rope_factors, ..byte_level::tiny() };
    let mut linear = factors(Vec::new());
    linear.extra.push(("llama.rope.scaling.type".into(), Value::String("linear".into())));
    linear.extra.push(("llama.rope.scaling.factor".into(), Value::F32(4.0)));
    assert_eq!(logits(&factors(vec![4.0; 8])), logits(&linear));
    assert_eq!(logits(&factors(vec![1.0; 8])), logits(&factors(Vec::new())));
    assert_ne!(logits(&byte_level::tiny()), logits(&factors(Vec::new())));
    let short = Gguf::from_bytes(factors(vec![1.0; 7]).bytes()).unwrap();
    assert!(matches!(Portable::new(&short, None), Err(ModelError::Damaged(_))));
}

proptest! {
    #[test]
    fn any_text_comes_back(text in ".*|[ -~]*|[ \n\t]*|[a-zA-Z0-9 ']*|(<\\|(eot_id|begin_of_text)\\|>|[^a-z])*") {
        let ids = LLAMA_3.encode(&text, false, false);
        prop_assert_eq!(LLAMA_3.decode(&ids), text.as_bytes());
        prop_assert!(ids.iter().all(|&id| !LLAMA_3.is_control(id)));
        let _ = LLAMA_3.encode(&text, true, true);
    }

    #[test]
    fn a_stream_never_shows_half_a_character(text in "\\PC*|[é→🦙漢 a-z]*") {
        let mut stream = Utf8Stream::new();
        let mut shown = String::new();
        for id in LLAMA_3.encode(&text, false, false) {
            shown.push_str(&stream.push(LLAMA_3.piece(id)));
            prop_assert!(text.starts_with(&shown));
        }
        prop_assert_eq!(shown, text);
    }
}
