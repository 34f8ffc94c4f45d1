//! Text to token ids and back.
//!
//! Who wrote a piece of the prompt decides how it is encoded: only the frame's
//! control tokens are parsed, what anybody else writes becomes ordinary pieces
//! even where it spells a control token.

mod bpe;
mod json;
mod spm;
mod stream;

use std::collections::HashMap;
use std::path::Path;

pub(super) use self::spm::SPACE;
use self::spm::Spm;
use super::error::ModelError;
use super::gguf::{Gguf, Value};
use crate::chat::{Origin, Prompt, Segment};

pub use self::stream::Utf8Stream;

/// What a token is (`tokenizer.ggml.token_type`; the numbers are those of
/// SentencePiece's `ModelProto.SentencePiece.Type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Normal,
    /// Unknown or control: stands for no text.
    Control,
    /// Text that the vocabulary's author wanted to stay one token.
    User,
    Unused,
    Byte,
}

/// A vocabulary, and the way text is split into it.
pub struct Tokenizer {
    pieces: Vec<(Kind, Vec<u8>)>,
    /// What the frame's text is searched for: control and user-defined tokens
    /// by their first byte, the longest first.
    marks: HashMap<u8, Vec<(String, u32)>>,
    splitter: Splitter,
    /// Text at the very start, or after a control token, gets a space before it.
    add_space: bool,
    /// A prompt begins with the token that a sequence begins with.
    add_bos: bool,
    bos: Option<u32>,
    eos: Option<u32>,
}

enum Splitter {
    Spm(Box<Spm>),
    Json(Box<json::Json>),
}

impl Tokenizer {
    /// Reads the vocabulary that a GGUF file carries.
    ///
    /// # Errors
    /// `Unsupported` if it is neither of SentencePiece's kind (`"llama"`) nor of
    /// GPT-2's (`"gpt2"`) with a piece for every byte, `Damaged` if its parts
    /// do not go together.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, ModelError> {
        match gguf.text("tokenizer.ggml.model").as_deref() {
            Some("llama") => Self::sentencepiece(gguf),
            Some("gpt2") => bpe::read(gguf),
            other => Err(ModelError::Unsupported(format!(
                "its vocabulary is of the kind {:?}, and only \"llama\" and \"gpt2\" are read \
                 from the file: put the model's tokenizer.json beside it",
                other.unwrap_or("none")
            ))),
        }
    }

    fn sentencepiece(gguf: &Gguf) -> Result<Self, ModelError> {
        let (Some(Value::Texts(texts)), Some(Value::Floats(scores)), Some(Value::Ints(kinds))) = (
            gguf.value("tokenizer.ggml.tokens"),
            gguf.value("tokenizer.ggml.scores"),
            gguf.value("tokenizer.ggml.token_type"),
        ) else {
            return Err(ModelError::damaged("its vocabulary has no tokens, scores or types"));
        };
        if texts.len() != scores.len() || texts.len() != kinds.len() {
            return Err(ModelError::damaged(format!(
                "its vocabulary has {} tokens, {} scores and {} types",
                texts.len(),
                scores.len(),
                kinds.len()
            )));
        }
        let mut pieces = Vec::with_capacity(texts.len());
        let mut table = HashMap::with_capacity(texts.len());
        let mut bytes = [None; 256];
        let mut marks = Vec::new();
        for (id, ((text, &score), &kind)) in (0u32..).zip(texts.iter().zip(scores).zip(kinds)) {
            let text = std::str::from_utf8(text)
                .map_err(|_| ModelError::damaged(format!("the token {id} is not UTF-8")))?;
            let kind = kind_of(kind, id)?;
            match kind {
                Kind::Byte => {
                    let byte = byte_of(text).ok_or_else(|| {
                        ModelError::damaged(format!("the token {id}, {text:?}, is not a byte"))
                    })?;
                    bytes[usize::from(byte)] = Some(id);
                    pieces.push((kind, vec![byte]));
                    continue;
                }
                Kind::Normal => {
                    table.insert(text.into(), (id, score));
                }
                Kind::Control | Kind::User => marks.push((text.to_string(), id)),
                Kind::Unused => {}
            }
            pieces.push((kind, text.replace(SPACE, " ").into_bytes()));
        }
        let bytes = all_bytes(bytes)?;
        let known = |key| gguf.uint(key).filter(|&id| id < texts.len() as u64).map(|id| id as u32);
        Ok(Self {
            pieces,
            marks: marks_by_first_byte(marks),
            splitter: Splitter::Spm(Box::new(Spm::new(table, bytes))),
            add_space: gguf.bool("tokenizer.ggml.add_space_prefix").unwrap_or(true),
            add_bos: gguf.bool("tokenizer.ggml.add_bos_token").unwrap_or(true),
            bos: known("tokenizer.ggml.bos_token_id"),
            eos: known("tokenizer.ggml.eos_token_id"),
        })
    }

    /// Reads a vocabulary from a `tokenizer.json`.
    ///
    /// # Errors
    /// `Missing` or `Unreadable` for the file, `Unsupported` if it is not a
    /// vocabulary into which every text can be split.
    pub fn from_json(path: &Path) -> Result<Self, ModelError> {
        json::read(path)
    }

    /// The ids of `text`, without a beginning-of-sequence token of its own.
    /// Control tokens spelled in it count only if `parse_control`. Text at the
    /// start gets a space before it if `prefix_space` and the vocabulary asks
    /// for one, as does text that follows a parsed control token.
    pub fn encode(&self, text: &str, parse_control: bool, prefix_space: bool) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 1);
        let mut space = prefix_space;
        let mut start = 0;
        if parse_control {
            let mut at = 0;
            while at < text.len() {
                match self.mark_at(text, at) {
                    Some((mark, id)) => {
                        self.split(&text[start..at], space, &mut ids);
                        ids.push(id);
                        at += mark.len();
                        (start, space) = (at, true);
                    }
                    None => at += 1,
                }
            }
        }
        self.split(&text[start..], space, &mut ids);
        ids
    }

    /// The ids of a prompt, segment by segment: a segment's own ids where it
    /// has them, control tokens parsed in the frame and nowhere else.
    pub fn encode_prompt(&self, prompt: &Prompt) -> Vec<u32> {
        let mut ids = Vec::new();
        for segment in &prompt.segments {
            ids.extend(self.encode_segment(segment, ids.is_empty()));
        }
        ids
    }

    /// The ids of one segment; `first` if no token stands before it.
    pub fn encode_segment(&self, segment: &Segment, first: bool) -> Vec<u32> {
        match &segment.ids {
            Some(own) => own.clone(),
            None => self.encode(&segment.text, segment.origin == Origin::Frame, first),
        }
    }

    /// The bytes that ids stand for; control tokens stand for none.
    pub fn decode(&self, ids: &[u32]) -> Vec<u8> {
        ids.iter().flat_map(|&id| self.piece(id)).copied().collect()
    }

    /// The bytes one id stands for: part of a character perhaps, none for a
    /// control token or an id outside the vocabulary.
    pub fn piece(&self, id: u32) -> &[u8] {
        match self.pieces.get(id as usize) {
            Some((Kind::Control, _)) | None => &[],
            Some((_, bytes)) => bytes,
        }
    }

    /// The id stands for no text: a control token, or none at all.
    pub fn is_control(&self, id: u32) -> bool {
        self.pieces.get(id as usize).is_none_or(|(kind, _)| *kind == Kind::Control)
    }

    /// The id stands for one byte.
    pub fn is_byte(&self, id: u32) -> bool {
        self.pieces.get(id as usize).is_some_and(|(kind, _)| *kind == Kind::Byte)
    }

    /// How a control token is spelled, or the text of any other.
    pub fn name(&self, id: u32) -> String {
        let bytes = self.pieces.get(id as usize).map_or(&[][..], |(_, bytes)| bytes);
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// The token a sequence begins with, if the vocabulary names one.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// A prompt begins with `bos`, where there is one.
    pub fn add_bos(&self) -> bool {
        self.add_bos
    }

    /// The token that ends a sequence, if the vocabulary names one.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// Tokens in the vocabulary.
    pub fn vocab_len(&self) -> usize {
        self.pieces.len()
    }

    fn split(&self, text: &str, space: bool, ids: &mut Vec<u32>) {
        let space = space && self.add_space;
        match &self.splitter {
            Splitter::Spm(spm) => spm.encode(text, space, ids),
            Splitter::Json(json) => json.encode(text, space, ids),
        }
    }

    fn mark_at(&self, text: &str, at: usize) -> Option<(&str, u32)> {
        let rest = &text.as_bytes()[at..];
        let marks = self.marks.get(rest.first()?)?;
        let (mark, id) = marks.iter().find(|(mark, _)| rest.starts_with(mark.as_bytes()))?;
        Some((mark, *id))
    }
}

fn kind_of(number: i64, id: u32) -> Result<Kind, ModelError> {
    Ok(match number {
        1 => Kind::Normal,
        2 | 3 => Kind::Control,
        4 => Kind::User,
        5 => Kind::Unused,
        6 => Kind::Byte,
        _ => return Err(ModelError::damaged(format!("the token {id} is of the type {number}"))),
    })
}

/// The byte that a piece like `<0x0A>` stands for.
fn byte_of(text: &str) -> Option<u8> {
    let hex = text.strip_prefix("<0x")?.strip_suffix('>')?;
    if hex.len() == 2 { u8::from_str_radix(hex, 16).ok() } else { None }
}

/// Refuses a vocabulary that lacks a byte: some text could not be encoded.
fn all_bytes(bytes: [Option<u32>; 256]) -> Result<[u32; 256], ModelError> {
    if bytes.iter().any(Option::is_none) {
        return Err(ModelError::Unsupported(
            "its vocabulary has no piece for some bytes: use a model with byte fallback".into(),
        ));
    }
    Ok(bytes.map(Option::unwrap_or_default))
}

fn marks_by_first_byte(marks: Vec<(String, u32)>) -> HashMap<u8, Vec<(String, u32)>> {
    let mut table: HashMap<u8, Vec<_>> = HashMap::new();
    for (mark, id) in marks {
        if let Some(&first) = mark.as_bytes().first() {
            table.entry(first).or_default().push((mark, id));
        }
    }
    for marks in table.values_mut() {
        marks.sort_by_key(|(mark, _)| std::cmp::Reverse(mark.len()));
    }
    table
}
