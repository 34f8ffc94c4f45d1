//! The matrices of a model, and how their weights are kept.

use candle_core::{Device, Tensor};

use super::blocks::Blocks;
use super::error::ModelError;
use super::gguf::Gguf;
use super::lanes::Format;
use super::matrix::Matrix;

/// Models whose weights take no more than this in f32 are laid anew for the
/// processor when they are loaded: they multiply faster.
const FLOAT_LIMIT: usize = 512 << 20;

/// How weights are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// As f32, or in Q8_0, laid anew.
    Float,
    /// As they are, in the file; with a cache in f16.
    Stored,
}

impl Precision {
    /// How the portable engine keeps a model, where nothing else is asked for.
    pub fn of(gguf: &Gguf) -> Self {
        let small = gguf.size().1.saturating_mul(size_of::<f32>()) <= FLOAT_LIMIT;
        if small { Self::Float } else { Self::Stored }
    }
}

/// A matrix to multiply rows with. Results do not depend on the rows beside them.
pub(super) enum Linear {
    Float(Matrix),
    Stored(Blocks),
}

impl Linear {
    /// Bytes of its weights.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Float(matrix) => matrix.bytes(),
            Self::Stored(blocks) => blocks.bytes(),
        }
    }

    /// `(n, in)` to `(n, out)`.
    pub(super) fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::Float(matrix) => matrix.multiply(x),
            Self::Stored(blocks) => blocks.multiply(x),
        }
    }
}

/// Takes tensors out of a file, weights kept as told.
pub(super) struct Loader<'a> {
    pub(super) gguf: &'a Gguf,
    pub(super) precision: Precision,
}

impl Loader<'_> {
    pub(super) fn vector(&self, name: &str, length: usize) -> Result<Tensor, ModelError> {
        Ok(self.gguf.tensor(name, &[length])?.dequantize(&Device::Cpu)?)
    }

    /// Matrices `(rows, columns)` by name and rows, whose results stand side by side.
    pub(super) fn linear(
        &self,
        parts: &[(String, usize)],
        columns: usize,
    ) -> Result<Linear, ModelError> {
        if let (Precision::Stored, Some(blocks)) = (self.precision, self.blocks(parts, columns)?) {
            return Ok(Linear::Stored(blocks));
        }
        let tensors = parts
            .iter()
            .map(|(name, rows)| self.gguf.tensor(name, &[*rows, columns]))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Linear::Float(Matrix::new(&tensors.iter().collect::<Vec<_>>(), columns)?))
    }

    /// The same where they lie, if all are in formats that can be multiplied so.
    fn blocks(
        &self,
        parts: &[(String, usize)],
        columns: usize,
    ) -> Result<Option<Blocks>, ModelError> {
        let mut found = Vec::new();
        for (name, rows) in parts {
            let (kind, bytes) = self.gguf.span(name, &[*rows, columns])?;
            match Format::of(kind).filter(|format| columns.is_multiple_of(format.block().0)) {
                Some(format) => found.push((format, bytes)),
                None => return Ok(None),
            }
        }
        Ok(Some(Blocks::new(found, columns)))
    }
}
