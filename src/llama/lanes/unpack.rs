//! Weights as GGUF files have them, to values: the formats that are downloaded,
//! as llama.cpp lays them out.

mod k;
mod plain;

use candle_core::quantized::GgmlDType;

use super::vector::{LANES, Vector};

/// How weights are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Format {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
}

/// A block of weights: so many bytes, in which so many times `LANES` weights are.
trait Block {
    const BYTES: usize;
    const RUNS: usize;

    /// Gives the values of a block to `put`, in their order, `LANES` at a time and
    /// numbered.
    unsafe fn runs<V: Vector>(block: &[u8], put: impl FnMut(usize, V));
}

/// The same for every format, its block being `$block`.
macro_rules! of_block {
    ($format:expr, $block:ident => $result:expr) => {
        of_block!($format, $block => $result,
            F32: plain::F32, F16: plain::F16, BF16: plain::BF16, Q4_0: plain::Q4_0,
            Q4_1: plain::Q4_1, Q5_0: plain::Q5_0, Q5_1: plain::Q5_1, Q8_0: plain::Q8_0,
            Q2K: k::Q2, Q3K: k::Q3, Q4K: k::Q4, Q5K: k::Q5, Q6K: k::Q6)
    };
    ($format:expr, $block:ident => $result:expr, $($name:ident: $type:ty),*) => {
        match $format {
            $(Format::$name => {
                type $block = $type;
                $result
            })*
        }
    };
}

impl Format {
    /// The format of a tensor, if it is one of these.
    pub(in super::super) fn of(kind: GgmlDType) -> Option<Self> {
        Some(match kind {
            GgmlDType::F32 => Self::F32,
            GgmlDType::F16 => Self::F16,
            GgmlDType::BF16 => Self::BF16,
            GgmlDType::Q4_0 => Self::Q4_0,
            GgmlDType::Q4_1 => Self::Q4_1,
            GgmlDType::Q5_0 => Self::Q5_0,
            GgmlDType::Q5_1 => Self::Q5_1,
            GgmlDType::Q8_0 => Self::Q8_0,
            GgmlDType::Q2K => Self::Q2K,
            GgmlDType::Q3K => Self::Q3K,
            GgmlDType::Q4K => Self::Q4K,
            GgmlDType::Q5K => Self::Q5K,
            GgmlDType::Q6K => Self::Q6K,
            GgmlDType::Q8_1 | GgmlDType::Q8K => return None,
        })
    }

    /// Weights of a block, and its bytes.
    pub(in super::super) const fn block(self) -> (usize, usize) {
        of_block!(self, B => (B::RUNS * LANES, B::BYTES))
    }
}

/// Whole blocks to values.
#[inline(always)]
pub(super) unsafe fn unpack<V: Vector>(format: Format, bytes: &[u8], to: &mut [f32]) {
    // SAFETY: the caller's promise.
    of_block!(format, B => unsafe { unpack_blocks::<B, V>(bytes, to) });
}

#[inline(always)]
unsafe fn unpack_blocks<B: Block, V: Vector>(bytes: &[u8], to: &mut [f32]) {
    let blocks = bytes.chunks_exact(B::BYTES);
    for (block, to) in blocks.zip(to.chunks_exact_mut(B::RUNS * LANES)) {
        let to = to.as_chunks_mut().0;
        // SAFETY: the caller's promise.
        unsafe { B::runs(block, |i, values: V| values.store(&mut to[i])) }
    }
}

/// `LANES` bytes from `at` on.
#[inline(always)]
fn run(block: &[u8], at: usize) -> &[u8; LANES] {
    block[at..].first_chunk().expect("blocks are whole")
}

/// What 4 bits can mean: `scale` times each of 16 numbers from `least` on.
#[inline(always)]
unsafe fn ladder<V: Vector>(least: i8, scale: V) -> V {
    // SAFETY: the caller's promise.
    unsafe { scaled(std::array::from_fn(|i| least + i as i8), scale) }
}

/// Quants as values.
#[inline(always)]
unsafe fn scaled<V: Vector>(quants: [i8; LANES], scale: V) -> V {
    // SAFETY: the caller's promise.
    unsafe { V::whole(&quants).times(scale) }
}

/// The f16 at `at`, everywhere.
#[inline(always)]
unsafe fn half<V: Vector>(block: &[u8], at: usize) -> V {
    // SAFETY: the caller's promise.
    unsafe { V::half(u16::from_le_bytes([block[at], block[at + 1]])) }
}

#[cfg(test)]
mod tests {
    use candle_core::quantized::{GgmlDType, QTensor};
    use candle_core::{Device, Tensor};

    use super::super::Level;
    use super::*;

    const KINDS: [GgmlDType; 13] = [
        GgmlDType::F32,
        GgmlDType::F16,
        GgmlDType::BF16,
        GgmlDType::Q4_0,
        GgmlDType::Q4_1,
        GgmlDType::Q5_0,
        GgmlDType::Q5_1,
        GgmlDType::Q8_0,
        GgmlDType::Q2K,
        GgmlDType::Q3K,
        GgmlDType::Q4K,
        GgmlDType::Q5K,
        GgmlDType::Q6K,
    ];

    #[test]
    fn values_are_those_of_candle() {
        let values = (0..2048).map(|i| ((i * i) as f32 * 0.37).sin() * 3.0).collect::<Vec<_>>();
        let values = Tensor::from_vec(values, (2, 1024), &Device::Cpu).expect("a tensor");
        for kind in KINDS {
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
}
