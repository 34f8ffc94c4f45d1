//! One row times a matrix in Q8_0, for decoding.
//!
//! A single row touches every weight once, so reading the weights is what
//! costs time, and in Q8_0 they are a quarter of their size in f32. Unlike
//! candle's product this one leaves the row in f32: up to the order of
//! additions the result is that of the f32 matrix.

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, WithDType};
use half::f16;
use rayon::prelude::*;

use super::ops::values;

/// Weights that share a scale.
const BLOCK: usize = 32;
/// Bytes of a block in the file: its scale in f16, then its weights.
const BLOCK_BYTES: usize = 2 + BLOCK;
/// Weights that one task multiplies at least.
const GRAIN: usize = 64 * 1024;

/// A matrix `(out, in)`, its weights `scale · i8`.
pub(super) struct Q8Matrix {
    weights: Vec<i8>,
    scales: Vec<f32>,
    columns: usize,
}

impl Q8Matrix {
    /// The rows of all tensors one after the other; None if they are not all
    /// Q8_0 matrices with as many columns.
    pub(super) fn new(parts: &[&QTensor]) -> Result<Option<Self>> {
        let Some(columns) = parts.first().and_then(|part| part.shape().dims().last().copied())
        else {
            return Ok(None);
        };
        let fits = |part: &&QTensor| {
            part.dtype() == GgmlDType::Q8_0 && part.shape().dims().last() == Some(&columns)
        };
        if !parts.iter().all(fits) {
            return Ok(None);
        }
        let (mut weights, mut scales) = (Vec::new(), Vec::new());
        for part in parts {
            for block in part.data()?.chunks_exact(BLOCK_BYTES) {
                scales.push(f16::from_le_bytes([block[0], block[1]]).to_f32());
                weights.extend(block[2..].iter().map(|&byte| byte as i8));
            }
        }
        Ok(Some(Self { weights, scales, columns }))
    }

    /// The product `(1, out)` of a row `(1, in)` with the transposed matrix.
    pub(super) fn multiply(&self, row: &Tensor) -> Result<Tensor> {
        row.apply_op1_no_bwd(&Product(self))
    }

    fn dot(&self, row: usize, x: &[f32]) -> f32 {
        let (weights, scales) = (self.columns, self.columns / BLOCK);
        dot(
            &self.weights[row * weights..(row + 1) * weights],
            &self.scales[row * scales..(row + 1) * scales],
            x,
        )
    }
}

struct Product<'a>(&'a Q8Matrix);

impl CustomOp1 for Product<'_> {
    fn name(&self) -> &'static str {
        "q8-product"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Q8Matrix { columns, weights, .. } = self.0;
        let x = values(x, layout)?;
        if x.len() != *columns {
            candle_core::bail!("a row of {} for a matrix of {columns} columns", x.len());
        }
        let mut output = vec![0.0; weights.len() / columns];
        let together = GRAIN.div_ceil(*columns);
        output.par_chunks_mut(together).enumerate().for_each(|(task, output)| {
            for (i, output) in output.iter_mut().enumerate() {
                *output = self.0.dot(task * together + i, x);
            }
        });
        let shape = (1, output.len()).into();
        Ok((f32::to_cpu_storage_owned(output), shape))
    }
}

/// The dot product of a row of weights with `x`.
fn dot(weights: &[i8], scales: &[f32], x: &[f32]) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { dot_avx2(weights, scales, x) };
    }
    dot_strands(weights, scales, x)
}

/// The same code, compiled for wider registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn dot_avx2(weights: &[i8], scales: &[f32], x: &[f32]) -> f32 {
    dot_strands(weights, scales, x)
}

#[inline(always)]
fn dot_strands(weights: &[i8], scales: &[f32], x: &[f32]) -> f32 {
    let mut total = [0.0f32; 8];
    let blocks = weights.chunks_exact(BLOCK).zip(x.chunks_exact(BLOCK)).zip(scales);
    for ((weights, x), scale) in blocks {
        let mut block = [0.0f32; 8];
        for (weights, x) in weights.chunks_exact(8).zip(x.chunks_exact(8)) {
            for ((sum, weight), x) in block.iter_mut().zip(weights).zip(x) {
                *sum += f32::from(*weight) * x;
            }
        }
        for (total, sum) in total.iter_mut().zip(block) {
            *total += sum * scale;
        }
    }
    total.iter().sum()
}
