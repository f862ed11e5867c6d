//! The kinds of values: how a text is read, which values are allowed, and how errors describe them.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::secret::HIDDEN;
use super::{
    NestedCheckouts, Preset, QuerySpans, ResetOnReturn, Secret, Settings, database_url, duration,
};

/// Returns the field of the settings that holds the value.
type Slot<T> = fn(&mut Settings) -> &mut T;

/// A kind of value, with its field and its bounds.
#[derive(Debug)]
pub(super) enum ValueKind {
    Url,
    Preset,
    Name,
    Flag(Slot<bool>),
    QuerySpans,
    NestedCheckouts,
    ResetOnReturn,
    /// A bearer token, never shown.
    Secret(Slot<Option<Secret>>),
    Count(Slot<u32>, RangeInclusive<u32>),
    /// A count that can be absent, written as 0, and the meaning of its absence.
    CountOr(Slot<Option<u32>>, RangeInclusive<u32>, &'static str),
    Number(Slot<f64>, RangeInclusive<f64>),
    /// A duration, and the shortest allowed.
    Time(Slot<Duration>, Duration),
    /// A duration that can be absent, the text for its absence, and the meaning of its absence.
    TimeOr(Slot<Option<Duration>>, &'static str, &'static str),
}

/// The allowed length of a token, in characters: too long to guess, and short enough for a header.
const TOKEN: RangeInclusive<usize> = 16..=256;

/// The shortest duration for settings that cannot be zero.
pub(super) const SHORTEST: Duration = Duration::from_millis(1);

impl ValueKind {
    /// Returns a description of the allowed values, to follow "expected".
    pub(super) fn expected(&self) -> String {
        let duration = |from: &str| {
            format!(
                "a duration from {from} to {} (a bare number is seconds; or 250ms, 30s, 5m, 1h)",
                duration::LONGEST_TEXT
            )
        };
        let count = |range: &RangeInclusive<u32>| {
            format!("a whole number from {} to {}", range.start(), range.end())
        };
        match self {
            Self::Url => database_url::EXPECTED.to_owned(),
            Self::Preset => Preset::EXPECTED.to_owned(),
            Self::QuerySpans => QuerySpans::EXPECTED.to_owned(),
            Self::NestedCheckouts => NestedCheckouts::EXPECTED.to_owned(),
            Self::ResetOnReturn => ResetOnReturn::EXPECTED.to_owned(),
            Self::Name => "1 to 64 characters out of A-Z a-z 0-9 _ . -".to_owned(),
            Self::Secret(_) => format!(
                "{} to {} random characters out of A-Z a-z 0-9 - . _ ~ + / =, for example from `openssl rand -hex 32`",
                TOKEN.start(),
                TOKEN.end()
            ),
            Self::Flag(_) => "true or false (or 1/0, yes/no, on/off)".to_owned(),
            Self::Count(_, range) => count(range),
            Self::CountOr(_, range, meaning) => format!("{}, or 0 for {meaning}", count(range)),
            Self::Number(_, range) => format!("a number from {} to {}", range.start(), range.end()),
            Self::Time(_, from) if from.is_zero() => duration("0"),
            Self::Time(..) => duration("1ms"),
            Self::TimeOr(_, none, meaning) => {
                format!("{}, or {none} for {meaning}", duration("1ms"))
            }
        }
    }

    /// Reads a text into its field. Returns `None` if the text is not of this kind; the bounds are
    /// not checked.
    pub(super) fn set(&self, settings: &mut Settings, text: &str) -> Option<()> {
        match self {
            Self::Url => settings.database_url = text.into(),
            Self::Preset => Preset::find(text)?.apply(settings),
            Self::Name => settings.name = Some(text.to_owned()),
            Self::Secret(slot) => *slot(settings) = Some(Secret::from(text)),
            Self::Flag(slot) => *slot(settings) = flag(text)?,
            Self::QuerySpans => settings.query_spans = QuerySpans::find(text)?,
            Self::NestedCheckouts => settings.nested_checkouts = NestedCheckouts::find(text)?,
            Self::ResetOnReturn => settings.reset_on_return = ResetOnReturn::find(text)?,
            Self::Count(slot, _) => *slot(settings) = digits(text)?.parse().ok()?,
            Self::CountOr(slot, ..) => {
                *slot(settings) = Some(digits(text)?.parse().ok()?).filter(|count| *count != 0);
            }
            Self::Number(slot, _) => *slot(settings) = number(text)?,
            Self::Time(slot, _) => *slot(settings) = duration::parse(text)?,
            Self::TimeOr(slot, none, _) => {
                *slot(settings) = if text == *none {
                    None
                } else {
                    // A zero may have a unit (`0s`).
                    Some(duration::parse(text)?).filter(|time| *none != "0" || !time.is_zero())
                };
            }
        }
        Some(())
    }

    /// Returns the value as it is written, and a secret as `***`; `None` if there is none.
    pub(super) fn text(&self, settings: &mut Settings) -> Option<String> {
        Some(match self {
            Self::Url => settings.database_url.to_string(),
            Self::Preset => return None,
            Self::Name => settings.name.clone()?,
            Self::Secret(slot) => {
                slot(settings).as_ref()?;
                HIDDEN.to_owned()
            }
            Self::Flag(slot) => slot(settings).to_string(),
            Self::QuerySpans => settings.query_spans.as_str().to_owned(),
            Self::NestedCheckouts => settings.nested_checkouts.as_str().to_owned(),
            Self::ResetOnReturn => settings.reset_on_return.as_str().to_owned(),
            Self::Count(slot, _) => slot(settings).to_string(),
            Self::CountOr(slot, ..) => slot(settings).unwrap_or(0).to_string(),
            Self::Number(slot, _) => slot(settings).to_string(),
            Self::Time(slot, _) => duration::text(*slot(settings)),
            Self::TimeOr(slot, none, _) => match slot(settings) {
                Some(time) => duration::text(*time),
                None => (*none).to_owned(),
            },
        })
    }

    /// Returns the value as a text if it is out of bounds.
    pub(super) fn out_of_bounds(&self, settings: &mut Settings) -> Option<String> {
        let time = |time: Option<Duration>, from| {
            let time = time.filter(|time| !(from..=duration::LONGEST).contains(time))?;
            Some(format!("{}s", time.as_secs_f64()))
        };
        match self {
            Self::Url => settings
                .database_url
                .mistake()
                .map(|_| settings.database_url.to_string()),
            Self::Preset
            | Self::Flag(_)
            | Self::QuerySpans
            | Self::NestedCheckouts
            | Self::ResetOnReturn => None,
            Self::Name => settings.name.clone().filter(|name| !is_name(name)),
            Self::Secret(slot) => slot(settings)
                .as_ref()
                .filter(|token| !is_token(token.expose()))
                .map(|_| HIDDEN.to_owned()),
            Self::Count(slot, range) => outside(Some(*slot(settings)), range),
            Self::CountOr(slot, range, _) => outside(*slot(settings), range),
            Self::Number(slot, range) => outside(Some(*slot(settings)), range),
            Self::Time(slot, from) => time(Some(*slot(settings)), *from),
            Self::TimeOr(slot, ..) => time(*slot(settings), SHORTEST),
        }
    }
}

/// Returns the number as a text if it is out of bounds.
fn outside<N: PartialOrd + ToString>(
    number: Option<N>,
    range: &RangeInclusive<N>,
) -> Option<String> {
    let number = number.filter(|number| !range.contains(number))?;
    Some(number.to_string())
}

fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// Returns `text` if it has digits only. Rust's number parsers also accept `+5`, `inf` and `NaN`,
/// which are mistakes in a setting.
fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

fn number(text: &str) -> Option<f64> {
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.parse().ok().filter(|_| plain)
}

fn is_name(text: &str) -> bool {
    consists_of(text, 1..=64, b"_.-")
}

/// Returns whether `text` is a `b64token` of RFC 6750, which needs no quotes in a header.
fn is_token(text: &str) -> bool {
    consists_of(text, TOKEN, b"-._~+/=")
}

fn consists_of(text: &str, length: RangeInclusive<usize>, others: &[u8]) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || others.contains(&byte);
    length.contains(&text.len()) && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_long_and_fit_in_a_header() {
        assert!(is_token("0123456789abcdef") && is_token("a+/-._~b==012345"));
        assert!(is_token(&"a".repeat(256)));
        for text in [
            "",
            "0123456789abcde",
            "0123456789 abcdef",
            "0123456789abcdé",
            &"a".repeat(257),
        ] {
            assert!(!is_token(text), "{text}");
        }
    }

    #[test]
    fn flags_are_read_in_any_case() {
        for text in ["true", "TRUE", "1", "yes", "Yes", "on", "oN"] {
            assert_eq!(flag(text), Some(true), "{text}");
        }
        for text in ["false", "False", "0", "no", "NO", "off"] {
            assert_eq!(flag(text), Some(false), "{text}");
        }
        for text in [
            "", "2", "t", "y", "enabled", "truе", /* a Cyrillic е */
        ] {
            assert_eq!(flag(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_have_digits_only() {
        assert_eq!(number("12.5"), Some(12.5));
        assert_eq!(number("5"), Some(5.0));
        for text in ["", ".", "-1", "+1", "1e3", "inf", "NaN", "1,5", "0x1"] {
            assert_eq!(number(text), None, "{text}");
        }
        assert_eq!(digits("012"), Some("012"));
        for text in ["", "-1", "+1", "1.0", "１"] {
            assert_eq!(digits(text), None, "{text}");
        }
    }

    #[test]
    fn names_are_short_and_plain() {
        assert!(is_name("orders-replica_2.eu"));
        assert!(is_name(&"a".repeat(64)));
        for text in ["", " ", "a b", "a/b", "é", "a\n", &"a".repeat(65)] {
            assert!(!is_name(text), "{text:?}");
        }
    }

    #[test]
    fn absent_durations_differ_from_zero() {
        let recycle = ValueKind::TimeOr(|settings| &mut settings.pool_recycle, "-1", "never");
        let leak = ValueKind::TimeOr(|settings| &mut settings.leak_threshold, "0", "off");
        let mut settings = Settings::new("app.db");
        for text in ["0", "0ms", "0.0"] {
            assert!(leak.set(&mut settings, text).is_some());
            assert_eq!(settings.leak_threshold, None);
            assert!(recycle.set(&mut settings, text).is_some());
            assert!(recycle.out_of_bounds(&mut settings).is_some());
        }
        assert!(recycle.set(&mut settings, "-1").is_some());
        assert_eq!(settings.pool_recycle, None);
        assert!(leak.set(&mut settings, "-1").is_none());
    }

    #[test]
    fn absent_counts_are_zero() {
        let kind = ValueKind::CountOr(|settings| &mut settings.n_plus_one, 1..=50, "off");
        assert_eq!(kind.expected(), "a whole number from 1 to 50, or 0 for off");
        let mut settings = Settings::new("app.db");
        for (text, read) in [("0", None), ("1", Some(1)), ("50", Some(50))] {
            assert!(kind.set(&mut settings, text).is_some(), "{text}");
            assert_eq!(settings.n_plus_one, read);
            assert_eq!(kind.out_of_bounds(&mut settings), None);
        }
        assert!(kind.set(&mut settings, "51").is_some());
        assert_eq!(kind.out_of_bounds(&mut settings).as_deref(), Some("51"));
        for text in ["-1", "", "1.5", "off", "99999999999"] {
            assert!(kind.set(&mut settings, text).is_none(), "{text}");
        }
        // A zero set in code is not an absent count.
        settings.n_plus_one = Some(0);
        assert_eq!(kind.out_of_bounds(&mut settings).as_deref(), Some("0"));
    }
}
