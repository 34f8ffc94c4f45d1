//! The functions: what they are called, how many arguments they take, and
//! their values where they have one.

use std::cell::RefCell;

use meval::{ContextProvider, FuncEvalError};

use super::Fault;
use super::whole::{factorial, greatest_common_divisor, integer, least_common_multiple};

/// A name and how many arguments it takes.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    pub name: &'static str,
    pub least: usize,
    pub most: usize,
}

const fn function(name: &'static str, least: usize, most: usize) -> Function {
    Function { name, least, most }
}

const MANY: usize = usize::MAX;

/// Every function by the name meval gets to see.
const FUNCTIONS: &[Function] = &[
    function("abs", 1, 1),
    function("acos", 1, 1),
    function("acosh", 1, 1),
    function("asin", 1, 1),
    function("asinh", 1, 1),
    function("atan", 1, 1),
    function("atan2", 2, 2),
    function("atanh", 1, 1),
    function("cbrt", 1, 1),
    function("ceil", 1, 1),
    function("cos", 1, 1),
    function("cosh", 1, 1),
    function("exp", 1, 1),
    function("factorial", 1, 1),
    function("floor", 1, 1),
    function("gcd", 1, MANY),
    function("hypot", 2, 2),
    function("lcm", 1, MANY),
    function("ln", 1, 1),
    function("log10", 1, 1),
    function("log2", 1, 1),
    function("max", 1, MANY),
    function("mean", 1, MANY),
    function("min", 1, MANY),
    function("mod", 2, 2),
    function("power", 2, 2),
    function("round", 1, 2),
    function("sign", 1, 1),
    function("sin", 1, 1),
    function("sinh", 1, 1),
    function("sqrt", 1, 1),
    function("sum", 1, MANY),
    function("tan", 1, 1),
    function("tanh", 1, 1),
    function("trunc", 1, 1),
];

/// What a name that nobody knows stands for while the rest is read.
pub const UNKNOWN: &Function = &function("unknown", 1, MANY);

/// Other names people use. `log` is base 10.
const ALIASES: &[(&str, &str)] = &[
    ("arccos", "acos"),
    ("arcsin", "asin"),
    ("arctan", "atan"),
    ("average", "mean"),
    ("avg", "mean"),
    ("ceiling", "ceil"),
    ("fabs", "abs"),
    ("fact", "factorial"),
    ("lg", "log10"),
    ("log", "log10"),
    ("maximum", "max"),
    ("minimum", "min"),
    ("pow", "power"),
    ("sgn", "sign"),
];

/// The function of that name, in lower case.
pub fn find(name: &str) -> Option<&'static Function> {
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name);
    FUNCTIONS.iter().find(|function| function.name == name)
}

/// Every name of every function, with its fewest and most arguments.
pub fn all() -> impl Iterator<Item = (&'static str, usize, usize)> {
    let names = FUNCTIONS.iter().map(|function| function.name);
    let names = names.chain(ALIASES.iter().map(|(alias, _)| *alias));
    names.filter_map(|name| find(name).map(|function| (name, function.least, function.most)))
}

/// The constant of that name, in lower case.
pub fn constant(name: &str) -> Option<f64> {
    match name {
        "pi" | "π" => Some(std::f64::consts::PI),
        "tau" | "τ" => Some(std::f64::consts::TAU),
        "e" => Some(std::f64::consts::E),
        _ => None,
    }
}

impl Function {
    /// Digits after a comma can only be a group of thousands in `sqrt(1,250)`;
    /// in `max(1,250)` they are an argument. `round` takes places after the
    /// comma, but never hundreds of them.
    pub fn groups_thousands(&self) -> bool {
        self.most == 1 || self.name == "round"
    }
}

/// What meval calls. Each call ends in one argument more: the character of
/// the expression that an error is about. The first error stops the sum.
#[derive(Default)]
pub struct Functions {
    fault: RefCell<Option<Fault>>,
}

impl Functions {
    /// The first error, if there was one.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault.borrow().clone()
    }
}

impl ContextProvider for &Functions {
    fn eval_func(&self, name: &str, arguments: &[f64]) -> Result<f64, FuncEvalError> {
        let Some((at, arguments)) = arguments.split_last() else {
            return Err(FuncEvalError::TooFewArguments);
        };
        let result = apply(name, arguments).and_then(|value| {
            if value.is_finite() { Ok(value) } else { Err("The result is too large here".into()) }
        });
        result.map_err(|message| {
            *self.fault.borrow_mut() = Some(Fault::new(*at as usize, message));
            FuncEvalError::UnknownFunction
        })
    }
}

/// The value, or why there is none. Overflow may come back as an infinity.
fn apply(name: &str, arguments: &[f64]) -> Result<f64, String> {
    let fail = |message: &str| Err(message.to_string());
    if let [x] = *arguments {
        let value = match name {
            "checked" => x,
            "divisor" if x == 0.0 => return fail("Division by zero is not possible"),
            "divisor" => x,
            "abs" => x.abs(),
            "acos" | "asin" if x.abs() > 1.0 => {
                return Err(format!("{name} needs a number from -1 to 1"));
            }
            "acos" => x.acos(),
            "asin" => x.asin(),
            "acosh" if x < 1.0 => return fail("acosh needs a number of at least 1"),
            "acosh" => x.acosh(),
            "asinh" => x.asinh(),
            "atan" => x.atan(),
            "atanh" if x.abs() >= 1.0 => return fail("atanh needs a number between -1 and 1"),
            "atanh" => x.atanh(),
            "cbrt" => x.cbrt(),
            "ceil" => x.ceil(),
            "cos" => x.cos(),
            "cos_degrees" => sine_of_degrees(x + 90.0),
            "cosh" => x.cosh(),
            "exp" => x.exp(),
            "factorial" => return factorial(x),
            "floor" => x.floor(),
            "ln" | "log10" | "log2" if x <= 0.0 => {
                return fail("A logarithm needs a number above zero");
            }
            "ln" => x.ln(),
            "log10" => x.log10(),
            "log2" => x.log2(),
            "round" => x.round(),
            "sign" if x == 0.0 => 0.0,
            "sign" => x.signum(),
            "sin" => x.sin(),
            "sin_degrees" => sine_of_degrees(x),
            "sinh" => x.sinh(),
            "sqrt" if x < 0.0 => return fail("A negative number has no real square root"),
            "sqrt" => x.sqrt(),
            "tan" => x.tan(),
            "tan_degrees" if sine_of_degrees(x + 90.0) == 0.0 => {
                return fail("The tangent of this angle does not exist");
            }
            "tan_degrees" if x.rem_euclid(180.0) == 45.0 => 1.0,
            "tan_degrees" if x.rem_euclid(180.0) == 135.0 => -1.0,
            "tan_degrees" => sine_of_degrees(x) / sine_of_degrees(x + 90.0),
            "tanh" => x.tanh(),
            "trunc" => x.trunc(),
            _ => return several(name, arguments),
        };
        return Ok(value);
    }
    several(name, arguments)
}

/// The functions that take more than one argument, or may.
fn several(name: &str, arguments: &[f64]) -> Result<f64, String> {
    let fold = |start: f64, step: fn(f64, f64) -> f64| arguments.iter().copied().fold(start, step);
    match (name, arguments) {
        ("max", _) => Ok(fold(f64::NEG_INFINITY, f64::max)),
        ("min", _) => Ok(fold(f64::INFINITY, f64::min)),
        ("sum", _) => Ok(fold(0.0, |sum, x| sum + x)),
        ("mean", _) => Ok(fold(0.0, |sum, x| sum + x) / arguments.len() as f64),
        ("gcd", _) => {
            let integers = arguments.iter().map(|x| integer(*x)).collect::<Result<Vec<_>, _>>()?;
            Ok(integers.into_iter().fold(0, greatest_common_divisor) as f64)
        }
        ("lcm", _) => {
            let integers = arguments.iter().map(|x| integer(*x)).collect::<Result<Vec<_>, _>>()?;
            integers.into_iter().try_fold(1, least_common_multiple).map(|value| value as f64)
        }
        ("atan2", [y, x]) => Ok(y.atan2(*x)),
        ("hypot", [x, y]) => Ok(x.hypot(*y)),
        ("mod", [_, 0.0]) => Err("Division by zero is not possible".into()),
        // Has the sign of the divisor; the operator `%` has the dividend's.
        ("mod", [x, y]) => {
            let rest = x % y;
            Ok(if rest != 0.0 && (rest < 0.0) != (*y < 0.0) { rest + y } else { rest })
        }
        ("power", [base, exponent]) => power(*base, *exponent),
        ("round", [x, places]) => round(*x, *places),
        _ => Err(format!("{name} cannot be worked out")),
    }
}

fn power(base: f64, exponent: f64) -> Result<f64, String> {
    if base == 0.0 && exponent < 0.0 {
        return Err("Zero to a negative power is a division by zero".into());
    }
    if base < 0.0 && exponent.fract() != 0.0 {
        return Err("A negative number to a fractional power is not a real number".into());
    }
    Ok(base.powf(exponent))
}

/// Rounds to decimal places, halves away from zero, by way of the decimal
/// that the person sees: 1.005 to 2 places is 1.01 although its f64 is a
/// little less.
fn round(x: f64, places: f64) -> Result<f64, String> {
    if places.fract() != 0.0 || places.abs() > 300.0 {
        return Err("round needs a whole number of places".into());
    }
    let shifted = |x: f64, by: i64| {
        let text = format!("{x:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent = exponent.parse::<i64>().unwrap_or(0) + by;
        format!("{digits}e{exponent}").parse::<f64>().unwrap_or(x)
    };
    let scaled = shifted(x, places as i64);
    // Beyond 2^53 every f64 is an integer: there is nothing left to round.
    if scaled.abs() >= 9007199254740992.0 {
        return Ok(x);
    }
    Ok(shifted(scaled.round(), -(places as i64)))
}

/// Exact where the sine is: an angle written in degrees should not show the
/// rounding of π.
fn sine_of_degrees(angle: f64) -> f64 {
    let angle = angle.rem_euclid(360.0);
    match angle {
        0.0 | 180.0 | 360.0 => 0.0,
        30.0 | 150.0 => 0.5,
        90.0 => 1.0,
        210.0 | 330.0 => -0.5,
        270.0 => -1.0,
        _ => angle.to_radians().sin(),
    }
}
