//! Reading a GGUF file: its metadata and its tensors.
//!
//! The header is read by us, not by candle, because a file is not to be
//! trusted: every count and offset is checked against the bytes that are there
//! before anything is allocated for it, an alignment of 0 is refused, and a
//! quantization that cannot be run is named. Refuses version 1 and big-endian
//! files. Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

mod header;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use candle_core::Device;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use memmap2::Mmap;
use sha2::{Digest, Sha256};

use self::header::Reader;
use super::error::ModelError;

/// A value of the metadata, reduced to the kinds that matter here.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(Vec<u8>),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Texts(Vec<Vec<u8>>),
    /// An array of arrays: read past, not kept.
    Nested,
}

/// Where a tensor lies in the file.
#[derive(Clone, Debug)]
struct Tensor {
    kind: GgmlDType,
    /// Row-major, the fastest dimension last (GGUF writes it first).
    shape: Vec<usize>,
    /// From the start of the file.
    start: usize,
    bytes: usize,
}

/// Blocks of the tensors that tell one file from another, and their bytes.
const SAMPLES: usize = 64;
const SAMPLE: usize = 4096;

/// A GGUF file: metadata and tensors.
pub struct Gguf {
    bytes: Bytes,
    /// When the file was last written, since 1970; 0 where that is not known.
    modified: Duration,
    metadata: HashMap<String, Value>,
    tensors: HashMap<String, Tensor>,
}

enum Bytes {
    Mapped(Mmap),
    Owned(Cow<'static, [u8]>),
}

impl std::ops::Deref for Bytes {
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
        let (metadata, tensors) = Reader::new(&bytes).header()?;
        Ok(Self { bytes, modified: Duration::ZERO, metadata, tensors })
    }

    /// A file in memory that has the header at its start, without a table of
    /// tensors, and these tensors, which may share bytes: name, kind, shape and
    /// the range of their bytes.
    pub(super) fn from_parts(
        bytes: Vec<u8>,
        tensors: impl Iterator<Item = (String, GgmlDType, Vec<usize>, Range<usize>)>,
    ) -> Result<Self, ModelError> {
        let mut this = Self::from_bytes(bytes)?;
        for (name, kind, shape, Range { start, end }) in tensors {
            this.tensors.insert(name, Tensor { kind, shape, start, bytes: end - start });
        }
        Ok(this)
    }

    /// A whole number that is not negative.
    pub fn uint(&self, key: &str) -> Option<u64> {
        match self.metadata.get(key)? {
            Value::Int(value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }

    /// A number.
    pub fn float(&self, key: &str) -> Option<f64> {
        match self.metadata.get(key)? {
            Value::Int(value) => Some(*value as f64),
            Value::Float(value) => Some(*value),
            _ => None,
        }
    }

    pub fn bool(&self, key: &str) -> Option<bool> {
        match self.metadata.get(key)? {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// A string; what is not UTF-8 in it shows as U+FFFD.
    pub fn text(&self, key: &str) -> Option<Cow<'_, str>> {
        match self.metadata.get(key)? {
            Value::Text(value) => Some(String::from_utf8_lossy(value)),
            _ => None,
        }
    }

    /// Any value, as it was read.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// The shape of a tensor, row-major, if it is in the file.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        Some(&self.tensors.get(name)?.shape)
    }

    /// The bytes that all tensors take in the file, and their elements.
    pub fn size(&self) -> (usize, usize) {
        self.tensors.values().fold((0, 0), |(bytes, elements), tensor| {
            (bytes + tensor.bytes, elements + tensor.shape.iter().product::<usize>())
        })
    }

    /// Tells this file from any other without reading all of it: SHA-256 of
    /// its size, the time it was last written, its header with the table of
    /// tensors, and blocks sampled evenly from the tensors.
    pub fn identity(&self) -> [u8; 32] {
        let all = &self.bytes[..];
        let tensors = self.tensors.values().map(|tensor| tensor.start).min().unwrap_or(all.len());
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
