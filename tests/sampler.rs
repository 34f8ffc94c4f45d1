//! Choosing tokens: the distribution that is left, and what randomness depends on.

mod support;

use llama_agent::chat::Sampling;
use llama_agent::decode::Sampler;
use llama_agent::llama::{Gguf, Tokenizer};
use proptest::prelude::*;
use support::Tiny;

/// Logits of the probabilities 0.4, 0.3, 0.2 and 0.1, in another order.
const PROBABILITIES: [f64; 4] = [0.2, 0.4, 0.1, 0.3];

fn logits() -> Vec<f32> {
    PROBABILITIES.map(|p| p.ln() as f32 + 3.0).to_vec()
}

fn frequencies(sampling: &Sampling) -> [f64; 4] {
    let sampler = Sampler::new(sampling);
    let mut counts = [0.0; 4];
    for position in 0..20_000 {
        counts[sampler.choice(None, position).of(&logits()).unwrap() as usize] += 1.0 / 20_000.0;
    }
    counts
}

#[test]
fn frequencies_are_those_of_what_is_left() {
    let warm = Sampling { temperature: 1.0, ..Sampling::default() };
    // At half the temperature probabilities are squared, then add up to 0.3.
    let cold = PROBABILITIES.map(|p| p * p / 0.3);
    for (name, sampling, expected) in [
        ("greedy", Sampling::default(), [0.0, 1.0, 0.0, 0.0]),
        ("all", warm.clone(), PROBABILITIES),
        ("cold", Sampling { temperature: 0.5, ..warm.clone() }, cold),
        ("top-k", Sampling { top_k: 2, ..warm.clone() }, [0.0, 4.0 / 7.0, 0.0, 3.0 / 7.0]),
        ("top-k of one", Sampling { top_k: 1, ..warm.clone() }, [0.0, 1.0, 0.0, 0.0]),
        ("more than all", Sampling { top_k: 9, ..warm.clone() }, PROBABILITIES),
        // 0.4 + 0.3 is less than 0.75: the third is needed to reach it.
        ("top-p", Sampling { top_p: 0.75, ..warm.clone() }, [2.0 / 9.0, 4.0 / 9.0, 0.0, 3.0 / 9.0]),
        ("top-p of nothing", Sampling { top_p: 0.0, ..warm.clone() }, [0.0, 1.0, 0.0, 0.0]),
        ("another seed", Sampling { seed: 42, ..warm }, PROBABILITIES),
    ] {
        for (observed, expected) in frequencies(&sampling).iter().zip(expected) {
            assert!((observed - expected).abs() < 0.015, "{name}: {observed}, not {expected}");
        }
    }
}

/// The exact set that the penalty reaches, over the whole vocabulary.
#[test]
fn only_words_are_penalized() {
    let gguf = Gguf::from_bytes(Tiny { layers: 1, ..Tiny::default() }.bytes()).unwrap();
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    let sampling = Sampling { repeat_penalty: 2.0, ..Sampling::default() };
    let mut reached = 0;
    for id in 0..tokenizer.vocab_len() as u32 {
        let mut sampler = Sampler::new(&sampling);
        sampler.said(&tokenizer, id);
        let changed = sampler.choice(None, 0).penalized.contains(&id);
        let name = tokenizer.name(id);
        let word = name.strip_prefix(' ').unwrap_or(&name);
        let expected = !tokenizer.is_byte(id)
            && !tokenizer.is_control(id)
            && word.chars().count() > 1
            && word.chars().all(|c| c.is_ascii_alphabetic());
        assert_eq!(changed, expected, "{name:?}");
        reached += usize::from(changed);
    }
    assert!(reached > 50);
}

proptest! {
    /// Neither what was drawn before nor in which order makes a difference.
    #[test]
    fn randomness_is_a_function_of_seed_and_position(seed: u64, positions in proptest::collection::vec(0usize..5000, 1..20)) {
        let sampling = Sampling { temperature: 1.0, seed, ..Sampling::default() };
        let one = Sampler::new(&sampling);
        let first: Vec<_> = positions.iter().map(|&p| one.choice(None, p).of(&logits())).collect();
        let other = Sampler::new(&sampling);
        let mut again: Vec<_> = positions.iter().rev().map(|&p| other.choice(None, p).of(&logits())).collect();
        again.reverse();
        prop_assert_eq!(first, again);
    }
}
