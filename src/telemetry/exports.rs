//! The counts of the telemetry that was exported and lost, as `health` shows them. They compile without
//! the feature `otlp` as well.

use serde::Serialize;

/// The names of the items of traces, metrics and logs.
pub(super) const ITEMS: [&str; 3] = ["span", "data point", "log record"];

/// What became of this process' telemetry, by signal. Part of `health` while the feature `otlp`
/// exports.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Exports {
    /// Spans.
    pub traces: SignalExports,
    /// Data points of metrics.
    pub metrics: SignalExports,
    /// Log records.
    pub logs: SignalExports,
}

/// What became of one signal's items: spans, data points, log records.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SignalExports {
    /// Where they are sent, without password and query; `null` where this signal is not exported.
    pub endpoint: Option<String>,
    /// Items that the receiver has taken.
    pub exported: u64,
    /// Items that were sent and not taken: the receiver was absent, too slow, or refused them.
    pub failed: u64,
    /// Items that were never sent, because the queue was full or exporting had ended.
    pub dropped: u64,
    /// Items of those failed and dropped that were lost within the last five minutes.
    pub lost_last_5m: u64,
    /// Why the last export that failed did so.
    pub last_error: Option<String>,
    /// For how long no export has succeeded, in seconds, from the first failure on; `null` while
    /// they succeed.
    pub failing_for_seconds: Option<f64>,
}

impl Exports {
    /// The counts so far; `None` while no set-up of this crate exports.
    pub(crate) fn snapshot() -> Option<Self> {
        #[cfg(feature = "otlp")]
        return super::otlp::active_exports();
        #[cfg(not(feature = "otlp"))]
        None
    }

    /// Items of all signals that were lost within the last five minutes.
    #[must_use]
    pub fn lost_last_5m(&self) -> u64 {
        self.signals()
            .map(|signal| signal.lost_last_5m)
            .iter()
            .sum()
    }

    /// One sentence about the losses of the last minutes, and one about what to do; `None` if
    /// nothing was lost.
    pub(crate) fn warning(&self) -> Option<(String, &'static str)> {
        let lost = self.signals().map(|signal| signal.lost_last_5m);
        if lost == [0; 3] {
            return None;
        }
        let lost = in_words(lost);
        let warning = format!("telemetry was lost within the last 5 minutes: {lost}");
        let failing = self.signals().into_iter().find_map(|signal| {
            let recent = signal.lost_last_5m > 0 && signal.failing_for_seconds.is_some();
            let error = signal.last_error.as_deref().filter(|_| recent)?;
            Some((signal.endpoint.as_deref().unwrap_or_default(), error))
        });
        Some(match failing {
            Some((endpoint, error)) => (
                format!("{warning}; {endpoint} does not take it: {error}"),
                "Check that the collector runs at the endpoint in OTEL_EXPORTER_OTLP_ENDPOINT, speaks the protocol in OTEL_EXPORTER_OTLP_PROTOCOL and takes the headers. Requests and checkouts are not affected.",
            ),
            None => (
                warning,
                "Exports succeed again, or are slower than what is produced: look at the collector's load, sample fewer traces (OTEL_TRACES_SAMPLER), or allow longer queues (OTEL_BSP_MAX_QUEUE_SIZE, OTEL_BLRP_MAX_QUEUE_SIZE). Requests and checkouts are not affected.",
            ),
        })
    }

    pub(super) fn signals(&self) -> [&SignalExports; 3] {
        [&self.traces, &self.metrics, &self.logs]
    }
}

/// Counts by signal, as in "1 span, 2 log records".
pub(super) fn in_words(counts: [u64; 3]) -> String {
    let counts = counts.iter().zip(ITEMS).filter(|(count, _)| **count > 0);
    let words: Vec<_> = counts
        .map(|(count, item)| format!("{count} {item}{}", if *count == 1 { "" } else { "s" }))
        .collect();
    if words.is_empty() {
        return "nothing".to_owned();
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_written_in_words() {
        assert_eq!(in_words([0, 0, 0]), "nothing");
        assert_eq!(in_words([0, 2, 1]), "2 data points, 1 log record");
    }
}
