//! Where files are kept: the cache that all of Hugging Face's tools share, so
//! that what one of them has downloaded the others find.
//!
//! ```text
//! models--OWNER--REPO/blobs/ETAG                 the bytes of a file
//! models--OWNER--REPO/snapshots/COMMIT/FILE      a link to them
//! models--OWNER--REPO/refs/main                  the commit last asked for
//! .locks/models--OWNER--REPO/ETAG.lock           held by who downloads
//! ```
//!
//! <https://huggingface.co/docs/huggingface_hub/guides/manage-cache>

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::RemoteFile;
use super::error::HubError;
use super::names::Repo;

/// A folder of repositories.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file that is here whole: of the commit last asked for, else of any.
    pub fn find(&self, repo: &Repo, file: &str) -> Option<PathBuf> {
        self.snapshots(repo).into_iter().map(|commit| commit.join(file)).find(|path| path.is_file())
    }

    /// The files of a repository that are here, as paths inside of it.
    pub fn files(&self, repo: &Repo) -> Vec<String> {
        let mut files = Vec::new();
        for commit in self.snapshots(repo) {
            walk(&commit, "", &mut files);
        }
        files.sort();
        files.dedup();
        files
    }

    /// The repositories that are here, by name.
    pub fn repos(&self) -> Vec<Repo> {
        let mut repos: Vec<Repo> =
            names(&self.folder).iter().filter_map(|name| Repo::from_folder(name)).collect();
        repos.sort();
        repos
    }

    /// A repository's folder.
    pub fn of(&self, repo: &Repo) -> PathBuf {
        self.folder.join(repo.folder())
    }

    /// Removes a file of the commit last asked for, and its bytes unless
    /// another commit or another name has them too. Waits for who downloads
    /// it. Returns the bytes that are free now: 0 where there is no such file,
    /// or where it is no link and nothing says which bytes are its.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn remove(&self, repo: &Repo, file: &str) -> Result<u64, HubError> {
        let folders = self.snapshots(repo);
        let found = folders.iter().find(|folder| folder.join(file).is_file());
        let Some(folder) = found else { return Ok(0) };
        let pointer = folder.join(file);
        let Some(etag) = blob(&pointer) else { return Ok(0) };
        let size = pointer.metadata().map(|about| about.len()).unwrap_or_default();
        let commit = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (repo, path) = (repo.clone(), file.into());
        let place = self.place(&RemoteFile { repo, path, commit, etag: etag.clone(), size });
        let _lock = place.lock(|| ())?;
        let gone = |path: &Path| fs::remove_file(path).map_err(HubError::io("removed", path));
        gone(&pointer)?;
        let mut others = folders.iter().flat_map(|folder| {
            let mut files = Vec::new();
            walk(folder, "", &mut files);
            files.into_iter().map(|file| folder.join(file))
        });
        if others.any(|other| blob(&other).as_ref() == Some(&etag)) {
            return Ok(0);
        }
        gone(&place.blob).map(|()| size)
    }

    /// The folders of a repository's commits that are here, that of the commit
    /// last asked for first.
    fn snapshots(&self, repo: &Repo) -> Vec<PathBuf> {
        let repo = self.folder.join(repo.folder());
        let main = fs::read_to_string(repo.join("refs").join("main")).unwrap_or_default();
        let folder = repo.join("snapshots");
        let mut commits = names(&folder);
        commits.sort_by_key(|commit| (commit != main.trim(), commit.clone()));
        commits.into_iter().map(|commit| folder.join(commit)).collect()
    }

    pub(super) fn place(&self, file: &RemoteFile) -> Place {
        let repo = self.folder.join(file.repo.folder());
        let locks = self.folder.join(".locks").join(file.repo.folder());
        let blobs = repo.join("blobs");
        Place {
            blob: blobs.join(&file.etag),
            incomplete: blobs.join(format!("{}.incomplete", file.etag)),
            lock: locks.join(format!("{}.lock", file.etag)),
            pointer: repo.join("snapshots").join(&file.commit).join(&file.path),
            // From the link's folder to the repository's.
            up: "../".repeat(file.path.matches('/').count() + 2),
            main: repo.join("refs").join("main"),
            commit: file.commit.clone(),
        }
    }
}

/// The name of the bytes that a file of a commit is a link to.
fn blob(pointer: &Path) -> Option<String> {
    let target = fs::read_link(pointer).ok()?;
    let inside = target.parent()?.file_name()? == "blobs";
    Some(target.file_name()?.to_str()?.to_string()).filter(|_| inside)
}

/// The names of what is in a folder; none if it is not there.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn walk(folder: &Path, inside: &str, files: &mut Vec<String>) {
    for name in names(folder) {
        let (path, name) = (folder.join(&name), format!("{inside}{name}"));
        if path.is_dir() {
            walk(&path, &format!("{name}/"), files);
        } else if path.is_file() {
            files.push(name);
        }
    }
}

/// Where one file belongs.
pub struct Place {
    pub blob: PathBuf,
    pub incomplete: PathBuf,
    lock: PathBuf,
    pointer: PathBuf,
    up: String,
    main: PathBuf,
    commit: String,
}

impl Place {
    /// Waits until nobody else downloads this file; `waits` is called if
    /// somebody does. It is held until what is returned is dropped, or the
    /// process ends.
    ///
    /// # Errors
    /// The cache cannot be written to.
    pub fn lock(&self, waits: impl FnOnce()) -> Result<File, HubError> {
        for file in [&self.lock, &self.blob, &self.pointer, &self.main] {
            if let Some(folder) = file.parent() {
                fs::create_dir_all(folder).map_err(HubError::io("made", folder))?;
            }
        }
        let lock = File::options().create(true).append(true).open(&self.lock);
        let lock = lock.map_err(HubError::io("opened", &self.lock))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                waits();
                lock.lock().map_err(HubError::io("locked", &self.lock))?;
            }
            // A file system without locks: whoever shares it pulls at their own risk.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => {
                return Err(HubError::io("locked", &self.lock)(error));
            }
        }
        Ok(lock)
    }

    /// Makes the file appear in its commit, and the commit the one last asked for.
    ///
    /// # Errors
    /// The cache cannot be written to.
    pub fn link(&self) -> Result<PathBuf, HubError> {
        let name = self.blob.file_name().unwrap_or_default();
        let target = Path::new(&self.up).join("blobs").join(name);
        let there = fs::read_link(&self.pointer).is_ok_and(|to| to == target);
        if !there {
            let _ = fs::remove_file(&self.pointer);
            symlink(&target, &self.pointer)
                // Where links are a privilege: a second name, or a second copy.
                .or_else(|_| fs::hard_link(&self.blob, &self.pointer))
                .or_else(|_| fs::copy(&self.blob, &self.pointer).map(drop))
                .map_err(HubError::io("linked", &self.pointer))?;
        }
        let known = fs::read_to_string(&self.main).is_ok_and(|main| main.trim() == self.commit);
        if !known {
            // Another process may read it meanwhile: never half a commit.
            let new = self.main.with_extension(std::process::id().to_string());
            fs::write(&new, &self.commit)
                .and_then(|()| fs::rename(&new, &self.main))
                .map_err(HubError::io("written", &self.main))?;
        }
        Ok(self.pointer.clone())
    }
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
