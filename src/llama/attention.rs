//! What each token takes from the tokens up to its own (scaled dot-product
//! attention, Vaswani et al. 2017, arXiv:1706.03762, with grouped queries).
//!
//! A token's result does not depend on the tokens processed beside it, bit for
//! bit: see `lanes`.

use rayon::prelude::*;

use super::cache::Cache;
use super::lanes::{Level, Panel, WIDTH};
use super::matrix::pack;
use super::ops::softmax;

/// Rows of one task: for so many a head's keys and values are read once.
const TOGETHER: usize = 64;

/// The queries of a layer, `(heads, tokens, head_dim)`, of the last tokens
/// that its cache holds, these included.
pub(super) struct Queries<'a> {
    pub(super) values: &'a [f32],
    pub(super) heads: usize,
    pub(super) tokens: usize,
    /// Tokens that the cache holds.
    pub(super) total: usize,
}

/// One key-value head and some of the rows that ask it: the queries of its
/// group, token by token.
struct Task<'a> {
    queries: &'a Queries<'a>,
    cache: &'a Cache,
    layer: usize,
    head: usize,
    rows: std::ops::Range<usize>,
    level: Level,
}

/// What the last `wanted` tokens take, `(wanted, heads · head_dim)`.
pub(super) fn attention(queries: &Queries, wanted: usize, cache: &Cache, layer: usize) -> Vec<f32> {
    let (kv_heads, head_dim) = cache.shape();
    let group = queries.heads / kv_heads;
    let first = (queries.tokens - wanted) * group;
    let level = Level::here();
    let tasks: Vec<Task> = (0..kv_heads)
        .flat_map(|head| {
            (first..queries.tokens * group).step_by(TOGETHER).map(move |start| Task {
                queries,
                cache,
                layer,
                head,
                rows: start..(start + TOGETHER).min(queries.tokens * group),
                level,
            })
        })
        .collect();
    let results: Vec<Vec<f32>> = tasks.par_iter().map(Task::run).collect();
    let mut output = vec![0.0; wanted * queries.heads * head_dim];
    for (task, result) in tasks.iter().zip(results) {
        for (row, result) in task.rows.clone().zip(result.chunks_exact(head_dim)) {
            let (token, head) = (row / group, task.head * group + row % group);
            let start = ((token + wanted - queries.tokens) * queries.heads + head) * head_dim;
            output[start..start + head_dim].copy_from_slice(result);
        }
    }
    output
}

impl Task<'_> {
    /// The results of its rows, one after the other.
    fn run(&self) -> Vec<f32> {
        let (kv_heads, head_dim) = self.cache.shape();
        let group = self.queries.heads / kv_heads;
        let seen = |row: usize| self.queries.total - self.queries.tokens + row / group + 1;
        let end = seen(self.rows.end - 1);
        let keys = self.cache.keys(self.layer, self.head, end);
        let values: Vec<_> = (0..head_dim.div_ceil(WIDTH))
            .map(|part| self.cache.values(self.layer, self.head, part, end))
            .collect();
        let scale = 1.0 / (head_dim as f32).sqrt();
        let mut output = vec![0.0; self.rows.len() * head_dim];
        let rows: Vec<f32> = self.rows.clone().flat_map(|row| self.query(row)).copied().collect();
        let rows = pack(self.level, &rows, head_dim);
        for (start, size) in self.level.groups(self.rows.len()) {
            let first = self.rows.start + start;
            let end = seen(first + size - 1);
            let x = &rows[start * head_dim..(start + size) * head_dim];
            let mut scores = vec![0.0; size * end];
            for (panel, keys) in keys.chunks_exact(head_dim).take(end.div_ceil(WIDTH)).enumerate() {
                let mut sums = [Panel::default(); 8];
                self.level.add(keys, x, &mut sums[..size]);
                for (scores, sums) in scores.chunks_exact_mut(end).zip(&sums) {
                    let scores = &mut scores[panel * WIDTH..];
                    let length = scores.len().min(WIDTH);
                    scores[..length].copy_from_slice(&sums.as_flattened()[..length]);
                }
            }
            for (row, scores) in scores.chunks_exact_mut(end).enumerate() {
                softmax(scores, seen(first + row), scale);
            }
            let weights = pack(self.level, &scores, end);
            let output = &mut output[start * head_dim..(start + size) * head_dim];
            for (part, values) in values.iter().enumerate() {
                let mut sums = [Panel::default(); 8];
                self.level.add(&values[..end], &weights, &mut sums[..size]);
                for (output, sums) in output.chunks_exact_mut(head_dim).zip(&sums) {
                    let output = &mut output[part * WIDTH..];
                    let length = output.len().min(WIDTH);
                    output[..length].copy_from_slice(&sums.as_flattened()[..length]);
                }
            }
        }
        output
    }

    /// The query of a row.
    fn query(&self, row: usize) -> &[f32] {
        let (kv_heads, head_dim) = self.cache.shape();
        let Queries { values, heads, tokens, .. } = *self.queries;
        let group = heads / kv_heads;
        let start = ((self.head * group + row % group) * tokens + row / group) * head_dim;
        &values[start..start + head_dim]
    }
}
