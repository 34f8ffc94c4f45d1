//! Models in half precision that were quantized on the way, and are kept.

use std::fs;
use std::path::{Path, PathBuf};

use super::cache;
use crate::hub::Repo;

/// The quantizations that they are kept in, the usual first.
pub const QUANTS: [&str; 4] = ["q4_k", "q4_0", "q6_k", "q8_0"];

/// Where they are; None where this user has no cache folder.
pub fn folder() -> Option<PathBuf> {
    Some(cache::folder()?.join("models"))
}

/// Where a repository's model is kept in one quantization.
pub fn place(repo: &Repo, quant: &str) -> Option<PathBuf> {
    // No name of an owner or a repository has two hyphens in a row.
    let name = repo.to_string().replace('/', "--");
    Some(folder()?.join(format!("{name}.{quant}.gguf")))
}

/// A repository's model, if it is there: in the quantization that is wanted,
/// else in the most usual.
pub fn find(repo: &Repo, quant: Option<&str>) -> Option<PathBuf> {
    let wanted = |known: &&str| quant.is_none_or(|quant| known.eq_ignore_ascii_case(quant));
    let places = QUANTS.into_iter().filter(wanted).filter_map(|quant| place(repo, quant));
    places.into_iter().find(|path| path.is_file())
}

/// A model that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub repo: Repo,
    pub quant: &'static str,
    pub path: PathBuf,
}

/// All that are in a folder, by name.
pub fn list(folder: &Path) -> Vec<Kept> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut kept: Vec<Kept> = entries.filter_map(|entry| read(entry.path())).collect();
    kept.sort_by(|a, b| a.path.cmp(&b.path));
    kept
}

/// What `place` wrote.
fn read(path: PathBuf) -> Option<Kept> {
    let (name, quant) = path.file_name()?.to_str()?.strip_suffix(".gguf")?.rsplit_once('.')?;
    let quant = QUANTS.into_iter().find(|known| *known == quant)?;
    let (owner, name) = name.split_once("--")?;
    let repo = Repo::parse(&format!("{owner}/{name}"))?;
    path.is_file().then_some(Kept { repo, quant, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_by_its_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let names = [
            "a--b.c-1.q4_0.gguf",
            "a--b.c-1.q8_0.gguf",
            "a--b.q9_9.gguf",
            "a.q4_0.gguf",
            "x.gguf",
            ".a--b.q4_0.gguf.7.part",
        ];
        for name in names {
            fs::write(folder.path().join(name), "").expect("written");
        }
        fs::create_dir(folder.path().join("a--c.q4_0.gguf")).expect("a folder");
        let found = list(folder.path());
        let found: Vec<_> = found.iter().map(|kept| (kept.repo.to_string(), kept.quant)).collect();
        assert_eq!(found, [("a/b.c-1".to_string(), "q4_0"), ("a/b.c-1".to_string(), "q8_0")]);
        assert!(list(&folder.path().join("none")).is_empty());
    }
}
