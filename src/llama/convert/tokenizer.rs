//! The folder's tokenizer as GGUF metadata: SentencePiece's `tokenizer.model`,
//! or a `tokenizer.json` of either kind, and what `tokenizer_config.json` says.

mod bpe;
mod sentencepiece;

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value as Json;

use super::config::Config;
use super::error::ConvertError;
use super::json;
use super::writer::{Metadata, Value};

const SENTENCEPIECE: &str = "tokenizer.model";
const JSON: &str = "tokenizer.json";
const CONFIG: &str = "tokenizer_config.json";

/// What a token is (`tokenizer.ggml.token_type`; the numbers are those of
/// SentencePiece's `ModelProto.SentencePiece.Type`).
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// A token.
#[derive(Clone, Debug, PartialEq)]
struct Piece {
    text: String,
    score: f32,
    kind: i32,
}

/// A vocabulary, as a GGUF file describes one.
struct Vocabulary {
    /// `tokenizer.ggml.model` and, for gpt2, `tokenizer.ggml.pre`.
    model: &'static str,
    pre: Option<&'static str>,
    pieces: Vec<Piece>,
    /// Only for gpt2.
    merges: Vec<String>,
    /// Text at the start gets a space before it.
    add_space: bool,
}

/// The metadata; a sentence for what does not fit the model is added to `notices`.
pub(super) fn metadata(
    folder: &Path,
    config: &Config,
    notices: &mut Vec<String>,
) -> Result<Metadata, ConvertError> {
    let about = json::read(folder, CONFIG)?.unwrap_or_default();
    let mut vocabulary = read(folder)?;
    added(folder, &about, config.vocab, &mut vocabulary)?;
    let pieces = &mut vocabulary.pieces;
    if pieces.len() > config.vocab {
        let (more, rows) = (pieces.len() - config.vocab, config.vocab);
        notices.push(format!(
            "{more} tokens of the tokenizer are left out: the model has {rows} rows"
        ));
        pieces.truncate(config.vocab);
    }
    for id in pieces.len()..config.vocab {
        pieces.push(Piece { text: format!("[PAD{id}]"), score: 0.0, kind: UNUSED });
    }
    let mut metadata = vocabulary.metadata();
    metadata.extend(special(&about, config, &vocabulary.pieces));
    if let Some(template) = template(folder, &about)? {
        metadata.push(("tokenizer.chat_template".into(), Value::Text(template)));
    }
    Ok(metadata)
}

/// SentencePiece's own file if there is one: only it has the scores. Llama 3's
/// repositories may hold a file of that name that is something else.
fn read(folder: &Path) -> Result<Vocabulary, ConvertError> {
    let path = folder.join(SENTENCEPIECE);
    let json = json::read(folder, JSON)?;
    match std::fs::read(&path) {
        Ok(bytes) if json.is_none() || sentencepiece::looks_like(&bytes) => {
            sentencepiece::read(&bytes).map_err(|why| ConvertError::damaged(&path, why))
        }
        Ok(_) | Err(_) => match json {
            Some(json) => bpe::read(&folder.join(JSON), json),
            None => Err(ConvertError::Missing {
                folder: folder.into(),
                name: format!("{SENTENCEPIECE} and no {JSON}"),
            }),
        },
    }
}

/// Adds the tokens that were given to the model later, where they are not in
/// the vocabulary's own file.
fn added(
    folder: &Path,
    about: &Json,
    limit: usize,
    vocabulary: &mut Vocabulary,
) -> Result<(), ConvertError> {
    let mut later: HashMap<usize, (String, i32)> = HashMap::new();
    let file = json::read(folder, "added_tokens.json")?.unwrap_or_default();
    for (text, id) in file.as_object().into_iter().flatten() {
        if let Some(id) = id.as_u64() {
            later.insert(id as usize, (text.clone(), CONTROL));
        }
    }
    for (id, token) in about["added_tokens_decoder"].as_object().into_iter().flatten() {
        if let (Ok(id), Some(text)) = (id.parse(), token["content"].as_str()) {
            let kind = if token["special"] == Json::Bool(true) { CONTROL } else { USER };
            later.insert(id, (text.into(), kind));
        }
    }
    let pieces = &mut vocabulary.pieces;
    for id in pieces.len()..limit {
        if let Some((text, kind)) = later.remove(&id) {
            for hole in pieces.len()..id {
                pieces.push(Piece { text: format!("[PAD{hole}]"), score: 0.0, kind: UNUSED });
            }
            pieces.push(Piece { text, score: 0.0, kind });
        }
    }
    Ok(())
}

impl Vocabulary {
    fn metadata(&self) -> Metadata {
        let pieces = &self.pieces;
        let texts = pieces.iter().map(|piece| piece.text.clone()).collect();
        let kinds = pieces.iter().map(|piece| piece.kind).collect();
        let mut metadata = vec![
            ("tokenizer.ggml.model".to_string(), Value::Text(self.model.into())),
            ("tokenizer.ggml.pre".into(), Value::Text(self.pre.unwrap_or("default").into())),
            ("tokenizer.ggml.tokens".into(), Value::Texts(texts)),
            ("tokenizer.ggml.token_type".into(), Value::I32s(kinds)),
        ];
        if self.pre.is_some() {
            let merges = Value::Texts(self.merges.clone());
            metadata.push(("tokenizer.ggml.merges".into(), merges));
        } else {
            let scores = Value::F32s(pieces.iter().map(|piece| piece.score).collect());
            metadata.push(("tokenizer.ggml.scores".into(), scores));
            let space = Value::Bool(self.add_space);
            metadata.push(("tokenizer.ggml.add_space_prefix".into(), space));
        }
        metadata
    }
}

/// The ids of tokens with a part to play: by the tokenizer's own word, or by
/// the model's.
fn special(about: &Json, config: &Config, pieces: &[Piece]) -> Metadata {
    let id_of = |text: &str| pieces.iter().position(|piece| piece.text == text);
    let named = |name: &str| {
        let token = &about[name];
        id_of(token.as_str().or(token["content"].as_str())?)
    };
    let within = |id: Option<u64>| id.map(|id| id as usize).filter(|&id| id < pieces.len());
    let unknown = || pieces.iter().position(|piece| piece.kind == UNKNOWN);
    let mut metadata = Metadata::new();
    for (key, id) in [
        ("bos", named("bos_token").or(within(config.bos))),
        ("eos", named("eos_token").or(within(config.eos))),
        ("unknown", named("unk_token").or_else(unknown)),
        ("padding", named("pad_token")),
    ] {
        if let Some(id) = id {
            metadata.push((format!("tokenizer.ggml.{key}_token_id"), Value::U32(id as u32)));
        }
    }
    for key in ["add_bos_token", "add_eos_token"] {
        if let Some(yes) = about[key].as_bool() {
            metadata.push((format!("tokenizer.ggml.{key}"), Value::Bool(yes)));
        }
    }
    metadata
}

/// The chat template: in a file of its own, or in the tokenizer's.
fn template(folder: &Path, about: &Json) -> Result<Option<String>, ConvertError> {
    let path = folder.join("chat_template.jinja");
    match std::fs::read_to_string(&path) {
        Ok(text) => return Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(ConvertError::Unreadable { path, source }),
    }
    let template = &about["chat_template"];
    let named = || template.as_array()?.iter().find(|each| each["name"] == "default");
    let text = template.as_str().or_else(|| named()?["template"].as_str());
    Ok(text.map(str::to_string))
}
