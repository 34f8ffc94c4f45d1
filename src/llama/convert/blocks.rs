//! Rows of numbers to quantized blocks, on all cores.

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::checkpoint::Rows;
use super::plan::{Planned, source_row};

/// Elements that one task quantizes: enough to be worth a thread.
const GRAIN: usize = 64 * 1024;

/// Quantized rows, as they are in a file, and what was lost.
pub(super) struct Blocks {
    pub bytes: Vec<u8>,
    pub loss: Loss,
}

/// How far quantized numbers are from those they stand for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Loss {
    /// Sum of the squared differences.
    difference: f64,
    /// Sum of the squared numbers.
    total: f64,
}

impl Loss {
    pub(super) fn add(&mut self, other: Self) {
        self.difference += other.difference;
        self.total += other.total;
    }

    /// Root of the mean squared difference, relative to that of the numbers.
    pub(super) fn relative(&self) -> f64 {
        if self.total > 0.0 { (self.difference / self.total).sqrt() } else { 0.0 }
    }
}

/// Quantizes `count` rows of a planned tensor from number `first`. Every row
/// is quantized by itself, so the pieces make no difference to the blocks.
pub(super) fn quantize(
    planned: &Planned,
    rows: &Rows,
    first: usize,
    count: usize,
) -> candle_core::Result<Blocks> {
    let columns = planned.shape.last().copied().unwrap_or(1);
    let together = (GRAIN / columns).max(1);
    let starts: Vec<_> = (first..first + count).step_by(together).collect();
    let parts: Vec<_> = starts
        .into_par_iter()
        .map(|start| {
            let count = together.min(first + count - start);
            let mut numbers = vec![0.0; count * columns];
            for (row, out) in (start..).zip(numbers.chunks_exact_mut(columns)) {
                rows.read(source_row(row, planned.head), out);
            }
            part(numbers, columns, planned.kind)
        })
        .collect::<Result<_, _>>()?;
    let mut all = Blocks { bytes: Vec::new(), loss: Loss::default() };
    for part in parts {
        all.bytes.extend_from_slice(&part.bytes);
        all.loss.add(part.loss);
    }
    Ok(all)
}

fn part(numbers: Vec<f32>, columns: usize, kind: GgmlDType) -> candle_core::Result<Blocks> {
    let shape = (numbers.len() / columns, columns);
    let numbers = Tensor::from_vec(numbers, shape, &Device::Cpu)?;
    let quantized = QTensor::quantize(&numbers, kind)?;
    let mut loss = Loss::default();
    if kind != GgmlDType::F32 {
        let back = quantized.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
        for (number, back) in numbers.flatten_all()?.to_vec1::<f32>()?.into_iter().zip(back) {
            loss.difference += f64::from(number - back).powi(2);
            loss.total += f64::from(number).powi(2);
        }
    }
    Ok(Blocks { bytes: quantized.data()?.into_owned(), loss })
}
