//! What this machine has free for a model.

use std::path::{Path, PathBuf};

use crate::cli::machine::{Gpus, Memory, free_disk};
use crate::llama::cuda::Gpu;

/// Bytes that are free.
pub struct Room {
    /// Where models go.
    pub folder: PathBuf,
    /// On the disk of that folder, where the system says.
    pub disk: Option<u64>,
    pub memory: u64,
    /// The GPU with the most free memory.
    pub gpu: Option<Gpu>,
}

impl Room {
    /// Of this machine; the folder need not exist yet.
    pub fn here(folder: &Path) -> Self {
        Self {
            folder: folder.into(),
            disk: free_disk(folder).ok(),
            memory: Memory::this().available,
            gpu: Gpus::this().roomiest().cloned(),
        }
    }
}
