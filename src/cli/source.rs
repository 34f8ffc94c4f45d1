//! What `--model` names: nothing, a file, a model of the hub, or an engine
//! elsewhere.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::args::ModelArgs;
use super::{closest, kept, remote};
use crate::hub::{Cache, Choice, KNOWN, Settings, Spec, choose, expand, is_gguf};

/// Where a model is.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// In the program.
    Box,
    /// In a file.
    Path(PathBuf),
    /// On the hub; pulled or not.
    Hub(Spec),
    /// At an address.
    Remote(String),
}

impl Source {
    /// What the command line asks for.
    ///
    /// # Errors
    /// A name that means nothing.
    pub fn of(args: &ModelArgs) -> Result<Self> {
        args.model.as_deref().map_or(Ok(Self::Box), Self::parse)
    }

    /// What a name means. What exists is a path, and so is what looks like one.
    ///
    /// # Errors
    /// It means nothing.
    pub fn parse(named: &Path) -> Result<Self> {
        if let Some(address) = remote::address(Some(named)) {
            return Ok(Self::Remote(address.into()));
        }
        let Some(text) = named.to_str().filter(|_| !named.exists()) else {
            return Ok(Self::Path(named.into()));
        };
        let starts = ["/", "./", "../", "~", ".\\", "..\\"].iter().any(|at| text.starts_with(at));
        if starts || named.is_absolute() || (is_gguf(text) && !text.contains(':')) {
            return Ok(Self::Path(expand(text)));
        }
        spec(text).map(Self::Hub)
    }
}

/// What a name means on the hub.
///
/// # Errors
/// It means nothing there.
pub fn spec(name: &str) -> Result<Spec> {
    if let Some(spec) = Spec::parse(name)? {
        return Ok(spec);
    }
    let names: Vec<&str> = KNOWN.iter().map(|known| known.name).collect();
    let meant = closest(name, names.iter().copied());
    let meant = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
    bail!(
        "{name:?} is no model file, no short name ({}) and no OWNER/REPO[:FILE] of the hub{meant}",
        names.join(", ")
    )
}

/// The file of a model that was pulled.
///
/// # Errors
/// It was not, or it is not clear which file is meant: what to do.
pub fn pulled(spec: &Spec, quant: Option<&str>) -> Result<PathBuf> {
    if let Some(file) = kept::find(&spec.repo, quant).filter(|_| spec.file.is_none()) {
        return Ok(file);
    }
    let cache = Cache::new(Settings::from_env()?.cache);
    let files = cache.files(&spec.repo);
    let several = files.iter().any(|file| is_gguf(file));
    let found = match choose(spec, &files, quant) {
        Ok(Choice::Gguf(file)) => cache.find(&spec.repo, &file),
        Err(error) if several && spec.file.is_none() && quant.is_none() => return Err(error.into()),
        _ => None,
    };
    found.with_context(|| {
        let quant = quant.map(|quant| format!(" --quant {quant}")).unwrap_or_default();
        format!("{spec} is no file, and not pulled: `agent pull {spec}{quant}` downloads it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str) -> Result<Source> {
        Source::parse(Path::new(name))
    }

    #[test]
    fn names_lead_to_their_kind() {
        let path = |name: &str| Ok(Source::Path(name.into()));
        let kind = |name: &str| parse(name).map_err(|error| error.to_string());
        // What exists is a path, whatever it looks like.
        assert_eq!(kind("src/lib.rs"), path("src/lib.rs"));
        for name in ["m.gguf", "./m", "../m", "/no/such/model", "a/b.gguf", "a/b/c.GGUF"] {
            assert_eq!(kind(name), path(name), "{name}");
        }
        for name in ["llama-2-70b-chat", "meta-llama/Llama-2-70b-chat-hf", "a/b:c.gguf"] {
            assert!(matches!(kind(name), Ok(Source::Hub(spec)) if spec.name == name), "{name}");
        }
        for address in ["http://localhost:8000/v1", "https://x"] {
            assert_eq!(kind(address), Ok(Source::Remote(address.into())));
        }
    }

    #[test]
    fn what_means_nothing_is_an_error_that_helps() {
        let error = |name: &str| parse(name).expect_err("no model").to_string();
        assert!(error("llama-2-7b-chta").contains("did you mean llama-2-7b-chat?"));
        assert!(error("x").contains("OWNER/REPO"));
        assert!(error("a/b:../c").contains("cannot be a file"));
    }
}
