//! Variables that are no longer read. One that is set is an error that names its replacement.

use super::read::{RawValue, redact};
use super::{Problem, Settings, variables};

/// The two flags that became values of `DB_POOL_QUERY_SPANS`.
const QUERY_SPANS: [&str; 2] = ["DB_POOL_QUERY_SPAN_TEXT", "DB_POOL_QUERY_SPAN_SUMMARY"];

/// Returns a problem for each former variable that is set. `settings` are those read so far, whose
/// secrets no problem shows.
pub(super) fn find(
    prefix: &str,
    settings: &Settings,
    mut lookup: impl FnMut(&str) -> Option<RawValue>,
) -> Vec<Problem> {
    let mut former = |bare: &str, instead: String| {
        let name = format!("{prefix}{bare}");
        let value = match lookup(&name)? {
            RawValue::Text(text) if text.trim().is_empty() => return None,
            RawValue::Text(text) => Some(redact(settings, text.trim())),
            RawValue::NotUtf8 => None,
        };
        Some(Problem::former(name, value.as_deref(), instead))
    };
    let fields = variables::WITHOUT_VARIABLE.iter().filter_map(|setting| {
        let field = setting.field();
        // The thresholds share one method.
        let method = field.split('.').next().unwrap_or(field);
        let instead = format!("set {field} in the config file or PoolBuilder::{method}");
        former(setting.name(), instead)
    });
    let mut problems: Vec<_> = fields.collect();
    problems.extend(QUERY_SPANS.iter().filter_map(|name| {
        let instead = format!("set {prefix}DB_POOL_QUERY_SPANS to off, summary or text");
        former(name, instead)
    }));
    problems
}

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    variables::WITHOUT_VARIABLE
        .iter()
        .map(super::Variable::name)
        .chain(QUERY_SPANS)
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
    fn a_former_variable_is_an_error_that_names_its_replacement() {
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
        assert_eq!(names().count(), 20);
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
