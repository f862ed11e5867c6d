//! Counts of the telemetry that was exported and lost. `health` shows the counts of the set-up that
//! is active, so this compiles without the feature `otlp` as well.

#[cfg(feature = "otlp")]
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
// Exports run on threads of their own, so tokio's paused clock does not apply.
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use serde::Serialize;

/// Losses count as recent for this number of minutes.
const RECENT: usize = 5;
const MINUTE: Duration = Duration::from_secs(60);
const ITEMS: [&str; 3] = ["span", "data point", "log record"];

/// The set-up whose counts `health` shows.
static ACTIVE: ArcSwapOption<ExportStats> = ArcSwapOption::const_empty();

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

/// One of the three kinds of telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Traces,
    Metrics,
    Logs,
}

/// The counts of one set-up.
#[derive(Debug, Default)]
pub(crate) struct ExportStats([SignalStats; 3]);

#[derive(Debug, Default)]
struct SignalStats {
    endpoint: Option<String>,
    /// Counted where spans end, so without a lock.
    dropped: AtomicU64,
    by_export: Mutex<ByExport>,
}

/// Changes once an export.
#[derive(Debug, Default)]
struct ByExport {
    exported: u64,
    failed: u64,
    last_error: Option<String>,
    failing_since: Option<Instant>,
    recent: Recent,
    /// How many of the dropped items `recent` includes.
    dropped_noted: u64,
}

/// Losses by minute: the minute and its count.
#[derive(Debug, Default)]
struct Recent([(u64, u64); RECENT]);

impl Exports {
    /// The counts so far; `None` while no set-up of this crate exports.
    pub(crate) fn snapshot() -> Option<Self> {
        ACTIVE.load().as_ref().map(|stats| stats.read())
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

    /// Items that were lost since the start, by signal.
    #[cfg(feature = "otlp")]
    pub(super) fn lost(&self) -> [u64; 3] {
        self.signals().map(|signal| signal.failed + signal.dropped)
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

impl ExportStats {
    pub(super) fn read(&self) -> Exports {
        let read = |signal: Signal| self.0[signal as usize].read();
        Exports {
            traces: read(Signal::Traces),
            metrics: read(Signal::Metrics),
            logs: read(Signal::Logs),
        }
    }
}

impl SignalStats {
    /// Locks the counts, with the losses up to now in `recent`.
    fn lock(&self, now: Instant) -> MutexGuard<'_, ByExport> {
        let mut counts = self
            .by_export
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let dropped = self.dropped.load(Relaxed);
        let new = dropped.saturating_sub(counts.dropped_noted);
        counts.dropped_noted += new;
        counts.recent.add(new, now);
        counts
    }

    fn read(&self) -> SignalExports {
        let now = Instant::now();
        let counts = self.lock(now);
        let seconds = |since| (now.duration_since(since).as_secs_f64() * 10.0).round() / 10.0;
        SignalExports {
            endpoint: self.endpoint.clone(),
            exported: counts.exported,
            failed: counts.failed,
            dropped: counts.dropped_noted,
            lost_last_5m: counts.recent.sum(now),
            last_error: counts.last_error.clone(),
            failing_for_seconds: counts.failing_since.map(seconds),
        }
    }
}

impl Recent {
    fn add(&mut self, lost: u64, now: Instant) {
        let minute = minute(now);
        let slot = &mut self.0[minute as usize % RECENT];
        if slot.0 != minute {
            *slot = (minute, 0);
        }
        slot.1 += lost;
    }

    fn sum(&self, now: Instant) -> u64 {
        let oldest = (minute(now) + 1).saturating_sub(RECENT as u64);
        let recent = self.0.iter().filter(|(minute, _)| *minute >= oldest);
        recent.map(|(_, lost)| lost).sum()
    }
}

/// Minutes since the first call.
fn minute(now: Instant) -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = START.get_or_init(|| now);
    now.saturating_duration_since(*start).as_secs() / MINUTE.as_secs()
}

#[cfg(feature = "otlp")]
impl ExportStats {
    /// `endpoints` of traces, metrics and logs, without secrets.
    pub(super) fn new(endpoints: [Option<String>; 3]) -> Arc<Self> {
        Arc::new(Self(endpoints.map(|endpoint| SignalStats {
            endpoint,
            ..SignalStats::default()
        })))
    }

    /// `health` shows these counts from now on.
    pub(super) fn activate(self: &Arc<Self>) {
        ACTIVE.store(Some(Arc::clone(self)));
    }

    /// `health` shows these counts no longer.
    pub(super) fn deactivate(self: &Arc<Self>) {
        ACTIVE.rcu(|active| match active {
            Some(active) if Arc::ptr_eq(active, self) => None,
            other => other.clone(),
        });
    }

    pub(super) fn add_dropped(&self, signal: Signal, items: u64) {
        let stats = &self.0[signal as usize];
        stats.dropped.fetch_add(items, Relaxed);
    }

    /// An export has succeeded, of which `rejected` items were not taken.
    pub(super) fn add_exported(&self, signal: Signal, items: u64, rejected: u64, error: &str) {
        let now = Instant::now();
        let mut counts = self.0[signal as usize].lock(now);
        counts.exported += items - rejected;
        counts.failing_since = None;
        if rejected > 0 {
            counts.fail(rejected, error, now);
        }
    }

    /// An export has failed.
    pub(super) fn add_failed(&self, signal: Signal, items: u64, error: &str) {
        let now = Instant::now();
        let mut counts = self.0[signal as usize].lock(now);
        counts.fail(items, error, now);
        counts.failing_since.get_or_insert(now);
    }
}

#[cfg(feature = "otlp")]
impl ByExport {
    fn fail(&mut self, items: u64, error: &str, now: Instant) {
        self.failed += items;
        self.recent.add(items, now);
        self.last_error = Some(error.to_owned());
    }
}

#[cfg(feature = "otlp")]
impl Signal {
    pub(super) const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// The name of its items, in the plural.
    pub(super) fn items(self) -> String {
        format!("{}s", ITEMS[self as usize])
    }

    /// Its part of `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`.
    pub(super) fn in_variables(self) -> &'static str {
        ["TRACES", "METRICS", "LOGS"][self as usize]
    }

    /// The path at which a receiver takes it over HTTP.
    pub(super) fn path(self) -> &'static str {
        ["/v1/traces", "/v1/metrics", "/v1/logs"][self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_recent_for_five_minutes() {
        let mut recent = Recent::default();
        let start = Instant::now();
        minute(start);
        recent.add(3, start);
        recent.add(4, start + MINUTE);
        assert_eq!(recent.sum(start + MINUTE), 7);
        assert_eq!(recent.sum(start + MINUTE * 4), 7);
        assert_eq!(recent.sum(start + MINUTE * 5 + Duration::from_secs(1)), 4);
        assert_eq!(recent.sum(start + MINUTE * 7), 0);
    }

    #[test]
    fn counts_in_words() {
        assert_eq!(in_words([0, 0, 0]), "nothing");
        assert_eq!(in_words([0, 2, 1]), "2 data points, 1 log record");
    }

    #[cfg(feature = "otlp")]
    #[test]
    fn the_warning_has_the_cause() {
        let stats = ExportStats::new([Some("http://collector:4318".to_owned()), None, None]);
        stats.add_exported(Signal::Traces, 10, 0, "");
        assert_eq!(stats.read().warning(), None);
        stats.add_failed(Signal::Traces, 3, "connection refused");
        stats.add_dropped(Signal::Traces, 2);
        let exports = stats.read();
        assert_eq!(exports.lost_last_5m(), 5);
        let traces = &exports.traces;
        assert_eq!((traces.exported, traces.failed, traces.dropped), (10, 3, 2));
        assert_eq!(
            exports.warning().unwrap().0,
            "telemetry was lost within the last 5 minutes: 5 spans; http://collector:4318 does not take it: connection refused"
        );
        stats.add_exported(Signal::Traces, 1, 0, "");
        let exports = stats.read();
        assert_eq!(exports.traces.failing_for_seconds, None);
        let (_, advice) = exports.warning().unwrap();
        assert!(advice.contains("OTEL_BSP_MAX_QUEUE_SIZE"));
    }

    #[cfg(feature = "otlp")]
    #[test]
    fn health_shows_the_active_counts() {
        let [one, other] = [(); 2].map(|()| ExportStats::new([const { None }; 3]));
        one.activate();
        one.add_dropped(Signal::Logs, 1);
        assert_eq!(Exports::snapshot().unwrap().logs.dropped, 1);
        other.activate();
        one.deactivate();
        assert_eq!(Exports::snapshot().unwrap().logs.dropped, 0);
        other.deactivate();
        assert_eq!(Exports::snapshot(), None);
    }
}
