//! Opening the model that runs: a file that was named or pulled, an engine
//! elsewhere, a script, or the one built in.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};

use super::args::{self, ModelArgs};
use super::source::{self, Source};
use super::{cache, conversation, remote, template};
use crate::agent::prompts::Prompts;
use crate::chat::{Cancel, Dialect, Prompt, Template};
use crate::decode::Snapshots;
use crate::llama::{Gguf, Portable, Tokenizer};
use crate::llm::local::Local;
use crate::llm::scripted::Scripted;
use crate::llm::{Completion, Llm, LlmError, Request};
use crate::tool::Registry;

/// Bytes that fit a script's conversation if nothing else is said: a script
/// counts bytes as tokens, so this is in proportion to a usual context.
pub const SCRIPT_CONTEXT: usize = 65_536;

/// Where a model file says which prompts it was trained with: their hash.
const PROMPTS: &str = "llama_agent.prompts.sha256";

/// Opens the model that the command line asks for.
///
/// # Errors
/// There is none, or it cannot be opened: one sentence that says what to do.
pub fn open(shared: &args::Shared) -> Result<Box<dyn Llm>> {
    let ModelArgs { quant, context, script, .. } = &shared.model;
    if let Some(script) = script {
        let replies = replies(script)?;
        return Ok(Box::new(Scripted::new(replies, context.unwrap_or(SCRIPT_CONTEXT))));
    }
    let local = match Source::of(&shared.model)? {
        Source::Remote(address) => return remote::open(&address, shared),
        Source::Path(path) => named(&path, shared)?,
        Source::Hub(spec) => named(&source::pulled(&spec, quant.as_deref())?, shared)?,
        Source::Box => embedded(shared)?,
    };
    let mut local = local.with(shared.decode.switches());
    // What keeps replies to their form is there before the first question. A
    // dialect that cannot be used is reported where it is used.
    if let Ok(dialect) = template::dialect(shared.prompt.dialect, &local) {
        local.expect(&dialect.form(Registry::standard().forms()))?;
    }
    let args = &shared.model;
    let none = args.no_snapshot || shared.decode.no_cache;
    let store = if none { None } else { cache::store(args) };
    Ok(Box::new(match store {
        Some(store) => local.with_snapshots(Snapshots::new(store)),
        None => local,
    }))
}

/// The model of a file, with the tokenizer of another where one is named.
fn named(path: &Path, shared: &args::Shared) -> Result<Local> {
    let gguf = Gguf::open(path)?;
    warn_of_prompts(&gguf, shared);
    let context = shared.model.context;
    let local = match &shared.model.tokenizer {
        Some(tokenizer) => {
            let engine = Portable::new(&gguf, context)?;
            Local::new(Box::new(engine), Tokenizer::from_json(tokenizer)?)?
        }
        None => Local::open(path, context)?,
    };
    let template = template::read(&gguf, local.tokenizer(), shared.prompt.dialect);
    Ok(trained(&gguf, local.with_template(template)))
}

/// The model that is compiled in.
fn embedded(shared: &args::Shared) -> Result<Local> {
    let gguf = in_the_box()?
        .context("this build has no model in it: name a Llama model file with --model PATH.gguf")?;
    warn_of_prompts(&gguf, shared);
    Ok(trained(&gguf, Local::from_gguf(&gguf, shared.model.context)?))
}

/// What is known of a model's training: a file that names its prompts was
/// trained with ours, written in the default dialect, and knows nothing else.
fn trained(gguf: &Gguf, local: Local) -> Local {
    match gguf.text(PROMPTS) {
        Some(_) => local.with_dialect(Dialect::default()),
        None => local,
    }
}

/// The file that is compiled in, if one is.
///
/// # Errors
/// It is damaged.
#[cfg(feature = "embedded-model")]
pub fn in_the_box() -> Result<Option<Gguf>> {
    static BYTES: &[u8] = include_bytes!("../../models/calculator.gguf");
    Ok(Some(Gguf::from_bytes(BYTES)?))
}

/// The file that is compiled in: none.
///
/// # Errors
/// None.
#[cfg(not(feature = "embedded-model"))]
pub fn in_the_box() -> Result<Option<Gguf>> {
    Ok(None)
}

/// Says so if a model was trained with other prompts than it will be given.
fn warn_of_prompts(gguf: &Gguf, shared: &args::Shared) {
    let given = shared.prompt.prompts.as_deref();
    // Prompts that cannot be read are reported where they are used.
    let given = given.and_then(|folder| Prompts::from_folder(folder).ok()?.hash().ok());
    if let (Some(trained), Some(given)) = (gguf.text(PROMPTS), given)
        && trained != given
    {
        let what = "this model was trained with other prompts than those of --prompts, and may \
                    do worse with them";
        let _ = writeln!(io::stderr(), "warning: {what}");
    }
}

/// The replies in a script: those of a conversation file, or the parts of the
/// file between lines `---`.
fn replies(path: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the script {}", path.display()))?;
    if let Ok(conversation) = conversation::parse(&text)
        && conversation.is_scripted()
    {
        return Ok(conversation.turns.into_iter().flat_map(|turn| turn.replies).collect());
    }
    let mut replies = vec![String::new()];
    for line in text.lines() {
        match replies.last_mut() {
            Some(_) if line.trim_end() == "---" => replies.push(String::new()),
            Some(reply) if reply.is_empty() => reply.push_str(line),
            Some(reply) => {
                reply.push('\n');
                reply.push_str(line);
            }
            None => {}
        }
    }
    Ok(replies)
}

/// A model that several agents use, one after the other, each with a context
/// of its own.
#[derive(Clone)]
pub struct Shared {
    llm: Arc<Mutex<Box<dyn Llm>>>,
    context: Option<usize>,
}

impl Shared {
    /// Shares a model.
    pub fn new(llm: Box<dyn Llm>) -> Self {
        Self { llm: Arc::new(Mutex::new(llm)), context: None }
    }

    /// The same model with at most `context` tokens.
    pub fn within(&self, context: Option<usize>) -> Self {
        Self { llm: self.llm.clone(), context }
    }

    fn with<T>(&self, work: impl FnOnce(&mut dyn Llm) -> T) -> T {
        work(&mut **self.llm.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Llm for Shared {
    fn complete(
        &mut self,
        request: &Request,
        watch: &mut dyn FnMut(&str),
    ) -> Result<Completion, LlmError> {
        self.with(|llm| llm.complete(request, watch))
    }

    fn prepare(&mut self, prompt: &Prompt, cancel: &Cancel) -> Result<(), LlmError> {
        self.with(|llm| llm.prepare(prompt, cancel))
    }

    fn count(&self, prompt: &Prompt) -> Result<usize, LlmError> {
        self.with(|llm| llm.count(prompt))
    }

    fn template(&self) -> Option<Arc<Template>> {
        self.with(|llm| llm.template())
    }

    fn dialect(&self) -> Option<Dialect> {
        self.with(|llm| llm.dialect())
    }

    fn notices(&mut self) -> Vec<String> {
        self.with(|llm| llm.notices())
    }

    fn context(&self) -> usize {
        let context = self.with(|llm| llm.context());
        self.context.map_or(context, |limit| limit.min(context))
    }
}
