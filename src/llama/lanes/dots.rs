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

/// Adds the products of `ROWS` rows of weights with a row of values for each
/// of the sums; all rows lie one after the other. `R` rows by `X` at a time, so
/// that their sums stay in registers.
#[inline(always)]
pub(super) unsafe fn dots<V: Vector, const R: usize, const X: usize>(
    w: &[f32],
    x: &[f32],
    sums: &mut [Sums],
) {
    let width = w.len() / ROWS;
    assert!(width.is_multiple_of(LANES) && x.len() == sums.len() * width);
    for row in (0..ROWS).step_by(R) {
        let w = &w[row * width..][..R * width];
        let (tiles, rest) = sums.as_chunks_mut::<X>();
        let (x, after) = x.split_at(tiles.len() * X * width);
        // SAFETY: the caller's promise.
        unsafe {
            for (x, sums) in x.chunks_exact(X * width).zip(tiles) {
                tile::<V, R, X>(w, x, row, sums);
            }
            for (x, sums) in after.chunks_exact(width).zip(rest) {
                tile::<V, R, 1>(w, x, row, std::array::from_mut(sums));
            }
        }
    }
}

/// `R` of the rows, from `row` on, times `X` rows of values.
#[inline(always)]
unsafe fn tile<V: Vector, const R: usize, const X: usize>(
    w: &[f32],
    x: &[f32],
    row: usize,
    sums: &mut [Sums; X],
) {
    let width = w.len() / R;
    assert!(x.len() == X * width && w.len() == R * width && width.is_multiple_of(LANES));
    // SAFETY: the caller's promise; every place is within what was asserted.
    unsafe {
        let mut held = [[V::splat(0.0); R]; X];
        for (held, sums) in held.iter_mut().zip(&*sums) {
            held.iter_mut().zip(&sums[row..]).for_each(|(held, sum)| *held = V::load(sum));
        }
        for column in (0..width).step_by(LANES) {
            let at =
                |rows: &[f32], i: usize| V::load(&*rows.as_ptr().add(i * width + column).cast());
            let x: [V; X] = std::array::from_fn(|i| at(x, i));
            for i in 0..R {
                let w = at(w, i);
                held.iter_mut().zip(x).for_each(|(held, x)| held[i] = held[i].plus(w, x));
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
