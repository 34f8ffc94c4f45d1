//! Characters and words that stand for something plainer.

use super::token::{Binary, Kind};

/// Fullwidth characters as their plain ones (U+FF01 to U+FF5E mirror ASCII).
pub fn plain(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
        '\u{3000}' => ' ',
        _ => c,
    }
}

/// Words that stand for signs, longest first where one begins another.
pub const WORDS: &[(&str, Kind)] = &[
    ("raised to the power of", Kind::Operator(Binary::Power)),
    ("to the power of", Kind::Operator(Binary::Power)),
    ("multiplied by", Kind::Operator(Binary::Multiply)),
    ("divided by", Kind::Operator(Binary::Divide)),
    ("cdot", Kind::Operator(Binary::Multiply)),
    ("div", Kind::Operator(Binary::Divide)),
    ("plus", Kind::Operator(Binary::Add)),
    ("minus", Kind::Operator(Binary::Subtract)),
    ("times", Kind::Operator(Binary::Multiply)),
    ("over", Kind::Operator(Binary::Divide)),
    ("modulo", Kind::Operator(Binary::Modulo)),
    ("percent", Kind::Percent),
    ("per cent", Kind::Percent),
    ("off", Kind::Operator(Binary::Off)),
    ("of", Kind::Of),
    ("squared", Kind::Raised(2.0)),
    ("cubed", Kind::Raised(3.0)),
    ("degrees", Kind::Degrees),
    ("degree", Kind::Degrees),
    ("deg", Kind::Degrees),
];

/// Signs of currencies, and characters without any width: they mean nothing.
pub fn means_nothing(c: char) -> bool {
    matches!(c, '$' | '€' | '£' | '¥' | '₹' | '₽' | '₩' | '\u{200b}' | '\u{feff}' | '\u{fe0f}')
}

/// The digit or sign that a superscript raises.
pub fn superscript(c: char) -> Option<char> {
    Some(match c {
        '⁰' => '0',
        '¹' => '1',
        '²' => '2',
        '³' => '3',
        '⁴'..='⁹' => char::from_digit(c as u32 - '⁰' as u32, 10)?,
        '⁻' => '-',
        '⁺' => '+',
        _ => return None,
    })
}

/// The digit in a name like `log2` or `log₂`.
pub fn digit_in_name(c: char) -> Option<char> {
    match c {
        '0'..='9' => Some(c),
        '₀'..='₉' => char::from_digit(c as u32 - '₀' as u32, 10),
        _ => None,
    }
}

/// The value of a fraction that is one character.
pub fn vulgar_fraction(c: char) -> Option<f64> {
    let (numerator, denominator) = match c {
        '½' => (1, 2),
        '⅓' => (1, 3),
        '⅔' => (2, 3),
        '¼' => (1, 4),
        '¾' => (3, 4),
        '⅕' => (1, 5),
        '⅖' => (2, 5),
        '⅗' => (3, 5),
        '⅘' => (4, 5),
        '⅙' => (1, 6),
        '⅚' => (5, 6),
        '⅐' => (1, 7),
        '⅛' => (1, 8),
        '⅜' => (3, 8),
        '⅝' => (5, 8),
        '⅞' => (7, 8),
        '⅑' => (1, 9),
        '⅒' => (1, 10),
        _ => return None,
    };
    Some(f64::from(numerator) / f64::from(denominator))
}
