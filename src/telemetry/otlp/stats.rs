//! Counts what was exported and what was lost, and logs it: one line when exporting to a server begins
//! to fail, and one when it works again.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use tokio::time::Instant;

use super::TARGET;
use crate::recent::{Marker, Recent};
use crate::telemetry::exports::{Exports, ITEMS, SignalExports, in_words};

const NOT_AFFECTED: &str = "`health` counts on, and requests and checkouts are not affected";

/// The set-up whose counts `health` shows.
static ACTIVE: ArcSwapOption<ExportStats> = ArcSwapOption::const_empty();

/// One of the three kinds of telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
    Logs,
}

/// The counts of one set-up.
#[derive(Debug)]
pub(super) struct ExportStats {
    /// Where traces, metrics and logs go, without secrets.
    endpoints: [Option<String>; 3],
    /// The servers. Signals that share one share its lines in the log.
    origins: [String; 3],
    /// Counted where spans end, so without a lock.
    dropped: [AtomicU64; 3],
    /// Numbers of occupied places in the queues; at least the numbers of items in the SDK's queues.
    /// Metrics have no queue.
    pub(super) queued: [AtomicU64; 3],
    /// Numbers of items that are being exported.
    sending: [AtomicU64; 3],
    by_export: Mutex<ByExport>,
}

/// Changes once an export.
#[derive(Debug)]
struct ByExport {
    signals: [SignalCounts; 3],
    marker: Marker,
}

#[derive(Debug, Default)]
struct SignalCounts {
    exported: u64,
    failed: u64,
    /// The dropped items that `lost` includes.
    dropped: u64,
    lost: Recent<u64>,
    last_error: Option<String>,
    failing_since: Option<Instant>,
    /// The losses before it began to fail, until all signals of the server work again.
    lost_before: Option<u64>,
    /// Whether the log has said that the server works again since this signal's last success. It says so
    /// only once: a server may take the other signals, and never this one.
    presumed_working: bool,
    /// Whether the log has said that the receiver rejects a part, which it may do with each batch.
    rejection_logged: bool,
    /// The items that were dropped before the last export.
    dropped_before: u64,
    /// Whether items were dropped between the last two exports.
    queue_full: bool,
}

/// Returns the counts of the active set-up.
pub(in crate::telemetry) fn active_exports() -> Option<Exports> {
    ACTIVE.load().as_ref().map(|stats| stats.read())
}

impl ExportStats {
    pub(super) fn new(endpoints: [Option<String>; 3], origins: [String; 3]) -> Arc<Self> {
        Arc::new(Self {
            endpoints,
            origins,
            dropped: Default::default(),
            queued: Default::default(),
            sending: Default::default(),
            by_export: Mutex::new(ByExport {
                signals: Default::default(),
                marker: Marker::new(Instant::now()),
            }),
        })
    }

    /// Makes `health` show these counts.
    pub(super) fn activate(self: &Arc<Self>) {
        ACTIVE.store(Some(Arc::clone(self)));
    }

    /// Stops `health` from showing these counts.
    pub(super) fn deactivate(self: &Arc<Self>) {
        ACTIVE.rcu(|active| match active {
            Some(active) if Arc::ptr_eq(active, self) => None,
            other => other.clone(),
        });
    }

    pub(super) fn add_dropped(&self, signal: Signal, items: u64) {
        self.dropped[signal as usize].fetch_add(items, Relaxed);
    }

    pub(super) fn begin_sending(&self, signal: Signal, items: u64) {
        self.sending[signal as usize].fetch_add(items, Relaxed);
    }

    pub(super) fn end_sending(&self, signal: Signal, items: u64) {
        self.sending[signal as usize].fetch_sub(items, Relaxed);
    }

    /// Returns the items that are queued or being exported.
    pub(super) fn pending(&self) -> [u64; 3] {
        std::array::from_fn(|at| self.queued[at].load(Relaxed) + self.sending[at].load(Relaxed))
    }

    /// Records a successful export of which the receiver rejected some items, with its reason.
    pub(super) fn add_exported(&self, signal: Signal, items: u64, rejected: u64, reason: &str) {
        let at = signal as usize;
        let mut by_export = self.lock();
        let counts = &mut by_export.signals[at];
        counts.exported += items - rejected;
        // While exports fail, the queue is full, too. That needs no log line of its own.
        let was_failing = counts.failing_since.take().is_some();
        counts.presumed_working = false;
        let dropped = counts.dropped_since_export();
        let was_full = std::mem::replace(&mut counts.queue_full, dropped > 0);
        let mut log_rejection = false;
        if rejected > 0 {
            counts.fail(rejected, reason);
            log_rejection = !std::mem::replace(&mut counts.rejection_logged, true);
        }
        let lost_meanwhile = self.end_of_outage(&mut by_export.signals, at);
        drop(by_export);
        let origin = &self.origins[at];
        if let Some(lost) = lost_meanwhile {
            let lost = in_words(lost);
            tracing::info!(
                target: TARGET,
                "telemetry is exported to {origin} again; lost meanwhile: {lost}"
            );
        }
        if dropped > 0 && !was_full && !was_failing {
            let mut of_signal = [0; 3];
            of_signal[at] = dropped;
            tracing::warn!(
                target: TARGET,
                "telemetry was dropped because the queue is full: {}; it comes faster than it is exported; {NOT_AFFECTED}",
                in_words(of_signal)
            );
        }
        if log_rejection {
            tracing::warn!(
                target: TARGET,
                "{origin} does not take all {}s: {reason}; `health` counts them, and the log does not say it again",
                ITEMS[at]
            );
        }
    }

    /// Records a failed export.
    pub(super) fn add_failed(&self, signal: Signal, items: u64, error: &str) {
        let at = signal as usize;
        let mut by_export = self.lock();
        let mut sharing = self.sharing(at);
        let is_known = sharing.any(|other| by_export.signals[other].lost_before.is_some());
        let counts = &mut by_export.signals[at];
        counts.lost_before.get_or_insert(counts.lost.total);
        counts.failing_since.get_or_insert_with(Instant::now);
        counts.dropped_since_export();
        counts.fail(items, error);
        let lost = in_words(by_export.signals.each_ref().map(|it| it.lost.total));
        drop(by_export);
        if !is_known {
            tracing::warn!(
                target: TARGET,
                "telemetry can't be exported to {}: {error}; lost so far: {lost}; {NOT_AFFECTED}",
                self.origins[at]
            );
        }
    }

    pub(super) fn read(&self) -> Exports {
        let by_export = self.lock();
        let read = |signal: Signal| {
            let counts = &by_export.signals[signal as usize];
            let seconds = |since: Instant| (since.elapsed().as_secs_f64() * 10.0).round() / 10.0;
            SignalExports {
                endpoint: self.endpoints[signal as usize].clone(),
                exported: counts.exported,
                failed: counts.failed,
                dropped: counts.dropped,
                lost_last_5m: counts.lost.read().recent,
                last_error: counts.last_error.clone(),
                failing_for_seconds: counts.failing_since.map(seconds),
            }
        };
        Exports {
            traces: read(Signal::Traces),
            metrics: read(Signal::Metrics),
            logs: read(Signal::Logs),
        }
    }

    /// Returns what was lost in an outage that is over: each signal of the server that has lost something
    /// has been exported again, or has nothing left to export.
    fn end_of_outage(&self, signals: &mut [SignalCounts; 3], at: usize) -> Option<[u64; 3]> {
        let still_fails = |other: usize| {
            let counts = &signals[other];
            // There is always a next reading of the metrics.
            let is_idle = other != Signal::Metrics as usize
                && self.queued[other].load(Relaxed) == 0
                && !counts.presumed_working;
            counts.lost_before.is_some() && counts.failing_since.is_some() && !is_idle
        };
        if self.sharing(at).any(still_fails) {
            return None;
        }
        let mut lost = None;
        for other in self.sharing(at) {
            let counts = &mut signals[other];
            if let Some(before) = counts.lost_before.take() {
                lost.get_or_insert([0; 3])[other] = counts.lost.total - before;
                counts.presumed_working = counts.failing_since.is_some();
            }
        }
        lost
    }

    /// Returns the signals that go to the same server, including this one.
    fn sharing(&self, at: usize) -> impl Iterator<Item = usize> {
        (0..3).filter(move |other| self.origins[*other] == self.origins[at])
    }

    /// Locks the counts, and updates the losses.
    fn lock(&self) -> MutexGuard<'_, ByExport> {
        let mut by_export = self
            .by_export
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let ByExport { signals, marker } = &mut *by_export;
        marker.advance(Instant::now(), signals.iter_mut().map(|it| &mut it.lost));
        for (counts, dropped) in signals.iter_mut().zip(&self.dropped) {
            counts.dropped = dropped.load(Relaxed);
            counts.lost.total = counts.failed + counts.dropped;
        }
        by_export
    }
}

impl SignalCounts {
    /// Returns the number of items dropped since the last export. Not logged where an item is dropped,
    /// which would slow the app.
    fn dropped_since_export(&mut self) -> u64 {
        self.dropped - std::mem::replace(&mut self.dropped_before, self.dropped)
    }

    fn fail(&mut self, items: u64, error: &str) {
        self.failed += items;
        self.lost.total += items;
        self.last_error = Some(error.to_owned());
    }
}

impl Signal {
    pub(super) const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// Returns its part of `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`.
    pub(super) fn in_variables(self) -> &'static str {
        ["TRACES", "METRICS", "LOGS"][self as usize]
    }

    /// Returns its path at a receiver over HTTP.
    pub(super) fn path(self) -> &'static str {
        ["/v1/traces", "/v1/metrics", "/v1/logs"][self as usize]
    }
}

#[cfg(test)]
mod tests;
