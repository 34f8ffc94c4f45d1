//! This machine: a model in this process.

mod decoding;
mod encoding;
mod recording;
mod reply;

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use self::decoding::{Decoding, Means};
use self::encoding::{Encoded, Encodings};
use self::recording::Recording;
use super::{Completion, Llm, LlmError, Request};
use crate::chat::{Cancel, Dialect, Prompt, ReplyForm, Template};
use crate::decode::{Forms, Session, Snapshots, Switches};
use crate::llama::{Forward, Gguf, ModelError, Portable, Tokenizer};

/// A model in this process, with the conversation so far in its cache.
pub struct Local {
    session: Session,
    tokenizer: Arc<Tokenizer>,
    switches: Switches,
    /// Made when the first is needed.
    forms: Option<Forms>,
    template: Option<Arc<Template>>,
    dialect: Option<Dialect>,
    encodings: Encodings,
    recording: Option<Recording>,
}

impl Local {
    /// An engine and the vocabulary of its model.
    ///
    /// # Errors
    /// The vocabulary has more tokens than the engine has logits.
    pub fn new(engine: Box<dyn Forward>, tokenizer: Tokenizer) -> Result<Self, ModelError> {
        if tokenizer.vocab_len() > engine.vocab() {
            return Err(ModelError::Damaged(format!(
                "its vocabulary has {} tokens and its weights are for {}",
                tokenizer.vocab_len(),
                engine.vocab()
            )));
        }
        Ok(Self {
            session: Session::new(engine),
            tokenizer: Arc::new(tokenizer),
            switches: Switches::default(),
            forms: None,
            template: None,
            dialect: None,
            encodings: Encodings::default(),
            recording: None,
        })
    }

    /// The same model with other switches.
    pub fn with(self, switches: Switches) -> Self {
        Self { switches, ..self }
    }

    /// Builds a form of replies ahead of need, unless forms are switched off.
    ///
    /// # Errors
    /// `Engine` if it cannot be built.
    pub fn expect(&mut self, form: &ReplyForm) -> Result<(), LlmError> {
        if self.switches.form {
            self.forms()?.form(form, 0)?;
        }
        Ok(())
    }

    fn forms(&mut self) -> anyhow::Result<&mut Forms> {
        let forms = match self.forms.take() {
            Some(forms) => forms,
            None => Forms::new(self.tokenizer.clone())?,
        };
        Ok(self.forms.insert(forms))
    }

    /// Opens a GGUF file, to run it on the CPU. `context` limits the tokens that
    /// fit; the file's own limit holds in any case.
    ///
    /// # Errors
    /// The file is missing, damaged or of a kind that cannot be run.
    pub fn open(path: &Path, context: Option<usize>) -> Result<Self, ModelError> {
        let gguf = Gguf::open(path)?;
        let tokenizer = vocabulary(&gguf, path)?;
        Self::new(Box::new(Portable::new(&gguf, context)?), tokenizer)
    }

    /// A GGUF file that is in memory, such as the one in the program itself.
    ///
    /// # Errors
    /// It is damaged or of a kind that cannot be run.
    pub fn from_bytes(
        bytes: impl Into<Cow<'static, [u8]>>,
        context: Option<usize>,
    ) -> Result<Self, ModelError> {
        Self::from_gguf(&Gguf::from_bytes(bytes)?, context)
    }

    /// A GGUF file that is open already.
    ///
    /// # Errors
    /// It is damaged or of a kind that cannot be run.
    pub fn from_gguf(gguf: &Gguf, context: Option<usize>) -> Result<Self, ModelError> {
        let tokenizer = Tokenizer::from_gguf(gguf)?;
        Self::new(Box::new(Portable::new(gguf, context)?), tokenizer)
    }

    /// The same model, with the cache of a prompt's system part kept between
    /// processes.
    pub fn with_snapshots(self, snapshots: Snapshots) -> Self {
        Self { session: self.session.with_snapshots(snapshots), ..self }
    }

    /// The same model, with the chat template that its file has.
    pub fn with_template(self, template: Option<Template>) -> Self {
        Self { template: template.map(Arc::new), ..self }
    }

    /// The same model, which was trained with this dialect and no other.
    pub fn with_dialect(self, dialect: Dialect) -> Self {
        Self { dialect: Some(dialect), ..self }
    }

    /// The same model, which is asked for every token as ever and whose own
    /// choices give way to those replies, one after the other: what a guess or
    /// a form says counts where it is the same as the recording.
    pub fn following(self, replies: Vec<String>) -> Self {
        Self { recording: Some(Recording::new(replies)), ..self }
    }

    /// The model's vocabulary.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The ids that the cache holds: always a beginning of the last prompt and
    /// its reply.
    pub fn cached(&self) -> &[u32] {
        self.session.ids()
    }

    fn fits(&self, needed: usize) -> Result<(), LlmError> {
        let context = self.session.context();
        if needed > context { Err(LlmError::DoesNotFit { needed, context }) } else { Ok(()) }
    }
}

/// The vocabulary of a GGUF file at a path. One of a kind that is not read from
/// the file comes from the `tokenizer.json` beside it.
///
/// # Errors
/// There is none that can be used.
pub fn vocabulary(gguf: &Gguf, path: &Path) -> Result<Tokenizer, ModelError> {
    match Tokenizer::from_gguf(gguf) {
        Err(unsupported @ ModelError::Unsupported(_)) => {
            let beside = path.with_file_name("tokenizer.json");
            if !beside.is_file() {
                // What is wrong with the model itself comes first.
                crate::llama::LlamaConfig::from_gguf(gguf)?;
                return Err(unsupported);
            }
            Tokenizer::from_json(&beside)
        }
        other => other,
    }
}

impl Llm for Local {
    fn complete(
        &mut self,
        request: &Request,
        watch: &mut dyn FnMut(&str),
    ) -> Result<Completion, LlmError> {
        let Encoded { ids: prompt, system } =
            self.encodings.encode(&self.tokenizer, request.prompt);
        self.fits(prompt.len().saturating_add(request.max_new_tokens))?;
        let form = match self.switches.form {
            true => Some(self.forms()?.form(request.form, request.max_new_tokens)?),
            false => None,
        };
        self.session.set_system(system);
        if !self.switches.cache {
            self.session.keep(0);
        }
        let followed = self.recording.as_mut().map(Recording::next).transpose()?;
        let means = Means {
            session: &mut self.session,
            tokenizer: &self.tokenizer,
            switches: self.switches,
            form,
            followed,
        };
        Decoding::new(means, prompt, request).run(watch)
    }

    fn prepare(&mut self, prompt: &Prompt, cancel: &Cancel) -> Result<(), LlmError> {
        let Encoded { ids, system } = self.encodings.encode(&self.tokenizer, prompt);
        self.fits(ids.len())?;
        if !ids.is_empty() && self.switches.cache {
            self.session.set_system(system);
            self.session.prepare(&ids, cancel)?;
        }
        Ok(())
    }

    fn count(&self, prompt: &Prompt) -> Result<usize, LlmError> {
        Ok(self.encodings.encode(&self.tokenizer, prompt).ids.len())
    }

    fn context(&self) -> usize {
        self.session.context()
    }

    fn template(&self) -> Option<Arc<Template>> {
        self.template.clone()
    }

    fn dialect(&self) -> Option<Dialect> {
        self.dialect.clone()
    }

    fn notices(&mut self) -> Vec<String> {
        self.session.notice().into_iter().collect()
    }
}
