//! `--model http(s)://…`: an engine elsewhere.

use std::path::Path;

use anyhow::{Context, Result};

use super::args::Shared;
use crate::llama::{Gguf, Tokenizer};
use crate::llm::Llm;
use crate::llm::remote::{ApiKey, Remote, Wanted};

/// Where the key is.
const KEY: &str = "AGENT_API_KEY";

/// The address, if that is what was named.
pub fn address(model: Option<&Path>) -> Option<&str> {
    let text = model?.to_str()?;
    ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme)).then_some(text)
}

/// Opens the engine at an address.
///
/// # Errors
/// It cannot be used: one sentence that says what to do.
pub fn open(address: &str, shared: &Shared) -> Result<Box<dyn Llm>> {
    let key = match std::env::var_os(KEY) {
        Some(key) => ApiKey::new(&key.to_string_lossy()).context(KEY)?,
        None => None,
    };
    let args = &shared.model;
    let wanted = Wanted {
        model: args.remote_model.as_deref(),
        key,
        tokenizer: args.tokenizer.as_deref().map(tokenizer).transpose()?,
        context: args.context,
        ..Wanted::default()
    };
    let remote = Remote::open(address, wanted)?;
    Ok(Box::new(remote.with_form(shared.decode.switches().form)))
}

/// The tokenizer of a file: a tokenizer.json, or the one in a GGUF.
fn tokenizer(path: &Path) -> Result<Tokenizer> {
    Ok(match path.extension() {
        Some(extension) if extension.eq_ignore_ascii_case("gguf") => {
            Tokenizer::from_gguf(&Gguf::open(path)?)?
        }
        _ => Tokenizer::from_json(path)?,
    })
}
