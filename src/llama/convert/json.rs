//! The small JSON files of a model folder.

use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value;

use super::error::ConvertError;

/// A file of the folder; None if there is none.
pub(super) fn read(folder: &Path, name: &str) -> Result<Option<Value>, ConvertError> {
    let path = folder.join(name);
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| ConvertError::damaged(&path, error)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ConvertError::Unreadable { path, source }),
    }
}
