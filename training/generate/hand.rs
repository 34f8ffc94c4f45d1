//! How one person writes numbers and money.

use super::number::Typing;
use super::rng::Rng;

/// How one question writes numbers and money.
#[derive(Clone, Copy, Debug)]
pub struct Hand {
    pub typing: Typing,
    /// A sign before an amount or a word after it, and the word in answers.
    pub money: (&'static str, &'static str, &'static str),
}

impl Hand {
    pub fn choose(rng: &mut Rng) -> Self {
        const MONEY: [(&str, &str, &str); 11] = [
            ("$", "", "$"),
            ("$", "", "$"),
            ("$", "", "$"),
            ("£", "", "£"),
            ("€", "", "€"),
            ("", " dollars", " dollars"),
            ("", " euros", " euros"),
            ("", " pounds", " pounds"),
            ("", " bucks", " bucks"),
            ("", "€", "€"),
            ("", " rupees", " rupees"),
        ];
        Self { typing: Typing::choose(rng), money: *rng.pick(&MONEY) }
    }

    /// An amount as dollars and cents, now and then, where it has both.
    pub fn coined(&self, value: &str, rng: &mut Rng) -> Option<String> {
        let small = match self.money.1 {
            " dollars" | " euros" => "cents",
            " pounds" => "pence",
            _ => return None,
        };
        let (whole, cents) = value.split_once('.').filter(|(_, cents)| cents.len() == 2)?;
        if !rng.chance(0.5) {
            return None;
        }
        let (cents, large) = (cents.trim_start_matches('0'), self.money.1);
        Some(match rng.below(4) {
            0 => format!("{whole}{large} {cents}"),
            1 => format!("{whole}{large} {cents} {small}"),
            _ => format!("{whole}{large} and {cents} {small}"),
        })
        .filter(|_| !cents.is_empty())
    }

    /// An amount in an answer.
    pub fn amount(&self, value: &str) -> String {
        let (sign, _, word) = self.money;
        match (sign.is_empty(), value.strip_prefix('-')) {
            (true, _) => format!("{value}{word}"),
            (false, Some(size)) => format!("-{sign}{size}"),
            (false, None) => format!("{sign}{value}"),
        }
    }
}
