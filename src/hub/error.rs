//! What can go wrong between a name and a file, in words for people.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a file of the hub is not here.
#[derive(Debug, Error)]
pub enum HubError {
    /// A name that cannot be meant, or leaves open what is meant.
    #[error("{0}")]
    Name(String),
    /// An environment variable or the token file has something in it that is none.
    #[error("{0}")]
    Setting(String),
    #[error(
        "{what} is not in {folder}, and HF_HUB_OFFLINE is set: unset it to download, or put the \
         file there"
    )]
    Offline { what: String, folder: PathBuf },
    #[error(
        "there is no repository {repo} at {endpoint}, or only for those who may see it: check the \
         name; for a private one put a token in HF_TOKEN or in {token_file}"
    )]
    NoRepo { repo: String, endpoint: String, token_file: PathBuf },
    #[error("{repo} has no file {file}: {endpoint}/{repo}/tree/main lists what it has")]
    NoFile { repo: String, file: String, endpoint: String },
    #[error(
        "{repo} is gated, {sent}: accept its conditions at {endpoint}/{repo}, make a token at \
         {endpoint}/settings/tokens, and put it in HF_TOKEN or in {token_file}"
    )]
    Gated { repo: String, sent: &'static str, endpoint: String, token_file: PathBuf },
    /// `passing` if trying again a little later may help.
    #[error("{host}: {why}")]
    Unreachable { host: String, why: String, passing: bool },
    #[error("{url} answered {status}{said}")]
    Status { url: String, status: u16, said: String },
    /// An answer that is not what the hub documents.
    #[error("{url} answered what cannot be used: {why}")]
    Strange { url: String, why: String },
    #[error(
        "the download of {file} stopped at {have} of {size} bytes: {why}; the same command goes \
         on from there"
    )]
    Unfinished { file: String, have: u64, size: u64, why: String },
    #[error(
        "{file} arrived damaged and was removed: {why}; pull it again, and if it comes the same way, tell {endpoint}"
    )]
    Damaged { file: String, why: String, endpoint: String },
    #[error("{path} cannot be {what}: {source}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
}

impl HubError {
    /// Trying again a little later may help.
    pub fn passes(&self) -> bool {
        match self {
            Self::Unreachable { passing, .. } => *passing,
            // Too early, too many requests, and what a gateway says of a server behind it.
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            _ => false,
        }
    }

    pub(super) fn io<'a>(
        what: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> Self + use<'a> {
        move |source| Self::Io { what, path: path.into(), source }
    }
}
