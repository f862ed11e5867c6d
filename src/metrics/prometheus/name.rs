//! Translates metric names as Prometheus does for metrics that arrive by OTLP or from a collector.

use crate::metrics::catalog::{Family, Kind};

/// Returns the name of a metric's series, without a histogram's `_bucket`, `_sum` and `_count`.
pub(super) fn series_name(family: &Family) -> String {
    let unit = if family.unit == "s" { "_seconds" } else { "" };
    let suffix = match family.kind {
        Kind::Counter(_) | Kind::Seconds(_) => "_total",
        _ => "",
    };
    format!("{}{unit}{suffix}", underscored(family.name))
}

/// Replaces the dots in the name of a metric or an attribute, the only characters in these names that
/// Prometheus does not allow.
pub(super) fn underscored(name: &str) -> String {
    name.replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::catalog::FAMILIES;

    #[test]
    fn names_are_those_of_the_collector() {
        for (name, series) in [
            (
                "db.client.connection.idle.max",
                "db_client_connection_idle_max",
            ),
            (
                "db.client.connection.timeouts",
                "db_client_connection_timeouts_total",
            ),
            (
                "db.client.connection.wait_time",
                "db_client_connection_wait_time_seconds",
            ),
            (
                "poolscope.use.held_time",
                "poolscope_use_held_time_seconds_total",
            ),
            ("poolscope.pool.serving", "poolscope_pool_serving"),
        ] {
            let family = FAMILIES.iter().find(|family| family.name == name);
            assert_eq!(series_name(family.unwrap()), series);
        }
    }

    /// A collector translates more units than this page needs.
    #[test]
    fn every_unit_is_seconds_or_none() {
        for family in FAMILIES {
            let is_annotation = family.unit.starts_with('{') && family.unit.ends_with('}');
            assert!(
                family.unit.is_empty() || family.unit == "s" || is_annotation,
                "{family:?}"
            );
            let series = series_name(family);
            let plain = |c: char| matches!(c, 'a'..='z' | '_');
            assert!(series.chars().all(plain), "{series}");
            // Suffixes are appended even if the name already ends with them.
            assert!(!family.name.ends_with("seconds") && !family.name.ends_with("total"));
        }
    }
}
