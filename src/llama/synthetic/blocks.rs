//! Random blocks of a quantization, every one valid: any bits are quants and
//! scales of parts, only the scale of a whole block has to be chosen.
//! The layouts are in ggml's `ggml-common.h`.

use candle_core::quantized::GgmlDType;
use half::f16;
use rayon::prelude::*;

use crate::llama::cuda::Format;

/// Blocks that one task fills.
const TOGETHER: usize = 4096;

/// The kind of a file's tensor in a format.
pub(super) fn kind(format: Format) -> GgmlDType {
    match format {
        Format::Q4_0 => GgmlDType::Q4_0,
        Format::Q4K => GgmlDType::Q4K,
        Format::Q5K => GgmlDType::Q5K,
        Format::Q6K => GgmlDType::Q6K,
        Format::Q8_0 => GgmlDType::Q8_0,
    }
}

/// Where in a block its scale is, and the standard deviation of its weights if
/// the scale is 1 and every other bit is random. For Q4_K and Q5_K the minimum
/// follows the scale: it is as many times the scale as their quants are on
/// average, which makes the mean of the weights 0.
fn scale(format: Format) -> (usize, f32, Option<f32>) {
    // Of n values in a row the variance is (n^2 - 1) / 12; of a product of two
    // independent numbers it is the product of their mean squares, less that of
    // their means squared.
    match format {
        Format::Q4_0 => (0, 4.61, None),
        Format::Q8_0 => (0, 73.9, None),
        Format::Q4K => (0, 258.3, Some(7.5)),
        Format::Q5K => (0, 526.9, Some(15.5)),
        Format::Q6K => (208, 1365.6, None),
    }
}

/// Fills `out` with blocks whose weights have about this standard deviation
/// and a mean near 0; the same seed fills it the same way.
pub(super) fn fill(format: Format, deviation: f32, seed: u64, out: &mut [u8]) {
    let size = kind(format).type_size();
    let (at, unit, minimum) = scale(format);
    let scale = f16::from_f32(deviation / unit);
    let minimum = minimum.map(|times| f16::from_f32(scale.to_f32() * times));
    out.par_chunks_mut(size * TOGETHER).enumerate().for_each(|(task, blocks)| {
        let mut state = mix(seed).wrapping_add(mix(task as u64 + 1));
        for word in blocks.chunks_mut(8) {
            // splitmix64 (Steele et al. 2014).
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            word.copy_from_slice(&mix(state).to_le_bytes()[..word.len()]);
        }
        for block in blocks.chunks_exact_mut(size) {
            block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
            if let Some(minimum) = minimum {
                block[at + 2..at + 4].copy_from_slice(&minimum.to_le_bytes());
            }
        }
    });
}

/// The finalizer of splitmix64.
pub(super) fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use candle_core::Device;
    use candle_core::quantized::{QStorage, QTensor};

    use super::*;

    #[test]
    fn weights_have_the_deviation_that_was_asked_for() {
        for format in Format::ALL {
            assert_eq!(Format::of(kind(format)), Some(format));
            let mut bytes = vec![0; kind(format).type_size() * 8192];
            fill(format, 0.02, 3, &mut bytes);
            let storage = QStorage::from_data(Cow::Owned(bytes), &Device::Cpu, kind(format));
            let shape = 8192 * kind(format).block_size();
            let tensor = QTensor::new(storage.expect("blocks"), shape).expect("a tensor");
            let weights =
                tensor.dequantize(&Device::Cpu).and_then(|tensor| tensor.to_vec1::<f32>());
            let weights = weights.expect("weights");
            let count = weights.len() as f32;
            let mean = weights.iter().sum::<f32>() / count;
            let deviation = (weights.iter().map(|w| w * w).sum::<f32>() / count).sqrt();
            assert!((deviation - 0.02).abs() < 1e-3, "{format:?}: {deviation}");
            // Quants of Q4_0 go from -8 to 7: half a step below 0.
            assert!(mean.abs() < 3e-3, "{format:?}: {mean}");
        }
    }
}
