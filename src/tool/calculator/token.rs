//! What an expression is made of.

use super::functions::Function;

/// An operator between two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    /// `mod` between two numbers.
    Modulo,
    /// `20% off 50`.
    Off,
    Power,
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Number(f64),
    Constant(f64),
    Function(&'static Function),
    /// Between operands an operator; before one, plus and minus are signs.
    Operator(Binary),
    /// The remainder before an operand, otherwise per cent.
    PercentSign,
    /// The word: never a remainder.
    Percent,
    /// `of`: times, except after a function's name, where it means nothing.
    Of,
    Factorial,
    Degrees,
    /// A power written after its base: `²`, `squared`.
    Raised(f64),
    Open(char),
    Close(char),
    Comma,
}

/// A token and the character where it starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Token {
    pub kind: Kind,
    pub at: usize,
}
