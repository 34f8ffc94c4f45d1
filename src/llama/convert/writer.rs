//! A GGUF file written from front to back: the header with every offset
//! first, then one tensor after the other, so that no more than a piece of a
//! tensor is ever in memory. (candle's writer wants all tensors at once.)
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.
//!
//! The file gets its name when it is whole; before that, it is a hidden one
//! beside it, which goes away with the writer.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use candle_core::quantized::GgmlDType;

use super::error::ConvertError;

/// Tensors begin at multiples of this, GGUF's default.
const ALIGNMENT: u64 = 32;
const VERSION: u32 = 3;

/// Metadata in the order in which it is written.
pub(super) type Metadata = Vec<(String, Value)>;

/// A value of the metadata, of the kinds that a Llama's file needs.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(String),
    I32s(Vec<i32>),
    F32s(Vec<f32>),
    Texts(Vec<String>),
}

/// A tensor's line in the header.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub name: String,
    /// Row-major, the fastest dimension last.
    pub shape: Vec<usize>,
    pub kind: GgmlDType,
}

impl Entry {
    /// What it takes in the file, without what fills it up to the alignment.
    pub(super) fn bytes(&self) -> u64 {
        let elements: usize = self.shape.iter().product();
        (elements / self.kind.block_size()) as u64 * self.kind.type_size() as u64
    }
}

/// A file that is being written.
pub(super) struct Writer {
    file: BufWriter<File>,
    /// Under which name until it is whole.
    hidden: Hidden,
    path: PathBuf,
    /// Bytes that the tensors still to come have, the next one last.
    left: Vec<u64>,
    /// Bytes written of the next one.
    written: u64,
}

/// A file that is removed with this, unless it has moved away.
struct Hidden(PathBuf);

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Writer {
    /// Begins a file and writes its header.
    pub(super) fn create(
        path: &Path,
        metadata: &Metadata,
        entries: &[Entry],
    ) -> Result<Self, ConvertError> {
        let failed = |source| ConvertError::Unwritable { path: path.into(), source };
        let Some(name) = path.file_name() else {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "not a file's name")));
        };
        if path.exists() {
            return Err(ConvertError::Exists(path.into()));
        }
        let hidden = format!(".{}.{}.part", name.to_string_lossy(), std::process::id());
        let hidden = path.with_file_name(hidden);
        let file = File::create(&hidden).map_err(failed)?;
        let mut this = Self {
            file: BufWriter::with_capacity(1 << 20, file),
            hidden: Hidden(hidden),
            path: path.into(),
            left: entries.iter().rev().map(Entry::bytes).collect(),
            written: 0,
        };
        this.file.write_all(&header(metadata, entries)).map_err(failed)?;
        Ok(this)
    }

    /// Appends bytes of the tensor whose turn it is. Tensors come in the
    /// order of the entries, each in as many pieces as it likes.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), ConvertError> {
        let Self { file, path, left, written, .. } = self;
        let failed = |source| ConvertError::Unwritable { path: path.clone(), source };
        file.write_all(bytes).map_err(failed)?;
        *written += bytes.len() as u64;
        let Some(&size) = left.last() else { return Ok(()) };
        if *written >= size {
            let padding = (size.next_multiple_of(ALIGNMENT) - size) as usize;
            file.write_all(&[0; ALIGNMENT as usize][..padding]).map_err(failed)?;
            left.pop();
            *written = 0;
        }
        Ok(())
    }

    /// Gives the file its name, once it is on the disk.
    pub(super) fn finish(mut self) -> Result<(), ConvertError> {
        let flushed = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        flushed
            .and_then(|()| fs::rename(&self.hidden.0, &self.path))
            .map_err(|source| ConvertError::Unwritable { path: self.path.clone(), source })
    }
}

/// Bytes of the whole file.
pub(super) fn size(metadata: &Metadata, entries: &[Entry]) -> u64 {
    let tensors = entries.iter().map(|entry| entry.bytes().next_multiple_of(ALIGNMENT));
    header(metadata, entries).len() as u64 + tensors.sum::<u64>()
}

/// Everything before the first tensor.
fn header(metadata: &Metadata, entries: &[Entry]) -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend((entries.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        text(&mut out, key);
        value.write(&mut out);
    }
    let mut offset = 0u64;
    for entry in entries {
        text(&mut out, &entry.name);
        out.extend((entry.shape.len() as u32).to_le_bytes());
        for &size in entry.shape.iter().rev() {
            out.extend((size as u64).to_le_bytes());
        }
        out.extend(number(entry.kind).to_le_bytes());
        out.extend(offset.to_le_bytes());
        offset += entry.bytes().next_multiple_of(ALIGNMENT);
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT as usize), 0);
    out
}

impl Value {
    fn write(&self, out: &mut Vec<u8>) {
        let mut array = |kind: u32, length: usize| {
            out.extend(9u32.to_le_bytes());
            out.extend(kind.to_le_bytes());
            out.extend((length as u64).to_le_bytes());
        };
        match self {
            Self::I32s(values) => array(5, values.len()),
            Self::F32s(values) => array(6, values.len()),
            Self::Texts(values) => array(8, values.len()),
            Self::U32(_) => out.extend(4u32.to_le_bytes()),
            Self::F32(_) => out.extend(6u32.to_le_bytes()),
            Self::Bool(_) => out.extend(7u32.to_le_bytes()),
            Self::Text(_) => out.extend(8u32.to_le_bytes()),
        }
        match self {
            Self::U32(value) => out.extend(value.to_le_bytes()),
            Self::F32(value) => out.extend(value.to_le_bytes()),
            Self::Bool(value) => out.push((*value).into()),
            Self::Text(value) => text(out, value),
            Self::I32s(values) => out.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Self::F32s(values) => out.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Self::Texts(values) => values.iter().for_each(|value| text(out, value)),
        }
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// A kind's number in the file (`enum ggml_type` in ggml.h).
fn number(kind: GgmlDType) -> u32 {
    match kind {
        GgmlDType::F32 => 0,
        GgmlDType::F16 => 1,
        GgmlDType::Q4_0 => 2,
        GgmlDType::Q4_1 => 3,
        GgmlDType::Q5_0 => 6,
        GgmlDType::Q5_1 => 7,
        GgmlDType::Q8_0 => 8,
        GgmlDType::Q8_1 => 9,
        GgmlDType::Q2K => 10,
        GgmlDType::Q3K => 11,
        GgmlDType::Q4K => 12,
        GgmlDType::Q5K => 13,
        GgmlDType::Q6K => 14,
        GgmlDType::Q8K => 15,
        GgmlDType::BF16 => 30,
    }
}
