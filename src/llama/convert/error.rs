//! Why a folder cannot be made into a GGUF file.

use std::io;
use std::path::{Path, PathBuf};

/// Why a folder cannot be made into a GGUF file: each in one sentence that
/// ends in what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The folder lacks a file.
    #[error("there is no {name} in {}: download the whole repository of a Llama model", folder.display())]
    Missing { folder: PathBuf, name: String },
    /// The file is there and the system does not let us read it.
    #[error("{} cannot be read ({source}): check what it is and its permissions", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// Its parts contradict each other, or the file is cut short.
    #[error("{} is damaged ({why}): download it again", path.display())]
    Damaged { path: PathBuf, why: String },
    /// It is whole, and not something that becomes a Llama in GGUF here.
    #[error("this model cannot be quantized: {0}")]
    Unsupported(String),
    /// The result cannot be written. Nothing of it is left.
    #[error("{} cannot be written ({source}): check the folder, its permissions and the free space", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    /// The result would replace a file.
    #[error("{} is there already: remove it or choose another name", .0.display())]
    Exists(PathBuf),
    /// Somebody asked to stop. Nothing of the result is left.
    #[error("stopped: nothing was written")]
    Cancelled,
}

impl ConvertError {
    pub(in crate::llama) fn damaged(path: &Path, why: impl std::fmt::Display) -> Self {
        // Only the first line, and no control characters: a damaged file may say anything.
        let why = why.to_string();
        let line = why.lines().next().unwrap_or_default();
        let why = line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        Self::Damaged { path: path.into(), why }
    }

    /// What the system said when `name` was opened or read.
    pub(super) fn reading(folder: &Path, name: &str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { folder: folder.into(), name: name.into() },
            _ => Self::Unreadable { path: folder.join(name), source },
        }
    }
}
