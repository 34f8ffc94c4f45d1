//! Where weights come from: names, files, downloads.
//!
//! A [`Spec`] names a model on the Hugging Face hub or a mirror of it, a
//! [`Cache`] is the folder that is shared with Hugging Face's own tools, and a
//! [`Hub`] brings what is named into it. It uses nothing of this crate, prints
//! nothing and knows nothing of what is in the files.
//!
//! The bytes are fetched here and not by the hf-hub crate. Of its releases, 1.0
//! truncates a partial file, compares neither length nor checksum and brings
//! 160 crates along (its xet stack, tokio, aws-lc and CMake); 0.5 neither reads
//! HF_TOKEN and HF_HUB_CACHE nor verifies what it fetched.

mod address;
mod choose;
mod client;
mod digest;
mod error;
mod fetch;
mod known;
mod names;
mod part;
mod patience;
mod place;
mod settings;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;

pub use choose::{Choice, DEFAULT, INDEX, choose, shards};
pub use error::HubError;
pub use fetch::Event;
pub use known::{KNOWN, Known};
pub use names::{Repo, Spec, is_gguf};
pub use patience::Patience;
pub use place::Cache;
pub use settings::{Settings, Token, expand};

use client::Client;

/// A file on the hub, as it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFile {
    pub repo: Repo,
    /// Inside the repository.
    pub path: String,
    /// The commit that `main` was.
    pub commit: String,
    /// Names the content: the SHA-256 of a large file.
    pub etag: String,
    /// Bytes.
    pub size: u64,
}

/// What a repository has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Paths inside the repository, and bytes where the hub says.
    pub files: Vec<(String, Option<u64>)>,
}

/// The hub, and the cache on this machine.
pub struct Hub {
    client: Client,
    cache: Cache,
}

impl Hub {
    /// The hub that the environment names.
    ///
    /// # Errors
    /// What is in the environment cannot be used.
    pub fn from_env() -> Result<Self, HubError> {
        Ok(Self::new(Settings::from_env()?, Patience::default()))
    }

    /// Any hub.
    pub fn new(settings: Settings, patience: Patience) -> Self {
        let cache = Cache::new(settings.cache.clone());
        Self { client: Client::new(settings, patience), cache }
    }

    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    pub fn settings(&self) -> &Settings {
        &self.client.settings
    }

    /// The files of a repository: those on the hub, or offline those that are here.
    ///
    /// # Errors
    /// The hub cannot be reached or refuses, or none are here.
    pub fn list(&self, repo: &Repo) -> Result<Listing, HubError> {
        if !self.settings().offline {
            return self.client.list(repo);
        }
        let files: Vec<_> = self.cache.files(repo).into_iter().map(|file| (file, None)).collect();
        if files.is_empty() { Err(self.offline(repo.to_string())) } else { Ok(Listing { files }) }
    }

    /// What the hub says of a file.
    ///
    /// # Errors
    /// The hub cannot be reached or refuses.
    pub fn look(&self, repo: &Repo, path: &str) -> Result<RemoteFile, HubError> {
        if self.settings().offline {
            return Err(self.offline(format!("{repo}:{path}")));
        }
        self.client.look(repo, path)
    }

    /// Downloads a file, or finds it here, and returns where it is. May be
    /// called again after any error, by any process, and goes on from there.
    ///
    /// # Errors
    /// The hub cannot be reached for a while or refuses, what it sends is not
    /// the file, or the disk refuses.
    pub fn fetch(
        &self,
        file: &RemoteFile,
        watch: &mut dyn FnMut(Event),
    ) -> Result<PathBuf, HubError> {
        fetch::fetch(&self.client, &self.cache, file, watch)
    }

    /// Some of a file's bytes, without downloading the rest: from here where the
    /// file is here whole. None if the hub serves no parts of files.
    ///
    /// # Errors
    /// The hub cannot be reached or refuses, or the disk does.
    pub fn piece(&self, file: &RemoteFile, part: Range<u64>) -> Result<Option<Vec<u8>>, HubError> {
        let blob = self.cache.place(file).blob;
        if !blob.is_file() {
            return self.client.piece(file, part);
        }
        let mut bytes = Vec::new();
        File::open(&blob)
            .and_then(|mut blob| {
                blob.seek(SeekFrom::Start(part.start))?;
                blob.take(part.end.saturating_sub(part.start)).read_to_end(&mut bytes)
            })
            .map_err(HubError::io("read", &blob))?;
        Ok(Some(bytes))
    }

    /// Bytes of a file that are here already; all of them if it is whole.
    pub fn here(&self, file: &RemoteFile) -> u64 {
        let place = self.cache.place(file);
        let len = |path: &PathBuf| path.metadata().ok().map(|about| about.len());
        let part = || len(&place.incomplete).filter(|len| *len <= file.size);
        len(&place.blob).or_else(part).unwrap_or(0)
    }

    fn offline(&self, what: String) -> HubError {
        HubError::Offline { what, folder: self.cache.folder().into() }
    }
}
