//! Which kernels a pass launches, with what: plain data, made once.

mod attention;

use super::kernels::{Block, MOST_COLUMNS, NARROW, Role, WIDE_COLUMNS, Width};
use super::layout::{COLUMNS, Format, ROWS};
use crate::llama::{CacheType, LlamaConfig};

/// One launch. Arguments are structures as the kernel declares them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Launch {
    pub(super) kernel: String,
    pub(super) grid: (u32, u32),
    /// Blocks share the work: no more are launched than run at once.
    pub(super) shares: bool,
    pub(super) threads: u32,
    pub(super) shared: u32,
    pub(super) arguments: Vec<Vec<u64>>,
}

/// Writes a C structure: each field at the next multiple of its size.
#[derive(Default)]
struct Structure(Vec<u8>);

impl Structure {
    fn pointer(mut self, value: u64) -> Self {
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn pointers(self, values: [u64; 3]) -> Self {
        values.into_iter().fold(self, Self::pointer)
    }

    /// No size of a model comes near 2^31.
    fn int(mut self, value: usize) -> Self {
        self.0.extend((value as u32).to_le_bytes());
        self
    }

    fn float(mut self, value: f32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn words(mut self) -> Vec<u64> {
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        let word =
            |bytes: &[u8]| bytes.iter().rev().fold(0, |all, &byte| all << 8 | u64::from(byte));
        self.0.chunks_exact(8).map(word).collect()
    }
}

/// A matrix in device memory, or rows of one that lie together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) format: Format,
    pub(super) at: u64,
    pub(super) rows: usize,
    /// The first row, where several parts make a matrix.
    pub(super) first: usize,
}

pub(super) struct Layer {
    /// Queries, keys and values: a part for each run of one format.
    pub(super) heads: Vec<Part>,
    pub(super) output: Part,
    /// 16 rows of the gate, 16 of up, and so on.
    pub(super) inner: Part,
    pub(super) down: Part,
    pub(super) attention_norm: u64,
    pub(super) ffn_norm: u64,
}

/// Where the weights are.
pub(super) struct Weights {
    pub(super) layers: Vec<Layer>,
    pub(super) norm: u64,
    /// None where the last layers are elsewhere.
    pub(super) output: Option<Part>,
}

/// Where the buffers of a pass are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Addresses {
    pub(super) state: u64,
    pub(super) hidden: u64,
    pub(super) squares: u64,
    pub(super) model: u64,
    pub(super) mixed: u64,
    pub(super) inner: u64,
    pub(super) queries: u64,
    /// New keys and values before they are quantized, in a cache in q8_0.
    pub(super) fresh: u64,
    pub(super) keys: u64,
    pub(super) values: u64,
    pub(super) sums: u64,
    pub(super) tops: u64,
    pub(super) turns: u64,
    pub(super) logits: u64,
    pub(super) ask: u64,
    pub(super) weighed: u64,
    pub(super) answer: u64,
}

/// Makes the launches of passes of this width.
pub(super) struct Plan<'a> {
    pub(super) config: &'a LlamaConfig,
    pub(super) cache: CacheType,
    pub(super) weights: &'a Weights,
    pub(super) at: &'a Addresses,
    pub(super) width: Width,
    /// The kernels are those for Hopper.
    pub(super) hopper: bool,
}

impl Plan<'_> {
    /// From the hidden states of new tokens to those after the last layer.
    pub(super) fn layers(&self) -> Vec<Launch> {
        let mut all = vec![Launch {
            kernel: "begin".into(),
            grid: (count(self.config.dim.div_ceil(256)), count(self.width.columns())),
            shares: false,
            threads: 256,
            shared: 0,
            arguments: vec![
                self.residual(self.weights.layers.first().map(|l| l.attention_norm)),
                Structure::default().pointer(self.at.state).words(),
            ],
        }];
        for (i, layer) in self.weights.layers.iter().enumerate() {
            for part in &layer.heads {
                let arguments = vec![self.norm(), self.heads(i, part.first)];
                all.push(self.product(
                    Role::Heads,
                    part,
                    self.at.model,
                    self.config.dim,
                    arguments,
                ));
            }
            all.extend(self.quantize(i));
            all.extend(self.attention(i));
            let width = self.config.heads * self.config.head_dim;
            let to = vec![self.residual(Some(layer.ffn_norm))];
            all.push(self.product(Role::Residual, &layer.output, self.at.mixed, width, to));
            let chunks = self.config.ffn.div_ceil(COLUMNS);
            let to = Structure::default().pointer(self.at.inner).int(chunks).words();
            let to = vec![self.norm(), to];
            all.push(self.product(Role::Inner, &layer.inner, self.at.model, self.config.dim, to));
            let next = self.weights.layers.get(i + 1);
            let to = vec![self.residual(next.map(|l| l.attention_norm))];
            all.push(self.product(Role::Residual, &layer.down, self.at.inner, self.config.ffn, to));
        }
        all
    }

    /// From there to logits, a row for each token from the state's first on, up to
    /// as many as the width has; nothing where the last layers are elsewhere.
    pub(super) fn logits(&self) -> Vec<Launch> {
        let Some(part) = &self.weights.output else { return Vec::new() };
        let to = Structure::default().pointer(self.at.logits).int(self.config.vocab).words();
        let dim = self.config.dim;
        vec![self.product(Role::Logits, part, self.at.model, dim, vec![self.norm(), to])]
    }

    /// From a row of logits and a question to an id.
    pub(super) fn choose(&self) -> Launch {
        let vocab = self.config.vocab;
        let weights = self.at.weighed + (vocab * size_of::<f32>()) as u64;
        let choosing = Structure::default()
            .pointers([self.at.logits, self.at.ask, self.at.weighed])
            .pointer(weights)
            .pointer(self.at.answer)
            .int(vocab);
        Launch {
            kernel: "choose".into(),
            grid: (1, 1),
            shares: false,
            threads: 1024,
            shared: 0,
            arguments: vec![choosing.words()],
        }
    }

    fn product(
        &self,
        role: Role,
        part: &Part,
        x: u64,
        columns: usize,
        others: Vec<Vec<u64>>,
    ) -> Launch {
        let Block { threads, rows, shared } = Block::of(role, self.width, part.format, self.hopper);
        let blocks = count(part.rows.div_ceil(rows.max(role.rows())));
        // Blocks of the same rows beside each other: they read the same weights.
        let grid = match self.width {
            Width::Wide => (count(self.width.columns() / WIDE_COLUMNS.0), blocks),
            _ => (blocks, 1),
        };
        let product = Structure::default()
            .pointers([part.at, x, self.at.state])
            .int(columns.div_ceil(COLUMNS))
            .int(part.rows);
        let mut arguments = vec![product.words()];
        arguments.extend(others);
        Launch {
            kernel: format!("{}_{}_{}", role.name(), part.format.name(), self.width.name()),
            grid,
            shares: self.width != Width::Wide,
            threads: count(threads),
            shared: count(shared),
            arguments,
        }
    }

    fn norm(&self) -> Vec<u64> {
        Structure::default()
            .pointer(self.at.squares)
            .int(self.config.dim / 32)
            .int(self.config.dim)
            .float(self.config.norm_eps as f32)
            .words()
    }

    /// Before the norm with this weight, or before the last one. That is followed by
    /// logits, whose product is narrow whatever the pass.
    fn residual(&self, weight: Option<u64>) -> Vec<u64> {
        let form = if weight.is_some() && self.width == Width::Wide { 1 } else { 0 };
        Structure::default()
            .pointers([self.at.hidden, weight.unwrap_or(self.weights.norm), self.at.model])
            .pointer(self.at.squares)
            .int(self.config.dim)
            .int(self.config.dim.div_ceil(COLUMNS))
            .int(form)
            .words()
    }

    /// Keys and values go to the cache, or to where they are quantized from. There
    /// they lie by position too, which begins anew after the columns of a pass.
    fn heads(&self, layer: usize, first: usize) -> Vec<u64> {
        let LlamaConfig { heads, kv_heads, head_dim, context, .. } = *self.config;
        let ((keys, values), positions) = match self.cache {
            CacheType::Q8_0 => (self.fresh(), MOST_COLUMNS),
            _ => (self.cache(layer), context),
        };
        Structure::default()
            .pointers([self.at.queries, keys, values])
            .pointer(self.at.turns)
            .int(first)
            .int(heads)
            .int(kv_heads)
            .int(head_dim)
            .int(self.config.rope.dims / 2)
            .int(positions)
            .words()
    }
}

/// The driver counts in 32 bits; sizes of models are far below.
fn count(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

const _: () = assert!(NARROW == 16 && ROWS == 16, "as the kernels are compiled");

#[cfg(test)]
mod tests;
