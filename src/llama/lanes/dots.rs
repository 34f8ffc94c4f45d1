//! Rows of weights times rows of values, both as they lie in memory.
//!
//! Lane `l` of a sum adds up the products of columns `l`, `l + 16`, `l + 32` …
//! in their order, and the lanes are added in the end, always the same way: a
//! result is the same bit for bit however many rows are multiplied at a time.

use super::vector::{LANES, Vector};

/// Rows of weights that are multiplied together.
pub(in super::super) const ROWS: usize = 8;

/// Their sums with one row of values.
pub(in super::super) type Sums = [[f32; LANES]; ROWS];

/// Adds the products of `ROWS` rows of weights, one after the other in `w`,
/// with rows of values, each `stride` after the one before: `R` rows by `X` at
/// a time, so that their sums stay in registers.
#[inline(always)]
pub(super) unsafe fn dots<V: Vector, const R: usize, const X: usize>(
    w: &[f32],
    x: &[f32],
    stride: usize,
    sums: &mut [Sums],
) {
    let width = w.len() / ROWS;
    assert!(width % LANES == 0 && x.len() >= (sums.len() - 1) * stride + width);
    for row in (0..ROWS).step_by(R) {
        let w = &w[row * width..][..R * width];
        let (tiles, rest) = sums.as_chunks_mut::<X>();
        let (x, after) = x.split_at(tiles.len() * X * stride.min(x.len()));
        // SAFETY: the caller's promise, and lengths as asserted.
        unsafe {
            for (i, sums) in tiles.iter_mut().enumerate() {
                tile::<V, R, X>(w, x[i * X * stride..].as_ptr(), stride, row, sums);
            }
            for (i, sums) in rest.iter_mut().enumerate() {
                let sums = std::array::from_mut(sums);
                tile::<V, R, 1>(w, after[i * stride..].as_ptr(), stride, row, sums);
            }
        }
    }
}

/// `R` of the rows, from `row` on, times `X` rows of values from `x` on.
#[inline(always)]
unsafe fn tile<V: Vector, const R: usize, const X: usize>(
    w: &[f32],
    x: *const f32,
    stride: usize,
    row: usize,
    sums: &mut [Sums; X],
) {
    let width = w.len() / R;
    // SAFETY: the caller's promise: `X` rows of `width` values lie there.
    unsafe {
        let mut held = [[V::splat(0.0); R]; X];
        for (held, sums) in held.iter_mut().zip(&*sums) {
            held.iter_mut().zip(&sums[row..]).for_each(|(held, sum)| *held = V::load(sum));
        }
        for column in (0..width).step_by(LANES) {
            let mut weights = [V::splat(0.0); R];
            for (i, weights) in weights.iter_mut().enumerate() {
                *weights = V::load(&*w.as_ptr().add(i * width + column).cast());
            }
            for (i, held) in held.iter_mut().enumerate() {
                let x = V::load(&*x.add(i * stride + column).cast());
                held.iter_mut().zip(weights).for_each(|(held, w)| *held = held.plus(w, x));
            }
        }
        for (held, sums) in held.iter().zip(sums) {
            held.iter().zip(&mut sums[row..]).for_each(|(held, sum)| held.store(sum));
        }
    }
}

/// All lanes added up, by halves.
pub(in super::super) fn total(lanes: &[f32; LANES]) -> f32 {
    let mut lanes = *lanes;
    let mut count = LANES / 2;
    while count > 0 {
        for i in 0..count {
            lanes[i] += lanes[i + count];
        }
        count /= 2;
    }
    lanes[0]
}
