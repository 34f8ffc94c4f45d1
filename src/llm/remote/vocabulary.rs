//! How a prompt becomes token ids: by a tokenizer of ours, or by the server's.

use std::cell::RefCell;
use std::collections::HashMap;

use serde_json::{Value, json};

use super::client::Client;
use super::error::RemoteError;
use super::plain;
use super::server::{Kind, Server};
use crate::chat::{Origin, Prompt};
use crate::llama::Tokenizer;

/// Who knows the vocabulary.
pub(super) enum Vocabulary {
    Ours(Box<Tokenizer>),
    Theirs(Theirs),
}

/// A prompt as it is sent.
pub(super) struct Written {
    /// An array of ids, or text.
    pub prompt: Value,
    pub tokens: usize,
}

impl Vocabulary {
    /// Writes a prompt down, as ids or as text.
    pub fn write(
        &self,
        client: &Client,
        prompt: &Prompt,
        ids: bool,
    ) -> Result<Written, RemoteError> {
        if ids {
            let ids = match self {
                Self::Ours(tokenizer) => tokenizer.encode_prompt(prompt),
                Self::Theirs(theirs) => theirs.encode_prompt(client, prompt)?,
            };
            return Ok(Written { tokens: ids.len(), prompt: ids.into() });
        }
        let text = plain::text(prompt);
        let tokens = match self {
            // And the beginning of the sequence, which the server adds.
            Self::Ours(tokenizer) => tokenizer.encode(&text, true, true).len() + 1,
            Self::Theirs(theirs) => theirs.ask(client, &text, true)?.len() + 1,
        };
        Ok(Written { prompt: text.into(), tokens })
    }

    /// The ids of a part of a reply. None if they cannot be had.
    pub fn encode(&self, client: &Client, text: &str) -> Option<Vec<u32>> {
        match self {
            Self::Ours(tokenizer) => Some(tokenizer.encode(text, false, false)),
            Self::Theirs(theirs) => theirs.encode(client, text, false, false).ok(),
        }
    }
}

/// The vocabulary of a server that encodes text when asked.
pub(super) struct Theirs {
    kind: Kind,
    model: String,
    /// The ids of a line break at the start, if more than one: a vocabulary
    /// that puts a space before text, unless text stands before it already.
    anchor: Option<Vec<u32>>,
    /// What was asked before, by text, whether it is a frame's, and whether it
    /// starts the prompt.
    known: RefCell<HashMap<(String, bool, bool), Vec<u32>>>,
}

/// Stands before a text to keep a vocabulary from putting a space there. It is
/// a piece of its own in vocabularies that do so.
const ANCHOR: &str = "\n";

impl Theirs {
    /// # Errors
    /// `CannotCount` if the server has no such place.
    pub fn new(client: &Client, server: &Server) -> Result<Self, RemoteError> {
        let mut theirs = Self {
            kind: server.kind,
            model: server.model.clone(),
            anchor: None,
            known: RefCell::default(),
        };
        let ids = theirs.ask(client, ANCHOR, false).map_err(|error| match error.is_absence() {
            true => RemoteError::CannotCount { at: client.at() },
            false => error,
        })?;
        theirs.anchor = (ids.len() > 1).then_some(ids);
        Ok(theirs)
    }

    /// As `Tokenizer::encode_prompt`.
    fn encode_prompt(&self, client: &Client, prompt: &Prompt) -> Result<Vec<u32>, RemoteError> {
        let mut ids = Vec::new();
        for segment in &prompt.segments {
            match &segment.ids {
                Some(own) => ids.extend_from_slice(own),
                None => {
                    let frame = segment.origin == Origin::Frame;
                    // llama.cpp can be told to leave control strings alone.
                    let text = match self.kind {
                        Kind::LlamaCpp => segment.text.as_str().into(),
                        _ => plain::segment(segment),
                    };
                    ids.extend(self.encode(client, &text, frame, ids.is_empty())?);
                }
            }
        }
        Ok(ids)
    }

    fn encode(
        &self,
        client: &Client,
        text: &str,
        frame: bool,
        first: bool,
    ) -> Result<Vec<u32>, RemoteError> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let key = (text.to_string(), frame, first);
        if let Some(ids) = self.known.borrow().get(&key) {
            return Ok(ids.clone());
        }
        let ids = match &self.anchor {
            Some(anchor) if !first => {
                let ids = self.ask(client, &format!("{ANCHOR}{text}"), frame)?;
                let ids = ids.strip_prefix(anchor.as_slice());
                ids.ok_or_else(|| RemoteError::CannotCount { at: client.at() })?.to_vec()
            }
            _ => self.ask(client, text, frame)?,
        };
        self.known.borrow_mut().insert(key, ids.clone());
        Ok(ids)
    }

    /// The ids of a text by itself.
    fn ask(&self, client: &Client, text: &str, frame: bool) -> Result<Vec<u32>, RemoteError> {
        let body = match self.kind {
            Kind::LlamaCpp => {
                json!({"content": text, "add_special": false, "parse_special": frame})
            }
            Kind::Tgi => json!({"inputs": text}),
            Kind::Vllm | Kind::Sglang | Kind::Other => {
                json!({"model": self.model, "prompt": text, "add_special_tokens": false})
            }
        };
        let answer = client.post(&client.address.beside("tokenize"), &body)?;
        let ids = answer["tokens"].as_array().or(answer.as_array());
        let id = |value: &Value| {
            let id = if value.is_object() { &value["id"] } else { value };
            id.as_u64().and_then(|id| u32::try_from(id).ok())
        };
        let ids: Option<Vec<u32>> = ids.and_then(|ids| ids.iter().map(id).collect());
        ids.ok_or_else(|| RemoteError::CannotCount { at: client.at() })
    }
}
