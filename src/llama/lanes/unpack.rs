//! Blocks of quantized weights to values: the formats of GGUF files that
//! people download, as llama.cpp lays them out.

use std::array::from_fn;

use candle_core::quantized::GgmlDType;

use super::vector::{LANES, Vector};

/// How weights are quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Format {
    Q4_0,
    Q4K,
    Q5K,
    Q6K,
    Q8_0,
}

impl Format {
    /// The format of a tensor, if it is one of these.
    pub(in super::super) fn of(kind: GgmlDType) -> Option<Self> {
        Some(match kind {
            GgmlDType::Q4_0 => Self::Q4_0,
            GgmlDType::Q4K => Self::Q4K,
            GgmlDType::Q5K => Self::Q5K,
            GgmlDType::Q6K => Self::Q6K,
            GgmlDType::Q8_0 => Self::Q8_0,
            _ => return None,
        })
    }

    /// Weights of a block, and its bytes.
    pub(in super::super) const fn block(self) -> (usize, usize) {
        match self {
            Self::Q4_0 => (32, 18),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
            Self::Q8_0 => (32, 34),
        }
    }
}

/// Whole blocks to values.
#[inline(always)]
pub(super) unsafe fn unpack<V: Vector>(format: Format, bytes: &[u8], to: &mut [f32]) {
    // SAFETY: the caller's promise.
    unsafe {
        match format {
            Format::Q4_0 => each(bytes, to, |block, to| q4_0::<V>(block, to)),
            Format::Q4K => each(bytes, to, |block, to| q4k::<V>(block, to)),
            Format::Q5K => each(bytes, to, |block, to| q5k::<V>(block, to)),
            Format::Q6K => each(bytes, to, |block, to| q6k::<V>(block, to)),
            Format::Q8_0 => each(bytes, to, |block, to| q8_0::<V>(block, to)),
        }
    }
}

#[inline(always)]
fn each<const BYTES: usize, const VALUES: usize>(
    bytes: &[u8],
    to: &mut [f32],
    put: impl Fn(&[u8; BYTES], &mut [f32; VALUES]),
) {
    let blocks = bytes.as_chunks().0;
    blocks.iter().zip(to.as_chunks_mut().0).for_each(|(block, to)| put(block, to));
}

/// Writes `LANES` values `scale · quant + shift` from `at` on.
#[inline(always)]
unsafe fn put<V: Vector>(quants: [i8; LANES], scale: f32, shift: Option<f32>, to: &mut [f32]) {
    // SAFETY: the caller's promise.
    unsafe {
        let values = V::whole(&quants).times(V::splat(scale));
        let values = shift.map_or(values, |shift| values.sum(V::splat(shift)));
        if let Some(to) = to.first_chunk_mut() {
            values.store(to);
        }
    }
}

/// 4 bits each, 8 more than they mean: first the low halves of all bytes.
#[inline(always)]
unsafe fn q4_0<V: Vector>(block: &[u8; 18], to: &mut [f32; 32]) {
    let (scale, quants) = (half(block, 0), &block[2..]);
    // SAFETY: the caller's promise.
    unsafe {
        put::<V>(from_fn(|i| (quants[i] & 15) as i8 - 8), scale, None, to);
        put::<V>(from_fn(|i| (quants[i] >> 4) as i8 - 8), scale, None, &mut to[16..]);
    }
}

#[inline(always)]
unsafe fn q8_0<V: Vector>(block: &[u8; 34], to: &mut [f32; 32]) {
    let (scale, quants) = (half(block, 0), &block[2..]);
    // SAFETY: the caller's promise.
    unsafe {
        put::<V>(from_fn(|i| quants[i] as i8), scale, None, to);
        put::<V>(from_fn(|i| quants[i + 16] as i8), scale, None, &mut to[16..]);
    }
}

/// 4 bits, a scale and a minimum of 6 bits for each 32.
#[inline(always)]
unsafe fn q4k<V: Vector>(block: &[u8; 144], to: &mut [f32; 256]) {
    let (scales, quants) = (steps(block), &block[16..]);
    for (i, to) in to.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let (group, quants) = (i / 2, &quants[i / 4 * 32 + i % 2 * 16..][..16]);
        let (scale, shift) = scales[group];
        let up = group % 2 * 4;
        // SAFETY: the caller's promise.
        unsafe { put::<V>(from_fn(|i| (quants[i] >> up & 15) as i8), scale, Some(shift), to) }
    }
}

/// As `q4k`, with a fifth bit for each elsewhere.
#[inline(always)]
unsafe fn q5k<V: Vector>(block: &[u8; 176], to: &mut [f32; 256]) {
    let (scales, fifth, quants) = (steps(block), &block[16..48], &block[48..]);
    for (i, to) in to.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let (group, quants) = (i / 2, &quants[i / 4 * 32 + i % 2 * 16..][..16]);
        let fifth = &fifth[i % 2 * 16..][..16];
        let (scale, shift) = scales[group];
        let up = group % 2 * 4;
        let quant = |i: usize| (quants[i] >> up & 15 | (fifth[i] >> group & 1) << 4) as i8;
        // SAFETY: the caller's promise.
        unsafe { put::<V>(from_fn(quant), scale, Some(shift), to) }
    }
}

/// 4 bits and 2 elsewhere, 32 more than they mean; a scale of 8 bits for each 16.
#[inline(always)]
unsafe fn q6k<V: Vector>(block: &[u8; 210], to: &mut [f32; 256]) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let scale = half(block, 208);
    for (i, to) in to.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        // Half of the block, quarter of that half, half of that quarter.
        let (part, quarter, side) = (i / 8, i / 2 % 4, i % 2 * 16);
        let low = &low[part * 64 + quarter % 2 * 32 + side..][..16];
        let high = &high[part * 32 + side..][..16];
        let (up, down) = (quarter / 2 * 4, quarter * 2);
        let quant = |i: usize| (low[i] >> up & 15 | (high[i] >> down & 3) << 4) as i8 - 32;
        let scale = scale * f32::from(scales[i] as i8);
        // SAFETY: the caller's promise.
        unsafe { put::<V>(from_fn(quant), scale, None, to) }
    }
}

/// For each 32 weights of a block of 256, what a quant is multiplied by and
/// what is added: the block begins with two factors in f16, then 6 bits for
/// each scale and each minimum.
#[inline(always)]
fn steps(block: &[u8]) -> [(f32, f32); 8] {
    let (scale, minimum, bits) = (half(block, 0), half(block, 2), &block[4..16]);
    from_fn(|i| {
        let (by, less) = match i {
            0..4 => (bits[i] & 63, bits[i + 4] & 63),
            _ => (
                bits[i + 4] & 15 | bits[i - 4] >> 6 << 4,
                bits[i + 4] >> 4 | bits[i] >> 6 << 4,
            ),
        };
        (scale * f32::from(by), -(minimum * f32::from(less)))
    })
}

/// The f16 at `at`, which is finite: the exponent is moved by a product, exact
/// for subnormal numbers too.
#[inline(always)]
fn half(block: &[u8], at: usize) -> f32 {
    const EXPONENTS: f32 = f32::from_bits((127 + 112) << 23);
    let bits = u32::from(u16::from_le_bytes([block[at], block[at + 1]]));
    let size = f32::from_bits((bits & 0x7fff) << 13) * EXPONENTS;
    f32::from_bits(size.to_bits() | (bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use candle_core::quantized::{GgmlDType, QTensor};
    use candle_core::{Device, Tensor};

    use super::super::Level;
    use super::*;

    #[test]
    fn values_are_those_of_candle() {
        let values = (0..2048).map(|i| ((i * i) as f32 * 0.37).sin() * 3.0).collect::<Vec<_>>();
        let values = Tensor::from_vec(values, (2, 1024), &Device::Cpu).expect("a tensor");
        for kind in
            [GgmlDType::Q4_0, GgmlDType::Q4K, GgmlDType::Q5K, GgmlDType::Q6K, GgmlDType::Q8_0]
        {
            let tensor = QTensor::quantize(&values, kind).expect("quantized");
            let wanted = tensor.dequantize(&Device::Cpu).expect("values");
            let wanted = wanted.flatten_all().and_then(|all| all.to_vec1::<f32>()).expect("values");
            for level in Level::all() {
                let mut ours = vec![0.0; 2048];
                let format = Format::of(kind).expect("a format");
                level.unpack(format, &tensor.data().expect("bytes"), &mut ours);
                assert_eq!(ours, wanted, "{kind:?} {level:?}");
            }
        }
    }

    #[test]
    fn halves_are_exact() {
        for bits in (0..0x7c00).chain(0x8000..0xfc00) {
            let wanted = half::f16::from_bits(bits).to_f32();
            assert_eq!(half(&bits.to_le_bytes(), 0).to_bits(), wanted.to_bits());
        }
    }
}
