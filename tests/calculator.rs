//! The calculator against a table of what it says.

use llama_agent::tool::Tool;
use llama_agent::tool::calculator::{self, Calculator, MAX_LENGTH};

/// Expression and result, exactly as the tool says it.
const RESULTS: &[(&str, &str)] = &[
    // The conversation this program exists for.
    ("4**2.1", "18.37917367995256"),
    ("18.37917367995256 * 3", "55.13752103985769"),
    ("4**2.1 * 3", "55.13752103985769"),
    // Plain arithmetic.
    ("2+2", "4"),
    ("  7 - 10  ", "-3"),
    ("6*7", "42"),
    ("10/4", "2.5"),
    ("1/3", "0.3333333333333333"),
    ("0.1+0.2", "0.30000000000000004"),
    ("-5", "-5"),
    ("+5", "5"),
    ("-0", "0"),
    ("0*-1", "0"),
    (".5+5.", "5.5"),
    ("007", "7"),
    ("2+3*4", "14"),
    ("(2+3)*4", "20"),
    ("10-4-3", "3"),
    ("100/10/5", "2"),
    ("2 - -3", "5"),
    ("2--3", "5"),
    ("--3", "3"),
    ("2 * -3", "-6"),
    ("2*+3", "6"),
    ("[2+3]*{4}", "20"),
    ("((((((1))))))", "1"),
    // Powers.
    ("2**10", "1024"),
    ("2^10", "1024"),
    ("2**3**2", "512"),
    ("2^3^2", "512"),
    ("(2^3)^2", "64"),
    ("-2**2", "-4"),
    ("(-2)**2", "4"),
    ("2**-1", "0.5"),
    ("2**-1*3", "1.5"),
    ("2**-1**2", "0.5"),
    ("2**0.5", "1.4142135623730951"),
    ("0**0", "1"),
    ("2²", "4"),
    ("-3²", "-9"),
    ("2³^2", "64"),
    ("10⁻²", "0.01"),
    ("2¹⁰", "1024"),
    ("(1+2)²", "9"),
    ("5 squared", "25"),
    ("2 cubed + 1", "9"),
    ("4 to the power of 2.1", "18.37917367995256"),
    ("2 raised to the power of 3", "8"),
    // Signs that are not ASCII.
    ("2 × 3", "6"),
    ("2·3", "6"),
    ("8 ÷ 2", "4"),
    ("8∕2", "4"),
    ("5 − 3", "2"),
    ("5 – 3", "2"),
    ("√16", "4"),
    ("√(16+9)", "5"),
    ("2√9", "6"),
    ("√9*4", "12"),
    ("√2^2", "2"),
    ("∛27", "3"),
    ("π", "3.141592653589793"),
    ("2π", "6.283185307179586"),
    ("１２＋３", "15"),
    ("（１＋２）×３", "9"),
    ("½", "0.5"),
    ("2½", "2.5"),
    ("¼ + ¾", "1"),
    ("⅓*3", "1"),
    // The letter x between numbers.
    ("3 x 4", "12"),
    ("3x4", "12"),
    ("3 X 4 x 2", "24"),
    ("(1+2)x(3)", "9"),
    ("2 x pi", "6.283185307179586"),
    // Words.
    ("2 plus 3 minus 1", "4"),
    ("7 times 8", "56"),
    ("7 multiplied by 8", "56"),
    ("100 divided by 8", "12.5"),
    ("1 over 4", "0.25"),
    ("square root of 16", "4"),
    ("Square Root of (9 + 16)", "5"),
    ("cube root of 27", "3"),
    ("1/2 of 80", "40"),
    ("15 percent of 80", "12"),
    ("20 per cent of 50", "10"),
    // What stands around an expression.
    ("2+2=", "4"),
    ("2+2 = ?", "4"),
    ("2+2?", "4"),
    ("=2+2", "4"),
    ("`2+2`", "4"),
    ("\"2+2\"", "4"),
    ("(2+2).", "4"),
    ("2\n+\t2", "4"),
    (r"2 \times \sqrt{16} \div 4", "2"),
    (r"20\% of \$50", "10"),
    ("$1,250.50 * 2", "2501"),
    ("€20 + £5", "25"),
    ("-$5", "-5"),
    // Thousands.
    ("1,250", "1250"),
    ("1,250,000.5", "1250000.5"),
    ("12,345 + 1", "12346"),
    ("(1,250)*2", "2500"),
    ("sqrt(1,024)", "32"),
    ("max(1,250)", "250"),
    ("max(1, 250)", "250"),
    ("min(1,250)", "1"),
    ("max((1,250),3)", "1250"),
    ("max(sqrt(1,024),3)", "32"),
    ("1_000_000", "1000000"),
    ("1\u{202f}000", "1000"),
    ("1'000", "1000"),
    // Percent and remainder.
    ("50+20%", "60"),
    ("50-20%", "40"),
    ("20% of 50", "10"),
    ("7% of 100", "7"),
    ("50*20%", "10"),
    ("20% x 50", "10"),
    ("80/20%", "400"),
    ("50%/20%", "2.5"),
    ("20%", "0.2"),
    ("-20%", "-0.2"),
    ("100-10%-10%", "81"),
    ("2*50+20%", "120"),
    ("50+(20%)", "50.2"),
    ("20%+20%", "0.4"),
    ("20%*3+5%", "0.63"),
    ("100 + 20% of 50", "110"),
    ("20% off 50", "40"),
    ("50%+1", "1.5"),
    ("7 % 4", "3"),
    ("7%4", "3"),
    ("7%(4)", "3"),
    ("5%pi", "1.8584073464102069"),
    ("-7 % 3", "-1"),
    ("10 % -3", "-2.9"),
    ("10 mod 3", "1"),
    ("mod(10, 3)", "1"),
    ("mod(-7, 3)", "2"),
    ("10 mod (1+2)", "1"),
    // Factorials.
    ("5!", "120"),
    ("0!", "1"),
    ("-5!", "-120"),
    ("2^3!", "64"),
    ("(3!)!", "720"),
    ("3! + 1", "7"),
    ("factorial(10)", "3628800"),
    ("20!", "2.43290200817664e18"),
    ("25!", "1.5511210043330986e25"),
    ("100!/98!", "9900"),
    ("170!", "7.257415615307999e306"),
    // Implied multiplication.
    ("2(3+4)", "14"),
    ("(1+2)(3+4)", "21"),
    ("(2)3", "6"),
    ("2pi", "6.283185307179586"),
    ("2sqrt(9)", "6"),
    ("6/2(1+2)", "9"),
    ("2(3)^2", "18"),
    ("2e", "5.43656365691809"),
    ("2e3", "2000"),
    ("2.5e-3", "0.0025"),
    // Functions.
    ("log(1000)", "3"),
    ("LOG(1000)", "3"),
    ("log 100", "2"),
    ("log10(100)", "2"),
    ("log2(8)", "3"),
    ("log₂ 8", "3"),
    ("ln(e)", "1"),
    ("exp(0)", "1"),
    ("sqrt(2)", "1.4142135623730951"),
    ("sqrt 16 + 9", "13"),
    ("sqrt16", "4"),
    ("math.sqrt(16)", "4"),
    ("cbrt(-8)", "-2"),
    ("abs(-3)", "3"),
    ("abs -3", "3"),
    ("max(1,2,3)", "3"),
    ("min(4, -2, 9)", "-2"),
    ("round(2.5)", "3"),
    ("round(-2.5)", "-3"),
    ("round(2.345, 2)", "2.35"),
    ("round(1.005, 2)", "1.01"),
    ("round(1250, -2)", "1300"),
    ("floor(-2.5)", "-3"),
    ("ceil(2.1)", "3"),
    ("trunc(-2.7)", "-2"),
    ("gcd(12, 18)", "6"),
    ("gcd(12, 18, 27)", "3"),
    ("lcm(4, 6, 10)", "60"),
    ("lcm(0, 5)", "0"),
    ("pow(2, 8)", "256"),
    ("average(1, 2, 6)", "3"),
    ("sum(1, 2, 3)", "6"),
    ("sin(0)", "0"),
    ("sin(pi/2)", "1"),
    ("cos(pi)", "-1"),
    ("tan(1)", "1.5574077246549023"),
    ("asin(1)", "1.5707963267948966"),
    ("acos(1)", "0"),
    ("atan(1)", "0.7853981633974483"),
    ("arctan(1)", "0.7853981633974483"),
    ("atan2(1, 1)", "0.7853981633974483"),
    ("hypot(3, 4)", "5"),
    ("30°", "0.5235987755982988"),
    ("sin(30°)", "0.5"),
    ("sin 30°", "0.5"),
    ("cos(60 degrees)", "0.5"),
    ("tan(45°)", "1"),
    // How results are written.
    ("2**53", "9007199254740992"),
    ("1082152022374638", "1082152022374638"),
    ("32891234**2", "1081833274042756"),
    ("10**16", "10000000000000000"),
    ("10**17", "1e17"),
    ("2**60", "1.152921504606847e18"),
    ("1/10**6", "0.000001"),
    ("1/10**7", "1e-7"),
    ("-1/10**7", "-1e-7"),
    ("1.5e300", "1.5e300"),
];

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
fn results() {
    assert!(RESULTS.len() + ERRORS.len() >= 200);
    let wrong: Vec<_> = RESULTS
        .iter()
        .map(|(input, expected)| (input, Ok(expected.to_string()), Calculator.call(input)))
        .filter(|(_, expected, found)| expected != found)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn errors_are_sentences_that_mark_the_place() {
    let wrong: Vec<_> = ERRORS
        .iter()
        .map(|(input, expected)| (input, expected, Calculator.call(input).map_err(|e| e.0)))
        .filter(|(_, expected, found)| found.as_ref().err().map(String::as_str) != Some(*expected))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_has_no_value_can_still_be_read() {
    for input in ["1/0", "sqrt(-1)", "171!", "2(3+4)"] {
        assert_eq!(calculator::check(input), Ok(()), "{input}");
    }
    for input in ["", "2+", "(2", "foo(1)", "2 3"] {
        assert!(calculator::check(input).is_err(), "{input}");
    }
}

#[test]
fn long_and_deep_input() {
    let too_long = "1+".repeat(5_000) + "1";
    let sentence = Calculator.call(&too_long).unwrap_err().0;
    assert!(sentence.starts_with("The expression has 10001 characters"), "{sentence}");
    assert!(sentence.chars().count() < 200, "{sentence}");
    let brackets = format!("{}1{}", "(".repeat(10_000), ")".repeat(10_000));
    assert!(Calculator.call(&brackets).is_err());

    let half = MAX_LENGTH / 2 - 1;
    let deep = format!("{}1{}", "(".repeat(half), ")".repeat(half));
    assert_eq!(Calculator.call(&deep), Ok("1".into()));
    assert_eq!(Calculator.call(&("-".repeat(4_000) + "1")), Ok("1".into()));
    assert_eq!(Calculator.call(&("1+".repeat(half) + "1")), Ok((half + 1).to_string()));
    assert_eq!(Calculator.call(&("1**".repeat(half / 2) + "1")), Ok("1".into()));
    assert_eq!(Calculator.call(&("√".repeat(4_000) + "1")), Ok("1".into()));
    assert!(Calculator.call(&"(".repeat(4_000)).is_err());
    assert!(Calculator.call(&"max(".repeat(1_000)).is_err());
}
