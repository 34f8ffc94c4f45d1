//! Choosing the next token.
//!
//! The repetition penalty (Keskar et al. 2019, arXiv:1909.05858) reaches words
//! of the answer's own text and nothing else: ids whose piece is two letters or
//! more, with at most a space before them, that already occur after the start
//! of the final answer's text in this very reply. Never in reach are digits,
//! punctuation, white space, single letters (the `e` of `1e+17`), byte and
//! control tokens, the JSON around the text, a tool's input and the prompt: all
//! of that has to be copied exactly, and a penalty would make it wrong.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::chat::Sampling;
use crate::llama::Tokenizer;

/// Why no token can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    #[error("the model computed something that is no number: its file is damaged, get it again")]
    NotANumber,
    #[error("the model gave no logits")]
    Empty,
}

/// Chooses tokens as the parameters say. Keeps the words of the answer so far.
#[derive(Debug)]
pub struct Sampler<'a> {
    sampling: &'a Sampling,
    said: BTreeSet<u32>,
}

impl<'a> Sampler<'a> {
    /// For one reply.
    pub fn new(sampling: &'a Sampling) -> Self {
        Self { sampling, said: BTreeSet::new() }
    }

    /// Notes a token of the answer's own text; only a word matters.
    pub fn said(&mut self, tokenizer: &Tokenizer, id: u32) {
        if self.sampling.repeat_penalty != 1.0 && is_word(tokenizer, id) {
            self.said.insert(id);
        }
    }

    /// The id of the token for `position`, counted from the prompt's first
    /// token. Changes `logits`, the row of the token before it. Equal logits
    /// are decided for the smaller id.
    ///
    /// # Errors
    /// A logit is NaN or positive infinity, or there are none.
    pub fn choose(&self, logits: &mut [f32], position: usize) -> Result<u32, SampleError> {
        if logits.iter().any(|logit| logit.is_nan() || *logit == f32::INFINITY) {
            return Err(SampleError::NotANumber);
        }
        let penalty = self.sampling.repeat_penalty;
        for &id in &self.said {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            }
        }
        if self.sampling.temperature > 0.0 {
            self.sample(logits, uniform(self.sampling.seed, position as u64))
        } else {
            let best = (0..logits.len()).min_by(|&a, &b| order(logits, a, b));
            best.map(|id| id as u32).ok_or(SampleError::Empty)
        }
    }

    /// Inverts the distribution that temperature, top-k and top-p (Holtzman et
    /// al. 2020, arXiv:1904.09751) leave, at `u` in 0 to 1.
    fn sample(&self, logits: &[f32], u: f64) -> Result<u32, SampleError> {
        let mut ids: Vec<usize> = (0..logits.len()).collect();
        let k = match self.sampling.top_k {
            0 => ids.len(),
            k => k.min(ids.len()),
        };
        if k < ids.len() {
            ids.select_nth_unstable_by(k, |&a, &b| order(logits, a, b));
            ids.truncate(k);
        }
        ids.sort_unstable_by(|&a, &b| order(logits, a, b));
        let top = f64::from(logits[*ids.first().ok_or(SampleError::Empty)?]);
        let weight =
            |id: &usize| ((f64::from(logits[*id]) - top) / self.sampling.temperature).exp();
        let total: f64 = ids.iter().map(weight).sum();
        let enough = self.sampling.top_p * total;
        let (mut kept, mut mass) = (0, 0.0);
        while kept < ids.len() && (kept == 0 || mass < enough) {
            mass += weight(&ids[kept]);
            kept += 1;
        }
        let mut left = u * mass;
        for id in &ids[..kept] {
            left -= weight(id);
            if left < 0.0 {
                return Ok(*id as u32);
            }
        }
        // Rounding may leave a crumb: it belongs to the last.
        Ok(ids[kept - 1] as u32)
    }
}

/// The larger logit first, then the smaller id.
fn order(logits: &[f32], a: usize, b: usize) -> Ordering {
    logits[b].total_cmp(&logits[a]).then(a.cmp(&b))
}

fn is_word(tokenizer: &Tokenizer, id: u32) -> bool {
    if tokenizer.is_control(id) || tokenizer.is_byte(id) {
        return false;
    }
    let Ok(piece) = std::str::from_utf8(tokenizer.piece(id)) else { return false };
    let word = piece.strip_prefix(' ').unwrap_or(piece);
    word.chars().count() >= 2 && word.chars().all(char::is_alphabetic)
}

/// A number in 0 to 1 (1 excluded) that is a function of the seed and the
/// position alone: element `position` of the splitmix64 stream whose state is
/// the mixed seed (Steele, Lea and Flood 2014, "Fast splittable pseudorandom
/// number generators"), so that neither what was drawn before nor what is
/// drawn besides matters.
fn uniform(seed: u64, position: u64) -> f64 {
    /// 2^64 divided by the golden ratio, made odd: the paper's increment.
    const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
    let start = mix(seed.wrapping_add(GAMMA));
    let bits = mix(start.wrapping_add(position.wrapping_add(1).wrapping_mul(GAMMA)));
    // The 53 high bits fill the significand of an f64.
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// The finalizer of splitmix64: David Stafford's variant 13 of MurmurHash3's.
fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
