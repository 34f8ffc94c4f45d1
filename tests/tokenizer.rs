//! Text to ids and back on the small vocabulary.

mod support;

use std::collections::HashMap;
use std::sync::LazyLock;

use llama_agent::chat::{Origin, Prompt, Segment};
use llama_agent::llama::tokenizer::Utf8Stream;
use llama_agent::llama::{Gguf, Tokenizer};
use proptest::prelude::*;
use support::Tiny;

fn tokenizer() -> Tokenizer {
    let gguf = Gguf::from_bytes(Tiny { layers: 1, ..Tiny::default() }.bytes()).unwrap();
    Tokenizer::from_gguf(&gguf).unwrap()
}

fn names(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    ids.iter().map(|&id| tokenizer.name(id)).collect::<Vec<_>>().join("|")
}

#[test]
fn merges_by_score_then_leftmost() {
    let tokenizer = tokenizer();
    for (text, expected) in [
        ("", ""),
        ("the", "the"),
        (" the", " the"),
        ("what is the action", "what| is| the| action"),
        ("12.50", "1|2|.|5|0"),
        ("aaa", "aa|a"),
        ("a  b", "a| | |b"),
    ] {
        assert_eq!(names(&tokenizer, &tokenizer.encode(text, true, false)), expected, "{text:?}");
    }
}

#[test]
fn control_tokens_count_in_the_frame_alone() {
    let tokenizer = tokenizer();
    let (bos, eos) = (tokenizer.bos().unwrap(), tokenizer.eos().unwrap());
    let text = "<s>a</s>b<s";
    let parsed = tokenizer.encode(text, true, true);
    assert_eq!(names(&tokenizer, &parsed), "<s>| a|</s>| |b|<|s");
    let plain = tokenizer.encode(text, false, false);
    assert!(plain.iter().all(|&id| !tokenizer.is_control(id)));
    assert_eq!(tokenizer.decode(&plain), text.as_bytes());

    let prompt = Prompt::from_iter([
        Segment::new(Origin::Frame, "<s>the"),
        Segment::new(Origin::Person, " </s>"),
        Segment::new(Origin::Tool, "<s>"),
        Segment { ids: Some(vec![9, 8]), ..Segment::new(Origin::Model, "</s>") },
        Segment::new(Origin::Frame, "on</s>"),
    ]);
    let ids = tokenizer.encode_prompt(&prompt);
    assert_eq!(ids.iter().filter(|&&id| id == bos).count(), 1);
    assert_eq!(ids.iter().filter(|&&id| id == eos).count(), 1);
    assert_eq!((ids[0], ids[ids.len() - 1]), (bos, eos));
    assert!(ids.windows(2).any(|pair| pair == [9, 8]));
}

#[test]
fn the_first_text_of_a_prompt_gets_a_space() {
    let tokenizer = tokenizer();
    let prompt = |text: &str| {
        Prompt::from_iter([Segment::new(Origin::Frame, text), Segment::new(Origin::Person, "the")])
    };
    assert_eq!(names(&tokenizer, &tokenizer.encode_prompt(&prompt("the"))), " the|the");
    assert_eq!(names(&tokenizer, &tokenizer.encode_prompt(&prompt("<s>"))), "<s>|the");
    assert_eq!(names(&tokenizer, &tokenizer.encode_prompt(&prompt(""))), " the");
}

#[test]
fn a_stream_never_shows_half_a_character() {
    let text = "aé→🦙\u{fffd}z";
    let mut stream = Utf8Stream::new();
    let shown: String = text.bytes().map(|byte| stream.push(&[byte])).collect();
    assert_eq!(shown, text);
    assert_eq!(stream.push(&[0xf0, 0x9f]), "");
    assert_eq!(stream.pending(), 2);
    assert_eq!(stream.push(b"x"), "\u{fffd}x");
}

/// The small vocabulary as a `tokenizer.json` of the Llama-2 kind.
fn json_tokenizer() -> Tokenizer {
    let pieces = support::vocabulary(512);
    let normal: HashMap<&str, f32> =
        pieces.iter().filter(|piece| piece.2 == 1).map(|piece| (&*piece.0, piece.1)).collect();
    // A merge is listed before those whose result scores less.
    let mut merges = Vec::new();
    for (text, score) in &normal {
        for (cut, _) in text.char_indices().skip(1) {
            let (left, right) = text.split_at(cut);
            if normal.contains_key(left) && normal.contains_key(right) {
                merges.push((*score, [left, right]));
            }
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0));
    let merges: Vec<_> = merges.into_iter().map(|(_, pair)| pair).collect();
    let vocab: HashMap<&str, usize> =
        pieces.iter().enumerate().map(|(id, piece)| (&*piece.0, id)).collect();
    let control = |id: u32, content: &str| {
        serde_json::json!({
            "id": id, "content": content, "special": true, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false,
        })
    };
    let json = serde_json::json!({
        "version": "1.0",
        "added_tokens": [control(0, "<unk>"), control(1, "<s>"), control(2, "</s>")],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ]},
        "pre_tokenizer": null,
        "post_processor": null,
        "decoder": null,
        "truncation": null,
        "padding": null,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": "<unk>",
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true,
            "byte_fallback": true, "vocab": vocab, "merges": merges,
        },
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    std::fs::write(&path, serde_json::to_vec(&json).unwrap()).unwrap();
    Tokenizer::from_json(&path).unwrap()
}

static BOTH: LazyLock<[Tokenizer; 2]> = LazyLock::new(|| [tokenizer(), json_tokenizer()]);

#[test]
fn both_sources_name_the_same_ends() {
    let [gguf, json] = &*BOTH;
    assert_eq!((gguf.bos(), gguf.eos()), (Some(1), Some(2)));
    assert_eq!((json.bos(), json.eos()), (Some(1), Some(2)));
    assert_eq!(gguf.vocab_len(), json.vocab_len());
    assert!(json.is_control(2) && json.is_byte(13) && json.piece(13) == b"\n");
}

proptest! {
    #[test]
    fn a_json_gives_the_same_ids(text in ".*|[ -~]*|[▁ <s/>\u{0}é→]*|[ a-z<s/>]*", parse in any::<bool>()) {
        let [gguf, json] = &*BOTH;
        prop_assert_eq!(gguf.encode(&text, parse, parse), json.encode(&text, parse, parse));
    }

    #[test]
    fn any_text_comes_back(text in ".*|[ -~]*|[▁ <s/>\u{0}é→]*", parse in any::<bool>()) {
        let [tokenizer, _] = &*BOTH;
        let ids = tokenizer.encode(&text, false, false);
        prop_assert_eq!(tokenizer.decode(&ids), text.as_bytes());
        prop_assert!(ids.iter().all(|&id| !tokenizer.is_control(id)));
        if !text.is_empty() {
            let spaced = tokenizer.decode(&tokenizer.encode(&text, false, true));
            prop_assert_eq!(spaced, format!(" {text}").into_bytes());
        }
        // Parsing the frame never panics, wherever a control token would be cut.
        let _ = (parse, tokenizer.encode(&text, true, parse));
    }

    #[test]
    fn a_stream_agrees_with_the_whole(bytes in proptest::collection::vec(any::<u8>(), 0..40), cut in 1usize..5) {
        let mut stream = Utf8Stream::new();
        let shown: String = bytes.chunks(cut).map(|part| stream.push(part)).collect();
        let whole = &bytes[..bytes.len() - stream.pending()];
        prop_assert_eq!(shown, String::from_utf8_lossy(whole));
    }
}
