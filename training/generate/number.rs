//! Numbers: which ones, and how people type them. A number's value is the
//! text an expression holds: digits, a point and a sign.

use anyhow::{Context, Result};

use super::rng::Rng;
use super::spelling::words;

/// How the numbers of a question are typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typing {
    Digits,
    Words,
    /// `1,250`
    Grouped,
    /// `1 250`
    Spaced,
    /// `1_250`
    Underscored,
    /// `1'250`
    Quoted,
    /// `2,5` for two and a half.
    Comma,
}

impl Typing {
    pub fn choose(rng: &mut Rng) -> Self {
        match rng.unit() {
            u if u < 0.64 => Self::Digits,
            u if u < 0.83 => Self::Words,
            u if u < 0.93 => Self::Grouped,
            u if u < 0.96 => Self::Spaced,
            u if u < 0.975 => Self::Underscored,
            u if u < 0.98 => Self::Quoted,
            _ => Self::Comma,
        }
    }
}

/// A number of a kind such as `int 2 99`, `dec 0 10 2` or `num`; `None` when
/// the kind is not one of numbers.
pub fn sample(kind: &str, rng: &mut Rng) -> Result<Option<String>> {
    let mut words = kind.split_whitespace();
    let name = words.next().unwrap_or_default();
    let mut bound = |default: f64| -> Result<f64> {
        match words.next() {
            None | Some("digits") => Ok(default),
            Some(word) => word.parse().with_context(|| format!("\"{word}\" in \"{kind}\"")),
        }
    };
    let value = match name {
        "int" => integer(rng, bound(1.0)? as i64, bound(99.0)? as i64).to_string(),
        "step" => {
            let (low, high, step) = (bound(5.0)? as i64, bound(100.0)? as i64, bound(5.0)? as i64);
            (rng.range((low + step - 1) / step, high / step) * step).to_string()
        }
        "dec" => decimal(rng, bound(0.0)?, bound(100.0)?, bound(2.0)? as usize),
        "num" => general(rng, true),
        "pos" => general(rng, false),
        "whole" => whole(rng),
        "big" => digits(rng, 8, 16),
        "money" => money(rng, bound(1.0)?, bound(100.0)?),
        "pct" => percent(rng, bound(1.0)?, bound(100.0)?),
        _ => return Ok(None),
    };
    Ok(Some(value))
}

fn integer(rng: &mut Rng, low: i64, high: i64) -> i64 {
    if low > 0 && rng.chance(0.5) {
        let (l, h) = ((low as f64).ln(), (high as f64 + 1.0).ln());
        return ((l + rng.unit() * (h - l)).exp() as i64).clamp(low, high);
    }
    rng.range(low, high)
}

/// A decimal as people type it: at least one place, no zero at its end.
fn decimal(rng: &mut Rng, low: f64, high: f64, places: usize) -> String {
    let places = 1 + rng.below(places.max(1));
    let scale = 10f64.powi(places as i32);
    let mut units = rng.range((low * scale).ceil() as i64, (high * scale).floor() as i64);
    if units % 10 == 0 {
        units += rng.range(1, 9);
    }
    format!("{:.places$}", units as f64 / scale)
}

fn digits(rng: &mut Rng, least: usize, most: usize) -> String {
    let length = rng.range(least as i64, most as i64) as usize;
    let mut text = rng.range(1, 9).to_string();
    let round = rng.chance(0.15);
    while text.len() < length {
        let digit = if round && text.len() > 2 { 0 } else { rng.below(10) };
        text.push_str(&digit.to_string());
    }
    text
}

fn whole(rng: &mut Rng) -> String {
    match rng.below(20) {
        0..7 => integer(rng, 1, 20).to_string(),
        7..12 => integer(rng, 2, 100).to_string(),
        12..15 => integer(rng, 100, 999).to_string(),
        15..17 => integer(rng, 1000, 9999).to_string(),
        17 => (integer(rng, 1, 99) * 10i64.pow(rng.below(5) as u32)).to_string(),
        18 if rng.chance(0.4) => {
            (integer(rng, 1, 99) * *rng.pick(&[100, 1000, 50_000, 100_000, 1_000_000])).to_string()
        }
        18 => digits(rng, 5, 8),
        _ => digits(rng, 9, 15),
    }
}

fn general(rng: &mut Rng, negative: bool) -> String {
    let text = match rng.below(20) {
        0..13 => whole(rng),
        13..16 => decimal(rng, 0.0, 20.0, 2),
        16..18 => decimal(rng, 0.0, 1000.0, 3),
        18 => decimal(rng, 0.0, 10.0, 6),
        _ if negative && rng.chance(0.2) => "0".into(),
        _ => decimal(rng, 0.0, 1.0, 3),
    };
    if negative && rng.chance(0.08) && text != "0" { format!("-{text}") } else { text }
}

fn money(rng: &mut Rng, low: f64, high: f64) -> String {
    let whole = integer(rng, low.ceil() as i64, high as i64);
    match rng.below(10) {
        0..5 => whole.to_string(),
        5 => format!("{whole}.50"),
        6 => format!("{whole}.99"),
        7 => format!("{whole}.{}", rng.word(&["25", "75", "95", "49", "20", "5", "10"])),
        _ => format!("{whole}.{:02}", rng.below(100)),
    }
}

fn percent(rng: &mut Rng, low: f64, high: f64) -> String {
    const USUAL: [&str; 12] =
        ["5", "10", "15", "20", "25", "30", "40", "50", "75", "12", "8", "18"];
    const HALVES: [&str; 8] = ["7.5", "17.5", "2.5", "12.5", "8.25", "4.75", "0.5", "3.2"];
    for _ in 0..50 {
        let text = match rng.below(10) {
            0..5 => rng.word(&USUAL).to_string(),
            5..8 => integer(rng, low.ceil() as i64, high as i64).to_string(),
            8 => rng.word(&HALVES).to_string(),
            _ => decimal(rng, low, high, 2),
        };
        if text.parse::<f64>().is_ok_and(|value| value >= low && value <= high) {
            return text;
        }
    }
    (low.ceil() as i64).to_string()
}

/// The number as it is typed in the question.
pub fn typed(value: &str, typing: Typing, rng: &mut Rng) -> String {
    let (sign, size) = match value.strip_prefix('-') {
        Some(size) => {
            let word = matches!(typing, Typing::Words) || rng.chance(0.15);
            (if word { rng.word(&["minus ", "negative "]) } else { "-" }, size)
        }
        None => ("", value),
    };
    let size = match typing {
        Typing::Words if rng.chance(0.85) => words(size, rng).unwrap_or_else(|| size.into()),
        Typing::Grouped => grouped(size, ','),
        Typing::Spaced => grouped(size, ' '),
        Typing::Underscored => grouped(size, '_'),
        Typing::Quoted => grouped(size, '\''),
        // Three places after a comma would be read as thousands.
        Typing::Comma if size.split_once('.').is_some_and(|(_, places)| places.len() != 3) => {
            size.replace('.', ",")
        }
        Typing::Digits if size.len() > 3 && rng.chance(0.3) => {
            short(size).unwrap_or_else(|| size.into())
        }
        _ => size.into(),
    };
    format!("{sign}{size}")
}

/// `12345.5` as `12,345.5`, or with another separator.
pub fn grouped(value: &str, separator: char) -> String {
    let (whole, fraction) = match value.split_once('.') {
        Some((whole, fraction)) => (whole, format!(".{fraction}")),
        None => (value, String::new()),
    };
    let mut out = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            out.push(separator);
        }
        out.push(digit);
    }
    out + &fraction
}

/// `25000` as `25k`, `3500000` as `3.5 million`.
fn short(value: &str) -> Option<String> {
    let number: u64 = value.parse().ok()?;
    let scales = [(1_000_000_000, " billion"), (1_000_000, " million"), (1000, "k")];
    let (scale, unit) = scales.into_iter().find(|(scale, _)| number >= *scale)?;
    let (whole, tenths) = (number / scale, number % scale * 100);
    let rest = match tenths / scale {
        _ if !tenths.is_multiple_of(scale) => return None,
        0 => String::new(),
        hundredths if hundredths % 10 == 0 => format!(".{}", hundredths / 10),
        hundredths => format!(".{hundredths:02}"),
    };
    Some(format!("{whole}{rest}{unit}"))
}
