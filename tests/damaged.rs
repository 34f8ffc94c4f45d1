//! Files that are no models, or no longer: one sentence that says what is
//! wrong and what to do, never a panic or a huge allocation.

mod support;

use candle_core::quantized::gguf_file::Value;
use llama_agent::chat::{Cancel, Origin, Prompt, ReplyForm, Sampling, Segment};
use llama_agent::llama::{Gguf, Header, LlamaConfig, ModelError};
use llama_agent::llm::local::Local;
use llama_agent::llm::{Llm, Request};
use proptest::prelude::*;
use support::Tiny;

fn tiny() -> Tiny {
    Tiny { layers: 1, dim: 32, heads: 2, kv_heads: 1, ffn: 32, ..Tiny::default() }
}

fn with(key: &str, value: Value) -> Vec<u8> {
    Tiny { extra: vec![(key.into(), value)], ..tiny() }.bytes()
}

/// Where the value of a key, or the entry of a tensor, begins.
fn after(bytes: &[u8], name: &str) -> usize {
    let mut wanted = (name.len() as u64).to_le_bytes().to_vec();
    wanted.extend(name.as_bytes());
    let at = bytes.windows(wanted.len()).position(|window| window == wanted);
    at.expect("the name is in the file") + wanted.len()
}

fn patched(at: impl Fn(&[u8]) -> usize, with: &[u8]) -> Vec<u8> {
    let mut bytes = tiny().bytes();
    let at = at(&bytes);
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes
}

fn error(bytes: Vec<u8>) -> ModelError {
    match Local::from_bytes(bytes, None) {
        Ok(_) => panic!("it was accepted"),
        Err(error) => error,
    }
}

#[test]
fn each_damage_is_named() {
    let whole = tiny().bytes();
    let u64s = |value: u64| value.to_le_bytes();
    let query = "blk.0.attn_q.weight";
    // An entry is: dimensions (4 bytes), two sizes (8 each), kind (4), offset (8).
    let kind = |number: u32| patched(|b| after(b, query) + 20, &number.to_le_bytes());
    let text = |text: &str| Value::String(text.into());
    for (name, bytes, expected) in [
        ("empty", Vec::new(), "not a GGUF"),
        ("other bytes", b"{\"hello\": 1}".to_vec(), "not a GGUF"),
        ("four bytes", b"GGUF".to_vec(), "cut short or damaged"),
        ("half a header", whole[..2000].to_vec(), "cut short or damaged"),
        ("half the weights", whole[..whole.len() / 2].to_vec(), "past the end of the file"),
        ("the last byte gone", whole[..whole.len() - 64].to_vec(), "past the end of the file"),
        ("version 1", patched(|_| 4, &[1, 0, 0, 0]), "version 1"),
        ("big-endian", patched(|_| 4, &[0, 0, 0, 3]), "versions 2 and 3"),
        ("too many tensors", patched(|_| 8, &u64s(u64::MAX)), "cut short or damaged"),
        ("too many values", patched(|_| 16, &u64s(1 << 60)), "cut short or damaged"),
        ("a long key", patched(|_| 24, &u64s(u64::MAX)), "cut short or damaged"),
        ("alignment 0", with("general.alignment", Value::U32(0)), "alignment is 0"),
        ("alignment 3", with("general.alignment", Value::U32(3)), "alignment is 3"),
        ("alignment 2^31", with("general.alignment", Value::U32(1 << 31)), "cut short or damaged"),
        (
            "an endless array",
            patched(|b| after(b, "tokenizer.ggml.tokens") + 8, &u64s(1 << 40)),
            "an array of",
        ),
        (
            "a long array",
            patched(|b| after(b, "tokenizer.ggml.scores") + 8, &u64s(1 << 23)),
            "cut short or damaged",
        ),
        ("no dimensions", patched(|b| after(b, query), &[0; 4]), "0 dimensions"),
        ("nine dimensions", patched(|b| after(b, query), &[9, 0, 0, 0]), "9 dimensions"),
        ("a huge tensor", patched(|b| after(b, query) + 4, &u64s(1 << 63)), "cannot have"),
        ("a larger tensor", patched(|b| after(b, query) + 4, &u64s(1 << 20)), "past the end"),
        ("another shape", patched(|b| after(b, query) + 4, &u64s(16)), "the model needs"),
        ("far away", patched(|b| after(b, query) + 24, &u64s(1 << 62)), "past the end"),
        ("at the very end", patched(|b| after(b, query) + 24, &u64s(!31)), "past the end"),
        ("not aligned", patched(|b| after(b, query) + 24, &u64s(3)), "not aligned"),
        ("IQ4_XS", kind(23), "ggml type 23"),
        ("Q8_K", kind(15), "ggml type 15"),
        ("no such kind", kind(9999), "ggml type 9999"),
        ("another architecture", with("general.architecture", text("qwen2")), "\"qwen2\""),
        ("a mixture", with("llama.expert_count", Value::U32(8)), "mixture of experts"),
        ("yarn", with("llama.rope.scaling.type", text("yarn")), "\"yarn\""),
        ("no layers", with("llama.block_count", Value::U32(0)), "block_count is absurd"),
        ("too many layers", with("llama.block_count", Value::U32(9)), "blk.1.attn_norm"),
        ("no heads", with("llama.attention.head_count", Value::U32(0)), "head_count is absurd"),
        ("odd heads", with("llama.attention.head_count_kv", Value::U32(3)), "do not go together"),
        ("other heads", with("llama.attention.head_count", Value::U32(4)), "are rotated"),
        ("wider heads", with("llama.attention.key_length", Value::U32(32)), "the model needs"),
        ("no context", with("llama.context_length", Value::U64(0)), "context_length is absurd"),
        ("a context", with("llama.context_length", Value::U64(u64::MAX)), "context_length is"),
        ("a text", with("llama.context_length", text("4096")), "context_length is absurd"),
        ("rope", with("llama.rope.dimension_count", Value::U32(64)), "are rotated"),
        ("rope base", with("llama.rope.freq_base", Value::F32(f32::NAN)), "freq_base is NaN"),
        ("other vocabulary", with("tokenizer.ggml.model", text("bert")), "tokenizer.json"),
        ("no merges", with("tokenizer.ggml.model", text("gpt2")), "types or merges"),
        ("no tokens", with("tokenizer.ggml.tokens", Value::Array(vec![])), "no tokens"),
        (
            "no bytes",
            with("tokenizer.ggml.token_type", Value::Array(vec![Value::I32(1); 512])),
            "byte fallback",
        ),
        (
            "few types",
            with("tokenizer.ggml.token_type", Value::Array(vec![Value::I32(1); 9])),
            "512 tokens, 512 scores and 9 types",
        ),
    ] {
        let message = error(bytes).to_string();
        assert!(message.contains(expected), "{name}: {message}");
        // One sentence, and what to do after its colon.
        assert!(!message.contains('\n') && message.contains(": "), "{name}: {message}");
    }
}

#[test]
fn paths_that_lead_to_no_model() {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str| match Local::open(&folder.path().join(name), None) {
        Ok(_) => panic!("{name} was opened"),
        Err(error) => error,
    };
    assert!(matches!(open("none.gguf"), ModelError::Missing(_)));
    assert!(matches!(open("none.gguf/none.gguf"), ModelError::Missing(_)));
    assert!(matches!(open(""), ModelError::NotGguf(_)));
    std::fs::write(folder.path().join("empty.gguf"), "").unwrap();
    assert!(matches!(open("empty.gguf"), ModelError::NotGguf(_)));
    // A socket or a pipe is told from a file before it is opened.
    #[cfg(unix)]
    {
        let _socket =
            std::os::unix::net::UnixListener::bind(folder.path().join("socket.gguf")).unwrap();
        assert!(matches!(open("socket.gguf"), ModelError::NotGguf(_)));
    }
    let other = with("tokenizer.ggml.model", Value::String("bert".into()));
    std::fs::write(folder.path().join("other.gguf"), other).unwrap();
    assert!(matches!(open("other.gguf"), ModelError::Unsupported(_)));
    std::fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
    assert!(matches!(open("other.gguf"), ModelError::Damaged(_)));
}

/// Opens and, if that works, lets it speak; nothing of it may panic.
fn survive(bytes: Vec<u8>) -> Result<(), TestCaseError> {
    match Local::from_bytes(bytes, Some(64)) {
        Err(error) => prop_assert!(!error.to_string().contains('\n')),
        Ok(mut local) => {
            let prompt = Prompt::from_iter([Segment::new(Origin::Frame, "<s>what")]);
            let (form, sampling, cancel) =
                (ReplyForm::default(), Sampling::default(), Cancel::new());
            let request = Request {
                prompt: &prompt,
                form: &form,
                sampling: &sampling,
                max_new_tokens: 4,
                cancel: &cancel,
            };
            let _ = local.complete(&request, &mut |_| {});
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn flipped_bits_are_survived(flips in proptest::collection::vec((0usize..100_000, 0u8..8), 1..4)) {
        let mut bytes = tiny().bytes();
        // Most of the flips hit the header, which ends before the weights.
        let header = after(&bytes, "output_norm.weight") + 24;
        for (at, bit) in flips {
            let range = if at % 8 == 0 { bytes.len() } else { header };
            bytes[at % range] ^= 1 << bit;
        }
        survive(bytes)?;
    }

    #[test]
    fn any_beginning_is_survived(length in 0usize..100_000) {
        let mut bytes = tiny().bytes();
        bytes.truncate(length % bytes.len());
        survive(bytes)?;
    }
}

#[test]
fn a_header_is_read_from_the_first_bytes_alone() {
    let bytes = Tiny::default().bytes();
    let (whole, length) = (Gguf::from_bytes(bytes.clone()).unwrap(), bytes.len() as u64);
    let read = |end: usize| Header::from_beginning(&bytes[..end], length);
    let found = (0..bytes.len()).step_by(61).find(|end| read(*end).unwrap().is_some());
    let end = found.expect("a header");
    assert!(end < bytes.len() / 10, "{end} of {}", bytes.len());
    let header = read(end).unwrap().expect("a header");
    assert_eq!(header.size(), whole.size());
    let config = LlamaConfig::from_gguf(&header).unwrap();
    assert_eq!(config, LlamaConfig::from_gguf(&whole).unwrap());
    // A file that is shorter than its header says is damaged, however much of it is here.
    assert!(matches!(Header::from_beginning(&bytes[..end], 5000), Err(ModelError::Damaged(_))));
    let cut = Header::from_beginning(&bytes[..end], length - 1000);
    assert!(matches!(cut, Err(ModelError::Damaged(_))));
    let other = Header::from_beginning(b"PK\x03\x04", length);
    assert!(matches!(other, Err(ModelError::NotGguf(_))));
}
