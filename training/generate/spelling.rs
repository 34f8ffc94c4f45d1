//! Numbers in words.

use anyhow::{Result, bail};

use super::rng::Rng;

const UNITS: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 10] =
    ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

/// A size in words: whole numbers below a million, round ones above, and
/// decimals with up to three places.
pub fn words(value: &str, rng: &mut Rng) -> Option<String> {
    if let Some((whole, fraction)) = value.split_once('.') {
        let whole: u64 = whole.parse().ok().filter(|whole| *whole < 1000)?;
        if fraction.len() > 3 {
            return None;
        }
        if fraction == "5" && rng.chance(0.5) {
            return Some(match whole {
                0 => "half".into(),
                _ => format!("{} and a half", spoken(whole, rng)),
            });
        }
        let digits: Vec<&str> =
            fraction.bytes().map(|digit| UNITS[usize::from(digit - b'0')]).collect();
        return Some(format!("{} point {}", spoken(whole, rng), digits.join(" ")));
    }
    let number: u64 = value.parse().ok()?;
    let round = number.is_multiple_of(100_000) && number < 1_000_000_000_000;
    if number > 9999 && !round && rng.chance(0.8) || number > 999_999 && !round {
        return None;
    }
    if number == 12 && rng.chance(0.15) {
        return Some("a dozen".into());
    }
    Some(spoken(number, rng))
}

/// A whole number in words, with the habits of different people.
pub fn spoken(number: u64, rng: &mut Rng) -> String {
    let joint = if rng.chance(0.5) { "-" } else { " " };
    let and = if rng.chance(0.6) { " and " } else { " " };
    let one = if rng.chance(0.3) { "a" } else { "one" };
    say(number, joint, and, one)
}

fn say(number: u64, joint: &str, and: &str, one: &str) -> String {
    const SCALES: [(u64, &str); 4] =
        [(1_000_000_000, "billion"), (1_000_000, "million"), (1000, "thousand"), (100, "hundred")];
    for (scale, name) in SCALES {
        if number >= scale {
            let (count, rest) = (number / scale, number % scale);
            let start = if count == 1 { one.into() } else { say(count, joint, and, "one") };
            let between = if rest < 100 { and } else { " " };
            return match rest {
                0 => format!("{start} {name}"),
                _ => format!("{start} {name}{between}{}", say(rest, joint, and, "one")),
            };
        }
    }
    match number {
        0..20 => UNITS[number as usize].into(),
        _ if number.is_multiple_of(10) => TENS[number as usize / 10].into(),
        _ => format!("{}{joint}{}", TENS[number as usize / 10], UNITS[number as usize % 10]),
    }
}

/// `3` as `3rd` or `third`; both forms for small ones.
pub fn ordinal(value: &str, rng: &mut Rng) -> Result<String> {
    const NAMES: [&str; 13] = [
        "zeroth", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth",
        "ninth", "tenth", "eleventh", "twelfth",
    ];
    let Ok(number) = value.parse::<usize>() else { bail!("{value} has no ordinal") };
    if number < NAMES.len() && rng.chance(0.5) {
        return Ok(NAMES[number].into());
    }
    let ending = match (number % 100, number % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    Ok(format!("{number}{ending}"))
}
