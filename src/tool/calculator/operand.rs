//! Finished parts of an expression, and how two of them become one.

use super::Fault;
use super::functions::Function;
use super::token::Binary;

/// What a number was written as. A percentage or an angle is turned into a
/// plain number where nothing makes more of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Plain,
    Percent,
    Degrees,
}

/// A finished part, as text that can stand anywhere.
pub struct Operand {
    pub text: String,
    pub unit: Unit,
}

impl Operand {
    /// A part that is just a number.
    pub fn plain(text: String) -> Self {
        Self { text, unit: Unit::Plain }
    }

    /// The text of its value.
    pub fn value(self) -> String {
        match self.unit {
            Unit::Plain => self.text,
            Unit::Percent => format!("({}/100)", self.text),
            Unit::Degrees => format!("({}*{:?}/180)", self.text, std::f64::consts::PI),
        }
    }
}

/// A function of one argument. The sine of an angle in degrees is worked out
/// in degrees, where 30° has an exact one.
pub fn call(function: &Function, argument: Operand, at: usize) -> Operand {
    let name = function.name;
    if argument.unit == Unit::Degrees && matches!(name, "sin" | "cos" | "tan") {
        return Operand::plain(format!("{name}_degrees({},{at})", argument.text));
    }
    Operand::plain(format!("{name}({},{at})", argument.value()))
}

/// Two operands and what stands between them. With a percentage on the right
/// `50+20%` is 50 raised by a fifth; products with a percentage are divided
/// by 100 last, which loses less than a factor of 0.2 would.
pub fn combine(
    operator: Binary,
    left: Operand,
    right: Operand,
    at: usize,
) -> Result<Operand, Fault> {
    use Unit::Percent;
    let percent = (left.unit == Percent, right.unit == Percent);
    let text = match (operator, percent) {
        (Binary::Off, (true, _)) => {
            format!("{}*(100-{})/100", right.value(), left.text)
        }
        (Binary::Off, _) => return Err(Fault::new(at, "off needs a percentage before it")),
        (Binary::Add, (false, true)) => format!("{}*(100+{})/100", left.value(), right.text),
        (Binary::Subtract, (false, true)) => {
            format!("{}*(100-{})/100", left.value(), right.text)
        }
        (Binary::Add, _) => format!("{}+{}", left.value(), right.value()),
        (Binary::Subtract, _) => format!("{}-{}", left.value(), right.value()),
        (Binary::Multiply, (true, false)) => format!("{}*{}/100", left.text, right.value()),
        (Binary::Multiply, (false, true)) => format!("{}*{}/100", left.value(), right.text),
        (Binary::Multiply, _) => format!("{}*{}", left.value(), right.value()),
        (Binary::Divide, (false, true)) => {
            format!("{}*100/divisor({},{at})", left.value(), right.text)
        }
        (Binary::Divide, (true, true)) => format!("{}/divisor({},{at})", left.text, right.text),
        (Binary::Divide, _) => format!("{}/divisor({},{at})", left.value(), right.value()),
        (Binary::Remainder, _) => format!("{}%divisor({},{at})", left.value(), right.value()),
        (Binary::Modulo, _) => {
            return Ok(Operand::plain(format!("mod({},{},{at})", left.value(), right.value())));
        }
        (Binary::Power, _) => {
            return Ok(Operand::plain(format!("power({},{},{at})", left.value(), right.value())));
        }
    };
    Ok(Operand::plain(format!("checked({text},{at})")))
}
