//! Translates metric names as Prometheus does for metrics that arrive by OTLP or from a collector.

use crate::metrics::family::{Family, Kind};

/// The names of a metric on the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// Name of the family in OpenMetrics.
    pub(super) family: String,
    /// Name of its series, without a histogram's `_bucket`, `_sum` and `_count`.
    pub(super) series: String,
    /// Unit that the name ends with, if any.
    pub(super) unit: Option<&'static str>,
}

impl Name {
    pub(super) fn of(family: &Family) -> Self {
        let unit = (family.unit == "s").then_some("seconds");
        let mut name = underscored(family.name);
        if let Some(unit) = unit {
            name.push('_');
            name.push_str(unit);
        }
        let suffix = match family.kind {
            Kind::Counter(_) => "_total",
            _ => "",
        };
        Self {
            series: format!("{name}{suffix}"),
            family: name,
            unit,
        }
    }
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
    fn names_match_the_collectors_translation() {
        for (name, unit, kind, family, series) in [
            (
                "db.client.connection.idle.max",
                "{connection}",
                Kind::UpDown(|_, _| {}),
                "db_client_connection_idle_max",
                "db_client_connection_idle_max",
            ),
            (
                "db.client.connection.timeouts",
                "{timeout}",
                Kind::Counter(|_, _| {}),
                "db_client_connection_timeouts",
                "db_client_connection_timeouts_total",
            ),
            (
                "db.client.connection.wait_time",
                "s",
                Kind::Histogram(&[], |_, _| {}),
                "db_client_connection_wait_time_seconds",
                "db_client_connection_wait_time_seconds",
            ),
            (
                "poolscope.use.held_time",
                "s",
                Kind::Counter(|_, _| {}),
                "poolscope_use_held_time_seconds",
                "poolscope_use_held_time_seconds_total",
            ),
            (
                "poolscope.pool.serving",
                "",
                Kind::Gauge(|_, _| {}),
                "poolscope_pool_serving",
                "poolscope_pool_serving",
            ),
        ] {
            let translated = Name::of(&Family {
                name,
                unit,
                description: "",
                kind,
            });
            assert_eq!((&*translated.family, &*translated.series), (family, series));
            assert_eq!(translated.unit.is_some(), unit == "s", "{name}");
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
            let Name { series, .. } = Name::of(&family);
            let plain = |c: char| matches!(c, 'a'..='z' | '_');
            assert!(series.chars().all(plain), "{series}");
            // Suffixes are appended even if the name already ends with them.
            assert!(!family.name.ends_with("seconds") && !family.name.ends_with("total"));
        }
    }
}
