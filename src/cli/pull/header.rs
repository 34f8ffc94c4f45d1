//! What a GGUF file of the hub says of itself, read before it is downloaded.

use anyhow::{Context, Result};

use crate::cli::fit::Shape;
use crate::hub::{Hub, RemoteFile};
use crate::llama::{Header, LlamaConfig};

/// Bytes that are asked for at first: the header of a vocabulary of 32,000
/// tokens has 0.7 MB, that of one of 128,000 has 8 MB.
const FIRST: u64 = 1 << 20;

/// Bytes after which a header is not read ahead any further.
const MOST: u64 = 64 << 20;

/// The bytes of a file's weights, and what decides how large its cache is.
/// None if the hub serves no parts of files, or the header has no end.
///
/// # Errors
/// The hub cannot be reached or refuses; or the file is none that can be run
/// here, which is better said before than after the download.
pub fn read(hub: &Hub, file: &RemoteFile) -> Result<Option<(u64, Shape)>> {
    let mut bytes = Vec::new();
    let mut end = FIRST;
    let unusable = || format!("{}:{} was not downloaded", file.repo, file.path);
    loop {
        let header = Header::from_beginning(&bytes, file.size).with_context(unusable)?;
        if let Some(header) = header {
            let config = LlamaConfig::from_gguf(&header).with_context(unusable)?;
            return Ok(Some((header.size().0 as u64, Shape::from(&config))));
        }
        let here = bytes.len() as u64;
        if here >= MOST {
            return Ok(None);
        }
        match hub.piece(file, here..end.min(file.size))? {
            Some(more) => bytes.extend(more),
            None => return Ok(None),
        }
        end *= 4;
    }
}
