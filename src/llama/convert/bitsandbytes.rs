//! Matrices in 4 bits as bitsandbytes keeps them (Dettmers et al. 2023,
//! arXiv:2305.14314): two numbers a byte, the high half first, each an index
//! into 16 values that is multiplied by the largest absolute value of its
//! block. With double quantization those block values are bytes too: an index
//! into 256 values, times the largest of a block of blocks, plus an offset.

use half::{bf16, f16};
use serde::Deserialize;

/// The quantiles of a normal distribution (NormalFloat, the paper's appendix E).
const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// A sign, two bits of exponent and one of mantissa, in twelfths of the largest.
/// (bitsandbytes' own code is of two minds about the sign of the second zero.)
const FP4: [f32; 16] = [
    0.0,
    0.062_5 / 12.0,
    8.0 / 12.0,
    1.0,
    4.0 / 12.0,
    0.5,
    2.0 / 12.0,
    0.25,
    0.0,
    -0.062_5 / 12.0,
    -8.0 / 12.0,
    -1.0,
    -4.0 / 12.0,
    -0.5,
    -2.0 / 12.0,
    -0.25,
];

/// How a matrix is kept: the JSON text that stands beside it as a tensor.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct State {
    quant_type: Table,
    blocksize: usize,
    /// What it becomes when it is read.
    dtype: Float,
    pub(super) shape: Vec<usize>,
    nested_blocksize: Option<usize>,
    nested_offset: Option<f32>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Table {
    Nf4,
    Fp4,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Float {
    Float32,
    Float16,
    Bfloat16,
}

impl State {
    /// Reads the JSON text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let state: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let blocks = [Some(state.blocksize), state.nested_blocksize];
        if blocks.iter().flatten().any(|size| !size.is_power_of_two()) {
            return Err(format!("blocks of {:?} elements", blocks));
        }
        Ok(state)
    }

    /// The block values are quantized too.
    pub(super) fn nested(&self) -> bool {
        self.nested_blocksize.is_some()
    }

    /// Blocks in a matrix of so many elements.
    pub(super) fn blocks(&self, elements: usize) -> usize {
        elements.div_ceil(self.blocksize)
    }

    /// The block values out of their second quantization: `indices` into
    /// `map`, in f32 step by step as bitsandbytes computes it.
    ///
    /// # Errors
    /// The parts are not of the lengths that belong together.
    pub(super) fn scales(
        &self,
        indices: &[u8],
        largest: &[f32],
        map: &[f32],
    ) -> Result<Vec<f32>, String> {
        let block = self.nested_blocksize.unwrap_or(1);
        let offset = self.nested_offset.unwrap_or(0.0);
        if map.len() != 256 || largest.len() != indices.len().div_ceil(block) {
            return Err(format!(
                "{} block values with {} of their own and a map of {}",
                indices.len(),
                largest.len(),
                map.len()
            ));
        }
        let value = |(at, &index): (usize, &u8)| map[usize::from(index)] * largest[at / block];
        Ok(indices.iter().enumerate().map(|each| value(each) + offset).collect())
    }

    /// Elements from number `first` of the matrix, whose byte `start` is the
    /// first of `packed`; `scales` are those of all blocks.
    pub(super) fn dequantize(
        &self,
        packed: &[u8],
        start: usize,
        scales: &[f32],
        first: usize,
        out: &mut [f32],
    ) {
        let table = match self.quant_type {
            Table::Nf4 => &NF4,
            Table::Fp4 => &FP4,
        };
        for (at, out) in (first..).zip(out) {
            let byte = packed[at / 2 - start];
            let index = if at.is_multiple_of(2) { byte >> 4 } else { byte & 15 };
            let value = table[usize::from(index)] * scales[at / self.blocksize];
            *out = match self.dtype {
                Float::Float32 => value,
                Float::Float16 => f16::from_f32(value).to_f32(),
                Float::Bfloat16 => bf16::from_f32(value).to_f32(),
            };
        }
    }
}
