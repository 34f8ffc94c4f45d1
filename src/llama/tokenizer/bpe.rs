//! Byte-level byte-pair encoding of GPT-2's kind from a GGUF file, as Llama-3
//! has it: all bytes are written as letters, text is split into words by a
//! pattern that the file names, and merges go by their order.
//!
//! Refuses a vocabulary that lacks a byte, and a pattern that is not known.

use std::collections::{HashMap, HashSet};

use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer as Library};

use super::json::Json;
use super::{Kind, Splitter, Tokenizer, all_bytes, kind_of, marks_by_first_byte};
use crate::llama::error::ModelError;
use crate::llama::gguf::{Gguf, Value};

/// Words of Llama-3's vocabulary: digits in groups of three from the left.
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The same with every digit on its own.
const QWEN_2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Words of Mistral's vocabularies since Nemo: a capital begins a word.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Words of GPT-2.
const GPT_2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// How a vocabulary splits text into words, by the name in
/// `tokenizer.ggml.pre` as llama.cpp's converter writes it.
struct Words {
    /// Each splits what those before it left whole.
    patterns: &'static [&'static str],
    /// A word that is a piece is not split, whatever the merges say; and a
    /// prompt begins with the beginning-of-sequence token by default.
    whole: bool,
}

impl Words {
    fn named(name: &str) -> Option<Self> {
        let (patterns, whole): (&[_], _) = match name {
            "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "pixtral" => (&[LLAMA_3], true),
            "tekken" => (&[TEKKEN], true),
            "smaug-bpe" | "dbrx" => (&[LLAMA_3], false),
            "qwen2" | "stablelm2" | "deepseek-r1-qwen" => (&[QWEN_2], false),
            "gpt-2" | "phi-2" | "mpt" | "olmo" => (&[GPT_2], false),
            "smollm" | "starcoder" | "refact" | "command-r" => (&[r"\p{N}", GPT_2], false),
            "default" => (&[r"[\p{P}\$\+<=>\^~\|]+", GPT_2, r"\p{N}+", "[0-9][0-9][0-9]"], false),
            _ => return None,
        };
        Some(Self { patterns, whole })
    }

    /// The splitter, which also writes bytes as letters.
    fn sequence(&self) -> tokenizers::Result<PreTokenizerWrapper> {
        let mut steps = Vec::new();
        for pattern in self.patterns {
            let pattern = SplitPattern::Regex(pattern.to_string());
            steps.push(Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?.into());
        }
        steps.push(ByteLevel::new(false, false, false).into());
        Ok(Sequence::new(steps).into())
    }
}

pub(super) fn read(gguf: &Gguf) -> Result<Tokenizer, ModelError> {
    let name = gguf.text("tokenizer.ggml.pre").unwrap_or("default".into());
    let words = Words::named(&name).ok_or_else(|| {
        ModelError::Unsupported(format!(
            "its vocabulary splits text in the way {name:?}, which is not known: put the model's \
             tokenizer.json beside it"
        ))
    })?;
    let (Some(Value::Texts(texts)), Some(Value::Ints(kinds)), Some(Value::Texts(merges))) = (
        gguf.value("tokenizer.ggml.tokens"),
        gguf.value("tokenizer.ggml.token_type"),
        gguf.value("tokenizer.ggml.merges"),
    ) else {
        return Err(ModelError::damaged("its vocabulary has no tokens, types or merges"));
    };
    if texts.len() != kinds.len() {
        return Err(ModelError::damaged(format!(
            "its vocabulary has {} tokens and {} types",
            texts.len(),
            kinds.len()
        )));
    }
    let letters = letters();
    let mut pieces = Vec::with_capacity(texts.len());
    // Only normal pieces: what text spells can never become a control token.
    let mut table = Vocab::default();
    let mut bytes = [None; 256];
    let mut marks = Vec::new();
    for (id, (text, &kind)) in (0u32..).zip(texts.iter().zip(kinds)) {
        let text = utf8(text)?;
        let spelled: Option<Vec<u8>> = text.chars().map(|c| letters.get(&c).copied()).collect();
        pieces.push(match (kind_of(kind, id)?, spelled) {
            (Kind::Normal, Some(spelled)) => {
                if let [byte] = spelled[..] {
                    bytes[usize::from(byte)] = Some(id);
                }
                table.insert(text.into(), id);
                (Kind::Normal, spelled)
            }
            (kind @ (Kind::Control | Kind::User), _) => {
                marks.push((text.to_string(), id));
                (kind, text.as_bytes().to_vec())
            }
            (_, _) => (Kind::Unused, text.as_bytes().to_vec()),
        });
    }
    let bytes = all_bytes(bytes)?;
    let merges = pairs(merges, &table)?;
    let known = |key| gguf.uint(key).filter(|&id| id < texts.len() as u64).map(|id| id as u32);
    let (bos, eos) = (known("tokenizer.ggml.bos_token_id"), known("tokenizer.ggml.eos_token_id"));
    // Dialects write both as Llama-2 spells them.
    let spelled: HashSet<String> = marks.iter().map(|(text, _)| text.clone()).collect();
    for (text, id) in [("<s>", bos), ("</s>", eos)] {
        marks.extend(id.filter(|_| !spelled.contains(text)).map(|id| (text.to_string(), id)));
    }
    let library = library(&words, table, merges).map_err(|error| {
        let error = error.to_string();
        ModelError::damaged(format!("its vocabulary: {}", error.lines().next().unwrap_or_default()))
    })?;
    Ok(Tokenizer {
        pieces,
        marks: marks_by_first_byte(marks),
        splitter: Splitter::Json(Box::new(Json::byte_level(library, bytes))),
        add_space: gguf.bool("tokenizer.ggml.add_space_prefix").unwrap_or(false),
        add_bos: gguf.bool("tokenizer.ggml.add_bos_token").unwrap_or(words.whole),
        bos,
        eos,
    })
}

fn library(words: &Words, table: Vocab, merges: Merges) -> tokenizers::Result<Library> {
    let model =
        BPE::builder().vocab_and_merges(table, merges).ignore_merges(words.whole).build()?;
    let mut library = Library::new(model);
    library.with_pre_tokenizer(Some(words.sequence()?));
    Ok(library)
}

/// The merges, each written as its two parts with a space between them. One
/// that makes no ordinary piece is left out: text never becomes what it makes.
fn pairs(merges: &[Vec<u8>], table: &Vocab) -> Result<Merges, ModelError> {
    let mut pairs = Merges::with_capacity(merges.len());
    for merge in merges {
        let merge = utf8(merge)?;
        let space = merge.char_indices().skip(1).find(|(_, c)| *c == ' ');
        let (at, _) =
            space.ok_or_else(|| ModelError::damaged(format!("the merge {merge:?} is no pair")))?;
        let (left, right) = (&merge[..at], &merge[at + 1..]);
        if [left, right, &format!("{left}{right}")].iter().all(|part| table.contains_key(*part)) {
            pairs.push((left.into(), right.into()));
        }
    }
    Ok(pairs)
}

fn utf8(text: &[u8]) -> Result<&str, ModelError> {
    std::str::from_utf8(text)
        .map_err(|_| ModelError::damaged("a part of its vocabulary is not UTF-8"))
}

/// The byte that each letter of GPT-2's byte-level alphabet stands for:
/// printable Latin-1 stands for itself, the other 68 bytes for U+0100 onwards
/// in order.
pub(super) fn letters() -> HashMap<char, u8> {
    let printable = |byte: &u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let others = (0..=u8::MAX).filter(|byte| !printable(byte));
    let others = ('\u{100}'..).zip(others);
    (0..=u8::MAX).filter(printable).map(|byte| (char::from(byte), byte)).chain(others).collect()
}
