//! The calculator against an evaluator that is not ours, and against arbitrary
//! text.

use llama_agent::tool::Tool;
use llama_agent::tool::calculator::{self, Calculator};
use proptest::prelude::*;

/// An expression whose spelling is chosen when it is written down.
#[derive(Clone, Debug)]
enum Tree {
    Number { hundredths: u32, spelling: u8 },
    Negative(Box<Tree>),
    Binary { operator: char, spelling: u8, left: Box<Tree>, right: Box<Tree> },
    Call { name: &'static str, arguments: Vec<Tree> },
}

fn tree() -> impl Strategy<Value = Tree> {
    let number = (prop_oneof![0u32..2_000, 0u32..500_000_000], any::<u8>())
        .prop_map(|(hundredths, spelling)| Tree::Number { hundredths, spelling });
    number.prop_recursive(5, 32, 3, |inner| {
        let operator = prop::sample::select(vec!['+', '-', '*', '/', '%', '^']);
        let several =
            (prop::sample::select(vec!["max", "min"]), prop::collection::vec(inner.clone(), 1..4));
        prop_oneof![
            1 => inner.clone().prop_map(|tree| Tree::Negative(Box::new(tree))),
            6 => (operator, any::<u8>(), inner.clone(), inner.clone()).prop_map(
                |(operator, spelling, left, right)| Tree::Binary {
                    operator, spelling, left: Box::new(left), right: Box::new(right),
                }
            ),
            1 => (prop::sample::select(vec!["abs", "floor", "ceil"]), inner)
                .prop_map(|(name, argument)| Tree::Call { name, arguments: vec![argument] }),
            1 => several.prop_map(|(name, arguments)| Tree::Call { name, arguments }),
        ]
    })
}

impl Tree {
    /// For the other evaluator: everything in brackets.
    fn bracketed(&self) -> String {
        match self {
            Self::Number { hundredths, .. } => decimal(*hundredths),
            Self::Negative(inner) => format!("(-{})", inner.bracketed()),
            Self::Binary { operator, left, right, .. } => {
                format!("({}{operator}{})", left.bracketed(), right.bracketed())
            }
            Self::Call { name, arguments } => {
                let arguments: Vec<_> = arguments.iter().map(Self::bracketed).collect();
                format!("{name}({})", arguments.join(","))
            }
        }
    }

    fn precedence(&self) -> u8 {
        match self {
            Self::Binary { operator: '+' | '-', .. } => 1,
            Self::Binary { operator: '^', .. } => 4,
            Self::Binary { .. } => 2,
            Self::Negative(_) => 3,
            Self::Number { .. } | Self::Call { .. } => 5,
        }
    }

    /// As people write it, with the fewest brackets. `commas`: thousands may
    /// be grouped here.
    fn written(&self, commas: bool) -> String {
        match self {
            Self::Number { hundredths, spelling } => {
                let plain = decimal(*hundredths);
                match spelling % 4 {
                    0 if commas => grouped(&plain),
                    1 => format!("${plain}"),
                    2 => plain.chars().map(fullwidth).collect(),
                    _ => plain,
                }
            }
            Self::Negative(inner) => format!("-{}", inner.within(3, commas)),
            Self::Binary { operator, spelling, left, right } => {
                let level = self.precedence();
                // Powers group to the right, everything else to the left.
                let right_least = if *operator == '^' { 3 } else { level + 1 };
                let left_least = if *operator == '^' { level + 1 } else { level };
                let left = left.within(left_least, commas);
                let mut right = right.within(right_least, commas);
                // A sign after % would make it a percentage.
                if *operator == '%' && right.starts_with('-') {
                    right = format!("({right})");
                }
                let signs: &[&str] = match operator {
                    '+' => &["+", " + ", " plus ", "＋"],
                    '-' => &["-", " - ", "−", " – ", " minus "],
                    '*' if right.starts_with('(') => &["", "*"],
                    '*' => &["*", " × ", "·", " x ", "x", " times ", " multiplied by "],
                    '/' => &["/", " ÷ ", " over ", " divided by "],
                    '^' => &["**", "^", " ** ", " to the power of "],
                    _ => &["%", " % "],
                };
                format!("{left}{}{right}", signs[*spelling as usize % signs.len()])
            }
            Self::Call { name, arguments } => {
                let one = arguments.len() == 1 && !matches!(*name, "max" | "min");
                let arguments: Vec<_> = arguments.iter().map(|tree| tree.written(one)).collect();
                format!("{name}({})", arguments.join(", "))
            }
        }
    }

    /// In brackets if it binds more loosely than `least`.
    fn within(&self, least: u8, commas: bool) -> String {
        if self.precedence() < least {
            format!("({})", self.written(true))
        } else {
            self.written(commas)
        }
    }

    fn parts(&self) -> Vec<&Tree> {
        match self {
            Self::Number { .. } => vec![],
            Self::Negative(inner) => vec![inner],
            Self::Binary { left, right, .. } => vec![left, right],
            Self::Call { arguments, .. } => arguments.iter().collect(),
        }
    }

    /// The other evaluator's value of every part is a number.
    fn is_defined(&self) -> bool {
        self.parts().into_iter().all(Self::is_defined) && self.reference().is_finite()
    }

    fn reference(&self) -> f64 {
        let mut names = fasteval::EmptyNamespace;
        fasteval::ez_eval(&self.bracketed(), &mut names).expect("it is well-formed")
    }
}

fn decimal(hundredths: u32) -> String {
    match hundredths % 100 {
        0 => format!("{}", hundredths / 100),
        rest => format!("{}.{rest:02}", hundredths / 100),
    }
}

fn grouped(plain: &str) -> String {
    let (whole, rest) = plain.split_at(plain.find('.').unwrap_or(plain.len()));
    let mut text = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + rest
}

fn fullwidth(c: char) -> char {
    match c {
        '0'..='9' => char::from_u32(c as u32 + 0xfee0).unwrap(),
        _ => c,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn agrees_with_another_evaluator(tree in tree()) {
        let text = tree.written(true);
        match calculator::evaluate(&text) {
            Ok(value) => {
                let expected = tree.reference();
                prop_assert!(tree.is_defined(), "{text} = {value}, there {expected}");
                let close = (value - expected).abs() <= 1e-12 * expected.abs();
                prop_assert!(close, "{text} = {value}, there {expected}");
            }
            Err(error) => prop_assert!(!tree.is_defined(), "{text}: {error}"),
        }
    }

    #[test]
    fn never_panics_and_never_says_inf(text in any::<String>()) {
        says_something(&text)?;
    }

    #[test]
    fn never_panics_on_what_looks_like_sums(
        text in "([0-9.,]{1,4}|[-+*/%^!°()√π²½ =$exX]|\\*\\*|sqrt|max\\(|log|mod|sin|of| ){0,24}"
    ) {
        says_something(&text)?;
    }
}

fn says_something(text: &str) -> Result<(), TestCaseError> {
    match Calculator.call(text) {
        Ok(said) => {
            let value = said.parse::<f64>();
            prop_assert!(value.is_ok_and(f64::is_finite), "{text:?} gave {said}");
            prop_assert_eq!(calculator::check(text), Ok(()));
        }
        Err(error) => {
            prop_assert!(!error.0.is_empty() && !error.0.contains('\n'));
            prop_assert!(error.0.chars().count() < 200);
        }
    }
    Ok(())
}
