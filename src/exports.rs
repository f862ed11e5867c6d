//! What became of the telemetry that this process has made: what arrived, what was lost, and why.
//!
//! The counts belong to one set-up of the feature `otlp`; the one that is active is known to the
//! whole process, so that `health` can show it.

use std::fmt::Write as _;
#[cfg(feature = "otlp")]
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, OnceLock, PoisonError};
// Exports run on threads of their own, so no test that pauses tokio's clock can mean them.
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use serde::Serialize;

/// Losses are shown as recent for so many minutes.
const RECENT: usize = 5;
const MINUTE: Duration = Duration::from_secs(60);

/// The set-up whose counts `health` shows.
static ACTIVE: ArcSwapOption<Tally> = ArcSwapOption::const_empty();

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
pub(crate) struct Tally {
    signals: [Counts; 3],
}

#[derive(Debug, Default)]
struct Counts {
    endpoint: Option<String>,
    /// Counted where spans end, so without a lock.
    dropped: AtomicU64,
    course: Mutex<Course>,
}

/// What changes once an export.
#[derive(Debug, Default)]
struct Course {
    exported: u64,
    failed: u64,
    last_error: Option<String>,
    failing_since: Option<Instant>,
    recent: Recent,
    /// How many of those dropped are in `recent`.
    dropped_noted: u64,
}

/// Losses of the last minutes, a minute a slot.
#[derive(Debug, Default)]
struct Recent([(u64, u64); RECENT]);

impl Exports {
    /// The counts so far; `None` while no set-up of this crate exports.
    pub(crate) fn snapshot() -> Option<Self> {
        ACTIVE.load().as_ref().map(|tally| tally.snapshot())
    }

    /// Items of all signals that were lost within the last five minutes.
    #[must_use]
    pub fn lost_last_5m(&self) -> u64 {
        self.signals().map(|(_, signal)| signal.lost_last_5m).sum()
    }

    /// What was lost within the last minutes, in one sentence, and what to do about it; `None` if
    /// nothing was.
    pub(crate) fn warning(&self) -> Option<(String, &'static str)> {
        let lost: Vec<_> = self
            .signals()
            .filter(|(_, signal)| signal.lost_last_5m > 0)
            .collect();
        let mut warning = String::from("telemetry was lost within the last 5 minutes: ");
        for (at, (signal, counts)) in lost.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            let (count, items) = (counts.lost_last_5m, signal.items());
            let _ = write!(warning, "{comma}{count} {items}");
        }
        let failing = lost.iter().find_map(|(_, signal)| {
            let error = signal.last_error.as_deref()?;
            signal.failing_for_seconds.map(|_| (signal, error))
        });
        match failing {
            _ if lost.is_empty() => None,
            Some((signal, error)) => {
                let endpoint = signal.endpoint.as_deref().unwrap_or_default();
                let _ = write!(warning, "; {endpoint} does not take it: {error}");
                Some((
                    warning,
                    "Check that the collector runs at the endpoint in OTEL_EXPORTER_OTLP_ENDPOINT, speaks the protocol in OTEL_EXPORTER_OTLP_PROTOCOL and takes the headers. Requests and checkouts are not affected.",
                ))
            }
            None => Some((
                warning,
                "Exports succeed again, or are slower than what is produced: look at the collector's load, sample fewer traces (OTEL_TRACES_SAMPLER), or allow longer queues (OTEL_BSP_MAX_QUEUE_SIZE, OTEL_BLRP_MAX_QUEUE_SIZE). Requests and checkouts are not affected.",
            )),
        }
    }

    fn signals(&self) -> impl Iterator<Item = (Signal, &SignalExports)> {
        [
            (Signal::Traces, &self.traces),
            (Signal::Metrics, &self.metrics),
            (Signal::Logs, &self.logs),
        ]
        .into_iter()
    }
}

impl Signal {
    /// What is counted of it.
    pub(crate) fn items(self) -> &'static str {
        match self {
            Self::Traces => "spans",
            Self::Metrics => "data points",
            Self::Logs => "log records",
        }
    }

    /// Its part of `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`.
    #[cfg(feature = "otlp")]
    pub(crate) fn in_variables(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
            Self::Logs => "LOGS",
        }
    }

    /// Where a receiver takes it over HTTP.
    #[cfg(feature = "otlp")]
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
            Self::Logs => "/v1/logs",
        }
    }
}

impl Tally {
    fn snapshot(&self) -> Exports {
        let [traces, metrics, logs] = self.signals.each_ref().map(Counts::snapshot);
        Exports {
            traces,
            metrics,
            logs,
        }
    }
}

impl Counts {
    fn snapshot(&self) -> SignalExports {
        let (now, dropped) = (Instant::now(), self.dropped.load(Relaxed));
        let mut course = self.course.lock().unwrap_or_else(PoisonError::into_inner);
        course.note_dropped(dropped, now);
        SignalExports {
            endpoint: self.endpoint.clone(),
            exported: course.exported,
            failed: course.failed,
            dropped,
            lost_last_5m: course.recent.sum(now),
            last_error: course.last_error.clone(),
            failing_for_seconds: course
                .failing_since
                .map(|since| (now.duration_since(since).as_secs_f64() * 10.0).round() / 10.0),
        }
    }
}

impl Course {
    #[cfg(feature = "otlp")]
    fn fail(&mut self, items: u64, error: &str, now: Instant) {
        self.failed += items;
        self.recent.add(items, now);
        self.last_error = Some(error.to_owned());
    }

    fn note_dropped(&mut self, dropped: u64, now: Instant) {
        let new = dropped.saturating_sub(self.dropped_noted);
        self.dropped_noted += new;
        self.recent.add(new, now);
    }
}

impl Recent {
    fn add(&mut self, lost: u64, now: Instant) {
        if lost == 0 {
            return;
        }
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

/// Minutes since the first time that this was asked.
fn minute(now: Instant) -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = START.get_or_init(|| now);
    now.saturating_duration_since(*start).as_secs() / MINUTE.as_secs()
}

/// What the exporters write down.
#[cfg(feature = "otlp")]
impl Tally {
    /// `endpoints` of traces, metrics and logs, fit to be shown.
    pub(crate) fn new(endpoints: [Option<String>; 3]) -> Arc<Self> {
        let signals = endpoints.map(|endpoint| Counts {
            endpoint,
            ..Counts::default()
        });
        Arc::new(Self { signals })
    }

    /// From now on this is what `health` shows.
    pub(crate) fn activate(self: &Arc<Self>) {
        ACTIVE.store(Some(Arc::clone(self)));
    }

    /// Nothing is exported any more, unless another set-up does.
    pub(crate) fn deactivate(self: &Arc<Self>) {
        ACTIVE.rcu(|active| match active {
            Some(active) if Arc::ptr_eq(active, self) => None,
            other => other.clone(),
        });
    }

    pub(crate) fn read(&self) -> Exports {
        self.snapshot()
    }

    pub(crate) fn dropped(&self, signal: Signal, items: u64) {
        self.signals[signal as usize]
            .dropped
            .fetch_add(items, Relaxed);
    }

    pub(crate) fn dropped_so_far(&self, signal: Signal) -> u64 {
        self.signals[signal as usize].dropped.load(Relaxed)
    }

    /// An export has succeeded, or as much of it as was not rejected.
    pub(crate) fn exported(&self, signal: Signal, items: u64) {
        self.change(signal, |course, _| {
            course.exported += items;
            course.failing_since = None;
        });
    }

    /// Some items of an export were rejected while it succeeded.
    pub(crate) fn rejected(&self, signal: Signal, items: u64, error: &str) {
        self.change(signal, |course, now| course.fail(items, error, now));
    }

    /// An export has failed.
    pub(crate) fn failed(&self, signal: Signal, items: u64, error: &str) {
        self.change(signal, |course, now| {
            course.fail(items, error, now);
            course.failing_since.get_or_insert(now);
        });
    }

    fn change(&self, signal: Signal, change: impl FnOnce(&mut Course, Instant)) {
        let counts = &self.signals[signal as usize];
        let now = Instant::now();
        let mut course = counts.course.lock().unwrap_or_else(PoisonError::into_inner);
        course.note_dropped(counts.dropped.load(Relaxed), now);
        change(&mut course, now);
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
        recent.add(5, start + MINUTE * 5);
        assert_eq!(recent.sum(start + MINUTE * 5), 9);
    }

    #[cfg(feature = "otlp")]
    #[test]
    fn what_was_lost_is_a_warning_with_its_cause() {
        let tally = Tally::new([Some("http://collector:4318".to_owned()), None, None]);
        tally.exported(Signal::Traces, 10);
        assert_eq!(tally.read().warning(), None);
        tally.failed(Signal::Traces, 3, "connection refused");
        tally.dropped(Signal::Traces, 2);
        let exports = tally.read();
        assert_eq!(exports.lost_last_5m(), 5);
        let traces = &exports.traces;
        assert_eq!((traces.exported, traces.failed, traces.dropped), (10, 3, 2));
        let (warning, _) = exports.warning().unwrap();
        assert_eq!(
            warning,
            "telemetry was lost within the last 5 minutes: 5 spans; http://collector:4318 does not take it: connection refused"
        );
        tally.exported(Signal::Traces, 1);
        let exports = tally.read();
        assert_eq!(exports.traces.failing_for_seconds, None);
        assert!(
            exports
                .warning()
                .unwrap()
                .1
                .contains("OTEL_BSP_MAX_QUEUE_SIZE")
        );
    }

    #[cfg(feature = "otlp")]
    #[test]
    fn the_active_counts_are_shown() {
        let (one, other) = (
            Tally::new([const { None }; 3]),
            Tally::new([const { None }; 3]),
        );
        one.activate();
        one.dropped(Signal::Logs, 1);
        assert_eq!(Exports::snapshot().unwrap().logs.dropped, 1);
        other.activate();
        one.deactivate();
        assert_eq!(Exports::snapshot().unwrap().logs.dropped, 0);
        other.deactivate();
        assert_eq!(Exports::snapshot(), None);
    }
}
