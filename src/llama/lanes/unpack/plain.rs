//! Weights of their own, and blocks of 32 that share a scale.

use std::array::from_fn;

use super::super::vector::{LANES, Vector};
use super::{Block, half, ladder, run, scaled};

pub(super) struct F32;

impl Block for F32 {
    const BYTES: usize = 4 * LANES;
    const RUNS: usize = 1;

    #[inline(always)]
    unsafe fn runs<V: Vector>(block: &[u8], mut put: impl FnMut(usize, V)) {
        let values = from_fn(|i| f32::from_le_bytes(from_fn(|byte| block[4 * i + byte])));
        // SAFETY: the caller's promise.
        unsafe { put(0, V::load(&values)) }
    }
}

pub(super) struct F16;

impl Block for F16 {
    const BYTES: usize = 2 * LANES;
    const RUNS: usize = 1;

    #[inline(always)]
    unsafe fn runs<V: Vector>(block: &[u8], mut put: impl FnMut(usize, V)) {
        let bits = from_fn(|i| u16::from_le_bytes([block[2 * i], block[2 * i + 1]]));
        // SAFETY: the caller's promise.
        unsafe { put(0, V::halves(&bits)) }
    }
}

pub(super) struct BF16;

impl Block for BF16 {
    const BYTES: usize = 2 * LANES;
    const RUNS: usize = 1;

    #[inline(always)]
    unsafe fn runs<V: Vector>(block: &[u8], mut put: impl FnMut(usize, V)) {
        let bits = |i: usize| u16::from_le_bytes([block[2 * i], block[2 * i + 1]]);
        let values = from_fn(|i| f32::from_bits(u32::from(bits(i)) << 16));
        // SAFETY: the caller's promise.
        unsafe { put(0, V::load(&values)) }
    }
}

/// 4 bits each, 8 more than they mean: first the low halves of all bytes.
pub(super) struct Q4_0;

impl Block for Q4_0 {
    const BYTES: usize = 18;
    const RUNS: usize = 2;

    #[inline(always)]
    unsafe fn runs<V: Vector>(block: &[u8], mut put: impl FnMut(usize, V)) {
        // SAFETY: the caller's promise.
        unsafe {
            let (values, quants) = (ladder::<V>(-8, half(block, 0)), run(block, 2));
            put(0, values.low(quants));
            put(1, values.high(quants));
        }
    }
}

/// As `Q4_0`, but from a minimum on.
pub(super) struct Q4_1;

impl Block for Q4_1 {
    const BYTES: usize = 20;
    const RUNS: usize = 2;

    #[inline(always)]
    unsafe fn runs<V: Vector>(block: &[u8], mut put: impl FnMut(usize, V)) {
        // SAFETY: the caller's promise.
        unsafe {
            let values = ladder::<V>(0, half(block, 0)).sum(half(block, 2));
            put(0, values.low(run(block, 4)));
            put(1, values.high(run(block, 4)));
        }
    }
}

/// As `Q4_0`, with a fifth bit for each elsewhere.
pub(super) struct Q5_0;

impl Block for Q5_0 {
    const BYTES: usize = 22;
    const RUNS: usize = 2;

    #[inline(always)]
    unsafe fn runs<V: Vector>(block: &[u8], mut put: impl FnMut(usize, V)) {
        let (low, high) = five(&block[2..6], run(block, 6));
        // SAFETY: the caller's promise.
        unsafe {
            let scale: V = half(block, 0);
            put(0, scaled(low.map(|quant| quant - 16), scale));
            put(1, scaled(high.map(|quant| quant - 16), scale));
        }
    }
}

/// As `Q5_0`, but from a minimum on.
pub(super) struct Q5_1;

impl Block for Q5_1 {
    const BYTES: usize = 24;
    const RUNS: usize = 2;

    #[inline(always)]
    unsafe fn runs<V: Vector>(block: &[u8], mut put: impl FnMut(usize, V)) {
        let (low, high) = five(&block[4..8], run(block, 8));
        // SAFETY: the caller's promise.
        unsafe {
            let (scale, least): (V, V) = (half(block, 0), half(block, 2));
            put(0, scaled(low, scale).sum(least));
            put(1, scaled(high, scale).sum(least));
        }
    }
}

/// The low and the high halves of bytes, a bit for each weight on top.
#[inline(always)]
fn five(bits: &[u8], quants: &[u8; LANES]) -> ([i8; LANES], [i8; LANES]) {
    let bits = u32::from_le_bytes(from_fn(|i| bits[i]));
    let fifth = |i: usize| ((bits >> i & 1) << 4) as u8;
    (
        from_fn(|i| (quants[i] & 15 | fifth(i)) as i8),
        from_fn(|i| (quants[i] >> 4 | fifth(i + LANES)) as i8),
    )
}

pub(super) struct Q8_0;

impl Block for Q8_0 {
    const BYTES: usize = 34;
    const RUNS: usize = 2;

    #[inline(always)]
    unsafe fn runs<V: Vector>(block: &[u8], mut put: impl FnMut(usize, V)) {
        // SAFETY: the caller's promise.
        unsafe {
            let scale: V = half(block, 0);
            put(0, scaled(run(block, 2).map(|quant| quant as i8), scale));
            put(1, scaled(run(block, 18).map(|quant| quant as i8), scale));
        }
    }
}
