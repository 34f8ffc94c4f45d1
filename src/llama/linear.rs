//! The matrices of a model, and how their weights are kept.

use std::sync::Arc;

use candle_core::quantized::QMatMul;
use candle_core::{Device, Module, Tensor};

use super::error::ModelError;
use super::gguf::Gguf;
use super::matrix::Matrix;

/// Models whose weights take no more than this in f32 are kept in f32: they
/// multiply faster, and exactly.
const FLOAT_LIMIT: usize = 512 << 20;

/// How weights are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// As f32.
    Float,
    /// As they are in the file; activations are quantized to 8 bits too.
    Quantized,
}

impl Precision {
    /// How the portable engine keeps a model, where nothing else is asked for.
    pub fn of(gguf: &Gguf) -> Self {
        let small = gguf.size().1.saturating_mul(size_of::<f32>()) <= FLOAT_LIMIT;
        if small { Self::Float } else { Self::Quantized }
    }
}

/// A matrix to multiply rows with.
pub(super) enum Linear {
    /// Exactly what the file says, and rows that do not depend on each other.
    Float(Matrix),
    /// Matrices whose results stand side by side.
    Quantized(Vec<QMatMul>),
}

impl Linear {
    /// Bytes of its weights.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Float(matrix) => matrix.bytes(),
            Self::Quantized(parts) => parts.iter().map(quantized_bytes).sum(),
        }
    }

    /// `(n, in)` to `(n, out)`.
    pub(super) fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::Float(matrix) => matrix.multiply(x),
            Self::Quantized(parts) => match &parts[..] {
                [only] => only.forward(x),
                parts => {
                    let results: Vec<_> =
                        parts.iter().map(|part| part.forward(x)).collect::<Result<_, _>>()?;
                    Tensor::cat(&results, 1)
                }
            },
        }
    }
}

fn quantized_bytes(matrix: &QMatMul) -> usize {
    match matrix {
        QMatMul::QTensor(tensor) => tensor.storage_size_in_bytes(),
        QMatMul::Tensor(tensor) | QMatMul::TensorF16(tensor) => {
            tensor.elem_count() * tensor.dtype().size_in_bytes()
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
        let tensors = parts
            .iter()
            .map(|(name, rows)| self.gguf.tensor(name, &[*rows, columns]))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(match self.precision {
            // Not `from_qtensor`: that would keep F16 weights in f32.
            Precision::Quantized => Linear::Quantized(
                tensors.into_iter().map(|tensor| QMatMul::QTensor(Arc::new(tensor))).collect(),
            ),
            Precision::Float => {
                Linear::Float(Matrix::new(&tensors.iter().collect::<Vec<_>>(), columns)?)
            }
        })
    }
}
