//! The model files in the cache that Hugging Face's tools share.
//! Layout: <https://huggingface.co/docs/huggingface_hub/guides/manage-cache>.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// A model file that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// `owner/repo:file`.
    pub name: String,
    pub path: PathBuf,
    pub bytes: u64,
}

/// Where the cache and the token are: HF_HOME, or its usual place.
fn home() -> Option<PathBuf> {
    let usual = || Some(dirs::home_dir()?.join(".cache"));
    let cache = || variable("XDG_CACHE_HOME").or_else(usual);
    variable("HF_HOME").or_else(|| Some(cache()?.join("huggingface")))
}

/// The folder of repositories; none where this user has no home folder.
pub fn folder() -> Option<PathBuf> {
    variable("HF_HUB_CACHE").or_else(|| Some(home()?.join("hub")))
}

/// Where a token is found, if there is one. The token itself is nobody's business.
pub fn token() -> Option<String> {
    if variable("HF_TOKEN").is_some() {
        return Some("in HF_TOKEN".into());
    }
    let file = variable("HF_TOKEN_PATH").or_else(|| Some(home()?.join("token")))?;
    let there = fs::metadata(&file).is_ok_and(|about| about.is_file() && about.len() > 0);
    there.then(|| format!("in {}", file.display()))
}

/// A variable that is set to something.
fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The GGUF files in the snapshots of all repositories, by name. A file that
/// several snapshots share is listed once.
pub fn list(folder: &Path) -> Vec<Pulled> {
    let (mut found, mut seen) = (Vec::new(), HashSet::new());
    for repo in children(folder) {
        let name = repo.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some((owner, name)) = name.strip_prefix("models--").and_then(|n| n.split_once("--"))
        else {
            continue;
        };
        for snapshot in children(&repo.join("snapshots")) {
            for path in files(&snapshot) {
                let Ok(about) = path.metadata() else { continue };
                if !seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())) {
                    continue;
                }
                let file = path.strip_prefix(&snapshot).unwrap_or(&path).display();
                let name = format!("{owner}/{name}:{file}");
                found.push(Pulled { name, bytes: about.len(), path });
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// The GGUF files in a snapshot and its folders.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in children(folder) {
        if path.is_dir() && !path.is_symlink() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf")) {
            found.push(path);
        }
    }
    found
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}
