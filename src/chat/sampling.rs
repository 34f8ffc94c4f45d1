//! How the next token is chosen.

/// Decoding parameters. The defaults are those of the 2023 system this
/// program re-implements: greedy, with a repetition penalty of 1.1.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// 0 chooses the most probable token; above 0 scales the logits by its inverse.
    pub temperature: f64,
    /// Keep the smallest set of tokens whose probability reaches this much (1: all).
    pub top_p: f64,
    /// Keep this many of the most probable tokens (0: all).
    pub top_k: usize,
    /// Divides positive and multiplies negative logits of repeated tokens (1: off).
    /// Reaches only words of the answer's own text: see `decode::sampler`.
    pub repeat_penalty: f32,
    /// Randomness is a function of the seed and the position, nothing else.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.0, top_p: 1.0, top_k: 0, repeat_penalty: 1.1, seed: 0 }
    }
}
