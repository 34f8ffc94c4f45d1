//! The folder where snapshots are kept.
//!
//! Several processes may use it at once. A file appears under its name whole or
//! not at all: it is written under another name first, and then renamed. It is
//! not made certain that the disk has it, since it is checked when it is read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Key, file};
use crate::llama::CacheRows;

/// Bytes that all snapshots together take, where nothing else is said.
pub const LIMIT: u64 = 2 << 30;

/// What the names of snapshots, and of those that are being written, end in.
const WHOLE: &str = "snapshot";
const PART: &str = "part";

/// A folder of snapshots of bounded size, of which the least recently used
/// leave first.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
    limit: u64,
}

/// One snapshot of a store.
#[derive(Clone, Debug)]
pub struct Entry {
    pub path: PathBuf,
    pub bytes: u64,
    /// When it was last written or read.
    pub used: SystemTime,
    /// The tokens that it says it holds; None if it is no snapshot.
    pub tokens: Option<u64>,
}

impl Store {
    /// Snapshots in `folder`, which is made when the first one is written, of
    /// at most `limit` bytes together.
    pub fn new(folder: impl Into<PathBuf>, limit: u64) -> Self {
        Self { folder: folder.into(), limit }
    }

    /// Where the snapshots are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The rows that were saved under a key, whole and undamaged, or None.
    pub fn load(&self, key: &Key) -> Option<CacheRows> {
        let path = self.path(key);
        let rows = file::read(&path, key, self.limit)?;
        // Where the time cannot be set, the snapshot leaves earlier.
        let _ = fs::File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        Some(rows)
    }

    /// Saves rows under a key, in place of what is there, and removes what
    /// exceeds the limit. Rows that exceed it alone are not saved.
    ///
    /// # Errors
    /// The folder cannot be made or written to.
    pub fn save(&self, key: &Key, rows: &CacheRows) -> io::Result<()> {
        if file::size(rows) > self.limit {
            return Ok(());
        }
        fs::create_dir_all(&self.folder)?;
        // Room is made before it is taken.
        self.prune(self.limit - file::size(rows), &self.path(key))?;
        let path = self.path(key);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let part = path.with_extension(format!("{}-{now}.{PART}", process::id()));
        let written = file::write(&part, key, rows)
            .and_then(|file| fs::rename(&part, &path).map(|()| drop(file)));
        if written.is_err() {
            let _ = fs::remove_file(&part);
        }
        written
    }

    /// Every snapshot, the last used first. A folder that is not there is empty.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn list(&self) -> io::Result<Vec<Entry>> {
        let mut entries = self.files(WHOLE)?;
        entries.iter_mut().for_each(|entry| entry.tokens = file::tokens(&entry.path));
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.used));
        Ok(entries)
    }

    /// Removes every snapshot, also those that were never finished. Returns
    /// how many there were and their bytes.
    ///
    /// # Errors
    /// The folder cannot be read, or a file cannot be removed.
    pub fn clear(&self) -> io::Result<(usize, u64)> {
        let mut removed = (0, 0);
        for entry in self.files(WHOLE)?.into_iter().chain(self.files(PART)?) {
            match fs::remove_file(&entry.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => removed = (removed.0 + 1, removed.1 + entry.bytes),
            }
        }
        Ok(removed)
    }

    /// Removes what was never finished, and the least recently used snapshots
    /// until the others, without the one about to be replaced, take `limit` bytes.
    fn prune(&self, limit: u64, replaced: &Path) -> io::Result<()> {
        for part in self.files(PART)? {
            if file::is_abandoned(&part.path) {
                let _ = fs::remove_file(part.path);
            }
        }
        let mut entries = self.files(WHOLE)?;
        entries.retain(|entry| entry.path != replaced);
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.used));
        let mut total = 0u64;
        for entry in entries {
            total = total.saturating_add(entry.bytes);
            if total > limit {
                // Another process may have been first.
                let _ = fs::remove_file(entry.path);
            }
        }
        Ok(())
    }

    fn path(&self, key: &Key) -> PathBuf {
        let name: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(name).with_extension(WHOLE)
    }

    /// The files of this store whose names end in `extension`.
    fn files(&self, extension: &str) -> io::Result<Vec<Entry>> {
        let listing = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listing => listing?,
        };
        let mut entries = Vec::new();
        for path in listing.filter_map(|entry| Some(entry.ok()?.path())) {
            // A file that has just left is none.
            let Ok(about) = fs::metadata(&path) else { continue };
            if about.is_file() && is_ours(&path, extension) {
                let used = about.modified().unwrap_or(UNIX_EPOCH);
                entries.push(Entry { path, bytes: about.len(), used, tokens: None });
            }
        }
        Ok(entries)
    }
}

/// The name is a key, and ends as told. Nothing else in the folder is touched.
fn is_ours(path: &Path, extension: &str) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let Some((key, rest)) = name.split_once('.') else { return false };
    key.len() == 2 * size_of::<Key>()
        && key.bytes().all(|byte| byte.is_ascii_hexdigit())
        && rest.rsplit('.').next() == Some(extension)
}
