use std::collections::BTreeMap;
use std::fmt;

use opentelemetry::KeyValue;
use opentelemetry_semantic_conventions::attribute::DB_CLIENT_CONNECTION_POOL_NAME;

use super::Format;
use super::name::{Name, underscored};
use super::text::{Number, in_line, in_quotes};
use crate::metrics::catalog::{CALLER, FAMILIES};
use crate::metrics::family::{Family, Kind};
use crate::record::recorder::Recorder;
use crate::record::usage::HIDDEN;

/// The metrics of one pool in one format, read while the page is written.
pub(crate) struct Page<'a> {
    pub(crate) recorder: &'a Recorder,
    pub(crate) format: Format,
    /// Whether series have the source line of the call site.
    pub(crate) source_lines: bool,
}

impl fmt::Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for family in &FAMILIES {
            match family.kind {
                Kind::UpDown(read) | Kind::Gauge(read) | Kind::Counter(read) => {
                    // Collected first, because the values may be read under a lock that checkouts take.
                    let mut series = Vec::new();
                    read(self.recorder, &mut |value, attributes| {
                        series.push((self.labels(attributes), value));
                    });
                    if !self.source_lines {
                        series = added_up(series);
                    }
                    self.family(f, family, series, |f, name, labels, value| {
                        writeln!(f, "{name}{{{labels}}} {}", Number(*value))
                    })?;
                }
                Kind::Histogram(_, read) => {
                    let mut series = Vec::new();
                    read(self.recorder, &mut |buckets, attributes| {
                        series.push((self.labels(attributes), buckets.clone()));
                    });
                    self.family(f, family, series, |f, name, labels, buckets| {
                        let mut count = 0;
                        for (bound, within) in buckets.iter() {
                            count += within;
                            let bound = self.bound(bound);
                            writeln!(f, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}")?;
                        }
                        writeln!(f, "{name}_sum{{{labels}}} {}", Number(buckets.sum()))?;
                        writeln!(f, "{name}_count{{{labels}}} {count}")
                    })?;
                }
            }
        }
        match self.format {
            Format::Text => Ok(()),
            Format::OpenMetrics => writeln!(f, "# EOF"),
        }
    }
}

impl Page<'_> {
    /// Writes a family, sorted by label so that the order is the same on each page. Writes nothing if it
    /// has no series.
    fn family<T>(
        &self,
        f: &mut fmt::Formatter<'_>,
        family: &Family,
        mut series: Vec<(String, T)>,
        write: impl Fn(&mut fmt::Formatter<'_>, &str, &str, &T) -> fmt::Result,
    ) -> fmt::Result {
        if series.is_empty() {
            return Ok(());
        }
        series.sort_by(|(one, _), (other, _)| one.cmp(other));
        let name = Name::of(family);
        self.head(f, family, &name)?;
        for (labels, value) in &series {
            write(f, &name.series, labels, value)?;
        }
        Ok(())
    }

    fn head(&self, f: &mut fmt::Formatter<'_>, family: &Family, name: &Name) -> fmt::Result {
        let kind = match family.kind {
            Kind::UpDown(_) | Kind::Gauge(_) => "gauge",
            Kind::Counter(_) => "counter",
            Kind::Histogram(..) => "histogram",
        };
        match self.format {
            Format::Text => {
                let (name, help) = (&name.series, in_line(family.description));
                // promtool reserves the suffix `_count` for histograms, OpenTelemetry does not. So a gauge
                // with such a name has no type here.
                let kind = if kind == "gauge" && name.ends_with("_count") {
                    "untyped"
                } else {
                    kind
                };
                writeln!(f, "# HELP {name} {help}\n# TYPE {name} {kind}")
            }
            Format::OpenMetrics => {
                let help = in_quotes(family.description);
                let Name { family, unit, .. } = name;
                writeln!(f, "# TYPE {family} {kind}")?;
                if let Some(unit) = unit {
                    writeln!(f, "# UNIT {family} {unit}")?;
                }
                writeln!(f, "# HELP {family} {help}")
            }
        }
    }

    /// Formats the labels of a series without the braces, the pool first.
    fn labels(&self, attributes: &[KeyValue]) -> String {
        let pool = in_quotes(&self.recorder.name);
        let mut labels = format!("{}=\"{pool}\"", underscored(DB_CLIENT_CONNECTION_POOL_NAME));
        for attribute in attributes {
            let value = match attribute.key.as_str() {
                CALLER if !self.source_lines => HIDDEN.into(),
                _ => attribute.value.as_str(),
            };
            let name = underscored(attribute.key.as_str());
            labels.push_str(&format!(",{name}=\"{}\"", in_quotes(&value)));
        }
        labels
    }

    /// Formats a bucket's upper bound. OpenMetrics requires a fraction.
    fn bound(&self, bound: f64) -> String {
        match self.format {
            Format::OpenMetrics if bound.is_finite() => format!("{bound:?}"),
            _ => Number(bound).to_string(),
        }
    }
}

/// Adds up series with the same labels. This is valid because only sums have the source line as a label.
fn added_up(series: Vec<(String, f64)>) -> Vec<(String, f64)> {
    let mut sums = BTreeMap::new();
    for (labels, value) in series {
        *sums.entry(labels).or_default() += value;
    }
    sums.into_iter().collect()
}

#[cfg(test)]
mod tests;
