//! The model files that are on this machine: those of the cache that Hugging
//! Face's tools share, and those that were quantized here.

use std::fs;
use std::path::PathBuf;

use crate::cli::kept;
use crate::hub::{Cache, Repo, is_gguf};

/// A model file that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// What `--model` calls it, and `--quant` where that has to be said.
    pub name: String,
    pub path: PathBuf,
    pub bytes: u64,
}

/// The GGUF files of all repositories in the cache, by name.
pub fn list(cache: &Cache) -> Vec<Pulled> {
    cache.repos().iter().flat_map(|repo| of(cache, repo)).collect()
}

/// The models that were quantized here, by name, whether their repositories
/// are still in the cache or not.
pub fn quantized() -> Vec<Pulled> {
    let kept = kept::folder().map(|folder| kept::list(&folder)).unwrap_or_default();
    let kept = kept.into_iter();
    kept.filter_map(|kept| pulled(format!("{} --quant {}", kept.repo, kept.quant), kept.path))
        .collect()
}

/// The GGUF files of one repository.
fn of(cache: &Cache, repo: &Repo) -> Vec<Pulled> {
    let files = cache.files(repo).into_iter().filter(|file| is_gguf(file));
    let files = files.filter_map(|file| {
        let path = cache.find(repo, &file)?;
        pulled(format!("{repo}:{file}"), path)
    });
    files.collect()
}

fn pulled(name: String, path: PathBuf) -> Option<Pulled> {
    let bytes = fs::metadata(&path).ok()?.len();
    Some(Pulled { name, path, bytes })
}
