//! Random weights, for measuring.

use rayon::prelude::*;

use super::Format;

/// Random chunks: the scales of each format are small numbers.
pub(super) fn random(format: Format, out: &mut [u8], seed: u64) {
    let bytes = format.chunk_bytes();
    let chunks = out.par_chunks_exact_mut(bytes).enumerate();
    chunks.for_each(|(i, chunk)| {
        let mut state = (seed << 32) + i as u64 + 1;
        for word in chunk.chunks_exact_mut(4) {
            // xorshift64* (Vigna 2016, arXiv:1402.6246).
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            let value = state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
            word.copy_from_slice(&(value as u32).to_le_bytes());
        }
        let (start, step, count) = match format {
            Format::Q4_0 => (2048, 2, 128),
            Format::Q8_0 => (4096, 2, 128),
            Format::Q4K => (2048, 16, 16),
            Format::Q5K => (2560, 16, 16),
            Format::Q6K => (3328, 2, 16),
        };
        for at in (0..count).map(|i| start + i * step) {
            // Halves between 2^-10 and 2^-9; a K format's minimum likewise.
            let exponent = if step == 16 { 0x0c } else { 0x14 };
            chunk[at + 1] = chunk[at + 1] & 0x83 | exponent;
            if step == 16 {
                chunk[at + 3] = chunk[at + 3] & 0x83 | exponent;
            }
        }
    });
}
