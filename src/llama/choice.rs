//! Which token comes next, given a row of logits.
//!
//! This is the definition for every engine. An engine whose logits are on
//! another device chooses there and gives the same id, bit for bit: weights are
//! whole numbers, so it does not matter in which order they are added, and the
//! few operations that round are single additions and products of f32.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::f64::consts::LOG2_E;

/// Why no token can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    #[error("the model computed something that is no number: its file is damaged, get it again")]
    NotANumber,
    #[error("the model leaves no token that can come next")]
    Nothing,
}

/// How to choose from a row.
#[derive(Clone, Debug)]
pub struct Choice<'a> {
    /// A bit for each id that may be chosen, 32 to a word from the lowest on;
    /// what is past the end may not. None allows every id.
    pub allowed: Option<&'a [u32]>,
    /// Ids whose positive logits are divided by `penalty` and whose negative
    /// ones are multiplied with it.
    pub penalized: &'a BTreeSet<u32>,
    /// Above 0.
    pub penalty: f32,
    /// None chooses the largest logit.
    pub draw: Option<Draw>,
}

/// A draw from the distribution that temperature, top-k and top-p (Holtzman et
/// al. 2020, arXiv:1904.09751) leave.
#[derive(Clone, Debug, PartialEq)]
pub struct Draw {
    /// Above 0.
    pub temperature: f64,
    /// As in `Sampling`.
    pub top_k: usize,
    pub top_p: f64,
    /// Where the distribution is inverted, in 2^-64ths of all of it.
    pub random: u64,
}

impl Choice<'_> {
    /// The id chosen from a row. Equal logits are decided for the smaller id.
    ///
    /// # Errors
    /// A logit is NaN or positive infinity, or none is allowed and above
    /// negative infinity.
    pub fn of(&self, row: &[f32]) -> Result<u32, ChoiceError> {
        if row.iter().any(|logit| logit.is_nan() || *logit == f32::INFINITY) {
            return Err(ChoiceError::NotANumber);
        }
        let mut logits = row.to_vec();
        for &id in self.penalized {
            if let Some(logit) = logits.get_mut(id as usize) {
                // A penalty below 1 must not make a number infinite.
                let rewarded = (*logit / self.penalty).min(f32::MAX);
                *logit = if *logit > 0.0 { rewarded } else { *logit * self.penalty };
            }
        }
        if let Some(allowed) = self.allowed {
            forbid(&mut logits, allowed);
        }
        let first = places(&logits).max().map(|place| !(place as u32) as usize);
        let first = first.filter(|&id| logits[id] > f32::NEG_INFINITY);
        let first = first.ok_or(ChoiceError::Nothing)?;
        Ok(self.draw.as_ref().map_or(first, |draw| draw.of(&logits, first)) as u32)
    }
}

impl Draw {
    /// The id drawn; `first` has the largest logit. The distribution is
    /// inverted in the order of the ids.
    fn of(&self, logits: &[f32], first: usize) -> usize {
        let (top, scale) = (logits[first], self.scale());
        let mut edge = 0;
        if 0 < self.top_k && self.top_k < logits.len() {
            let mut all: Vec<u64> = places(logits).collect();
            edge = *all.select_nth_unstable_by_key(self.top_k - 1, |&place| Reverse(place)).1;
        }
        let weigh = |(&logit, place)| match place >= edge {
            true => weight(top - logit, scale).into(),
            false => 0,
        };
        let mut weights: Vec<u64> = logits.iter().zip(places(logits)).map(weigh).collect();
        if self.share() < u64::MAX {
            let enough = part(self.share(), weights.iter().sum()).max(1);
            let heavy = places(logits).zip(&weights).filter(|(_, weight)| **weight > 0);
            let mut heavy: Vec<(u64, u64)> =
                heavy.map(|(place, &weight)| (place, weight)).collect();
            heavy.sort_unstable_by_key(|&at| Reverse(at));
            let mut mass = 0;
            let last = heavy.into_iter().find(|(_, weight)| {
                mass += weight;
                mass >= enough
            });
            let edge = last.map_or(0, |(place, _)| place);
            for (weight, place) in weights.iter_mut().zip(places(logits)) {
                if place < edge {
                    *weight = 0;
                }
            }
        }
        let mut left = part(self.random, weights.iter().sum());
        let drawn = weights.iter().position(|&weight| match left.checked_sub(weight) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        });
        drawn.unwrap_or(first)
    }

    /// What the distance of two logits is multiplied with: their probabilities
    /// are apart by 2 to the power of that.
    pub(super) fn scale(&self) -> f32 {
        ((LOG2_E / self.temperature) as f32).min(f32::MAX)
    }

    /// `top_p` in 2^-64ths; `u64::MAX` is all.
    pub(super) fn share(&self) -> u64 {
        (self.top_p * 2f64.powi(64)) as u64
    }
}

/// The probability of a token relative to the most probable one's, in 2^-31ths
/// rounded down, if its logit is `below` that one's. e^-y by its Taylor series:
/// ln(2)^10 / 10! is less than an f32's last bit.
fn weight(below: f32, scale: f32) -> u32 {
    let x = below * scale;
    if x < 31.0 {
        let whole = x as u32;
        let y = (x - whole as f32) * std::f32::consts::LN_2;
        let power = (1..=9).rev().fold(1.0, |sum, n| 1.0 - sum * (y * (1.0 / n as f32)));
        (power * 2f32.powi(31)) as u32 >> whole
    } else {
        0
    }
}

/// `mass * share / 2^64`, rounded down.
fn part(share: u64, mass: u64) -> u64 {
    ((u128::from(share) * u128::from(mass)) >> 64) as u64
}

/// Of each id a number that orders them, the larger logit above, then the
/// smaller id, which is its low word inverted.
fn places(logits: &[f32]) -> impl Iterator<Item = u64> {
    (0u32..).zip(logits).map(|(id, logit)| {
        let bits = logit.to_bits();
        // As `f32::total_cmp` has it.
        let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
        u64::from(ordered) << 32 | u64::from(!id)
    })
}

/// Makes every id impossible that has no bit.
fn forbid(logits: &mut [f32], allowed: &[u32]) {
    let all = u32::BITS as usize;
    let (inside, beyond) = logits.split_at_mut((allowed.len() * all).min(logits.len()));
    beyond.fill(f32::NEG_INFINITY);
    for (logits, bits) in inside.chunks_mut(all).zip(allowed) {
        for (bit, logit) in logits.iter_mut().enumerate() {
            if bits >> bit & 1 == 0 {
                *logit = f32::NEG_INFINITY;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greedy<'a>(allowed: Option<&'a [u32]>, penalized: &'a BTreeSet<u32>) -> Choice<'a> {
        Choice { allowed, penalized, penalty: 2.0, draw: None }
    }

    #[test]
    fn the_largest_allowed_logit_after_the_penalty() {
        let none = BTreeSet::new();
        let row = [1.0, 3.0, 3.0, -1.0, 2.0];
        assert_eq!(greedy(None, &none).of(&row), Ok(1));
        assert_eq!(greedy(Some(&[0b11101]), &none).of(&row), Ok(2));
        assert_eq!(greedy(None, &[1, 2].into()).of(&row), Ok(4));
        // A negative logit gets smaller; ids that no row has are no matter.
        assert_eq!(greedy(None, &[0, 9].into()).of(&[-1.0, -1.5]), Ok(1));
        // Ids past the mask's last word are not allowed.
        let mut long = vec![0.0; 40];
        long[35] = 1.0;
        assert_eq!(greedy(Some(&[1 << 7]), &none).of(&long), Ok(7));
        assert_eq!(greedy(Some(&[0]), &none).of(&long), Err(ChoiceError::Nothing));
    }

    #[test]
    fn what_is_no_number_is_an_error_even_where_it_is_not_allowed() {
        let none = BTreeSet::new();
        for bad in [f32::NAN, f32::INFINITY] {
            let error = greedy(Some(&[1]), &none).of(&[1.0, bad]);
            assert_eq!(error, Err(ChoiceError::NotANumber));
        }
        // A token may be impossible, and a reward stays a number.
        assert_eq!(greedy(None, &none).of(&[f32::NEG_INFINITY, -5.0]), Ok(1));
        let penalized = [0].into();
        let reward = Choice { penalty: 1e-30, ..greedy(None, &penalized) };
        assert_eq!(reward.of(&[1e30, 2e30]), Ok(0));
    }

    #[test]
    fn weights_are_powers_of_two_to_six_digits() {
        for i in 0..3000 {
            let x = i as f32 / 100.0;
            let exact = (31.0 - f64::from(x)).exp2();
            let error = (f64::from(weight(x, 1.0)) - exact).abs();
            assert!(error <= 1.0 + 1e-6 * exact, "2^-{x} is off by {error}");
        }
        assert_eq!(weight(0.0, f32::MAX), 1 << 31);
        assert_eq!(weight(f32::INFINITY, 0.0), 0);
    }
}
