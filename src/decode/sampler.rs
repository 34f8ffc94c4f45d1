//! What the next token is chosen by.
//!
//! The repetition penalty (Keskar et al. 2019, arXiv:1909.05858) reaches words
//! of the answer's own text and nothing else: ids whose piece is two letters or
//! more, with at most a space before them, that already occur after the start
//! of the final answer's text in this very reply. Never in reach are digits,
//! punctuation, white space, single letters (the `e` of `1e+17`), byte and
//! control tokens, the JSON around the text, a tool's input and the prompt: all
//! of that has to be copied exactly, and a penalty would make it wrong.

use std::collections::BTreeSet;

use super::form::Allowed;
use crate::chat::Sampling;
use crate::llama::{Choice, Draw, Tokenizer};

/// Says how tokens are chosen under these parameters. Keeps the words of the answer so far.
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

    /// How the token for `position` is chosen, counted from the prompt's first
    /// token, of those that are allowed there.
    pub fn choice<'b>(&'b self, allowed: Option<&'b Allowed>, position: usize) -> Choice<'b> {
        let Sampling { temperature, top_p, top_k, repeat_penalty, seed } = *self.sampling;
        let random = random(seed, position as u64);
        Choice {
            allowed: allowed.map(Allowed::words),
            penalized: &self.said,
            penalty: repeat_penalty,
            draw: (temperature > 0.0).then_some(Draw { temperature, top_k, top_p, random }),
        }
    }
}

fn is_word(tokenizer: &Tokenizer, id: u32) -> bool {
    if tokenizer.is_control(id) || tokenizer.is_byte(id) {
        return false;
    }
    let Ok(piece) = std::str::from_utf8(tokenizer.piece(id)) else { return false };
    let word = piece.strip_prefix(' ').unwrap_or(piece);
    word.chars().count() >= 2 && word.chars().all(char::is_alphabetic)
}

/// Random bits that are a function of the seed and the position alone: element
/// `position` of the splitmix64 stream whose state is the mixed seed (Steele,
/// Lea and Flood 2014, "Fast splittable pseudorandom number generators"), so
/// that neither what was drawn before nor what is drawn besides matters.
fn random(seed: u64, position: u64) -> u64 {
    /// 2^64 divided by the golden ratio, made odd: the paper's increment.
    const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
    let start = mix(seed.wrapping_add(GAMMA));
    mix(start.wrapping_add(position.wrapping_add(1).wrapping_mul(GAMMA)))
}

/// The finalizer of splitmix64: David Stafford's variant 13 of MurmurHash3's.
fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
