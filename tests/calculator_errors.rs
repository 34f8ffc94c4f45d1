//! What the calculator says where there is nothing to say: one sentence that
//! marks the place.

use llama_agent::tool::Tool;
use llama_agent::tool::calculator::Calculator;

/// Expression and the whole sentence: `→` stands before the place.
const ERRORS: &[(&str, &str)] = &[
    ("", "There is nothing to work out, the expression is empty."),
    (" \t\n", "There is nothing to work out, the expression is empty."),
    ("= ?", "There is nothing to work out, the expression is empty: →= ?"),
    ("1/0", "Division by zero is not possible: 1→/0"),
    ("4/(2-2)", "Division by zero is not possible: 4→/(2-2)"),
    ("1/(1/0)", "Division by zero is not possible: 1/(1→/0)"),
    ("0/0", "Division by zero is not possible: 0→/0"),
    ("5%0", "Division by zero is not possible: 5→%0"),
    ("5 mod 0", "Division by zero is not possible: 5 →mod 0"),
    ("mod(5, 0)", "Division by zero is not possible: →mod(5, 0)"),
    ("0**-1", "Zero to a negative power is a division by zero: 0→**-1"),
    ("sqrt(-4)", "A negative number has no real square root: →sqrt(-4)"),
    ("1 + √-4", "A negative number has no real square root: 1 + →√-4"),
    ("(-8)^(1/3)", "A negative number to a fractional power is not a real number: (-8)→^(1/3)"),
    ("log(0)", "A logarithm needs a number above zero: →log(0)"),
    ("ln(-1)", "A logarithm needs a number above zero: →ln(-1)"),
    ("asin(2)", "asin needs a number from -1 to 1: →asin(2)"),
    ("tan(90°)", "The tangent of this angle does not exist: →tan(90°)"),
    ("171!", "The factorial of a number above 170 is too large: 171→!"),
    ("2.5!", "A factorial needs a whole number from 0 to 170: 2.5→!"),
    ("(-3)!", "A factorial needs a whole number from 0 to 170: (-3)→!"),
    ("gcd(1.5, 2)", "gcd and lcm need whole numbers up to 9007199254740992: →gcd(1.5, 2)"),
    ("1e400", "This number is too large: →1e400"),
    ("1e200*1e200", "The result is too large here: 1e200→*1e200"),
    ("10^400", "The result is too large here: 10→^400"),
    ("exp(1000)", "The result is too large here: →exp(1000)"),
    ("1 - exp(1000)/exp(1000)", "The result is too large here: 1 - →exp(1000)/exp(1000)"),
    ("()", "A number is missing before this: (→)"),
    ("max()", "A number is missing before this: max(→)"),
    ("(2+3", "This bracket is never closed: →(2+3"),
    ("2*(3+(4)", "This bracket is never closed: 2*→(3+(4)"),
    ("2+3)", "This bracket was never opened: 2+3→)"),
    ("(2+3]", "This bracket is closed by one of another kind: →(2+3]"),
    ("2+", "A number is missing after this: 2→+"),
    ("*2", "A number is missing before this: →*2"),
    ("2+*3", "A number is missing before this: 2+→*3"),
    ("sqrt", "A number is missing after this: →sqrt"),
    ("!", "A number is missing before this: →!"),
    ("%", "A number is missing before this: →%"),
    ("2 3", "An operator is missing before this number: 2 →3"),
    ("1 000", "An operator is missing before this number: 1 →000"),
    ("3!!", "!! can mean two things, write (n!)! with brackets: 3→!!"),
    ("foo(3)", "The name foo is unknown: →foo(3)"),
    ("2 + foo(1 + bananas", "The name foo is unknown: 2 + →foo(1 + bananas"),
    ("2 + bananas", "The name bananas is unknown: 2 + →bananas"),
    ("x + 1", "The name x is unknown: →x + 1"),
    ("1.2.3", "A number has only one decimal point: 1.2→.3"),
    ("1,25", "A comma only groups three digits or separates a function's numbers: 1→,25"),
    ("sqrt(1,2)", "This function takes one number: →sqrt(1,2)"),
    ("mod(1)", "mod takes 2 numbers: →mod(1)"),
    ("pow 3", "power needs brackets around its numbers: →pow 3"),
    ("50 off 20", "off needs a percentage before it: 50 →off 20"),
    ("2+2=4", "An expression has no =, < or > in it: 2+2→=4"),
    ("5 > 3", "An expression has no =, < or > in it: 5 →> 3"),
    ("7//2", "// is not an operator, write floor(a/b): 7→//2"),
    ("2 & 3", "The character & means nothing here: 2 →& 3"),
    ("😀", "The character 😀 means nothing here: →😀"),
    (
        "1111111111+2222222222+3333333333/0+4444444444+5555555555+6",
        "Division by zero is not possible: …11+2222222222+3333333333→/0+4444444444+5555555555…",
    ),
];

#[test]
fn errors_are_sentences_that_mark_the_place() {
    assert!(ERRORS.len() >= 50);
    let wrong: Vec<_> = ERRORS
        .iter()
        .map(|(input, expected)| (input, expected, Calculator.call(input).map_err(|e| e.0)))
        .filter(|(_, expected, found)| found.as_ref().err().map(String::as_str) != Some(*expected))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
