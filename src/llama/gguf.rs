//! Reading a GGUF file: its metadata and its tensors.
//!
//! The header is read by us, not by candle, because a file is not to be
//! trusted: every count and offset is checked against the bytes that are there
//! before anything is allocated for it, an alignment of 0 is refused, and a
//! quantization that cannot be run is named. Refuses version 1 and big-endian
//! files. Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

mod header;
mod reader;

use std::borrow::Cow;
use std::fs::File;
use std::io::ErrorKind;
use std::ops::Deref;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use candle_core::Device;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use memmap2::Mmap;
use sha2::{Digest, Sha256};

use super::error::ModelError;

pub use self::header::{Header, Value};

/// Blocks of the tensors that tell one file from another, and their bytes.
const SAMPLES: usize = 64;
const SAMPLE: usize = 4096;

/// A GGUF file: what its header says, and tensors.
pub struct Gguf {
    bytes: Bytes,
    /// When the file was last written, since 1970; 0 where that is not known.
    modified: Duration,
    header: Header,
}

impl Deref for Gguf {
    type Target = Header;

    fn deref(&self) -> &Header {
        &self.header
    }
}

enum Bytes {
    Mapped(Mmap),
    Owned(Cow<'static, [u8]>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned(bytes) => bytes,
        }
    }
}

impl Gguf {
    /// Maps a file into memory and reads its header.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let unreadable = |source: std::io::Error| match source.kind() {
            ErrorKind::NotFound => ModelError::Missing(path.into()),
            _ => ModelError::Unreadable { path: path.into(), source },
        };
        // Looked at first: to open a pipe would wait for somebody to write to it.
        let about = path.metadata().map_err(unreadable)?;
        if !about.is_file() {
            return Err(ModelError::NotGguf(format!("{} is not a file", path.display())));
        }
        if about.len() == 0 {
            return Err(ModelError::NotGguf("it is empty".into()));
        }
        let file = File::open(path).map_err(unreadable)?;
        // SAFETY: the map is only ever read. Like every program that maps its
        // model, this one relies on nobody rewriting the file while it runs.
        let map = unsafe { Mmap::map(&file) }.map_err(unreadable)?;
        let modified = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Ok(Self { modified: modified.unwrap_or_default(), ..Self::parse(Bytes::Mapped(map))? })
    }

    /// Reads a file that is in memory: bytes of the program itself, or owned.
    pub fn from_bytes(bytes: impl Into<Cow<'static, [u8]>>) -> Result<Self, ModelError> {
        Self::parse(Bytes::Owned(bytes.into()))
    }

    fn parse(bytes: Bytes) -> Result<Self, ModelError> {
        let header = Header::of(&bytes)?;
        Ok(Self { bytes, modified: Duration::ZERO, header })
    }

    /// Tells this file from any other without reading all of it: SHA-256 of
    /// its size, the time it was last written, its header with the table of
    /// tensors, and blocks sampled evenly from the tensors.
    pub fn identity(&self) -> [u8; 32] {
        let all = &self.bytes[..];
        let tensors =
            self.header.tensors.values().map(|tensor| tensor.start).min().unwrap_or(all.len());
        let mut hash = Sha256::new();
        hash.update((all.len() as u64).to_le_bytes());
        hash.update(self.modified.as_nanos().to_le_bytes());
        hash.update(&all[..tensors]);
        let last = all.len().saturating_sub(SAMPLE).max(tensors);
        for i in 0..SAMPLES {
            let start = tensors + (last - tensors) / (SAMPLES - 1) * i;
            hash.update(&all[start..all.len().min(start + SAMPLE)]);
        }
        hash.finalize().into()
    }

    /// How a tensor of exactly this shape is quantized, and its bytes.
    pub fn blocks(&self, name: &str, shape: &[usize]) -> Result<(GgmlDType, &[u8]), ModelError> {
        let tensor = self
            .header
            .tensors
            .get(name)
            .ok_or_else(|| ModelError::damaged(format!("the tensor {name} is missing")))?;
        if tensor.shape != shape {
            return Err(ModelError::damaged(format!(
                "the tensor {name} has the shape {:?}, the model needs {shape:?}",
                tensor.shape
            )));
        }
        Ok((tensor.kind, &self.bytes[tensor.start..tensor.start + tensor.bytes]))
    }

    /// A tensor of exactly this shape, still quantized, on the CPU.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<QTensor, ModelError> {
        let (kind, bytes) = self.blocks(name, shape)?;
        // candle reinterprets the bytes as blocks that hold f32 or f16 fields.
        // Bytes compiled into the program may lie at any address.
        let mut copy = Vec::new();
        let bytes = if bytes.as_ptr().align_offset(align_of::<f32>()) == 0 {
            bytes
        } else {
            copy.resize(bytes.len() + align_of::<f32>(), 0);
            let offset = copy.as_ptr().align_offset(align_of::<f32>());
            copy[offset..offset + bytes.len()].copy_from_slice(bytes);
            &copy[offset..offset + bytes.len()]
        };
        let storage = QStorage::from_data(Cow::Borrowed(bytes), &Device::Cpu, kind)?;
        Ok(QTensor::new(storage, shape)?)
    }
}
