//! The model files that are on this machine: those of the cache that Hugging
//! Face's tools share, and those that were quantized here.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cli::source;
use crate::hub::{Cache, Repo};

/// A model file that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// What `--model` calls it.
    pub name: String,
    pub path: PathBuf,
    pub bytes: u64,
}

/// The GGUF files of all repositories, by name.
pub fn list(cache: &Cache) -> Vec<Pulled> {
    cache.repos().iter().flat_map(|repo| of(cache, repo)).collect()
}

/// The GGUF files of one repository.
fn of(cache: &Cache, repo: &Repo) -> Vec<Pulled> {
    let files = cache.files(repo).into_iter().filter(|file| is_model(Path::new(file)));
    let files = files.filter_map(|file| {
        let path = cache.find(repo, &file)?;
        pulled(format!("{repo}:{file}"), path)
    });
    let kept = source::KEPT.into_iter().filter_map(|quant| {
        let path = source::place(repo, quant).filter(|path| path.is_file())?;
        pulled(format!("{repo} ({quant})"), path)
    });
    files.chain(kept).collect()
}

fn pulled(name: String, path: PathBuf) -> Option<Pulled> {
    let bytes = fs::metadata(&path).ok()?.len();
    Some(Pulled { name, path, bytes })
}

fn is_model(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"))
}
