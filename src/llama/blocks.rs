//! Rows times a matrix whose weights stay as they are in the file that is
//! mapped into memory: there is nothing to load, and programs that use the same
//! model share its pages.
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
/// Values that a line of the processor's cache holds: what is read again and
/// again begins with one.
const LINE: usize = 16;

/// Matrices `(rows, columns)` whose results stand side by side.
pub(super) struct Blocks {
    parts: Vec<(Format, Span)>,
    groups: Vec<Group>,
    rows: usize,
    columns: usize,
    level: Level,
}

/// Up to `ROWS` neighbouring rows of one part.
struct Group {
    part: usize,
    /// Among the part's.
    row: usize,
    rows: usize,
    /// Where its results begin.
    first: usize,
}

impl Blocks {
    /// The rows of all parts, one after the other. Each part has whole rows,
    /// each row whole blocks.
    pub(super) fn new(parts: Vec<(Format, Span)>, columns: usize) -> Self {
        let (mut groups, mut first) = (Vec::new(), 0);
        for (part, (format, bytes)) in parts.iter().enumerate() {
            let all = bytes.len() / format.row(columns);
            for row in (0..all).step_by(ROWS) {
                groups.push(Group { part, row, rows: ROWS.min(all - row), first: first + row });
            }
            first += all;
        }
        Self { parts, groups, rows: first, columns, level: Level::here() }
    }

    /// Bytes of its weights.
    pub(super) fn bytes(&self) -> usize {
        self.parts.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    /// The product `(n, out)` of rows `(n, in)` with the transposed matrix.
    pub(super) fn multiply(&self, x: &Tensor) -> Result<Tensor> {
        x.apply_op1_no_bwd(&Product(self))
    }

    /// The sums of a group with each row of `x`, which is in pieces. `weights`
    /// is room for one of `ROWS` rows.
    fn add(&self, group: &Group, x: &[f32], weights: &mut [f32], sums: &mut [Sums]) {
        let (format, bytes) = &self.parts[group.part];
        let (values, block) = format.block();
        let row = format.row(self.columns);
        let rows = &bytes[group.row * row..][..group.rows * row];
        for start in (0..self.columns).step_by(PIECE) {
            let width = PIECE.min(self.columns - start);
            let weights = &mut weights[..ROWS * width];
            let place = start / values * block..(start + width) / values * block;
            for (blocks, to) in rows.chunks_exact(row).zip(weights.chunks_exact_mut(width)) {
                self.level.unpack(*format, &blocks[place.clone()], to);
            }
            // Rows that are not there keep what another group left; nobody reads their sums.
            self.level.dots(weights, &x[start * sums.len()..][..width * sums.len()], sums);
        }
    }
}

impl Format {
    /// Bytes of a row.
    fn row(self, columns: usize) -> usize {
        let (values, bytes) = self.block();
        columns / values * bytes
    }
}

/// Values from the beginning of a line of the cache on.
struct Aligned(Vec<f32>, usize);

impl Aligned {
    fn zeros(length: usize) -> Self {
        let values = vec![0.0; length + LINE];
        let offset = values.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        Self(values, offset)
    }

    fn values(&mut self) -> &mut [f32] {
        let end = self.0.len() - LINE + self.1;
        &mut self.0[self.1..end]
    }
}

/// Rows of `columns` values in pieces: the first of every row, the second of
/// every row, and so on.
fn pieces(x: &[f32], columns: usize) -> Aligned {
    let mut pieces = Aligned::zeros(x.len());
    let mut to = pieces.values();
    for start in (0..columns).step_by(PIECE) {
        let end = columns.min(start + PIECE);
        for row in x.chunks_exact(columns) {
            let (piece, rest) = to.split_at_mut(end - start);
            piece.copy_from_slice(&row[start..end]);
            to = rest;
        }
    }
    pieces
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
            let mut pieces = pieces(values(x, layout)?, *columns);
            let x = &*pieces.values();
            let together = GRAIN.div_ceil(ROWS * columns * n);
            // Group by group, the results of every row of `x`.
            let mut results = vec![[0.0; ROWS]; groups.len() * n];
            let tasks = results.par_chunks_mut(n * together).zip(groups.par_chunks(together));
            tasks.for_each(|(results, groups)| {
                let mut weights = Aligned::zeros(ROWS * PIECE.min(*columns));
                let mut sums = vec![Sums::default(); n];
                for (results, group) in results.chunks_exact_mut(n).zip(groups) {
                    sums.fill(Sums::default());
                    blocks.add(group, x, weights.values(), &mut sums);
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
