//! A vocabulary from a `tokenizer.json`, split by the tokenizers crate.
//!
//! Spaces, control tokens and normal forms are taken out of its hands, so that
//! this kind behaves as the one in a GGUF file does and every text comes back.
//! Refuses whatever is not byte-pair encoding with a piece for every byte.

use std::io::ErrorKind;
use std::path::Path;

use tokenizers::{
    AddedVocabulary, ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, Tokenizer as Library,
};

use super::spm::SPACE;
use super::{Kind, Splitter, Tokenizer, all_bytes, bpe, byte_of, marks_by_first_byte};
use crate::llama::error::ModelError;

/// The library's splitter.
pub(super) struct Json {
    library: Library,
    /// The piece of each byte.
    bytes: [u32; 256],
    /// Spaces are written as U+2581 (SentencePiece's kind); otherwise all
    /// bytes are written as letters (GPT-2's kind).
    sentencepiece: bool,
}

impl Json {
    /// A splitter of GPT-2's kind.
    pub(super) fn byte_level(library: Library, bytes: [u32; 256]) -> Self {
        Self { library, bytes, sentencepiece: false }
    }

    pub(super) fn encode(&self, text: &str, space: bool, ids: &mut Vec<u32>) {
        if !self.sentencepiece {
            let lead = if space && !text.is_empty() { " " } else { "" };
            self.split(format!("{lead}{text}"), ids);
            return;
        }
        let mut lead = if space && !text.is_empty() { " " } else { "" };
        for (i, part) in text.split(SPACE).enumerate() {
            if i > 0 {
                self.spell(&SPACE.to_string(), ids);
            }
            self.split(format!("{lead}{part}").replace(' ', &SPACE.to_string()), ids);
            lead = "";
        }
    }

    fn split(&self, text: String, ids: &mut Vec<u32>) {
        match self.library.encode_fast(text.as_str(), false) {
            Ok(encoding) => ids.extend_from_slice(encoding.get_ids()),
            Err(_) => self.spell(&text, ids),
        }
    }

    fn spell(&self, text: &str, ids: &mut Vec<u32>) {
        ids.extend(text.bytes().map(|byte| self.bytes[usize::from(byte)]));
    }
}

pub(super) fn read(path: &Path) -> Result<Tokenizer, ModelError> {
    let bytes = std::fs::read(path).map_err(|source| match source.kind() {
        ErrorKind::NotFound => ModelError::Missing(path.into()),
        _ => ModelError::Unreadable { path: path.into(), source },
    })?;
    let mut library = Library::from_bytes(&bytes).map_err(|error| {
        ModelError::damaged(format!("{}: {}", path.display(), first_line(&error.to_string())))
    })?;
    let ModelWrapper::BPE(model) = library.get_model() else {
        return Err(ModelError::Unsupported(format!(
            "{} is not byte-pair encoding: use the tokenizer.json of a Llama model",
            path.display()
        )));
    };
    let sentencepiece = model.byte_fallback;
    let added = library.get_added_tokens_decoder();
    let length = library.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1);
    // As many rows as an honest file has: ids leave no large holes.
    if length > 2 * library.get_vocab_size(true) {
        return Err(ModelError::damaged(format!("{}: ids with holes", path.display())));
    }
    let letters = bpe::letters();
    let mut pieces = vec![(Kind::Unused, Vec::new()); length];
    let mut bytes = [None; 256];
    for (text, id) in library.get_vocab(false) {
        let piece = if !sentencepiece {
            (Kind::Normal, text.chars().filter_map(|c| letters.get(&c).copied()).collect())
        } else if let Some(byte) = byte_of(&text) {
            (Kind::Byte, vec![byte])
        } else {
            (Kind::Normal, text.replace(SPACE, " ").into_bytes())
        };
        if let ([byte], true) = (&piece.1[..], !sentencepiece || piece.0 == Kind::Byte) {
            bytes[usize::from(*byte)] = Some(id);
        }
        pieces[id as usize] = piece;
    }
    let mut marks = Vec::new();
    for (&id, token) in &added {
        let kind = if token.special { Kind::Control } else { Kind::User };
        pieces[id as usize] = (kind, token.content.clone().into_bytes());
        marks.push((token.content.clone(), id));
    }
    let bytes = all_bytes(bytes)?;
    let unreadable = |error: tokenizers::Error| {
        ModelError::damaged(format!("{}: {}", path.display(), first_line(&error.to_string())))
    };
    library.with_normalizer(None::<NormalizerWrapper>).map_err(unreadable)?;
    library.with_added_vocabulary(AddedVocabulary::new());
    library.with_padding(None);
    library.with_truncation(None).map_err(unreadable)?;
    if sentencepiece {
        library.with_pre_tokenizer(None::<PreTokenizerWrapper>);
    }
    let named = |names: [&str; 3]| {
        let mut ids = names.iter().filter_map(|name| Some(marks.iter().find(|m| m.0 == *name)?.1));
        ids.next()
    };
    let bos = named(["<s>", "<|begin_of_text|>", "<|startoftext|>"]);
    Ok(Tokenizer {
        bos,
        add_bos: bos.is_some(),
        eos: named(["</s>", "<|eot_id|>", "<|end_of_text|>"]),
        pieces,
        marks: marks_by_first_byte(marks),
        splitter: Splitter::Json(Box::new(Json { library, bytes, sentencepiece })),
        add_space: sentencepiece,
    })
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
