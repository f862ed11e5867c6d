//! Variables that are no longer read. One that is set is an error that names its replacement.

use super::Problem;
use super::read::{Found, redact};
use super::value::flag;
use super::{Settings, variables};

const QUERY_SPAN_TEXT: &str = "DB_POOL_QUERY_SPAN_TEXT";
const QUERY_SPAN_SUMMARY: &str = "DB_POOL_QUERY_SPAN_SUMMARY";

/// Returns a problem for each former variable that is set. `settings` are those read so far, whose
/// secrets no problem shows.
pub(super) fn find(
    prefix: &str,
    settings: &Settings,
    mut lookup: impl FnMut(&str) -> Option<Found>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for name in names() {
        let prefixed = format!("{prefix}{name}");
        let value = match lookup(&prefixed) {
            Some(Found::Text(text)) if !text.trim().is_empty() => Some(text.trim().to_owned()),
            Some(Found::NotUtf8) => None,
            _ => continue,
        };
        let new_name = format!("{prefix}DB_POOL_QUERY_SPANS");
        let instead = query_spans(name, value.as_deref().unwrap_or_default(), &new_name)
            .unwrap_or_else(|| elsewhere(name));
        let shown = value.map(|value| redact(settings, &value));
        problems.push(Problem::former(prefixed, shown.as_deref(), instead));
    }
    problems
}

/// Returns whether this was the name of a variable.
pub(super) fn is(name: &str) -> bool {
    names().any(|former| former == name)
}

/// Returns what to set instead of one of the two settings that became values of `query_spans`, under
/// the name of its variable or its field.
pub(super) fn query_spans(name: &str, value: &str, new_name: &str) -> Option<String> {
    let is = |former: &str| {
        name.eq_ignore_ascii_case(former)
            || former
                .strip_prefix("DB_POOL_")
                .is_some_and(|field| name.eq_ignore_ascii_case(field))
    };
    let words = if is(QUERY_SPAN_TEXT) {
        match flag(value) {
            Some(true) => "=text, which is the default",
            Some(false) => "=summary",
            None => " to off, summary or text",
        }
    } else if is(QUERY_SPAN_SUMMARY) {
        match flag(value) {
            Some(true) => "=summary, or =text to record the statement, too",
            Some(false) => "=off, because each query span now has its summary",
            None => " to off, summary or text",
        }
    } else {
        return None;
    };
    Some(format!("set {new_name}{words}"))
}

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    variables::without_variable()
        .iter()
        .map(super::Variable::name)
        .chain([QUERY_SPAN_TEXT, QUERY_SPAN_SUMMARY])
}

/// Says where the setting of a former variable is now.
fn elsewhere(name: &'static str) -> String {
    let field = variables::without_variable()
        .iter()
        .find(|setting| setting.name() == name)
        .map_or(name, super::Variable::field);
    // The thresholds share one method.
    let method = field.split('.').next().unwrap_or(field);
    format!("set {field} in the config file or PoolBuilder::{method}")
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn errors(prefix: &str, variables: &[(&str, &str)]) -> Vec<String> {
        let read = Settings::from_lookup(prefix, |name| {
            let bare = name.strip_prefix(prefix)?;
            if bare == "DATABASE_URL" {
                return Some("postgres://app:hunter2@db/shop".into());
            }
            let (_, value) = variables.iter().find(|(known, _)| *known == bare)?;
            Some(OsString::from(value))
        });
        match read {
            Ok(_) => Vec::new(),
            Err(error) => error.problems().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_former_variable_says_where_its_setting_is() {
        assert_eq!(
            errors(
                "",
                &[
                    ("DB_POOL_PRE_PING_BYPASS", " 1s "),
                    ("DB_POOL_DETECT_RAW_TRANSACTIONS", "false"),
                    ("DB_POOL_WARN_AVERAGE_WAIT", "60"),
                ]
            ),
            [
                "DB_POOL_PRE_PING_BYPASS=\"1s\" is not an environment variable: \
                 set pre_ping_bypass in the config file or PoolBuilder::pre_ping_bypass",
                "DB_POOL_DETECT_RAW_TRANSACTIONS=\"false\" is not an environment variable: \
                 set raw_transactions in the config file or PoolBuilder::raw_transactions",
                "DB_POOL_WARN_AVERAGE_WAIT=\"60\" is not an environment variable: \
                 set thresholds.average_wait in the config file or PoolBuilder::thresholds",
            ]
        );
    }

    #[test]
    fn every_former_variable_is_an_error_and_an_empty_one_is_not() {
        for name in names() {
            let [error] = errors("REPLICA_", &[(name, "1")]).try_into().unwrap();
            let expected = format!("REPLICA_{name}=\"1\" is not an environment variable: set ");
            assert!(error.starts_with(&expected), "{error}");
            assert_eq!(errors("", &[(name, " ")]), [""; 0]);
        }
        assert_eq!(names().count(), 19);
    }

    #[test]
    fn the_former_flags_of_query_spans_say_the_new_word() {
        for (name, value, instead) in [
            (QUERY_SPAN_TEXT, "true", "=text, which is the default"),
            (QUERY_SPAN_TEXT, "Off", "=summary"),
            (QUERY_SPAN_TEXT, "?", " to off, summary or text"),
            (
                QUERY_SPAN_SUMMARY,
                "1",
                "=summary, or =text to record the statement, too",
            ),
            (
                QUERY_SPAN_SUMMARY,
                "no",
                "=off, because each query span now has its summary",
            ),
        ] {
            let expected = format!("variable: set X_DB_POOL_QUERY_SPANS{instead}");
            let [error] = errors("X_", &[(name, value)]).try_into().unwrap();
            assert!(error.ends_with(&expected), "{error}");
        }
        for (value, word) in [
            ("true", "text, the default"),
            ("YES", "text"),
            ("false", "off"),
            ("0", "off"),
        ] {
            let [error] = errors("", &[("DB_POOL_QUERY_SPANS", value)])
                .try_into()
                .unwrap();
            assert!(
                error.starts_with(&format!(
                    "DB_POOL_QUERY_SPANS=\"{value}\": expected off, summary or text; the former "
                )) && error.contains(&format!(" is {word}")),
                "{error}"
            );
        }
        assert_eq!(errors("", &[("DB_POOL_QUERY_SPANS", "Off")]), [""; 0]);
    }

    #[test]
    fn the_value_of_a_former_variable_shows_no_secret() {
        let token = "mW9xJ4cQ7tRb2VzK";
        let text = errors(
            "",
            &[
                ("DB_POOL_MONITOR_TOKEN", token),
                ("DB_POOL_QUEUE_INTERVAL", "the hunter2"),
                ("DB_POOL_MAX_CONNECTING", token),
            ],
        )
        .join("\n");
        assert_eq!(text.lines().count(), 2);
        assert!(!text.contains("hunter2") && !text.contains(token), "{text}");
    }
}
