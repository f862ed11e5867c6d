//! Reads settings from environment variables, or from another source by the variables' names.

use std::ffi::OsString;

use super::read::{RawValue, Source, read};
use super::{Settings, SettingsError};

impl Settings {
    /// Reads `DATABASE_URL`, `DB_POOL_PRESET` and the `DB_*` variables from the environment.
    ///
    /// Whitespace around a value is ignored, and an empty variable counts as not set. The settings
    /// that have no variable keep their defaults: set them on the result, or with
    /// [`PoolBuilder`](crate::PoolBuilder).
    ///
    /// # Errors
    ///
    /// Returns one error with all problems: a missing URL, invalid values, contradictions, and
    /// variables that are no longer read.
    ///
    /// ```no_run
    /// use poolscope::Settings;
    ///
    /// let settings = Settings::from_env()?;
    /// println!("up to {} connections", settings.max_connections());
    /// # Ok::<(), poolscope::settings::SettingsError>(())
    /// ```
    pub fn from_env() -> Result<Self, SettingsError> {
        Self::from_env_prefixed("")
    }

    /// Reads the settings of another database of the app, from variables with a prefix.
    ///
    /// With `REPLICA_` these are `REPLICA_DATABASE_URL`, `REPLICA_DB_POOL_SIZE` and so on. A
    /// variable that is not set has its default, never the value of the variable without the prefix.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`from_env`](Self::from_env). The names in them have the prefix.
    ///
    /// ```no_run
    /// use poolscope::Settings;
    ///
    /// let primary = Settings::from_env()?;
    /// let replica = Settings::from_env_prefixed("REPLICA_")?;
    /// # Ok::<(), poolscope::settings::SettingsError>(())
    /// ```
    pub fn from_env_prefixed(prefix: &str) -> Result<Self, SettingsError> {
        Self::from_lookup(prefix, |name| std::env::var_os(name))
    }

    /// Reads the variables through `lookup`: from a test, a vault or a map.
    ///
    /// Calls `lookup` once for each name, prefix included. Among them are names of former variables,
    /// because one that is still set is an error.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`from_env`](Self::from_env).
    ///
    /// ```
    /// use poolscope::Settings;
    ///
    /// let settings = Settings::from_lookup("REPLICA_", |name| match name {
    ///     "REPLICA_DATABASE_URL" => Some("sqlite://replica.db".into()),
    ///     "REPLICA_DB_POOL_SIZE" => Some("4".into()),
    ///     _ => None,
    /// })?;
    /// assert_eq!(settings.pool_size, 4);
    /// # Ok::<(), poolscope::settings::SettingsError>(())
    /// ```
    pub fn from_lookup(
        prefix: &str,
        lookup: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, SettingsError> {
        let source = Source::Environment { prefix };
        read(source, Vec::new(), |name| {
            let value = lookup(name)?;
            Some(
                value
                    .into_string()
                    .map_or(RawValue::NotUtf8, RawValue::Text),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::settings::{QuerySpans, ResetOnReturn};

    fn read(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        read_prefixed("", variables)
    }

    fn read_prefixed(prefix: &str, variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        Settings::from_lookup(prefix, |name| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| OsString::from(value))
        })
    }

    fn errors(variables: &[(&str, &str)]) -> Vec<String> {
        let mut with_url = vec![("DATABASE_URL", "postgres://app:hunter2@db/shop")];
        with_url.extend(variables);
        match read(&with_url) {
            Ok(_) => Vec::new(),
            Err(error) => error.problems().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn only_the_url_is_required() {
        let settings = read(&[("DATABASE_URL", "sqlite://app.db")]).unwrap();
        assert_eq!(settings, Settings::new("sqlite://app.db"));
        assert!(settings.validate().is_ok());
    }

    #[test]
    fn a_missing_url_is_reported_with_examples() {
        for variables in [&[][..], &[("DATABASE_URL", "")], &[("DATABASE_URL", " \t")]] {
            let error = read(variables).unwrap_err().to_string();
            assert!(error.contains("DATABASE_URL is not set: expected a URL"));
            assert!(error.contains("DATABASE_URL=postgres://user:password@localhost"));
        }
    }

    #[test]
    fn every_variable_is_read() {
        let settings = read(&[
            ("DATABASE_URL", " mysql://app:x@db/shop "),
            ("DB_POOL_NAME", "orders"),
            ("DB_POOL_SIZE", " 3 "),
            ("DB_MAX_OVERFLOW", "0"),
            ("DB_POOL_TIMEOUT", "0.5"),
            ("DB_POOL_RECYCLE", "-1"),
            ("DB_POOL_PRE_PING", "Off"),
            ("DB_POOL_CONNECT_TIMEOUT", "5s"),
            ("DB_ECHO", "YES"),
            ("DB_ECHO_BINDS", "on"),
            ("DB_POOL_LEAK_THRESHOLD", "0"),
            ("DB_POOL_SLOW_WAIT", "0"),
            ("DB_POOL_QUERY_TEXT", "1"),
            ("DB_POOL_APPLICATION_NAME", "off"),
            ("DB_POOL_QUERY_SPANS", "off"),
            ("DB_POOL_N_PLUS_ONE", "0"),
            ("DB_POOL_TARGET_WAIT", "20ms"),
            ("DB_POOL_REPLICAS", "3"),
            ("DB_POOL_MONITOR_TOKEN", " mW9xJ4cQ7tRb2VzK "),
            ("DB_POOL_RESET_ON_RETURN", "Always"),
            ("DB_POOL_KEEPALIVE", "60"),
            ("DB_POOL_WARM_UP", "5m"),
            ("DB_POOL_MAX_PENDING", "100"),
            ("DB_POOL_QUEUE_TARGET", "2.5ms"),
        ])
        .unwrap();
        assert_eq!(settings.database_url.expose(), "mysql://app:x@db/shop");
        assert_eq!(settings.name.as_deref(), Some("orders"));
        assert_eq!((settings.pool_size, settings.max_overflow), (3, 0));
        assert_eq!(settings.pool_timeout, Duration::from_millis(500));
        assert_eq!(settings.pool_recycle, None);
        assert!(!settings.pool_pre_ping && settings.echo && settings.query_text);
        assert!(settings.echo_binds && !settings.application_name);
        assert_eq!(settings.query_spans, QuerySpans::Off);
        assert_eq!(settings.reset_on_return, ResetOnReturn::Always);
        assert_eq!(settings.n_plus_one, None);
        assert_eq!(settings.target_wait, Duration::from_millis(20));
        assert_eq!(settings.replicas, Some(3));
        assert_eq!(settings.monitor_token, Some("mW9xJ4cQ7tRb2VzK".into()));
        assert_eq!(settings.connect_timeout, Duration::from_secs(5));
        assert_eq!((settings.leak_threshold, settings.slow_wait), (None, None));
        assert_eq!(settings.keepalive, Some(Duration::from_secs(60)));
        assert_eq!(settings.warm_up, Some(Duration::from_secs(300)));
        assert_eq!(settings.max_pending, Some(100));
        assert_eq!(settings.queue_target, Some(Duration::from_micros(2500)));
    }

    #[test]
    fn an_empty_variable_counts_as_not_set() {
        let mut variables = vec![("DATABASE_URL", "a.db")];
        variables.extend(Settings::variables()[1..].iter().map(|v| (v.name(), " ")));
        assert_eq!(read(&variables).unwrap(), Settings::new("a.db"));
    }

    #[test]
    fn a_variable_wins_over_the_preset() {
        let settings = read(&[
            ("DATABASE_URL", "a.db"),
            ("DB_POOL_PRESET", "Large"),
            ("DB_POOL_SIZE", "7"),
        ])
        .unwrap();
        assert_eq!((settings.pool_size, settings.max_overflow), (7, 60));
        assert_eq!(settings.pool_timeout, Duration::from_secs(20));
    }

    #[test]
    fn every_invalid_value_is_reported_with_the_allowed_values() {
        let duration =
            "a duration from 1ms to 7 days (a bare number is seconds; or 250ms, 30s, 5m, 1h)";
        let count = "a whole number from 1 to 10000";
        for (name, value, expected) in [
            ("DB_POOL_SIZE", "ten", count),
            ("DB_POOL_SIZE", "10.5", count),
            ("DB_POOL_SIZE", "10001", count),
            ("DB_POOL_SIZE", "99999999999999999999", count),
            ("DB_POOL_TIMEOUT", "soon", duration),
            ("DB_POOL_TIMEOUT", "0.0001", duration),
            ("DB_POOL_TIMEOUT", "8000h", duration),
            ("DB_POOL_TIMEOUT", "NaN", duration),
            ("DB_POOL_CONNECT_TIMEOUT", "0", duration),
            ("DB_POOL_TARGET_WAIT", "inf", duration),
            (
                "DB_POOL_RECYCLE",
                "-2",
                &format!("{duration}, or -1 for never"),
            ),
            (
                "DB_POOL_LEAK_THRESHOLD",
                "-1",
                &format!("{duration}, or 0 for off"),
            ),
            (
                "DB_POOL_PRE_PING",
                "maybe",
                "true or false (or 1/0, yes/no, on/off)",
            ),
            (
                "DB_POOL_PRESET",
                "huge",
                "development, small, medium or large",
            ),
            (
                "DB_POOL_NAME",
                "a b",
                "1 to 64 characters out of A-Z a-z 0-9 _ . -",
            ),
            ("DB_POOL_QUERY_SPANS", "all", "off, summary or text"),
            (
                "DB_POOL_RESET_ON_RETURN",
                "rollback",
                "never, when_dirty or always",
            ),
        ] {
            assert_eq!(
                errors(&[(name, value)]),
                [format!("{name}={value:?}: expected {expected}")]
            );
        }
    }

    #[test]
    fn sqlalchemys_special_values_are_explained() {
        for (name, value, hint) in [
            ("DB_POOL_SIZE", "0", "set how many connections stay open"),
            (
                "DB_MAX_OVERFLOW",
                "-1",
                "set how many connections the server can spare",
            ),
            ("DB_POOL_TIMEOUT", "0", "for a checkout that never waits"),
            ("DB_POOL_TIMEOUT", "-1", "set a long timeout"),
            ("DB_POOL_RECYCLE", "0", "set -1 for never"),
            ("DB_POOL_SIZE", "\"10\"", "the quotes are part of the value"),
            ("DB_ECHO", "'true'", "the quotes are part of the value"),
        ] {
            let [error] = errors(&[(name, value)]).try_into().unwrap();
            assert!(error.contains(hint), "{error}");
        }
    }

    #[test]
    fn all_mistakes_are_in_one_error() {
        let all: Vec<_> = Settings::variables()
            .iter()
            .map(|variable| (variable.name(), "?"))
            .collect();
        let error = read(&all).unwrap_err();
        let named: Vec<_> = error
            .problems()
            .map(super::super::Problem::variable)
            .collect();
        let expected: Vec<_> = all.iter().map(|(name, _)| *name).collect();
        assert_eq!(named, expected);
        assert_eq!(error.to_string().lines().count(), all.len() + 1);
    }

    #[test]
    fn a_prefix_applies_to_every_name_without_fallback() {
        let error = read_prefixed(
            "REPLICA_",
            &[
                ("DATABASE_URL", "postgres://app:hunter2@db/shop"),
                ("DB_POOL_SIZE", "3"),
                ("REPLICA_DB_POOL_SIZE", "ten"),
            ],
        )
        .unwrap_err()
        .to_string();
        assert!(error.contains("REPLICA_DATABASE_URL is not set"), "{error}");
        assert!(error.contains("REPLICA_DB_POOL_SIZE=\"ten\": expected a whole"));

        let settings = read_prefixed(
            "REPLICA_",
            &[("REPLICA_DATABASE_URL", "r.db"), ("DB_POOL_SIZE", "3")],
        );
        assert_eq!(settings.unwrap(), Settings::new("r.db"));
    }

    #[test]
    fn a_prefix_without_its_underscore_is_explained() {
        let error = read_prefixed("REPLICA", &[("REPLICA_DATABASE_URL", "r.db")]);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("REPLICADATABASE_URL is not set"), "{error}");
        assert!(
            error.ends_with(r#"pass "REPLICA_" to read REPLICA_DATABASE_URL"#),
            "{error}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_value_that_is_not_utf8_is_named() {
        use std::os::unix::ffi::OsStringExt;

        let error = Settings::from_lookup("", |name| match name {
            "DATABASE_URL" | "DB_POOL_SIZE" => Some(OsString::from_vec(vec![b'1', 0xFF])),
            _ => None,
        })
        .unwrap_err()
        .to_string();
        assert!(error.contains("DATABASE_URL is not UTF-8: expected a URL"));
        assert!(error.contains("DB_POOL_SIZE is not UTF-8: expected a whole number"));
    }

    #[test]
    fn the_process_environment_is_read() {
        // No variable has this prefix, so the result is known without changing the environment.
        let error = Settings::from_env_prefixed("POOLSCOPE_TEST_NOBODY_SETS_THIS_").unwrap_err();
        assert_eq!(
            error.problems().next().unwrap().variable(),
            "POOLSCOPE_TEST_NOBODY_SETS_THIS_DATABASE_URL"
        );
        assert!(Settings::from_env_prefixed("a=b\0").is_err());
    }

    #[test]
    fn a_token_is_never_shown_in_any_variable() {
        const TOKEN: &str = "mW9xJ4cQ7tRb2VzK";
        let long = format!("{}{TOKEN}", "x".repeat(75));
        let text = errors(&[
            ("DB_POOL_MONITOR_TOKEN", TOKEN),
            ("DB_POOL_NAME", "the mW9xJ4cQ7tRb2VzK"),
            ("DB_POOL_SIZE", TOKEN),
            ("DB_ECHO", &long),
        ]);
        assert_eq!(text.len(), 3);
        assert!(!text.join("").contains(&TOKEN[..4]), "{text:?}");

        for bad in [
            "short",
            "fifteen-letters",
            "with a space inside it",
            "\"mW9xJ4cQ7tRb2VzK\"",
        ] {
            let [text] = errors(&[("DB_POOL_MONITOR_TOKEN", bad)])
                .try_into()
                .unwrap();
            assert!(
                text.starts_with("DB_POOL_MONITOR_TOKEN=\"***\": expected 16 to 256 random"),
                "{text}"
            );
            assert!(!text.contains(bad), "{text}");
        }
    }

    #[test]
    fn a_value_never_shows_the_password_of_the_url() {
        let text = errors(&[("DB_POOL_NAME", "the hunter2"), ("DB_ECHO", "hunter2")]).join("\n");
        assert_eq!(text.lines().count(), 2);
        assert!(!text.contains("hunter2"), "{text}");
    }
}
