//! Formats texts and numbers for both page formats.

use std::fmt::{self, Write};

/// A text with the escapes needed within quotes or up to the end of a line.
pub(super) struct Escaped<'a> {
    text: &'a str,
    quotes: bool,
}

impl<'a> Escaped<'a> {
    /// Escapes a text for use within quotes.
    pub(super) fn quoted(text: &'a str) -> Self {
        Self { text, quotes: true }
    }

    /// Escapes a text that ends with its line. Quotes need no escape there.
    pub(super) fn line(text: &'a str) -> Self {
        Self {
            text,
            quotes: false,
        }
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.text.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '"' if self.quotes => f.write_str("\\\"")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
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
        assert_eq!(
            Escaped::quoted(text).to_string(),
            "a\\\\b\\\"c\\nd\0\r\u{7f}é"
        );
        assert_eq!(Escaped::line(text).to_string(), "a\\\\b\"c\\nd\0\r\u{7f}é");
    }

    proptest! {
        #[test]
        fn numbers_round_trip(number in any::<f64>()) {
            let back: f64 = Number(number).to_string().parse().unwrap();
            prop_assert!(back == number || back.is_nan() && number.is_nan());
        }

        #[test]
        fn texts_round_trip(text in "[a\\\\\"\n\rn é]{0,20}") {
            let escaped = Escaped::quoted(&text).to_string();
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
