//! Blocks of 256 weights, with smaller scales within.

use std::array::from_fn;

use super::super::vector::{LANES, Vector};
use super::{Block, half, ladder, run, scaled};

/// Times `LANES` weights in a block.
const RUNS: usize = 256 / LANES;

/// 2 bits, a scale and a minimum of 4 bits for each 16.
pub(super) struct Q2;

impl Block for Q2 {
    const BYTES: usize = 84;
    const RUNS: usize = RUNS;

    #[inline(always)]
    unsafe fn runs<V: Vector>(block: &[u8], mut put: impl FnMut(usize, V)) {
        // SAFETY: the caller's promise.
        unsafe {
            let (scale, minimum): (V, V) = (half(block, 80), half(block, 82));
            for (i, &both) in block[..RUNS].iter().enumerate() {
                let (quants, up) = (run(block, 16 + i / 8 * 32 + i % 2 * 16), i / 2 % 4 * 2);
                let scale = scale.times(V::splat(f32::from(both & 15)));
                let shift = minimum.times(V::splat(-f32::from(both >> 4)));
                put(i, scaled(quants.map(|quant| (quant >> up & 3) as i8), scale).sum(shift));
            }
        }
    }
}

/// 2 bits and one elsewhere, 4 more than they mean; a scale of 6 bits, 32 more
/// than it means, for each 16.
pub(super) struct Q3;

impl Block for Q3 {
    const BYTES: usize = 110;
    const RUNS: usize = RUNS;

    #[inline(always)]
    unsafe fn runs<V: Vector>(block: &[u8], mut put: impl FnMut(usize, V)) {
        let scales = &block[96..108];
        // SAFETY: the caller's promise.
        unsafe {
            let scale: V = half(block, 108);
            for i in 0..RUNS {
                let (part, quarter, side) = (i / 8, i / 2 % 4, i % 2 * 16);
                let (quants, third) = (run(block, 32 + part * 32 + side), run(block, side));
                let (up, bit) = (quarter * 2, part * 4 + quarter);
                let quant = |i: usize| (quants[i] >> up & 3 | (third[i] >> bit & 1) << 2) as i8 - 4;
                let low = scales[i % 8] >> (i / 8 * 4) & 15;
                let by = low | (scales[8 + i % 4] >> (i / 4 * 2) & 3) << 4;
                let scale = scale.times(V::splat(f32::from(by as i8 - 32)));
                put(i, scaled(from_fn(quant), scale));
            }
        }
    }
}

/// 4 bits, a scale and a minimum of 6 bits for each 32.
pub(super) struct Q4;

impl Block for Q4 {
    const BYTES: usize = 144;
    const RUNS: usize = RUNS;

    #[inline(always)]
    unsafe fn runs<V: Vector>(block: &[u8], mut put: impl FnMut(usize, V)) {
        // SAFETY: the caller's promise.
        unsafe {
            let (scale, minimum): (V, V) = (half(block, 0), half(block, 2));
            // Not by a closure for both: it would not have this processor's instructions.
            for group in 0..8 {
                let (by, less) = six(&block[4..16], group);
                let values =
                    ladder(0, scale.times(V::splat(by))).sum(minimum.times(V::splat(-less)));
                // The low halves of 32 bytes are one group, the high ones the next.
                let at = 16 + group / 2 * 32;
                let (first, second) = (run(block, at), run(block, at + 16));
                if group % 2 == 0 {
                    put(2 * group, values.low(first));
                    put(2 * group + 1, values.low(second));
                } else {
                    put(2 * group, values.high(first));
                    put(2 * group + 1, values.high(second));
                }
            }
        }
    }
}

/// As `Q4`, with a fifth bit for each elsewhere.
pub(super) struct Q5;

impl Block for Q5 {
    const BYTES: usize = 176;
    const RUNS: usize = RUNS;

    #[inline(always)]
    unsafe fn runs<V: Vector>(block: &[u8], mut put: impl FnMut(usize, V)) {
        // SAFETY: the caller's promise.
        unsafe {
            let (scale, minimum): (V, V) = (half(block, 0), half(block, 2));
            for i in 0..RUNS {
                let (group, side) = (i / 2, i % 2 * 16);
                let (quants, fifth) = (run(block, 48 + i / 4 * 32 + side), run(block, 16 + side));
                let (by, less) = six(&block[4..16], group);
                let (scale, shift) = (scale.times(V::splat(by)), minimum.times(V::splat(-less)));
                let up = group % 2 * 4;
                let quant = |i: usize| (quants[i] >> up & 15 | (fifth[i] >> group & 1) << 4) as i8;
                put(i, scaled(from_fn(quant), scale).sum(shift));
            }
        }
    }
}

/// 4 bits and 2 elsewhere, 32 more than they mean; a scale of 8 bits for each 16.
pub(super) struct Q6;

impl Block for Q6 {
    const BYTES: usize = 210;
    const RUNS: usize = RUNS;

    #[inline(always)]
    unsafe fn runs<V: Vector>(block: &[u8], mut put: impl FnMut(usize, V)) {
        // SAFETY: the caller's promise.
        unsafe {
            let scale: V = half(block, 208);
            for i in 0..RUNS {
                // Half of the block, quarter of that half, half of that quarter.
                let (part, quarter, side) = (i / 8, i / 2 % 4, i % 2 * 16);
                let low = run(block, part * 64 + quarter % 2 * 32 + side);
                let high = run(block, 128 + part * 32 + side);
                let (up, down) = (quarter / 2 * 4, quarter * 2);
                let quant = |i: usize| (low[i] >> up & 15 | (high[i] >> down & 3) << 4) as i8 - 32;
                let scale = scale.times(V::splat(f32::from(block[192 + i] as i8)));
                put(i, scaled(from_fn(quant), scale));
            }
        }
    }
}

/// The scale and the minimum of a group of 32, of which there are 8 in 12 bytes.
#[inline(always)]
fn six(bits: &[u8], group: usize) -> (f32, f32) {
    let (by, less) = match group {
        0..4 => (bits[group] & 63, bits[group + 4] & 63),
        _ => (
            bits[group + 4] & 15 | bits[group - 4] >> 6 << 4,
            bits[group + 4] >> 4 | bits[group] >> 6 << 4,
        ),
    };
    (f32::from(by), f32::from(less))
}
