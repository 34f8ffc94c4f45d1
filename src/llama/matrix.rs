//! Rows times a matrix. A row's result does not depend on the rows beside it,
//! bit for bit: see `lanes`.
//!
//! Weights in Q8_0 stay so, a quarter of their size in f32: a single row
//! touches every weight once, and reading them is what costs time. They are
//! scaled on the way, which is exact, and activations stay in f32, so that the
//! result is that of the f32 matrix.

use std::borrow::Cow;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor, WithDType};
use half::f16;
use rayon::prelude::*;

use super::lanes::{BLOCK, Level, Panel, Quants, WIDTH};
use super::ops::values;

/// Bytes of a block in the file: its scale in f16, then its quants.
const BLOCK_BYTES: usize = 2 + BLOCK;
/// Multiplications of one task at least.
const GRAIN: usize = 64 * 1024;
/// Weights of a lane that are scaled at a time: they stay in the nearest cache.
const PIECE: usize = 4 * BLOCK;

/// A matrix `(out, in)`. Each `WIDTH` of its rows are side by side: panel
/// after panel, one for every column.
pub(super) struct Matrix {
    weights: Weights,
    rows: usize,
    columns: usize,
    level: Level,
}

enum Weights {
    Float(Vec<Panel>),
    /// A panel of scales for every `BLOCK` columns.
    Q8(Vec<Quants>, Vec<Panel>),
}

impl Matrix {
    /// The rows of all parts, matrices of `columns` columns, one after the other.
    pub(super) fn new(parts: &[&QTensor], columns: usize) -> Result<Self> {
        let rows: usize = parts.iter().map(|part| part.shape().elem_count() / columns).sum();
        let panels = rows.div_ceil(WIDTH) * columns;
        let q8 = parts.iter().all(|part| part.dtype() == GgmlDType::Q8_0);
        let weights = if q8 {
            let mut quants = vec![Quants::default(); panels];
            let mut scales = vec![Panel::default(); panels / BLOCK];
            let mut row = 0;
            for part in parts {
                for bytes in part.data()?.chunks_exact(columns / BLOCK * BLOCK_BYTES) {
                    put_q8(bytes, row, columns, &mut quants, &mut scales);
                    row += 1;
                }
            }
            Weights::Q8(quants, scales)
        } else {
            let mut floats = vec![Panel::default(); panels];
            let mut row = 0;
            for part in parts {
                let values = part.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
                for values in values.chunks_exact(columns) {
                    let panels = floats[row / WIDTH * columns..].as_flattened_mut();
                    let lane = row % WIDTH;
                    let places = panels.as_flattened_mut()[lane..].iter_mut().step_by(WIDTH);
                    places.zip(values).for_each(|(place, value)| *place = *value);
                    row += 1;
                }
            }
            Weights::Float(floats)
        };
        Ok(Self { weights, rows, columns, level: Level::here() })
    }

    /// Bytes of its weights.
    pub(super) fn bytes(&self) -> usize {
        match &self.weights {
            Weights::Float(panels) => size_of_val(&panels[..]),
            Weights::Q8(quants, scales) => size_of_val(&quants[..]) + size_of_val(&scales[..]),
        }
    }

    /// The product `(n, out)` of rows `(n, in)` with the transposed matrix.
    pub(super) fn multiply(&self, x: &Tensor) -> Result<Tensor> {
        x.apply_op1_no_bwd(&Product(self))
    }

    /// The sums of one panel for rows that are packed by their groups. `scaled`
    /// is room for weights.
    fn panel(&self, panel: usize, x: &[f32], scaled: &mut [Panel; PIECE], sums: &mut [Panel]) {
        let columns = panel * self.columns..(panel + 1) * self.columns;
        for start in columns.clone().step_by(PIECE) {
            let end = (start + PIECE).min(columns.end);
            let weights = match &self.weights {
                Weights::Float(weights) => &weights[start..end],
                Weights::Q8(quants, scales) => {
                    let scaled = &mut scaled[..end - start];
                    self.level.scale(&quants[start..end], &scales[start / BLOCK..], scaled);
                    scaled
                }
            };
            let (from, to) = (start - columns.start, end - columns.start);
            for (row, size) in self.level.groups(sums.len()) {
                let x = &x[row * self.columns..][from * size..to * size];
                self.level.add(weights, x, &mut sums[row..row + size]);
            }
        }
    }
}

/// Puts a row of blocks in its lane.
fn put_q8(bytes: &[u8], row: usize, columns: usize, quants: &mut [Quants], scales: &mut [Panel]) {
    let (first, lane) = (row / WIDTH * columns, row % WIDTH);
    let quants = quants[first..].as_flattened_mut().as_flattened_mut();
    let scales = scales[first / BLOCK..].as_flattened_mut().as_flattened_mut();
    for (block, bytes) in bytes.chunks_exact(BLOCK_BYTES).enumerate() {
        scales[block * WIDTH + lane] = f16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
        let places = quants[block * BLOCK * WIDTH + lane..].iter_mut().step_by(WIDTH);
        places.zip(&bytes[2..]).for_each(|(place, byte)| *place = *byte as i8);
    }
}

/// Rows `(n, columns)` as `Level::add` takes them: in each group, for every
/// column, the values of its rows.
pub(super) fn pack(level: Level, x: &[f32], columns: usize) -> Cow<'_, [f32]> {
    if x.len() <= columns {
        return x.into();
    }
    let mut packed = vec![0.0; x.len()];
    let mut rest = packed.as_mut_slice();
    let mut groups = Vec::new();
    for (row, size) in level.groups(x.len() / columns) {
        let (group, after) = rest.split_at_mut(size * columns);
        groups.push((&x[row * columns..(row + size) * columns], size, group));
        rest = after;
    }
    let fill = |(rows, size, group): (&[f32], usize, &mut [f32])| {
        for (i, row) in rows.chunks_exact(columns).enumerate() {
            let places = group[i..].iter_mut().step_by(size);
            places.zip(row).for_each(|(place, value)| *place = *value);
        }
    };
    if x.len() < GRAIN / 4 {
        groups.into_iter().for_each(fill);
    } else {
        groups.into_par_iter().for_each(fill);
    }
    packed.into()
}

struct Product<'a>(&'a Matrix);

impl CustomOp1 for Product<'_> {
    fn name(&self) -> &'static str {
        "product"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let matrix @ Matrix { rows, columns, level, .. } = self.0;
        let (n, width) = layout.shape().dims2()?;
        if width != *columns {
            candle_core::bail!("rows of {width} for a matrix of {columns} columns");
        }
        let x = pack(*level, values(x, layout)?, width);
        // Panel by panel, the sums of every row.
        let mut sums = vec![Panel::default(); rows.div_ceil(WIDTH) * n];
        let together = GRAIN.div_ceil(WIDTH * columns * n.max(1));
        if n > 0 {
            sums.par_chunks_mut(together * n).enumerate().for_each(|(task, sums)| {
                let mut scaled = [Panel::default(); PIECE];
                for (i, sums) in sums.chunks_exact_mut(n).enumerate() {
                    matrix.panel(task * together + i, &x, &mut scaled, sums);
                }
            });
        }
        let sums = sums.as_flattened().as_flattened();
        let output = if n == 1 {
            sums[..*rows].to_vec()
        } else {
            let mut output = vec![0.0; n * rows];
            output.par_chunks_mut((*rows).max(1)).enumerate().for_each(|(i, output)| {
                for (panel, output) in output.chunks_mut(WIDTH).enumerate() {
                    let start = (panel * n + i) * WIDTH;
                    output.copy_from_slice(&sums[start..start + output.len()]);
                }
            });
            output
        };
        Ok((f32::to_cpu_storage_owned(output), (n, *rows).into()))
    }
}
