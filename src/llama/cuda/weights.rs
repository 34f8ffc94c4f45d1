//! Weights on their way from the file to the device: laid anew by all cores into
//! pinned memory, copied while the next are laid.

use anyhow::{Result, ensure};
use candle_core::Device as Host;
use rayon::prelude::*;

use super::driver::{Buffer, Device, Pinned, Stream};
use super::layout::{COLUMNS, Format, ROWS};
use super::memory::Stored;
use super::plan::{Layer, Part, Weights};
use crate::llama::{Gguf, LlamaConfig, ModelError};

/// Bytes of one of the two pinned buffers.
const STAGE: usize = 64 << 20;

/// The most rows that a block of a narrow product takes at once: matrices end at
/// multiples.
const BLOCK: usize = 64;

/// How the rows of several tensors make one matrix.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Stacked,
    /// 16 of the first, 16 of the second, and so on.
    Alternating,
}

/// A tensor's rows as they are in the file.
struct Rows<'a> {
    format: Format,
    bytes: &'a [u8],
    rows: usize,
}

pub(super) struct Loader<'a> {
    gguf: &'a Gguf,
    device: &'a Device,
    stages: [(Pinned, Stream); 2],
    turn: usize,
    pub(super) buffers: Vec<Buffer>,
}

impl<'a> Loader<'a> {
    pub(super) fn new(gguf: &'a Gguf, device: &'a Device) -> Result<Self> {
        let stage = || Ok::<_, anyhow::Error>((device.pinned(STAGE)?, device.stream()?));
        Ok(Self { gguf, device, stages: [stage()?, stage()?], turn: 0, buffers: Vec::new() })
    }

    /// The weights of the config's layers; the output matrix too if there are no
    /// layers elsewhere. `tell` hears how many layers are there, after each.
    pub(super) fn load(
        &mut self,
        config: &LlamaConfig,
        whole: bool,
        tell: &mut dyn FnMut(usize),
    ) -> Result<Weights> {
        let (dim, ffn) = (config.dim, config.ffn);
        let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let mut layers = Vec::new();
        for i in 0..config.layers {
            let name = |part: &str| format!("blk.{i}.{part}.weight");
            let heads = [(name("attn_q"), q), (name("attn_k"), kv), (name("attn_v"), kv)];
            let inner = [(name("ffn_gate"), ffn), (name("ffn_up"), ffn)];
            layers.push(Layer {
                heads: self.runs(&heads, dim)?,
                output: self.matrix(&[(name("attn_output"), dim)], q, Order::Stacked, 0)?,
                inner: self.matrix(&inner, dim, Order::Alternating, 0)?,
                down: self.matrix(&[(name("ffn_down"), dim)], ffn, Order::Stacked, 0)?,
                attention_norm: self.vector(&name("attn_norm"), dim)?,
                ffn_norm: self.vector(&name("ffn_norm"), dim)?,
            });
            tell(i + 1);
        }
        let output = if config.tied { "token_embd.weight" } else { "output.weight" };
        let output = match whole {
            true => Some(self.matrix(&[(output.into(), config.vocab)], dim, Order::Stacked, 0)?),
            false => None,
        };
        let norm = self.vector("output_norm.weight", dim)?;
        for (_, stream) in &self.stages {
            self.device.synchronize(*stream)?;
        }
        Ok(Weights { layers, norm, output })
    }

    /// Matrices whose results stand side by side, a part for each run of the
    /// same format.
    fn runs(&mut self, tensors: &[(String, usize)], columns: usize) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        let (mut start, mut first) = (0, 0);
        for end in 1..=tensors.len() {
            let format = rows_of(self.gguf, &tensors[start], columns)?.format;
            if end < tensors.len() && rows_of(self.gguf, &tensors[end], columns)?.format == format {
                continue;
            }
            let part = self.matrix(&tensors[start..end], columns, Order::Stacked, first)?;
            first += part.rows;
            parts.push(part);
            start = end;
        }
        Ok(parts)
    }

    fn matrix(
        &mut self,
        tensors: &[(String, usize)],
        columns: usize,
        order: Order,
        first: usize,
    ) -> Result<Part> {
        let rows: usize = tensors.iter().map(|(_, rows)| rows).sum();
        let (padded, chunks) = (rows.next_multiple_of(BLOCK), columns.div_ceil(COLUMNS));
        let sources: Vec<Rows> = tensors
            .iter()
            .map(|tensor| rows_of(self.gguf, tensor, columns))
            .collect::<Result<_, _>>()?;
        let format = sources[0].format;
        let tile = chunks * format.chunk_bytes();
        let buffer = self.device.allocate(padded / ROWS * tile)?;
        let part = Part { format, at: buffer.at, rows, first };
        self.buffers.push(buffer);
        ensure!(
            sources.iter().all(|source| source.format == format),
            "{} and {} are quantized differently, which the GPU engine does not run: use --device \
             cpu",
            tensors[0].0,
            tensors[tensors.len() - 1].0
        );
        let together = (STAGE / tile).max(1);
        ensure!(tile <= STAGE, "rows of {columns} columns are longer than any known model's");
        for start in (0..padded / ROWS).step_by(together) {
            let tiles = together.min(padded / ROWS - start);
            let (stage, stream) = &mut self.stages[self.turn % 2];
            self.device.synchronize(*stream)?;
            let out = &mut stage.bytes()[..tiles * tile];
            out.par_chunks_exact_mut(tile).enumerate().for_each(|(i, out)| {
                let row = |r: usize| row(&sources, order, (start + i) * ROWS + r);
                format.lay(&std::array::from_fn(row), out);
            });
            let to = part.at + (start * tile) as u64;
            self.device.upload(to, stage, tiles * tile, *stream)?;
            self.turn += 1;
        }
        Ok(part)
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<u64> {
        let tensor = self.gguf.tensor(name, &[length])?.dequantize(&Host::Cpu);
        let values: Vec<f32> =
            tensor.and_then(|tensor| tensor.to_vec1()).map_err(ModelError::from)?;
        let buffer = self.device.allocate(length * size_of::<f32>())?;
        self.device.write(buffer.at, &values)?;
        let at = buffer.at;
        self.buffers.push(buffer);
        Ok(at)
    }
}

/// Bytes of the matrices and norms on the device.
///
/// # Errors
/// A tensor that is missing or of a format that the kernels do not have.
pub(super) fn stored(gguf: &Gguf, config: &LlamaConfig) -> Result<Stored> {
    let (dim, ffn, vocab) = (config.dim, config.ffn, config.vocab);
    let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    let size = |name: String, rows: usize, columns: usize| -> Result<usize> {
        let format = rows_of(gguf, &(name, rows), columns)?.format;
        let chunks = columns.div_ceil(COLUMNS) * rows.next_multiple_of(BLOCK) / ROWS;
        Ok(chunks * format.chunk_bytes())
    };
    let norm = dim * size_of::<f32>();
    let layer = |i: usize| {
        [
            ("attn_q", q, dim),
            ("attn_k", kv, dim),
            ("attn_v", kv, dim),
            ("attn_output", dim, q),
            ("ffn_gate", ffn, dim),
            ("ffn_up", ffn, dim),
            ("ffn_down", dim, ffn),
        ]
        .into_iter()
        .map(|(name, rows, columns)| size(format!("blk.{i}.{name}.weight"), rows, columns))
        .sum::<Result<usize>>()
        .map(|bytes| bytes + 2 * norm)
    };
    let output = if config.tied { "token_embd.weight" } else { "output.weight" };
    Ok(Stored {
        layers: (0..config.layers).map(layer).collect::<Result<_>>()?,
        output: norm + size(output.into(), vocab, dim)?,
    })
}

fn rows_of<'a>(
    gguf: &'a Gguf,
    (name, rows): &(String, usize),
    columns: usize,
) -> Result<Rows<'a>, ModelError> {
    let (kind, bytes) = gguf.blocks(name, &[*rows, columns])?;
    let format = Format::of(kind).ok_or_else(|| {
        ModelError::Unsupported(format!(
            "its tensor {name} is in {kind:?}, which the GPU engine does not have: use --device \
             cpu, or a file in Q4_0, Q4_K, Q5_K, Q6_K or Q8_0"
        ))
    })?;
    Ok(Rows { format, bytes, rows: *rows })
}

/// Row `at` of the matrix that the tensors make; empty past its end.
fn row<'a>(sources: &[Rows<'a>], order: Order, at: usize) -> &'a [u8] {
    let (source, at) = match order {
        Order::Alternating => (at / ROWS % 2, at / (2 * ROWS) * ROWS + at % ROWS),
        Order::Stacked => {
            let mut at = at;
            let source = sources.iter().position(|source| {
                let here = at < source.rows;
                if !here {
                    at -= source.rows;
                }
                here
            });
            (source.unwrap_or(sources.len()), at)
        }
    };
    match sources.get(source) {
        Some(source) if at < source.rows => {
            let length = source.bytes.len() / source.rows;
            &source.bytes[at * length..(at + 1) * length]
        }
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_follow_their_order() {
        let (a, b): (Vec<u8>, Vec<u8>) = ((0..64).collect(), (100..164).collect());
        let sources = [
            Rows { format: Format::Q8_0, bytes: &a, rows: 64 },
            Rows { format: Format::Q8_0, bytes: &b, rows: 64 },
        ];
        let of = |order, at| row(&sources, order, at).first().copied();
        let ends = [0, 15, 16, 31, 32, 48, 127, 128].map(|at| of(Order::Alternating, at));
        let expected = [0, 15, 100, 115, 16, 116, 163].map(Some);
        assert_eq!(ends[..7], expected);
        assert_eq!(ends[7], None);
        let stacked = [0, 63, 64, 127, 128].map(|at| of(Order::Stacked, at));
        assert_eq!(stacked, [Some(0), Some(63), Some(100), Some(163), None]);
    }
}
