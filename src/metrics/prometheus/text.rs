//! Formats texts and numbers for both page formats.

use std::fmt;

/// Escapes a text that ends with its line.
pub(super) fn in_line(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

/// Escapes a text for use within quotes.
pub(super) fn in_quotes(text: &str) -> String {
    in_line(text).replace('"', "\\\"")
}

/// A sample's value.
pub(super) struct Number(pub(super) f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            // Whole numbers without a fraction; very large and small ones with an exponent.
            number if number.fract() == 0.0 && number.abs() < 1e15 => write!(f, "{number:.0}"),
            number => write!(f, "{number:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whole_numbers_are_written_whole() {
        for (number, text) in [
            (0.0, "0"),
            (3.0, "3"),
            (-2.0, "-2"),
            (0.25, "0.25"),
            (0.000_1, "0.0001"),
            (1e14, "100000000000000"),
            (1e300, "1e300"),
            (1e-9, "1e-9"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(Number(number).to_string(), text);
        }
    }

    #[test]
    fn terminators_are_escaped() {
        let text = "a\\b\"c\nd\0\r\u{7f}é";
        assert_eq!(in_quotes(text), "a\\\\b\\\"c\\nd\0\r\u{7f}é");
        assert_eq!(in_line(text), "a\\\\b\"c\\nd\0\r\u{7f}é");
    }

    proptest! {
        #[test]
        fn numbers_round_trip(number in any::<f64>()) {
            let back: f64 = Number(number).to_string().parse().unwrap();
            prop_assert!(back == number || back.is_nan() && number.is_nan());
        }

        #[test]
        fn texts_round_trip(text in "[a\\\\\"\n\rn é]{0,20}") {
            let escaped = in_quotes(&text);
            prop_assert!(!escaped.contains('\n'));
            let (mut back, mut chars) = (String::new(), escaped.chars());
            while let Some(c) = chars.next() {
                prop_assert_ne!(c, '"');
                back.push(match c {
                    '\\' => match chars.next() {
                        Some('n') => '\n',
                        Some(c) => c,
                        None => return Err(TestCaseError::fail("incomplete escape")),
                    },
                    c => c,
                });
            }
            prop_assert_eq!(back, text);
        }
    }
}
