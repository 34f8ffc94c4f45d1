//! Tokens to an expression that meval reads, by precedence climbing without
//! recursion (Dijkstra's shunting yard, which prints instead of computing).
//!
//! Every operator that can leave the real or finite numbers goes through a
//! function of `functions`, which gets the place as its last argument.
//!
//! From loose to tight: `+ -`; `* / % mod of` and implied multiplication; the
//! sign and a function without brackets (`sqrt 16`); `**`, which groups to
//! the right; `! % °` after their operand.

use super::Fault;
use super::functions::Function;
use super::operand::{Operand, Unit, call, combine};
use super::token::{Binary, Kind, Token};

/// What waits for its right-hand side.
enum Pending {
    Binary(Binary, usize),
    Negate,
    Function(&'static Function, usize),
    Group(char, usize),
    Call(&'static Function, usize, usize),
}

impl Pending {
    /// How tightly it binds; brackets hold everything.
    fn precedence(&self) -> u8 {
        match self {
            Self::Group(..) | Self::Call(..) => 0,
            Self::Binary(operator, _) => precedence(*operator),
            Self::Negate | Self::Function(..) => 3,
        }
    }
}

fn precedence(operator: Binary) -> u8 {
    match operator {
        Binary::Add | Binary::Subtract => 1,
        Binary::Power => 4,
        _ => 2,
    }
}

/// The expression for meval.
pub fn render(tokens: &[Token]) -> Result<String, Fault> {
    let mut yard = Yard { operands: Vec::new(), pending: Vec::new(), ready: false, closed: false };
    let mut at = 0;
    while at < tokens.len() {
        let read = &tokens[at..];
        let used = if yard.ready { yard.after_operand(read)? } else { yard.before_operand(read)? };
        if used > 0 {
            yard.closed = matches!(tokens[at].kind, Kind::Close(_));
        }
        at += used;
    }
    let last = tokens[tokens.len() - 1].at;
    if !yard.ready {
        return Err(Fault::new(last, "A number is missing after this"));
    }
    yard.reduce(1)?;
    match yard.pending.pop() {
        Some(Pending::Group(_, at) | Pending::Call(_, _, at)) => {
            Err(Fault::new(at, "This bracket is never closed"))
        }
        _ => Ok(yard.pop()?.value()),
    }
}

struct Yard {
    operands: Vec<Operand>,
    pending: Vec<Pending>,
    /// The last token ended an operand.
    ready: bool,
    /// The last token was a closing bracket.
    closed: bool,
}

impl Yard {
    /// Where an operand must begin. Returns how many tokens were used.
    fn before_operand(&mut self, tokens: &[Token]) -> Result<usize, Fault> {
        let token = tokens[0];
        let at = token.at;
        match token.kind {
            Kind::Number(value) | Kind::Constant(value) => {
                self.operands.push(Operand::plain(format!("{value:?}")));
                self.ready = true;
            }
            Kind::Operator(Binary::Subtract) => self.pending.push(Pending::Negate),
            Kind::Operator(Binary::Add) => {}
            Kind::Open(bracket) => self.pending.push(Pending::Group(bracket, at)),
            Kind::Function(function) => {
                let next = tokens.get(1).map(|token| token.kind);
                if next == Some(Kind::Open('(')) {
                    self.pending.push(Pending::Call(function, 1, at));
                    return Ok(2);
                }
                if function.least > 1 {
                    let message = format!("{} needs brackets around its numbers", function.name);
                    return Err(Fault::new(at, message));
                }
                self.pending.push(Pending::Function(function, at));
                return Ok(if next == Some(Kind::Of) { 2 } else { 1 });
            }
            _ => return Err(Fault::new(at, "A number is missing before this")),
        }
        Ok(1)
    }

    /// Where an operand has ended. Returns how many tokens were used.
    fn after_operand(&mut self, tokens: &[Token]) -> Result<usize, Fault> {
        let token = tokens[0];
        let at = token.at;
        let next = tokens.get(1).map(|token| token.kind);
        match token.kind {
            Kind::Operator(operator) => self.binary(operator, at)?,
            Kind::PercentSign if next.is_some_and(starts_operand) => {
                self.binary(Binary::Remainder, at)?;
            }
            Kind::PercentSign | Kind::Percent => self.unit(Unit::Percent)?,
            Kind::Degrees => self.unit(Unit::Degrees)?,
            Kind::Of => self.binary(Binary::Multiply, at)?,
            Kind::Function(function) if function.name == "mod" => {
                self.binary(Binary::Modulo, at)?;
            }
            Kind::Factorial if next == Some(Kind::Factorial) => {
                return Err(Fault::new(at, "!! can mean two things, write (n!)! with brackets"));
            }
            Kind::Factorial => {
                let operand = self.pop()?.value();
                self.operands.push(Operand::plain(format!("factorial({operand},{at})")));
            }
            Kind::Raised(exponent) => {
                let base = self.pop()?.value();
                self.operands.push(Operand::plain(format!("power({base},{exponent:?},{at})")));
            }
            Kind::Number(_) if !self.closed => {
                return Err(Fault::new(at, "An operator is missing before this number"));
            }
            Kind::Number(_) | Kind::Constant(_) | Kind::Function(_) | Kind::Open(_) => {
                self.binary(Binary::Multiply, at)?;
                return Ok(0);
            }
            Kind::Comma => self.comma(at)?,
            Kind::Close(bracket) => self.close(bracket, at)?,
        }
        Ok(1)
    }

    /// An operator between two operands: what binds at least as tightly is
    /// finished first, except that powers group to the right.
    fn binary(&mut self, operator: Binary, at: usize) -> Result<(), Fault> {
        let level = precedence(operator);
        self.reduce(if operator == Binary::Power { level + 1 } else { level })?;
        self.pending.push(Pending::Binary(operator, at));
        self.ready = false;
        Ok(())
    }

    /// A sign after an operand that says what kind of number it is.
    fn unit(&mut self, unit: Unit) -> Result<(), Fault> {
        let text = self.pop()?.value();
        self.operands.push(Operand { text, unit });
        Ok(())
    }

    fn comma(&mut self, at: usize) -> Result<(), Fault> {
        self.reduce(1)?;
        let Some(Pending::Call(_, arguments, _)) = self.pending.last_mut() else {
            let message = "A comma only groups three digits or separates a function's numbers";
            return Err(Fault::new(at, message));
        };
        *arguments += 1;
        let last = self.pop()?.value();
        self.operands.push(Operand::plain(last));
        self.ready = false;
        Ok(())
    }

    fn close(&mut self, bracket: char, at: usize) -> Result<(), Fault> {
        self.reduce(1)?;
        match self.pending.pop() {
            Some(Pending::Group(open, _)) if closes(open, bracket) => {
                let inside = self.pop()?;
                let inside = match inside.unit {
                    Unit::Percent => Operand::plain(inside.value()),
                    _ => inside,
                };
                self.operands.push(inside);
            }
            Some(Pending::Call(function, arguments, start)) if bracket == ')' => {
                if arguments < function.least || arguments > function.most {
                    return Err(Fault::new(start, takes(function)));
                }
                if arguments == 1 {
                    let argument = self.pop()?;
                    self.operands.push(call(function, argument, start));
                    return Ok(());
                }
                let first = self.operands.len().saturating_sub(arguments);
                let values: Vec<String> =
                    self.operands.drain(first..).map(Operand::value).collect();
                let text = format!("{}({},{start})", function.name, values.join(","));
                self.operands.push(Operand::plain(text));
            }
            Some(Pending::Group(_, open) | Pending::Call(_, _, open)) => {
                return Err(Fault::new(open, "This bracket is closed by one of another kind"));
            }
            _ => return Err(Fault::new(at, "This bracket was never opened")),
        }
        Ok(())
    }

    /// Finishes what waits and binds at least as tightly as `level`.
    fn reduce(&mut self, level: u8) -> Result<(), Fault> {
        while self.pending.last().is_some_and(|pending| pending.precedence() >= level) {
            let right = self.pop()?;
            let done = match self.pending.pop() {
                Some(Pending::Binary(operator, at)) => {
                    let left = self.pop()?;
                    combine(operator, left, right, at)?
                }
                Some(Pending::Negate) => {
                    Operand { text: format!("(-{})", right.text), unit: right.unit }
                }
                Some(Pending::Function(function, at)) => call(function, right, at),
                Some(Pending::Group(..) | Pending::Call(..)) | None => right,
            };
            self.operands.push(done);
        }
        Ok(())
    }

    fn pop(&mut self) -> Result<Operand, Fault> {
        self.operands.pop().ok_or_else(|| Fault::new(0, "A number is missing in this"))
    }
}

/// The kinds of token that an operand may begin with, signs aside.
fn starts_operand(kind: Kind) -> bool {
    matches!(kind, Kind::Number(_) | Kind::Constant(_) | Kind::Function(_) | Kind::Open(_))
}

fn closes(open: char, close: char) -> bool {
    matches!((open, close), ('(', ')') | ('[', ']') | ('{', '}'))
}

fn takes(function: &Function) -> String {
    match (function.least, function.most) {
        (1, 1) => "This function takes one number".into(),
        (least, most) if least == most => format!("{} takes {least} numbers", function.name),
        (least, most) => format!("{} takes {least} to {most} numbers", function.name),
    }
}
