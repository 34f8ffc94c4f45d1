//! Expressions in which it is easy to lose the place: many terms, the same
//! number over and over, brackets in brackets.

use super::expression::Typed;
use super::rng::Rng;

/// Fifteen terms and more, some of them alike.
pub fn long(space: &str, rng: &mut Rng) -> Typed {
    let count = 15 + rng.weighted(&[3.0, 2.0, 1.0]) * 10 + rng.below(10);
    let most = *rng.pick(&[9, 20, 99, 99, 999]);
    let minus = rng.chance(0.3);
    let mut terms: Vec<i64> = Vec::new();
    let mut text = String::new();
    for index in 0..count {
        // People's lists repeat themselves, and that is where a copy goes wrong.
        let again = index > 2 && rng.chance(0.15);
        let term = if again { *rng.pick(&terms) } else { rng.range(1, most) };
        if index > 0 {
            let sign = if minus && rng.chance(0.35) { '-' } else { '+' };
            text.push_str(&format!("{space}{sign}{space}"));
        }
        text.push_str(&term.to_string());
        terms.push(term);
    }
    Typed::same(&text)
}

/// The same number again and again, or two in turn.
pub fn same(space: &str, rng: &mut Rng) -> Typed {
    let times = rng.chance(0.2);
    let count = if times { rng.range(3, 9) } else { rng.range(3, 26) };
    let most = if times { 9 } else { *rng.pick(&[9, 20, 99]) };
    let (a, b) = (rng.range(1, most), rng.range(1, most));
    let two = !times && rng.chance(0.15);
    let terms: Vec<String> = (0..count)
        .map(|index| if two && index % 2 == 1 { b.to_string() } else { a.to_string() })
        .collect();
    Typed::same(&terms.join(&format!("{space}{}{space}", if times { '*' } else { '+' })))
}

/// Brackets in brackets, up to seven deep, which may be typed as `[ ]` or `{ }`.
pub fn nested(rng: &mut Rng) -> Typed {
    let depth = 2 + rng.weighted(&[2.0, 3.0, 3.0, 2.0, 1.0, 1.0]);
    let mut number = |low: i64, high: i64| rng.range(low, high).to_string();
    let (first, rest): (String, Vec<String>) =
        (number(1, 99), (0..=depth).map(|_| number(1, 20)).collect());
    let signs = ["+", "-", "*", "+", "*"];
    let mut text = format!("{first}{}{}", rng.word(&signs), rest[0]);
    match rng.below(6) {
        0 => {
            let name = rng.word(&["sqrt", "sqrt", "sqrt", "abs", "cbrt", "round"]);
            text = first;
            for _ in 0..depth {
                text = format!("{name}({text})");
            }
        }
        1 => {
            for _ in 0..depth {
                text = format!("({text})");
            }
        }
        kind => {
            for term in rest.iter().take(depth).skip(1) {
                let sign = rng.word(&signs);
                text = if kind % 2 == 0 {
                    format!("({text}){sign}{term}")
                } else {
                    format!("{term}{sign}({text})")
                };
            }
        }
    }
    let mut surface = text.clone();
    if rng.chance(0.12) {
        surface = surface.replace('(', "[").replace(')', "]");
    }
    if rng.chance(0.2) {
        surface = surface.replace('+', " + ").replace('*', " * ").replace('-', " - ");
    }
    Typed { surface, call: text }
}
