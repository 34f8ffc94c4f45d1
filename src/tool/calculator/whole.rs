//! Functions of whole numbers.

/// n! for whole n from 0 to 170, in two f64 that together carry 106 bits, so
/// that the sum of the two is the nearest f64.
pub fn factorial(n: f64) -> Result<f64, String> {
    if n < 0.0 || n.fract() != 0.0 {
        return Err("A factorial needs a whole number from 0 to 170".into());
    }
    if n > 170.0 {
        return Err("The factorial of a number above 170 is too large".into());
    }
    let (mut high, mut low) = (1.0f64, 0.0f64);
    for k in 2..=n as u32 {
        let k = f64::from(k);
        let product = high * k;
        let rest = high.mul_add(k, -product) + low * k;
        high = product + rest;
        low = rest - (high - product);
    }
    Ok(high)
}

/// The size of a whole number. Integers are exact in an f64 up to 2^53.
pub fn integer(x: f64) -> Result<u64, String> {
    if x.fract() != 0.0 || x.abs() > 9007199254740992.0 {
        return Err("gcd and lcm need whole numbers up to 9007199254740992".into());
    }
    Ok(x.abs() as u64)
}

/// By Euclid's algorithm; of 0 and a number it is the number.
pub fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The least number that both divide; zero if one of them is.
pub fn least_common_multiple(a: u64, b: u64) -> Result<u64, String> {
    match greatest_common_divisor(a, b) {
        0 => Ok(0),
        divisor => (a / divisor).checked_mul(b).ok_or_else(|| "The result is too large".into()),
    }
}
