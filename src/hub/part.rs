//! A file that is not whole yet.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::digest::Check;
use super::error::HubError;

/// Bytes read at a time.
pub const PIECE: usize = 1 << 20;

/// The beginning of a file, on disk, and what its bytes add up to.
pub struct Part {
    path: PathBuf,
    file: File,
    len: u64,
    fresh: Check,
    check: Check,
    /// The etag that these bytes were served with, if it names them exactly:
    /// a server that still has the same goes on, another starts anew.
    validator: Option<String>,
    /// They did not come in one piece.
    pub pieced: bool,
}

impl Part {
    /// Opens what is there of a file of `size` bytes, if anything.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn open(path: &Path, etag: &str, size: u64) -> Result<Self, HubError> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(HubError::io("opened", path))?;
        let check = Check::new(etag, size);
        let mut part = Self {
            path: path.into(),
            file,
            len: 0,
            fresh: check.clone(),
            check,
            validator: fs::read_to_string(tag(path)).ok().filter(|tag| is_strong(tag)),
            pieced: false,
        };
        let there = part.file.metadata().map_err(HubError::io("read", path))?.len();
        if there > size {
            part.restart(None)?;
        } else if there > 0 {
            part.pieced = true;
            part.read_back().map_err(HubError::io("read", path))?;
        }
        Ok(part)
    }

    fn read_back(&mut self) -> io::Result<()> {
        let mut piece = vec![0; PIECE];
        loop {
            match self.file.read(&mut piece)? {
                0 => return Ok(()),
                read => {
                    self.check.update(&piece[..read]);
                    self.len += read as u64;
                }
            }
        }
    }

    /// Bytes that are here.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn validator(&self) -> Option<&str> {
        self.validator.as_deref()
    }

    /// Forgets the bytes; those to come are served with this etag.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn restart(&mut self, etag: Option<String>) -> Result<(), HubError> {
        let result = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        result.map_err(HubError::io("written", &self.path))?;
        (self.len, self.check, self.pieced) = (0, self.fresh.clone(), false);
        self.validator = etag.filter(|etag| is_strong(etag));
        let tag = tag(&self.path);
        match &self.validator {
            Some(etag) => fs::write(&tag, etag).map_err(HubError::io("written", &tag)),
            None => forget(&tag),
        }
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    /// The disk is full, or refuses.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), HubError> {
        self.file.write_all(bytes).map_err(HubError::io("written", &self.path))?;
        self.check.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// None if the bytes are those that were wanted, else what they are.
    pub fn difference(&self) -> Option<String> {
        self.check.difference()
    }

    /// Makes it the file, on the disk before it has its name.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn finish(self, blob: &Path) -> Result<(), HubError> {
        self.file.sync_all().map_err(HubError::io("written", &self.path))?;
        fs::rename(&self.path, blob).map_err(HubError::io("written", blob))?;
        forget(&tag(&self.path))
    }

    /// Removes it.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn remove(self) -> Result<(), HubError> {
        forget(&self.path)?;
        forget(&tag(&self.path))
    }
}

/// Where the etag is kept between runs.
fn tag(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".etag");
    name.into()
}

fn forget(path: &Path) -> Result<(), HubError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(HubError::io("removed", path)(error))
        }
        _ => Ok(()),
    }
}

/// The same etag means the same bytes (RFC 9110, 8.8.1), and it fits a header.
fn is_strong(etag: &str) -> bool {
    etag.len() >= 2
        && etag.starts_with('"')
        && etag.ends_with('"')
        && etag.bytes().all(|byte| byte.is_ascii_graphic())
}
