//! Which dialect a conversation is written in: the one that was asked for, or
//! what the model's file suggests.

use std::io::{self, Write};

use super::args::DialectName;
use super::face::words;
use crate::chat::dialect::Source;
use crate::chat::{Dialect, Template};
use crate::llama::{Gguf, Tokenizer};
use crate::llm::Llm;

/// The chat template in a model's file, if there is one that can be used. One
/// that cannot is warned of, unless `asked` names another dialect.
pub fn read(gguf: &Gguf, tokenizer: &Tokenizer, asked: Option<DialectName>) -> Option<Template> {
    let text = gguf.text("tokenizer.chat_template")?;
    let spelled = |id: Option<u32>| id.map(|id| tokenizer.name(id)).unwrap_or_default();
    let (bos, eos) = (spelled(tokenizer.bos()), spelled(tokenizer.eos()));
    let source = Source { text: &text, bos: &bos, eos: &eos, add_bos: tokenizer.add_bos() };
    match Template::new(source) {
        Ok(template) => Some(template),
        Err(error) => {
            if asked.is_none_or(|name| name == DialectName::Template) {
                let _ = writeln!(
                    io::stderr(),
                    "warning: the chat template in the model's file is not used, since {error}; \
                     the dialect is react"
                );
            }
            None
        }
    }
}

/// Why the dialect that was asked for cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DialectError {
    #[error("this model has no chat template that can be used: --dialect react or llama-2")]
    NoTemplate,
    #[error(
        "this model was trained with the dialect {own} alone and makes no sense in {asked}: leave \
         the dialect out, or name another model"
    )]
    Foreign { own: String, asked: &'static str },
}

/// The dialect that was asked for by name. Without a name, the one that the
/// model was trained with, else the template of the model's file, unless it has
/// none or the one of Llama-2.
///
/// # Errors
/// The template was asked for, and there is none; or a dialect that the model
/// does not know.
pub fn dialect(asked: Option<DialectName>, llm: &dyn Llm) -> Result<Dialect, DialectError> {
    if let Some(own) = llm.dialect() {
        return match asked.map(words::dialect) {
            Some(asked) if asked != own.name() => {
                Err(DialectError::Foreign { own: own.name(), asked })
            }
            _ => Ok(own),
        };
    }
    Ok(match (asked, llm.template()) {
        (Some(DialectName::React), _) => Dialect::React,
        (Some(DialectName::Llama2), _) => Dialect::Llama2,
        (Some(DialectName::Template), Some(own)) => Dialect::Template(own),
        (Some(DialectName::Template), None) => return Err(DialectError::NoTemplate),
        (None, Some(own)) if !own.is_llama_2() => Dialect::Template(own),
        (None, _) => Dialect::default(),
    })
}
