//! The operations of a transformer block that candle would take several
//! passes over memory for, each in one parallel pass on the CPU. On any other
//! device, and in the tests as the oracle, they are plain tensor expressions.

mod plain;

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Storage, Tensor, WithDType,
};
use rayon::prelude::*;

/// Values that one task handles at least: less is not worth a thread.
const GRAIN: usize = 16 * 1024;

/// RMSNorm (Zhang and Sennrich 2019, arXiv:1910.07467) of each row of
/// `x (n, dim)`: `x / sqrt(mean(x²) + eps) · weight`.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    if x.device().is_cpu() {
        x.apply_op2_no_bwd(weight, &RmsNorm(eps as f32))
    } else {
        plain::rms_norm(x, weight, eps)
    }
}

/// SwiGLU (Shazeer 2020, arXiv:2002.05202) of rows `(n, 2·ffn)` that hold the
/// gate and then the value: `silu(gate) · value`, `(n, ffn)`.
pub fn swiglu(x: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() { x.apply_op1_no_bwd(&Swiglu) } else { plain::swiglu(x) }
}

/// Turns the scores of a token into attention weights: those of the first
/// `seen` tokens, multiplied by `scale` first, and 0 for those it does not see.
pub(super) fn softmax(scores: &mut [f32], seen: usize, scale: f32) {
    let (seen, unseen) = scores.split_at_mut(seen);
    let top = seen.iter().fold(f32::NEG_INFINITY, |top, &score| top.max(score));
    for score in seen.iter_mut() {
        *score = exp((*score - top) * scale);
    }
    let factor = 1.0 / sum(seen, |value| value);
    seen.iter_mut().for_each(|score| *score *= factor);
    unseen.fill(0.0);
}

/// Takes `heads` heads out of the columns from `offset` of `x (n, width)`, as
/// `(heads, n, head_dim)`, each rotated by its position: adjacent pairs of its
/// first elements by the angles whose cosines and sines are given, `(n, pairs)`.
pub fn heads(x: &Tensor, part: Heads, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() {
        x.apply_op3_no_bwd(cos, sin, &part)
    } else {
        plain::heads(x, part, cos, sin)
    }
}

/// Which columns hold which heads.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    pub offset: usize,
    pub heads: usize,
    pub head_dim: usize,
    /// Rotate them; values are not rotated.
    pub rotate: bool,
}

/// The f32 values of a contiguous tensor.
pub(super) fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let (CpuStorage::F32(all), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
        candle_core::bail!("contiguous f32 is needed");
    };
    Ok(&all[start..end])
}

/// Gives a contiguous tensor's f32 values to `use_them`.
pub(super) fn with_values<T>(tensor: &Tensor, use_them: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        candle_core::bail!("the values are not on the CPU");
    };
    Ok(use_them(values(storage, layout)?))
}

/// Applies `each` to the rows of `output`, in parallel where that pays.
fn each_row(output: &mut [f32], row: usize, each: impl Fn(usize, &mut [f32]) + Sync) {
    let together = GRAIN.div_ceil(row.max(1));
    let rows = |block: usize, rows: &mut [f32]| {
        for (i, row) in rows.chunks_exact_mut(row).enumerate() {
            each(block * together + i, row);
        }
    };
    if output.len() <= row * together {
        rows(0, output);
    } else {
        let blocks = output.par_chunks_mut(row * together).enumerate();
        blocks.for_each(|(block, output)| rows(block, output));
    }
}

struct RmsNorm(f32);

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = (values(x, x_layout)?, values(weight, weight_layout)?);
        let dim = weight.len();
        let mut output = vec![0.0; x.len()];
        each_row(&mut output, dim, |i, output| {
            let x = &x[i * dim..(i + 1) * dim];
            let mean = sum(x, |value| value * value) / dim as f32;
            let factor = 1.0 / (mean + self.0).sqrt();
            for ((output, x), weight) in output.iter_mut().zip(x).zip(weight) {
                *output = x * factor * weight;
            }
        });
        Ok((f32::to_cpu_storage_owned(output), x_layout.shape().clone()))
    }
}

struct Swiglu;

impl CustomOp1 for Swiglu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, width) = layout.shape().dims2()?;
        let (x, half) = (values(x, layout)?, width / 2);
        let mut output = vec![0.0; n * half];
        each_row(&mut output, half, |i, output| {
            let (gate, value) = x[i * width..(i + 1) * width].split_at(half);
            for ((output, gate), value) in output.iter_mut().zip(gate).zip(value) {
                *output = gate / (1.0 + exp(-gate)) * value;
            }
        });
        Ok((f32::to_cpu_storage_owned(output), (n, half).into()))
    }
}

impl CustomOp3 for Heads {
    fn name(&self) -> &'static str {
        "heads"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        cos: &CpuStorage,
        cos_layout: &Layout,
        sin: &CpuStorage,
        sin_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (n, width) = x_layout.shape().dims2()?;
        let (_, pairs) = cos_layout.shape().dims2()?;
        let (cos, sin) = (values(cos, cos_layout)?, values(sin, sin_layout)?);
        let (x, head_dim) = (values(x, x_layout)?, self.head_dim);
        let mut output = vec![0.0; self.heads * n * head_dim];
        each_row(&mut output, head_dim, |i, output| {
            let (head, row) = (i / n, i % n);
            let start = row * width + self.offset + head * head_dim;
            output.copy_from_slice(&x[start..start + head_dim]);
            if self.rotate {
                let angles = cos[row * pairs..].iter().zip(&sin[row * pairs..]);
                for (pair, (cos, sin)) in output.chunks_exact_mut(2).zip(angles).take(pairs) {
                    let (a, b) = (pair[0], pair[1]);
                    pair[0] = a * cos - b * sin;
                    pair[1] = a * sin + b * cos;
                }
            }
        });
        Ok((f32::to_cpu_storage_owned(output), (self.heads, n, head_dim).into()))
    }
}

/// The sum of a function of the values, in eight strands so that it can run
/// in vector registers; the order of additions depends on the length alone.
fn sum(values: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut strands = [0.0f32; 8];
    let chunks = values.chunks_exact(8);
    let rest: f32 = chunks.remainder().iter().map(|&value| of(value)).sum();
    for chunk in chunks {
        for (strand, &value) in strands.iter_mut().zip(chunk) {
            *strand += of(value);
        }
    }
    strands.iter().sum::<f32>() + rest
}

/// `e^x` to about 2 units in the last place, without a branch so that loops
/// over it run in vector registers: `2^k · p(r)` with `x = k·ln 2 + r`. The
/// polynomial is the series of `e^r` to the seventh power, |r| ≤ ln 2 / 2.
/// Below -87 it is nearly 0, above 88 it stays finite; NaN stays NaN.
fn exp(x: f32) -> f32 {
    /// 1.5 · 2^23: adding it rounds to the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts, the first exact when multiplied by small integers.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let bounded = if x > 88.0 { 88.0 } else { x };
    let bounded = if bounded < -87.0 { -87.0 } else { bounded };
    let shifted = bounded * std::f32::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    let r = bounded - k * LN2_HIGH - k * LN2_LOW;
    let p = 1.0 / 5040.0;
    let p = p * r + 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    // The low bits of `shifted` are k: they become the exponent of 2^k.
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    p * power
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    fn random(shape: impl Into<Shape>) -> Tensor {
        Tensor::randn(0f32, 2.0, shape, &Device::Cpu).unwrap()
    }

    fn assert_close(a: &Tensor, b: &Tensor) {
        let difference = (a - b).unwrap().abs().unwrap().max_all().unwrap();
        assert_eq!(a.dtype(), DType::F32);
        let difference = difference.to_scalar::<f32>().unwrap();
        assert!(difference < 1e-5, "differ by {difference}");
    }

    #[test]
    fn one_pass_equals_many() {
        for n in [1, 3, 40] {
            let (x, weight) = (random((n, 48)), random(48));
            assert_close(
                &rms_norm(&x, &weight, 1e-5).unwrap(),
                &plain::rms_norm(&x, &weight, 1e-5).unwrap(),
            );
            assert_close(&swiglu(&x).unwrap(), &plain::swiglu(&x).unwrap());
            let scores = random((1, n, n + 5));
            let expected = plain::causal_softmax(&scores, n, 0.25).unwrap();
            let mut rows = scores.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for (i, row) in rows.chunks_exact_mut(n + 5).enumerate() {
                softmax(row, 6 + i, 0.25);
            }
            assert_close(&Tensor::from_vec(rows, (1, n, n + 5), &Device::Cpu).unwrap(), &expected);
            for (rotate, pairs) in [(true, 8), (true, 3), (false, 8)] {
                let part = Heads { offset: 16, heads: 2, head_dim: 16, rotate };
                let (cos, sin) = (random((n, pairs)), random((n, pairs)));
                assert_close(
                    &heads(&x, part, &cos, &sin).unwrap(),
                    &plain::heads(&x, part, &cos, &sin).unwrap(),
                );
            }
        }
    }

    #[test]
    fn exp_is_close_everywhere() {
        for i in -870..=880 {
            let x = i as f32 / 10.0;
            let (ours, exact) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((ours / exact - 1.0).abs() < 4e-7, "exp({x}) = {ours}, not {exact}");
        }
        assert!(exp(-1000.0) < 1e-37 && exp(1000.0).is_finite() && exp(f32::NAN).is_nan());
    }
}
