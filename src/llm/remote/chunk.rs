//! One event of a streamed completion, in the words of several servers.

use serde_json::Value;

use crate::llm::End;

/// What one event brings.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Chunk {
    pub text: String,
    /// The ids of the tokens that came with it, where the server says.
    pub ids: Option<Vec<u32>>,
    /// Why the server stopped.
    pub end: Option<End>,
    /// Tokens of the prompt that were in its cache.
    pub reused: Option<usize>,
    /// Tokens of the reply so far.
    pub produced: Option<usize>,
    /// What the server says went wrong.
    pub error: Option<String>,
}

impl Chunk {
    /// Reads the data of an event. None if it is not JSON.
    pub fn parse(data: &str) -> Option<Self> {
        let json: Value = serde_json::from_str(data).ok().filter(Value::is_object)?;
        let choice = &json["choices"][0];
        let (usage, timings) = (&json["usage"], &json["timings"]);
        let end = choice["finish_reason"].as_str().map(|reason| match reason {
            "length" => End::Length,
            _ => End::Turn,
        });
        let error = &json["error"];
        Some(Self {
            text: choice["text"].as_str().unwrap_or_default().into(),
            ids: ids(choice),
            end,
            reused: count(&timings["cache_n"])
                .or(count(&usage["prompt_tokens_details"]["cached_tokens"])),
            produced: count(&usage["completion_tokens"]).or(count(&timings["predicted_n"])),
            error: (!error.is_null()).then(|| super::error::message(data)),
        })
    }
}

/// vLLM says `token_ids`; llama.cpp says them with the probabilities.
fn ids(choice: &Value) -> Option<Vec<u32>> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match (&choice["token_ids"], &choice["logprobs"]["content"]) {
        (Value::Array(ids), _) => ids.iter().map(id).collect(),
        (_, Value::Array(tokens)) => tokens.iter().map(|token| id(&token["id"])).collect(),
        _ => None,
    }
}

fn count(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|count| usize::try_from(count).ok())
}
