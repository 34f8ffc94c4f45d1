//! What is measured: random weights, a file, or the model in the box.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::cli::args::Shared;
use crate::cli::source::{self, Source};
use crate::cli::{Failure, model};
use crate::llama::cuda::Format;
use crate::llama::synthetic::{Shape, Synthetic};
use crate::llama::{Gguf, ModelError, Tokenizer};

/// The format of random weights, where none is named.
const FORMAT: Format = Format::Q4_0;

/// The seed of random weights: measurements are of the same ones.
const SEED: u64 = 0;

/// A model that is measured.
pub enum Subject {
    Synthetic { shape: &'static str, format: Format, model: Box<Synthetic> },
    File { path: PathBuf, gguf: Gguf },
    Box(Gguf),
}

impl Subject {
    /// What the command line asks for.
    ///
    /// # Errors
    /// Usage, or that there is no such model.
    pub fn open(shared: &Shared, shape: Option<&str>) -> Result<Self, Failure> {
        let shape = shape.and_then(|name| Shape::ALL.iter().find(|shape| shape.name == name));
        match shape {
            Some(shape) => {
                let format = shared.model.quant.as_deref().map_or(Ok(FORMAT), format);
                let format = format.map_err(Failure::usage)?;
                let model = Synthetic::new(shape, format, SEED)?;
                Ok(Self::Synthetic { shape: shape.name, format, model: Box::new(model) })
            }
            None => Self::named(shared).map_err(Failure::no_model),
        }
    }

    fn named(shared: &Shared) -> Result<Self> {
        let file = |path: PathBuf| Ok(Self::File { gguf: Gguf::open(&path)?, path });
        if shared.model.script.is_some() {
            bail!("a script has no speed: name a model or a shape, --shape 7b");
        }
        match Source::of(&shared.model)? {
            Source::Remote(address) => {
                bail!("the engine at {address} is measured where it runs, not from here")
            }
            Source::Path(path) => file(path),
            Source::Hub(spec) => file(source::pulled(&spec, shared.model.quant.as_deref())?),
            Source::Box => model::in_the_box()?.map(Self::Box).context(
                "this build has no model in it: name a file, --model PATH.gguf, or a shape, \
                 --shape 7b",
            ),
        }
    }

    /// What a report calls it.
    pub fn name(&self) -> String {
        match self {
            Self::Synthetic { shape, format, .. } => {
                format!("{shape} in {}, random weights", format.name())
            }
            Self::File { path, .. } => path.display().to_string(),
            Self::Box(_) => "the model in the box".into(),
        }
    }

    pub fn gguf(&self) -> &Gguf {
        match self {
            Self::Synthetic { model, .. } => model.gguf(),
            Self::File { gguf, .. } | Self::Box(gguf) => gguf,
        }
    }

    /// The vocabulary: the one that the command line names, the file's own, or
    /// the tokenizer.json beside it.
    ///
    /// # Errors
    /// There is none that can be read.
    pub fn tokenizer(&self, shared: &Shared) -> Result<Tokenizer, ModelError> {
        if let Some(named) = &shared.model.tokenizer {
            return Tokenizer::from_json(named);
        }
        match (Tokenizer::from_gguf(self.gguf()), self) {
            (Err(ModelError::Unsupported(_)), Self::File { path, .. })
                if path.with_file_name("tokenizer.json").is_file() =>
            {
                Tokenizer::from_json(&path.with_file_name("tokenizer.json"))
            }
            (read, _) => read,
        }
    }
}

/// The format of a name, however it is spelled: Q4_K, q4_k, q4k.
fn format(name: &str) -> Result<Format, String> {
    let plain = |name: &str| name.replace('_', "").to_ascii_lowercase();
    let found = Format::ALL.into_iter().find(|format| plain(format.name()) == plain(name));
    let names = Format::ALL.map(Format::name).join(", ");
    found.ok_or_else(|| format!("random weights are made in one of {names}, not in {name}"))
}
