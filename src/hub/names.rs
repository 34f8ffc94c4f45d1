//! Names of models: short ones, and `owner/repo[:file]`.

use std::fmt::{self, Display, Formatter};

use super::error::HubError;
use super::known::{KNOWN, Known};

/// A repository of models on the hub.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repo {
    owner: String,
    name: String,
}

impl Repo {
    /// Reads `owner/name`; None if it is not one. What is refused here never
    /// becomes part of a path or an address.
    pub fn parse(text: &str) -> Option<Self> {
        let (owner, name) = text.split_once('/')?;
        (is_segment(owner) && is_segment(name))
            .then(|| Self { owner: owner.into(), name: name.into() })
    }

    /// Reads what `folder` wrote.
    pub(super) fn from_folder(folder: &str) -> Option<Self> {
        let (owner, name) = folder.strip_prefix("models--")?.split_once("--")?;
        Self::parse(&format!("{owner}/{name}"))
    }

    /// Its folder in the cache. Two hyphens in a row are in no name, so that
    /// no two names have the same folder.
    pub(super) fn folder(&self) -> String {
        format!("models--{}--{}", self.owner, self.name)
    }
}

impl Display for Repo {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

/// The hub's rules for names of owners and repositories.
fn is_segment(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    text.len() <= 96
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && edge(text.chars().next())
        && edge(text.chars().last())
        && !text.contains("--")
        && !text.contains("..")
}

/// A file's path inside a repository that cannot lead out of a folder it is
/// appended to, on any system.
pub fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && !path.chars().any(|c| c.is_control() || "\\:*?\"<>|".contains(c))
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// A file that is a GGUF one by its name.
pub fn is_gguf(path: &str) -> bool {
    path.to_ascii_lowercase().ends_with(".gguf")
}

/// A model on the hub, as a person names it.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// As it was typed.
    pub name: String,
    pub repo: Repo,
    /// A file in the repository; without, one is chosen.
    pub file: Option<String>,
    /// What is known of it before it is asked for.
    pub known: Option<&'static Known>,
}

impl Spec {
    /// Reads a short name or `owner/repo[:file]`; None if it has the shape of
    /// neither.
    ///
    /// # Errors
    /// A file that would lie outside of the repository.
    pub fn parse(name: &str) -> Result<Option<Self>, HubError> {
        if let Some(known) = KNOWN.iter().find(|known| known.name.eq_ignore_ascii_case(name)) {
            let repo = Repo::parse(known.repo);
            return Ok(repo.map(|repo| Self {
                name: known.name.into(),
                repo,
                file: None,
                known: Some(known),
            }));
        }
        let (repo, file) = match name.split_once(':') {
            Some((repo, file)) => (repo, Some(file)),
            None => (name, None),
        };
        let Some(repo) = Repo::parse(repo) else { return Ok(None) };
        if let Some(file) = file
            && !is_inside(file)
        {
            return Err(HubError::Name(format!("{file:?} cannot be a file of {repo}")));
        }
        let known = KNOWN.iter().find(|known| known.repo.eq_ignore_ascii_case(&repo.to_string()));
        Ok(Some(Self { name: name.into(), repo, file: file.map(Into::into), known }))
    }
}

impl Display for Spec {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read() {
        let spec = |name: &str| Spec::parse(name).expect("no error").expect("a name");
        assert_eq!(spec("Llama-2-7b-chat").known.map(|known| known.name), Some("llama-2-7b-chat"));
        let one = spec("TheBloke/Llama-2-7B-Chat-GGUF:llama-2-7b-chat.Q8_0.gguf");
        assert_eq!(one.repo.to_string(), "TheBloke/Llama-2-7B-Chat-GGUF");
        assert_eq!(one.file.as_deref(), Some("llama-2-7b-chat.Q8_0.gguf"));
        assert!(one.known.is_some());
        assert_eq!(spec("a/b:folder/c.gguf").file.as_deref(), Some("folder/c.gguf"));
        assert_eq!(Repo::from_folder(&one.repo.folder()), Some(one.repo));
    }

    #[test]
    fn what_is_no_name_is_none() {
        for name in ["", "llama", "a/b/c", "/a", "a/", "../a", "a/..", "a b/c", "a/-b", "a--b/c"] {
            assert_eq!(Spec::parse(name).expect("no error"), None, "{name}");
        }
        for file in ["", "../x", "/x", "x//y", "a/../../x", "c:x", "x\\y", "x\ny", "."] {
            assert!(Spec::parse(&format!("a/b:{file}")).is_err(), "{file}");
        }
    }

    #[test]
    fn short_names_lead_to_repositories() {
        for known in KNOWN {
            assert!(Repo::parse(known.repo).is_some() && Repo::parse(known.original).is_some());
        }
    }
}
