//! A model in two places computes what it computes in one.

mod support;

use llama_agent::chat::Cancel;
use llama_agent::llama::portable::Precision;
use llama_agent::llama::{CacheRows, Forward, Gguf, Portable, Split, Want};
use support::Tiny;

const LAYERS: usize = 4;

fn model(tied: bool) -> Gguf {
    let tiny = Tiny { layers: LAYERS, tied, context: 64, ..Tiny::default() };
    Gguf::from_bytes(tiny.bytes()).expect("a model")
}

fn split(gguf: &Gguf, at: usize, precision: Precision) -> Split {
    let part = |layers| Portable::part(gguf, None, precision, layers).expect("a part");
    Split::new(Box::new(part(0..at)), part(at..LAYERS))
}

fn tokens(n: u32) -> Vec<u32> {
    (0..n).map(|i| 3 + i * 7 % 50).collect()
}

fn bits(engine: &mut dyn Forward, tokens: &[u32], want: Want) -> Vec<u32> {
    let logits = engine.forward(tokens, want, &Cancel::new()).expect("a pass");
    logits.expect("not cancelled").into_iter().map(f32::to_bits).collect()
}

#[test]
fn logits_are_those_of_one_place_bit_for_bit() {
    for tied in [false, true] {
        let gguf = model(tied);
        for precision in [Precision::Float, Precision::Stored] {
            let mut one = Portable::with_precision(&gguf, None, precision).expect("an engine");
            for at in 1..LAYERS {
                Forward::truncate(&mut one, 0);
                let mut two = split(&gguf, at, precision);
                let tokens = tokens(40);
                for (range, want) in [
                    (0..17, Want::Nothing),
                    (17..18, Want::Last),
                    (18..30, Want::All),
                    (30..40, Want::Tail(3)),
                ] {
                    let piece = &tokens[range];
                    let expected = bits(&mut one, piece, want);
                    assert_eq!(
                        bits(&mut two, piece, want),
                        expected,
                        "{precision:?} {at} {want:?}"
                    );
                    assert_eq!(two.len(), one.len());
                }
                assert_eq!(two.vocab(), one.vocab());
            }
        }
    }
}

#[test]
fn a_cache_in_two_places_comes_back() {
    let gguf = model(false);
    let mut two = split(&gguf, 3, Precision::Float);
    let tokens = tokens(40);
    bits(&mut two, &tokens[..20], Want::Nothing);
    let saved = two.export(15).expect("rows");
    let expected = bits(&mut two, &tokens[20..], Want::Last);
    two.truncate(15);
    bits(&mut two, &tokens[15..20], Want::Nothing);
    assert_eq!(bits(&mut two, &tokens[20..], Want::Last), expected);
    let mut other = split(&gguf, 3, Precision::Float);
    other.import(&saved).expect("the rows fit");
    assert_eq!((other.len(), other.fingerprint()), (15, two.fingerprint()));
    assert_eq!(bits(&mut other, &tokens[15..], Want::Last), expected);
    // Where a model is split is part of what tells caches apart.
    assert_ne!(split(&gguf, 2, Precision::Float).fingerprint(), other.fingerprint());
    for bytes in [Vec::new(), vec![0xff; 8], saved.bytes[..saved.bytes.len() - 1].to_vec()] {
        assert!(other.import(&CacheRows { tokens: 15, bytes }).is_err());
        assert!([0, 40].contains(&other.len()));
    }
    other.truncate(0);
    assert_eq!(bits(&mut other, &tokens, Want::Last), expected);
}

#[test]
fn what_fails_or_is_cancelled_leaves_both_as_they_were() {
    let gguf = model(false);
    let mut two = split(&gguf, 1, Precision::Float);
    let tokens = tokens(30);
    bits(&mut two, &tokens[..10], Want::Nothing);
    let cancel = Cancel::new();
    cancel.ask();
    assert!(two.forward(&tokens[10..], Want::Last, &cancel).expect("no error").is_none());
    assert!(two.forward(&[9999], Want::Last, &Cancel::new()).is_err());
    assert!(two.forward(&[3; 60], Want::Last, &Cancel::new()).is_err());
    assert_eq!(two.len(), 10);
    let mut one = Portable::with_precision(&gguf, None, Precision::Float).expect("an engine");
    let expected = bits(&mut one, &tokens, Want::Last);
    assert_eq!(bits(&mut two, &tokens[10..], Want::Last), expected);
    // Half a model has no logits, and the other half nothing to begin with.
    let part = |layers| Portable::part(&gguf, None, Precision::Float, layers).expect("a part");
    assert!(part(0..2).forward(&tokens, Want::Last, &Cancel::new()).is_err());
    assert!(part(2..4).forward(&tokens, Want::Last, &Cancel::new()).is_err());
}
