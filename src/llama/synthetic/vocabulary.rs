//! A vocabulary of Llama-2's kind, made here: bytes, letters, the words that an
//! agent's prompts and questions are made of, and groups of letters that other
//! words are split into. Digits stay alone, as in Llama-2's.
//!
//! A merge needs both of its parts to be pieces, so every beginning of a word is
//! one too: wherever else merges began, a word that is known ends as one piece.

use std::collections::HashSet;

use crate::llama::convert::writer::Value;
use crate::llama::tokenizer::SPACE;

/// The most frequent words first.
const WORDS: &str = include_str!("words.txt");

/// What stands around the words of a reply, each after its beginnings.
const MARKS: [&str; 14] =
    ["``", "```", "**", "\":", "\",", "\"}", "{\"", "!\"", ".\"", "▁\"", "▁{", "▁(", "▁'", "\"."];

/// Letters by their frequency in English.
const LETTERS: &str = "etaoinsrhldcumfpgwybvkxjqz";

/// SentencePiece's types of pieces.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const BYTE: i32 = 6;

/// The metadata of a vocabulary of `length` pieces.
pub(super) fn metadata(length: usize) -> Vec<(String, Value)> {
    let pieces = pieces(length);
    let scores = (0..pieces.len()).map(|id| -(id as f32)).collect();
    let (texts, kinds) = pieces.into_iter().unzip();
    [
        ("model", Value::Text("llama".into())),
        ("tokens", Value::Texts(texts)),
        ("scores", Value::F32s(scores)),
        ("token_type", Value::I32s(kinds)),
        ("unknown_token_id", Value::U32(0)),
        ("bos_token_id", Value::U32(1)),
        ("eos_token_id", Value::U32(2)),
        ("add_bos_token", Value::Bool(true)),
        ("add_eos_token", Value::Bool(false)),
    ]
    .map(|(key, value)| (format!("tokenizer.ggml.{key}"), value))
    .into()
}

/// Every piece with its type; the earlier of two merges comes first.
fn pieces(length: usize) -> Vec<(String, i32)> {
    let mut pieces: Vec<(String, i32)> = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)]
        .map(|(t, k)| (t.into(), k))
        .into();
    pieces.extend((0..256).map(|byte| (format!("<0x{byte:02X}>"), BYTE)));
    let mut known = HashSet::new();
    let mut add = |piece: String| {
        if pieces.len() < length && known.insert(piece.clone()) {
            pieces.push((piece, NORMAL));
        }
    };
    let letters = || LETTERS.chars().map(String::from);
    add(SPACE.into());
    ('!'..='~').for_each(|c| add(c.into()));
    MARKS.into_iter().for_each(|mark| add(mark.into()));
    for word in WORDS.split_whitespace() {
        for end in 1..=word.len() {
            add(format!("{SPACE}{}", &word[..end]));
            add(word[..end].into());
        }
    }
    let pairs: Vec<String> =
        letters().flat_map(|a| letters().map(move |b| format!("{a}{b}"))).collect();
    for pair in letters().chain(pairs.iter().cloned()) {
        add(pair.clone());
        add(format!("{SPACE}{pair}"));
    }
    for start in ["", "▁"] {
        for third in letters() {
            pairs.iter().for_each(|pair| add(format!("{start}{pair}{third}")));
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llama::Tokenizer;
    use crate::llama::cuda::Format;
    use crate::llama::synthetic::{Shape, Synthetic, VOCAB};

    #[test]
    fn all_pieces_differ_and_are_as_many_as_asked_for() {
        let pieces = pieces(VOCAB);
        let different: HashSet<_> = pieces.iter().map(|(text, _)| text).collect();
        assert_eq!((pieces.len(), different.len()), (VOCAB, VOCAB));
    }

    #[test]
    fn known_words_are_one_piece_and_digits_stay_alone() {
        let synthetic = Synthetic::new(&Shape::ALL[3], Format::Q8_0, 0).expect("a model");
        let tokenizer = Tokenizer::from_gguf(synthetic.gguf()).expect("a vocabulary");
        let split = |text: &str| -> Vec<String> {
            tokenizer.encode(text, false, false).iter().map(|id| tokenizer.name(*id)).collect()
        };
        assert_eq!(split("```json\n"), ["```", "json", "\n"]);
        assert_eq!(split(" what is the answer"), [" what", " is", " the", " answer"]);
        assert_eq!(split(" 4**2.1"), [" ", "4", "**", "2", ".", "1"]);
        for word in WORDS.split_whitespace() {
            assert_eq!(split(&format!(" {word}")).len(), 1, "{word}");
        }
        let text = "Any text é → comes\tback, \u{1f600}!";
        assert_eq!(tokenizer.decode(&tokenizer.encode(text, false, false)), text.as_bytes());
        // Nothing is known of these words.
        assert!(split(" photosynthesis of rhododendrons").len() < 16);
    }
}
