//! `--model http(s)://…`: an engine elsewhere.

use std::path::Path;

use anyhow::{Context, Result};

use super::args::Shared;
use super::template;
use crate::chat::Template;
use crate::hub::is_gguf;
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
    let (tokenizer, template) = match &args.tokenizer {
        Some(path) => {
            let (tokenizer, template) = vocabulary(path, shared)?;
            (Some(tokenizer), template)
        }
        None => (None, None),
    };
    let wanted = Wanted {
        model: args.remote_model.as_deref(),
        key,
        tokenizer,
        template,
        context: args.context,
        ..Wanted::default()
    };
    let remote = Remote::open(address, wanted)?;
    Ok(Box::new(remote.with_form(shared.decode.switches().form)))
}

/// The tokenizer of a file: a tokenizer.json, or the one in a GGUF, where the
/// model's chat template is too.
fn vocabulary(path: &Path, shared: &Shared) -> Result<(Tokenizer, Option<Template>)> {
    if !is_gguf(&path.to_string_lossy()) {
        return Ok((Tokenizer::from_json(path)?, None));
    }
    let gguf = Gguf::open(path)?;
    let tokenizer = Tokenizer::from_gguf(&gguf)?;
    let template = template::read(&gguf, &tokenizer, shared.prompt.dialect);
    Ok((tokenizer, template))
}
