//! Who asks the hub, in the tests' own process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use llama_agent::hub::{Event, Hub, HubError, Patience, Repo, Settings};
use tempfile::TempDir;

use super::Loopback;

pub const NAME: &str = "owner/repo/folder/model.gguf";
pub const PATH: &str = "folder/model.gguf";

/// What asks, with a cache of its own.
pub struct Place {
    pub home: TempDir,
    pub hub: Hub,
}

impl Place {
    pub fn new(loopback: &Loopback, more: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let hub = open(home.path(), loopback, more);
        Self { home, hub }
    }

    /// Another process with the same cache.
    pub fn again(&self, loopback: &Loopback) -> Hub {
        open(self.home.path(), loopback, &[])
    }

    pub fn fetch(&self) -> Result<PathBuf, HubError> {
        fetch(&self.hub, &mut |_| {})
    }

    pub fn repo(&self) -> PathBuf {
        self.home.path().join("hub/models--owner--repo")
    }
}

pub fn open(home: &Path, loopback: &Loopback, more: &[(&str, &str)]) -> Hub {
    let (home, endpoint) = (home.display().to_string(), loopback.endpoint());
    let settings = Settings::from(|name| match name {
        "HF_HOME" => Some(home.clone()),
        "HF_ENDPOINT" => Some(endpoint.clone()),
        _ => more.iter().find(|known| known.0 == name).map(|known| known.1.to_string()),
    });
    Hub::new(settings.expect("settings"), Patience { tries: 4, first: Duration::ZERO })
}

pub fn repo() -> Repo {
    Repo::parse("owner/repo").expect("a repository")
}

pub fn fetch(hub: &Hub, watch: &mut dyn FnMut(Event)) -> Result<PathBuf, HubError> {
    hub.fetch(&hub.look(&repo(), PATH)?, watch)
}
