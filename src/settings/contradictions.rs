//! Finds values that are valid alone but not in combination.

use super::read::Source;
use super::{Problem, Settings};

/// Returns all contradictions, except those that depend on a setting already known to be wrong.
pub(super) fn find(settings: &Settings, source: Source<'_>, wrong: &[&str]) -> Vec<Problem> {
    let depends = |fields: &[&str]| fields.iter().any(|field| wrong.contains(field));
    let size = ["preset", "pool_size", "max_overflow"];

    let mut problems = Vec::new();
    if !depends(&size) {
        problems.extend(too_many(settings, source));
        if !depends(&["database_url"]) {
            problems.extend(several_in_memory(settings, source));
        }
    }
    problems
}

fn too_many(settings: &Settings, source: Source<'_>) -> Option<Problem> {
    let (size, overflow) = (settings.pool_size, settings.max_overflow);
    let sum = u64::from(size) + u64::from(overflow);
    (sum > u64::from(Settings::MAX_CONNECTIONS)).then(|| {
        let names = format!(
            "{} + {}",
            source.name_of_field("pool_size"),
            source.name_of_field("max_overflow")
        );
        let expected = format!("at most {} together", Settings::MAX_CONNECTIONS);
        Problem::wrong(names, &format!("{size} + {overflow}"), expected).with_hint(Some(
            "lower one of the two; servers rarely allow more than a few hundred connections",
        ))
    })
}

/// Rejects several connections to a private in-memory database, because each would open its own.
fn several_in_memory(settings: &Settings, source: Source<'_>) -> Option<Problem> {
    let several = settings.max_connections() > 1;
    (several && settings.database_url.is_private_in_memory()).then(|| {
        let name = |field| source.name_of_field(field);
        let hint = format!(
            "set {}=1 and {}=0 (and {}=-1, because replacing the connection deletes the data), \
             or use a file, or share the database: file:NAME?mode=memory&cache=shared",
            name("pool_size"),
            name("max_overflow"),
            name("pool_recycle"),
        );
        let expected = format!(
            "one connection instead of {}, because each would open a SQLite in-memory database of its own",
            settings.max_connections()
        );
        let url = settings.database_url.to_string();
        Problem::wrong(name("database_url"), &url, expected).with_hint(Some(hint))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sized(url: &str, size: u32, overflow: u32) -> Settings {
        let mut settings = Settings::new(url);
        (settings.pool_size, settings.max_overflow) = (size, overflow);
        settings
    }

    fn error(settings: &Settings) -> String {
        settings.validate().unwrap_err().to_string()
    }

    #[test]
    fn size_and_overflow_have_a_limit_together() {
        assert!(sized("a.db", 10_000, 0).validate().is_ok());
        assert_eq!(
            error(&sized("a.db", 9_000, 1_001)),
            "a setting is wrong: pool_size + max_overflow=\"9000 + 1001\": \
             expected at most 10000 together; \
             lower one of the two; servers rarely allow more than a few hundred connections"
        );
    }

    #[test]
    fn a_sum_of_wrong_numbers_is_not_reported_twice() {
        let error = sized("a.db", u32::MAX, u32::MAX).validate().unwrap_err();
        let names: Vec<_> = error.problems().map(Problem::variable).collect();
        assert_eq!(names, ["pool_size", "max_overflow"]);
    }

    #[test]
    fn an_in_memory_database_has_one_connection() {
        assert!(sized(":memory:", 1, 0).validate().is_ok());
        for settings in [sized(":memory:", 1, 1), sized("sqlite::memory:", 2, 0)] {
            let error = error(&settings);
            assert!(error.contains("set pool_size=1 and max_overflow=0"));
            assert!(error.contains("mode=memory&cache=shared"));
        }
    }

    #[test]
    fn contradictions_use_the_names_of_their_source() {
        let error = Settings::from_lookup("TEST_", |name| {
            (name == "TEST_DATABASE_URL").then(|| ":memory:".into())
        })
        .unwrap_err()
        .to_string();
        assert!(
            error.contains("TEST_DATABASE_URL=\":memory:\": expected one connection instead of 30")
        );
        assert!(error.contains("set TEST_DB_POOL_SIZE=1 and TEST_DB_MAX_OVERFLOW=0"));
    }

    #[test]
    fn no_contradiction_is_reported_for_a_value_that_was_not_read() {
        for wrong in ["DB_POOL_SIZE", "DB_POOL_PRESET"] {
            let error = Settings::from_lookup("", |name| match name {
                "DATABASE_URL" => Some(":memory:".into()),
                _ => (name == wrong).then(|| "?".into()),
            });
            assert_eq!(error.unwrap_err().problems().count(), 1);
        }
    }

    #[test]
    fn wrong_values_set_in_code_are_reported() {
        use std::time::Duration;

        let mut settings = Settings::new("bogus");
        settings.name = Some(String::new());
        settings.pool_timeout = Duration::MAX;
        settings.pool_recycle = Some(Duration::ZERO);
        settings.thresholds.utilization_pct = f64::NAN;
        settings.thresholds.timeouts_per_minute = f64::INFINITY;
        settings.thresholds.overflow_pct = -0.1;
        let error = settings.validate().unwrap_err();
        let names: Vec<_> = error.problems().map(Problem::variable).collect();
        assert_eq!(
            names,
            [
                "database_url",
                "name",
                "pool_timeout",
                "pool_recycle",
                "thresholds.utilization_pct",
                "thresholds.overflow_pct",
                "thresholds.timeouts_per_minute",
            ]
        );
        assert!(error.to_string().contains("pool_recycle=\"0s\""));
        assert!(error.to_string().contains("set -1 for never"));
    }
}
