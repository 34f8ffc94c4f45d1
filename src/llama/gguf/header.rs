//! What a GGUF file says of itself before its first tensor. It can be read
//! without the tensors, from the file's first bytes alone.

use std::borrow::Cow;
use std::collections::HashMap;

use candle_core::quantized::GgmlDType;

use super::reader::Reader;
use crate::llama::error::ModelError;

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
pub(super) struct Tensor {
    pub kind: GgmlDType,
    /// Row-major, the fastest dimension last (GGUF writes it first).
    pub shape: Vec<usize>,
    /// From the start of the file.
    pub start: usize,
    pub bytes: usize,
}

/// A file's metadata, and where its tensors lie.
#[derive(Clone, Debug)]
pub struct Header {
    pub(super) metadata: HashMap<String, Value>,
    pub(super) tensors: HashMap<String, Tensor>,
}

impl Header {
    /// Reads the header of a whole file.
    pub(super) fn of(bytes: &[u8]) -> Result<Self, ModelError> {
        Reader::new(bytes, bytes.len()).header()
    }

    /// Reads the header of a file of `length` bytes that starts with `bytes`;
    /// None if it goes on behind them.
    ///
    /// # Errors
    /// It is no GGUF file, is damaged, or is of a kind that cannot be run: the
    /// same errors that the whole file would give.
    pub fn from_beginning(bytes: &[u8], length: u64) -> Result<Option<Self>, ModelError> {
        let mut reader = Reader::new(bytes, usize::try_from(length).unwrap_or(usize::MAX));
        match reader.header() {
            Ok(header) => Ok(Some(header)),
            Err(_) if reader.wants_more() => Ok(None),
            Err(error) => Err(error),
        }
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
}
