//! The log of exporting: one line when exporting to a server begins to fail, and one when it works
//! again; one when a queue is full, and one when it no longer is.

use std::sync::{Mutex, PoisonError};

use super::stats::{Exports, Signal, in_words};

/// What was logged so far.
#[derive(Debug)]
pub(super) struct ExportLog {
    /// The server of traces, metrics and logs. Signals that share one share its lines.
    origins: [String; 3],
    signals: Mutex<[SignalLog; 3]>,
}

#[derive(Debug, Clone, Copy, Default)]
struct SignalLog {
    failing: bool,
    /// The losses before it began to fail, until all signals of the server work again.
    lost_before: Option<u64>,
    rejected: bool,
    /// Dropped items at the last export.
    dropped: u64,
    /// Those before the queue was full, while it is.
    dropped_before: Option<u64>,
}

impl ExportLog {
    pub(super) fn new(origins: [String; 3]) -> Self {
        let signals = Mutex::default();
        Self { origins, signals }
    }

    /// `items` are already counted in `exports`.
    pub(super) fn failed(&self, signal: Signal, items: u64, error: &str, exports: &Exports) {
        if let Some(line) = self.failure(signal, items, error, exports) {
            tracing::warn!("{line}");
        }
        self.look_at_queue(signal, exports);
    }

    pub(super) fn succeeded(&self, signal: Signal, exports: &Exports) {
        self.look_at_queue(signal, exports);
        if let Some(line) = self.success(signal, exports) {
            tracing::info!("{line}");
        }
    }

    /// Logged once: a receiver may reject something of each batch.
    pub(super) fn rejected(&self, signal: Signal, error: &str) {
        if !std::mem::replace(&mut self.lock()[signal as usize].rejected, true) {
            let (origin, items) = (&self.origins[signal as usize], signal.items());
            tracing::warn!(
                "{origin} does not take all {items}: {error}; `health` counts them, and the log does not say it again"
            );
        }
    }

    fn failure(
        &self,
        signal: Signal,
        items: u64,
        error: &str,
        exports: &Exports,
    ) -> Option<String> {
        let lost = exports.lost();
        let mut signals = self.lock();
        let shared = self.sharing(signal);
        let known = shared
            .iter()
            .any(|other| signals[*other].lost_before.is_some());
        let log = &mut signals[signal as usize];
        log.failing = true;
        let before = lost[signal as usize].saturating_sub(items);
        log.lost_before.get_or_insert(before);
        (!known).then(|| {
            format!(
                "telemetry can't be exported to {}: {error}; lost so far: {}; `health` counts on, and requests and checkouts are not affected",
                self.origins[signal as usize],
                in_words(lost)
            )
        })
    }

    fn success(&self, signal: Signal, exports: &Exports) -> Option<String> {
        let mut signals = self.lock();
        signals[signal as usize].failing = false;
        let shared = self.sharing(signal);
        if shared.iter().any(|other| signals[*other].failing) {
            return None;
        }
        let mut lost = [0; 3];
        let mut was_failing = false;
        for other in shared {
            if let Some(before) = signals[other].lost_before.take() {
                lost[other] = exports.lost()[other].saturating_sub(before);
                was_failing = true;
            }
        }
        let (origin, lost) = (&self.origins[signal as usize], in_words(lost));
        was_failing
            .then(|| format!("telemetry is exported to {origin} again; lost meanwhile: {lost}"))
    }

    /// Not where an item is dropped, which is on the app's way, but at the next export.
    fn look_at_queue(&self, signal: Signal, exports: &Exports) {
        let dropped = exports.signals()[signal as usize].dropped;
        let items = signal.items();
        let mut signals = self.lock();
        let log = &mut signals[signal as usize];
        let last = std::mem::replace(&mut log.dropped, dropped);
        match log.dropped_before {
            // While exports fail, the queue is full as well, which is no news.
            None if dropped > last && !log.failing => {
                log.dropped_before = Some(last);
                let lost = dropped - last;
                tracing::warn!(
                    "{lost} {items} were dropped: the queue is full, because they come faster than they are exported; `health` counts on, and requests and checkouts are not affected"
                );
            }
            Some(before) if dropped == last => {
                log.dropped_before = None;
                let lost = dropped - before;
                tracing::info!(
                    "{items} are exported as fast as they come again; {lost} were dropped"
                );
            }
            _ => {}
        }
    }

    /// The signals that go to the same server, itself included.
    fn sharing(&self, signal: Signal) -> Vec<usize> {
        let same = |other: &usize| self.origins[*other] == self.origins[signal as usize];
        (0..3).filter(same).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, [SignalLog; 3]> {
        self.signals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::stats::ExportStats;

    #[test]
    fn an_outage_is_logged_once_and_so_is_its_end() {
        let stats = ExportStats::new([const { None }; 3]);
        let servers = ["http://one:4318", "http://one:4318", "http://other:4318"];
        let log = ExportLog::new(servers.map(str::to_owned));
        let fail = |signal| {
            stats.add_failed(signal, 5, "refused");
            log.failure(signal, 5, "refused", &stats.read())
        };
        let succeed = |signal| log.success(signal, &stats.read());

        // Losses before the outage are not from the outage.
        stats.add_dropped(Signal::Metrics, 7);
        let first = fail(Signal::Traces).unwrap();
        let expected = "telemetry can't be exported to http://one:4318: refused; lost so far: 5 spans, 7 data points;";
        assert!(first.starts_with(expected), "{first}");
        for _ in 0..3 {
            assert_eq!((fail(Signal::Traces), fail(Signal::Metrics)), (None, None));
        }
        assert!(fail(Signal::Logs).unwrap().contains("http://other:4318"));
        assert_eq!(succeed(Signal::Traces), None);
        // It fails again while the other signal still does.
        assert_eq!(fail(Signal::Traces), None);
        assert_eq!(succeed(Signal::Metrics), None);
        assert_eq!(
            succeed(Signal::Traces).unwrap(),
            "telemetry is exported to http://one:4318 again; lost meanwhile: 25 spans, 15 data points"
        );
        assert_eq!(succeed(Signal::Traces), None);
    }
}
