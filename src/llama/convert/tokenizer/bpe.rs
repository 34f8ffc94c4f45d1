//! `tokenizer.json`: byte-pair encoding, of SentencePiece's kind (Llama 2) or
//! over bytes written as letters (Llama 3).

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value as Json;

use super::{BYTE, CONTROL, NORMAL, Piece, UNKNOWN, UNUSED, USER, Vocabulary};
use crate::llama::convert::error::ConvertError;

/// How Llama 3 splits text into words before it merges; `llama-bpe` in GGUF.
const LLAMA_3: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

#[derive(Deserialize)]
struct File {
    model: Model,
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(default)]
    pre_tokenizer: Json,
    #[serde(default)]
    normalizer: Json,
}

#[derive(Deserialize)]
struct Model {
    vocab: HashMap<String, usize>,
    merges: Vec<Merge>,
    #[serde(default)]
    byte_fallback: bool,
}

/// Two pieces that become one: as `"a b"`, or as a pair.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Text(String),
    Pair(String, String),
}

#[derive(Deserialize)]
struct Added {
    id: usize,
    content: String,
    #[serde(default)]
    special: bool,
}

/// The vocabulary in the file at `path`, which is `json`.
pub(super) fn read(path: &Path, json: Json) -> Result<Vocabulary, ConvertError> {
    if json["model"]["type"].as_str().is_some_and(|kind| kind != "BPE") {
        return Err(unsupported(path, "is not byte-pair encoding"));
    }
    let file: File =
        serde_json::from_value(json).map_err(|error| ConvertError::damaged(path, error))?;
    let Model { vocab, merges, byte_fallback } = file.model;
    let ids = vocab.values().copied().chain(file.added_tokens.iter().map(|token| token.id));
    let length = ids.max().map_or(0, |id| id.saturating_add(1));
    // As many rows as an honest file has: ids leave no large holes.
    if length == 0 || length > 2 * (vocab.len() + file.added_tokens.len()) {
        return Err(ConvertError::damaged(path, "its ids leave holes"));
    }
    let hole = |id| Piece { text: format!("[PAD{id}]"), score: 0.0, kind: UNUSED };
    let mut pieces: Vec<_> = (0..length).map(hole).collect();
    let scores = if byte_fallback { scores(&merges) } else { HashMap::new() };
    for (text, id) in vocab {
        let kind = match byte_fallback && is_byte(&text) {
            true => BYTE,
            false => NORMAL,
        };
        let score = scores.get(&text).copied().unwrap_or(0.0);
        pieces[id] = Piece { text, score, kind };
    }
    for Added { id, content, special } in file.added_tokens {
        let kind = match special {
            true if byte_fallback && content == "<unk>" => UNKNOWN,
            true => CONTROL,
            false => USER,
        };
        pieces[id] = Piece { text: content, score: 0.0, kind };
    }
    if byte_fallback {
        let add_space = prefixes(&file.normalizer) || prefixes(&file.pre_tokenizer);
        return Ok(Vocabulary { model: "llama", pre: None, pieces, merges: Vec::new(), add_space });
    }
    let merges = merges.into_iter().map(|merge| match merge {
        Merge::Text(text) => text,
        Merge::Pair(left, right) => format!("{left} {right}"),
    });
    let pre = Some(splitter(path, &file.pre_tokenizer)?);
    let merges = merges.collect();
    Ok(Vocabulary { model: "gpt2", pre, pieces, merges, add_space: false })
}

/// Scores that merge in the order of the list: SentencePiece merges what gives
/// the piece of the highest score first.
fn scores(merges: &[Merge]) -> HashMap<String, f32> {
    let mut scores = HashMap::new();
    for (rank, merge) in merges.iter().enumerate() {
        let whole = match merge {
            Merge::Text(text) => text.replacen(' ', "", 1),
            Merge::Pair(left, right) => format!("{left}{right}"),
        };
        scores.entry(whole).or_insert(-(rank as f32));
    }
    scores
}

/// A step that puts a space before the text: the normalizer `Prepend`, or the
/// pre-tokenizer `Metaspace` unless it is told never to.
fn prefixes(step: &Json) -> bool {
    let inner = |key: &str| step[key].as_array().is_some_and(|steps| steps.iter().any(prefixes));
    match step["type"].as_str() {
        Some("Prepend") => true,
        Some("Metaspace") => {
            step["prepend_scheme"] != "never" && step["add_prefix_space"] != Json::Bool(false)
        }
        Some("Sequence") => inner("normalizers") || inner("pretokenizers"),
        _ => false,
    }
}

/// GGUF's name for the way text is split into words.
fn splitter(path: &Path, step: &Json) -> Result<&'static str, ConvertError> {
    let steps = match step["pretokenizers"].as_array() {
        Some(steps) => &steps[..],
        None => std::slice::from_ref(step),
    };
    let patterns: Vec<_> = steps.iter().filter_map(|s| s["pattern"]["Regex"].as_str()).collect();
    let bytes = steps.iter().find(|step| step["type"] == "ByteLevel");
    match (&patterns[..], steps.len(), bytes) {
        ([LLAMA_3], 2, Some(_)) => Ok("llama-bpe"),
        ([], 1, Some(bytes)) if bytes["use_regex"] != Json::Bool(false) => Ok("gpt-2"),
        _ => Err(unsupported(path, "splits words in a way that is neither Llama 3's nor GPT-2's")),
    }
}

/// A piece like `<0x0A>`.
fn is_byte(text: &str) -> bool {
    let hex = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    hex.is_some_and(|hex| hex.len() == 2 && u8::from_str_radix(hex, 16).is_ok())
}

fn unsupported(path: &Path, what: &str) -> ConvertError {
    ConvertError::Unsupported(format!(
        "its {} {what}: use a Llama model, or one that has a tokenizer.model",
        path.file_name().unwrap_or_default().to_string_lossy()
    ))
}
