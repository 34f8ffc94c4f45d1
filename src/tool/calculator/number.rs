//! How a result is written.

/// The shortest decimal that reads back to the same f64: integers without
/// `.0`, and the exponent form from 1e17 and below 1e-6 (`1e17`, `2.5e-7`).
/// Negative zero is written `0`. `value` is finite.
pub fn format_number(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        "0".into()
    } else if (1e-6..1e17).contains(&size) {
        // Both forms of Rust's own formatting are the shortest that read back.
        format!("{value}")
    } else {
        format!("{value:e}")
    }
}

#[cfg(test)]
mod tests {
    use super::format_number;
    use proptest::prelude::*;

    #[test]
    fn forms() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-2.5, "-2.5"),
            (0.1 + 0.2, "0.30000000000000004"),
            (9007199254740992.0, "9007199254740992"),
            (99999999999999984.0, "99999999999999980"),
            (1e17, "1e17"),
            (-1.5e300, "-1.5e300"),
            (1e-6, "0.000001"),
            (9.5e-7, "9.5e-7"),
            (5e-324, "5e-324"),
        ] {
            assert_eq!(format_number(value), text);
        }
    }

    proptest! {
        #[test]
        fn reads_back(value in any::<f64>().prop_filter("finite", |value| value.is_finite())) {
            prop_assert_eq!(format_number(value).parse::<f64>(), Ok(value));
        }
    }
}
