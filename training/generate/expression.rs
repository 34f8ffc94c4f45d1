//! Expressions as people type them, with what the Calculator is asked for
//! them: the same characters, but thousands without separators, and `x`, `²`
//! and the like in the Calculator's own signs.

use super::long_expression::{long, nested, same};
use super::number::{Typing, sample, typed};
use super::rng::Rng;

/// What was typed, and what is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Typed {
    pub surface: String,
    pub call: String,
}

impl Typed {
    /// Typed as it is asked.
    pub fn same(text: &str) -> Self {
        Self { surface: text.into(), call: text.into() }
    }

    fn push(&mut self, surface: &str, call: &str) {
        self.surface.push_str(surface);
        self.call.push_str(call);
    }

    fn add(&mut self, other: &Self) {
        self.push(&other.surface, &other.call);
    }

    fn wrap(&self, before: &str, after: &str) -> Self {
        Self {
            surface: format!("{before}{}{after}", self.surface),
            call: format!("{before}{}{after}", self.call),
        }
    }
}

/// The habits of whoever types one expression.
struct Habits {
    space: &'static str,
    times: (&'static str, &'static str),
    over: &'static str,
    power: &'static str,
    minus: &'static str,
    kinds: &'static [&'static str],
    typing: Typing,
    functions: bool,
    loose: bool,
}

/// A random expression; `profile` is `plain`, `power`, `function`, `any`, or one
/// of `long_expression`'s: `long`, `same`, `nested`.
pub fn random(profile: &str, rng: &mut Rng) -> Typed {
    const KINDS: [&[&str]; 6] = [
        &["int 1 20"],
        &["int 1 100"],
        &["int 1 1000", "int 1 20"],
        &["dec 0 20 2", "int 1 20"],
        &["num"],
        &["whole", "big"],
    ];
    let ascii = rng.chance(0.75);
    let habits = Habits {
        space: if rng.chance(0.5) { " " } else { "" },
        times: *rng.pick(if ascii {
            &[("*", "*"), ("*", "*"), ("x", "*")]
        } else {
            &[("×", "×"), ("x", "*"), ("·", "*"), ("X", "*")]
        }),
        over: if ascii { "/" } else { rng.word(&["÷", "÷", "/", ":"]) },
        power: if rng.chance(0.5) { "**" } else { "^" },
        minus: if ascii { "-" } else { rng.word(&["-", "-", "−"]) },
        kinds: KINDS[rng.weighted(&[3.0, 3.0, 1.5, 2.0, 2.0, 0.7])],
        typing: match rng.below(100) {
            0..9 => Typing::Grouped,
            9..12 => Typing::Spaced,
            12..14 => Typing::Underscored,
            14 => Typing::Quoted,
            _ => Typing::Digits,
        },
        functions: profile == "function" || profile == "any" && rng.chance(0.35),
        loose: rng.chance(0.05),
    };
    match profile {
        "power" => power(&habits, rng),
        "long" => long(habits.space, rng),
        "same" => same(habits.space, rng),
        "nested" => nested(rng),
        _ => {
            let operands = 2 + rng.weighted(&[4.0, 3.0, 2.0, 1.0, 0.7]);
            let operands = if profile == "function" { operands - 1 } else { operands };
            sum(&habits, operands, 0, rng)
        }
    }
}

fn number(habits: &Habits, rng: &mut Rng) -> Typed {
    let value = sample(rng.word(habits.kinds), rng).ok().flatten().unwrap_or_else(|| "1".into());
    match habits.typing {
        Typing::Digits => Typed::same(&value),
        typing => Typed { surface: typed(&value, typing, rng), call: value },
    }
}

/// A base and an exponent such that the result can be held.
fn power(habits: &Habits, rng: &mut Rng) -> Typed {
    let base = sample(rng.word(&["int 2 20", "int 2 99", "dec 0.2 20 2", "int 2 9"]), rng);
    let exponent = sample(rng.word(&["int 2 5", "dec 0.1 6 2", "int 2 12", "int 2 3"]), rng);
    let (Ok(Some(base)), Ok(Some(exponent))) = (base, exponent) else { return Typed::same("2**3") };
    let mut out = Typed::same(&base);
    if let ("2" | "3", true) = (exponent.as_str(), rng.chance(0.25)) {
        out.push(if exponent == "2" { "²" } else { "³" }, &format!("**{exponent}"));
        return out;
    }
    let space = if rng.chance(0.3) { habits.space } else { "" };
    out.add(&Typed::same(&format!("{space}{}{space}", habits.power)));
    let exponent = Typed::same(&exponent);
    out.add(&if rng.chance(0.05) { exponent.wrap("-", "") } else { exponent });
    out
}

/// `operands` of them, with operators between and brackets around some.
fn sum(habits: &Habits, operands: usize, depth: usize, rng: &mut Rng) -> Typed {
    let mut out = Typed::default();
    let mut left = operands;
    while left > 0 {
        let whole = left == operands;
        if !whole {
            let sign = rng.weighted(&[3.0, 2.4, 3.0, 2.0, 0.25]);
            let (surface, call) = match sign {
                0 => ("+", "+"),
                1 => (habits.minus, habits.minus),
                2 => habits.times,
                3 => (habits.over, if habits.over == ":" { "/" } else { habits.over }),
                _ => ("%", "%"),
            };
            let mut space = habits.space;
            if habits.loose && rng.chance(0.4) {
                space = if space.is_empty() { " " } else { "" };
            }
            // A percent sign stays apart from what it follows: 10 % 4 is a remainder.
            let sides = if call == "%" { " " } else { space };
            out.push(&format!("{sides}{surface}{sides}"), &format!("{sides}{call}{sides}"));
        }
        let nest = left >= 2 && depth < 3 && rng.chance(if whole { 0.25 } else { 0.4 });
        if nest && !(whole && left == operands && depth > 0 && rng.chance(0.8)) {
            let take = rng.range(2, left as i64) as usize;
            let take = if whole && take == left && rng.chance(0.9) { left - 1 } else { take };
            if take >= 2 {
                let inner = sum(habits, take, depth + 1, rng);
                let mut part = inner.wrap("(", ")");
                if habits.functions && rng.chance(0.3) {
                    part = part.wrap(rng.word(&["sqrt", "abs", "round", "sqrt"]), "");
                } else if rng.chance(0.08) {
                    part.add(&Typed::same(&format!("{}2", habits.power)));
                }
                out.add(&part);
                left -= take;
                continue;
            }
        }
        out.add(&operand(habits, rng));
        left -= 1;
    }
    out
}

fn operand(habits: &Habits, rng: &mut Rng) -> Typed {
    if habits.functions && rng.chance(0.6) {
        return function(habits, rng);
    }
    match rng.below(40) {
        0 | 1 => power(habits, rng),
        2 => Typed::same(&format!("{}%", rng.range(1, 99))),
        3 => number(habits, rng).wrap("-", ""),
        4 => Typed::same(&format!("{}!", rng.range(1, 12))),
        5 => number(habits, rng).wrap("√", ""),
        6 => Typed::same(rng.word(&["pi", "π", "e", "2pi"])),
        7 => Typed::same(&format!("{}.{}e{}", rng.range(1, 9), rng.range(0, 99), rng.range(1, 8))),
        _ => number(habits, rng),
    }
}

fn function(habits: &Habits, rng: &mut Rng) -> Typed {
    let any = number(habits, rng);
    let int = |rng: &mut Rng, low, high| rng.range(low, high).to_string();
    let comma = if rng.chance(0.5) { ", " } else { "," };
    let text = match rng.below(24) {
        0..5 => return any.wrap("sqrt(", ")"),
        5 => return any.wrap("cbrt(", ")"),
        6 => return any.wrap(if rng.chance(0.5) { "abs(-" } else { "abs(" }, ")"),
        7 => return any.wrap("round(", ")"),
        8 => return any.wrap(rng.word(&["floor(", "ceil("]), ")"),
        9 => return any.wrap("ln(", ")"),
        10 => return any.wrap(rng.word(&["log(", "log10(", "log2("]), ")"),
        11 => format!("exp({})", int(rng, 1, 12)),
        12 | 13 => {
            let name = rng.word(&["sin", "cos", "tan"]);
            match rng.below(4) {
                0 => format!("{name}({}°)", rng.range(1, 36) * 5),
                1 => format!("{name}(pi/{})", int(rng, 2, 12)),
                _ => return any.wrap(&format!("{name}("), ")"),
            }
        }
        14 => format!("{}(0.{})", rng.word(&["asin", "acos", "atan"]), int(rng, 1, 99)),
        15 => format!("factorial({})", int(rng, 1, 20)),
        16 => format!("gcd({}{comma}{})", int(rng, 2, 500), int(rng, 2, 500)),
        17 => format!("lcm({}{comma}{})", int(rng, 2, 60), int(rng, 2, 60)),
        18 => format!("mod({}{comma}{})", int(rng, 2, 500), int(rng, 2, 30)),
        19..22 => {
            let name = rng.word(&["max", "min"]);
            let count = rng.range(2, 5);
            let list: Vec<String> = (0..count).map(|_| int(rng, 1, 200)).collect();
            format!("{name}({})", list.join(comma))
        }
        22 => {
            format!("round({}.{:04}{comma}{})", int(rng, 1, 50), rng.below(10_000), rng.range(1, 3))
        }
        _ => return any.wrap("sqrt(", ")"),
    };
    Typed::same(&text)
}
