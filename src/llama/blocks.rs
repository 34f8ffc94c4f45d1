//! Rows times a matrix whose weights stay quantized where they lie, in the file
//! that is mapped into memory: there is nothing to load, and programs that use
//! the same model share its pages.
//!
//! A few rows of weights at a time become f32, piece by piece, and are
//! multiplied by all rows of activations, which stay in f32. Results are those
//! of the dequantized matrix, and do not depend on how many rows there are.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, WithDType};
use rayon::prelude::*;

use super::gguf::Span;
use super::lanes::{Format, Level, ROWS, Sums, total};
use super::ops::values;

/// Columns at a time: `ROWS` rows of them and a few of activations stay in the
/// nearest cache. A multiple of every format's block.
const PIECE: usize = 512;
/// Multiplications of one task at least.
const GRAIN: usize = 256 * 1024;

/// Matrices `(rows, columns)` whose results stand side by side.
pub(super) struct Blocks {
    groups: Vec<Group>,
    rows: usize,
    columns: usize,
    level: Level,
}

/// Up to `ROWS` neighbouring rows of one matrix.
struct Group {
    bytes: Span,
    format: Format,
    /// Where its results begin, and how many there are.
    first: usize,
    rows: usize,
}

impl Blocks {
    /// The rows of all parts, one after the other. Each part has whole rows.
    pub(super) fn new(parts: Vec<(Format, Span)>, columns: usize) -> Self {
        let (mut groups, mut first) = (Vec::new(), 0);
        for (format, span) in parts {
            let (weights, bytes) = format.block();
            let row = columns / weights * bytes;
            for start in (0..span.len()).step_by(row * ROWS) {
                let end = span.len().min(start + row * ROWS);
                let rows = (end - start) / row;
                groups.push(Group { bytes: span.part(start..end), format, first, rows });
                first += rows;
            }
        }
        Self { groups, rows: first, columns, level: Level::here() }
    }

    /// The product `(n, out)` of rows `(n, in)` with the transposed matrix.
    pub(super) fn multiply(&self, x: &Tensor) -> Result<Tensor> {
        x.apply_op1_no_bwd(&Product(self))
    }

    /// The sums of a group with each row of `x`. `weights` is room for a piece.
    fn add(&self, group: &Group, x: &[f32], weights: &mut [f32], sums: &mut [Sums]) {
        let (values, bytes) = group.format.block();
        let all = group.bytes.bytes();
        let row = all.len() / group.rows;
        for start in (0..self.columns).step_by(PIECE) {
            let width = PIECE.min(self.columns - start);
            let weights = &mut weights[..ROWS * width];
            let place = start / values * bytes..(start + width) / values * bytes;
            for (blocks, to) in all.chunks_exact(row).zip(weights.chunks_exact_mut(width)) {
                self.level.unpack(group.format, &blocks[place.clone()], to);
            }
            // Rows that are not there keep what another group left; nobody reads their sums.
            self.level.dots(weights, &x[start..], self.columns, sums);
        }
    }
}

struct Product<'a>(&'a Blocks);

impl CustomOp1 for Product<'_> {
    fn name(&self) -> &'static str {
        "product with blocks"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let blocks @ Blocks { groups, rows, columns, .. } = self.0;
        let (n, width) = layout.shape().dims2()?;
        if width != *columns {
            candle_core::bail!("rows of {width} for a matrix of {columns} columns");
        }
        let mut output = vec![0.0; n * rows];
        if n > 0 {
            let x = values(x, layout)?;
            let together = GRAIN.div_ceil(ROWS * columns * n);
            // Group by group, the results of every row of `x`.
            let mut results = vec![[0.0; ROWS]; groups.len() * n];
            let tasks = results.par_chunks_mut(n * together).zip(groups.par_chunks(together));
            tasks.for_each(|(results, groups)| {
                let mut weights = vec![0.0; ROWS * PIECE.min(*columns)];
                let mut sums = vec![Sums::default(); n];
                for (results, group) in results.chunks_exact_mut(n).zip(groups) {
                    sums.fill(Sums::default());
                    blocks.add(group, x, &mut weights, &mut sums);
                    for (result, sums) in results.iter_mut().zip(&sums) {
                        *result = sums.each_ref().map(total);
                    }
                }
            });
            output.par_chunks_mut(*rows).enumerate().for_each(|(i, output)| {
                for (group, results) in groups.iter().zip(results.chunks_exact(n)) {
                    output[group.first..][..group.rows].copy_from_slice(&results[i][..group.rows]);
                }
            });
        }
        Ok((f32::to_cpu_storage_owned(output), (n, *rows).into()))
    }
}
