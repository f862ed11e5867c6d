//! Reads durations in their written forms: `30`, `0.5`, `250ms`, `30s`, `5m`, `1h`.

use std::time::Duration;

/// The longest duration that a setting accepts.
///
/// It is long enough for every use, and short enough that adding it to an instant never overflows.
pub(super) const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

pub(super) const LONGEST_TEXT: &str = "7 days";

/// Reads a duration, exact to the nanosecond and not limited to [`LONGEST`]. A bare number is in
/// seconds. A fraction is allowed. Returns `None` for any other text.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);

    // The parser of `f64` alone would also accept "inf", "nan" and "1e9".
    if !number.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: f64 = number.parse().ok()?;
    let seconds = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "s" => number,
        "ms" => number / 1000.0,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

/// Writes a duration so that [`parse`] reads it: `30s`, `250ms`.
pub(super) fn text(time: Duration) -> String {
    match time.subsec_nanos() {
        0 => format!("{}s", time.as_secs()),
        _ => format!("{}ms", time.as_secs_f64() * 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_number_is_seconds_and_units_are_read() {
        let cases = [
            ("30", 30_000),
            ("0", 0),
            ("0.5", 500),
            (".5", 500),
            ("2.", 2_000),
            ("250ms", 250),
            ("1.5s", 1_500),
            (" 30 s ", 30_000),
            ("5m", 300_000),
            ("1H", 3_600_000),
            ("33ms", 33),
            ("007", 7_000),
        ];
        for (text, milliseconds) in cases {
            assert_eq!(
                parse(text),
                Some(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
    }

    #[test]
    fn fractions_are_exact() {
        for ms in 0..100_000 {
            let expected = Duration::from_millis(ms);
            assert_eq!(parse(&format!("{ms}ms")), Some(expected));
            assert_eq!(
                parse(&format!("{}.{:03}", ms / 1000, ms % 1000)),
                Some(expected)
            );
        }
    }

    #[test]
    fn other_texts_are_rejected() {
        let cases = [
            "",
            " ",
            ".",
            "..",
            "1.2.3",
            "s",
            "ms",
            "ten",
            "-1",
            "+1",
            "1e3",
            "inf",
            "NaN",
            "nan s",
            "30 seconds",
            "1d",
            "5min",
            "30s30",
            "1,5",
            "½",
            "3０",
            "0x10",
            "1_000",
        ];
        for text in cases {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_very_long_number_does_not_overflow() {
        assert_eq!(
            parse(&"9".repeat(10)),
            Some(Duration::from_secs(9_999_999_999))
        );
        for unit in ["ms", "", "m", "h"] {
            assert_eq!(parse(&format!("{}{unit}", "9".repeat(400))), None);
        }
    }

    #[test]
    fn the_text_of_the_limit_is_its_value() {
        assert_eq!(LONGEST_TEXT, format!("{} days", LONGEST.as_secs() / 86_400));
    }
}
