//! The same operations by candle's own tensor expressions, on any device.

use candle_core::{D, Result, Tensor};

use super::Heads;

pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let mean = x.sqr()?.mean_keepdim(D::Minus1)?;
    x.broadcast_div(&(mean + eps)?.sqrt()?)?.broadcast_mul(weight)
}

pub fn swiglu(x: &Tensor) -> Result<Tensor> {
    let half = x.dim(D::Minus1)? / 2;
    x.narrow(D::Minus1, 0, half)?.silu()? * x.narrow(D::Minus1, half, half)?
}

#[cfg(test)]
pub fn causal_softmax(scores: &Tensor, n: usize, scale: f64) -> Result<Tensor> {
    let (groups, rows, total) = scores.dims3()?;
    let hidden: Vec<f32> = (0..n)
        .flat_map(|i| (0..total).map(move |j| (i, j)))
        .map(|(i, j)| if j > total - n + i { f32::NEG_INFINITY } else { 0.0 })
        .collect();
    let mask = Tensor::from_vec(hidden, (n, total), scores.device())?;
    let scores = (scores * scale)?.reshape((groups, rows / n, n, total))?;
    let scores = scores.broadcast_add(&mask)?;
    let scores = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
    scores.broadcast_div(&scores.sum_keepdim(D::Minus1)?)?.reshape((groups, rows, total))
}

pub fn heads(x: &Tensor, part: Heads, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let n = x.dim(0)?;
    let x = x
        .narrow(1, part.offset, part.heads * part.head_dim)?
        .reshape((n, part.heads, part.head_dim))?
        .transpose(0, 1)?
        .contiguous()?;
    if !part.rotate {
        return Ok(x);
    }
    let pairs = cos.dim(1)?;
    let turned = x.narrow(2, 0, 2 * pairs)?.reshape((part.heads, n, pairs, 2))?;
    let (even, odd) = (turned.narrow(3, 0, 1)?, turned.narrow(3, 1, 1)?);
    let (cos, sin) = (cos.unsqueeze(2)?, sin.unsqueeze(2)?);
    let a = (even.broadcast_mul(&cos)? - odd.broadcast_mul(&sin)?)?;
    let b = (even.broadcast_mul(&sin)? + odd.broadcast_mul(&cos)?)?;
    let turned = Tensor::cat(&[a, b], 3)?.reshape((part.heads, n, 2 * pairs))?;
    let rest = x.narrow(2, 2 * pairs, part.head_dim - 2 * pairs)?;
    Tensor::cat(&[turned, rest], 2)
}
