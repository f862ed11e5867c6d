//! What the log is told of exporting: that it fails, once, and that it works again, once.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::losses::Losses;
use crate::exports::{Signal, Tally};

/// What the log was told so far.
#[derive(Debug)]
pub(super) struct News {
    /// The server of traces, metrics and logs.
    origins: [String; 3],
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    /// By server.
    outages: BTreeMap<String, Outage>,
    /// Signals of which some were rejected by a receiver that took the others.
    rejected: Vec<Signal>,
    overflows: Vec<Overflow>,
}

/// A server that takes nothing, of one signal at least.
#[derive(Debug)]
struct Outage {
    failing: Vec<Signal>,
    causes: Vec<String>,
    /// What each signal had lost before it failed. Of each its own: one that fails at the same moment
    /// has counted its first loss when the other is told of.
    before: [Option<u64>; 3],
}

/// A queue that was full lately.
#[derive(Debug)]
struct Overflow {
    signal: Signal,
    /// How many were dropped when it was looked at last.
    dropped: u64,
    /// And how many before it was full.
    before: u64,
    full: bool,
}

impl News {
    pub(super) fn new(origins: [String; 3]) -> Self {
        Self {
            origins,
            told: Mutex::default(),
        }
    }

    /// Three signals that go to one server are one piece of news, unless their causes differ.
    pub(super) fn failed(&self, signal: Signal, items: u64, cause: &str, tally: &Tally) {
        let origin = &self.origins[signal as usize];
        let lost = Losses::of(&tally.read());
        let new = {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let outage = told.outages.entry(origin.clone()).or_insert(Outage {
                failing: Vec::new(),
                causes: Vec::new(),
                before: [None; 3],
            });
            // What it lost just now is not from before.
            let before = lost.get(signal).saturating_sub(items);
            outage.before[signal as usize].get_or_insert(before);
            let begins = !outage.failing.contains(&signal);
            if begins {
                outage.failing.push(signal);
            }
            let new = begins && !outage.causes.iter().any(|other| other == cause);
            if new {
                outage.causes.push(cause.to_owned());
            }
            new
        };
        self.look_at_queue(signal, tally);
        if new {
            tracing::warn!(
                "telemetry can't be exported to {origin}: {cause}; lost so far: {lost}; `health` counts on, and requests and checkouts are not affected"
            );
        }
    }

    pub(super) fn succeeded(&self, signal: Signal, tally: &Tally) {
        let origin = &self.origins[signal as usize];
        let over = {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            told.outages.get_mut(origin).and_then(|outage| {
                outage.failing.retain(|other| *other != signal);
                outage.failing.is_empty().then_some(())
            });
            match told.outages.get(origin) {
                Some(outage) if outage.failing.is_empty() => told.outages.remove(origin),
                _ => None,
            }
        };
        self.look_at_queue(signal, tally);
        if let Some(outage) = over {
            let lost = Losses::of(&tally.read()).since_those(outage.before);
            tracing::info!("telemetry is exported to {origin} again; lost meanwhile: {lost}");
        }
    }

    /// A receiver may reject something of every batch: once is enough to look after it.
    pub(super) fn rejected(&self, signal: Signal, error: &str) {
        let new = {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let new = !told.rejected.contains(&signal);
            if new {
                told.rejected.push(signal);
            }
            new
        };
        if new {
            let (origin, items) = (&self.origins[signal as usize], signal.items());
            tracing::warn!(
                "{origin} does not take all {items}: {error}; `health` counts them, and the log does not say it again"
            );
        }
    }

    /// Not where an item is dropped, which is on the app's way, but at the next export.
    fn look_at_queue(&self, signal: Signal, tally: &Tally) {
        let dropped = tally.dropped_so_far(signal);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let told = &mut *told;
        let failing = told
            .outages
            .get(&self.origins[signal as usize])
            .is_some_and(|outage| outage.failing.contains(&signal));
        let at = told
            .overflows
            .iter()
            .position(|other| other.signal == signal);
        let at = at.unwrap_or_else(|| {
            told.overflows.push(Overflow {
                signal,
                dropped: 0,
                before: 0,
                full: false,
            });
            told.overflows.len() - 1
        });
        let overflow = &mut told.overflows[at];
        let more = dropped > overflow.dropped;
        let items = signal.items();
        // In an outage the queue is full as well, and that is no news.
        if more && !failing && !overflow.full {
            overflow.full = true;
            overflow.before = overflow.dropped;
            let lost = dropped - overflow.before;
            tracing::warn!(
                "{lost} {items} were dropped: the queue is full, for they come faster than they are exported; `health` counts on, and requests and checkouts are not affected"
            );
        } else if !more && overflow.full {
            overflow.full = false;
            let lost = dropped - overflow.before;
            tracing::info!("{items} are exported as fast as they come again; {lost} were dropped");
        }
        overflow.dropped = dropped;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::telemetry::heard::heard;

    fn news() -> (Arc<Tally>, News) {
        let tally = Tally::new([const { None }; 3]);
        let (one, other) = ("http://one:4318", "http://other:4318");
        (tally, News::new([one, one, other].map(str::to_owned)))
    }

    fn fail(tally: &Tally, news: &News, signal: Signal, cause: &str) -> Vec<String> {
        tally.failed(signal, 5, cause);
        heard(|| news.failed(signal, 5, cause, tally))
    }

    #[test]
    fn an_outage_is_told_once_and_so_is_its_end() {
        let (tally, news) = news();
        let refused = "connection refused";
        let first = fail(&tally, &news, Signal::Traces, refused);
        assert_eq!(first.len(), 1);
        assert!(first[0].starts_with(
            "WARN telemetry can't be exported to http://one:4318: connection refused; lost so far: 5 spans;"
        ));
        for _ in 0..3 {
            assert!(fail(&tally, &news, Signal::Traces, refused).is_empty());
            assert!(fail(&tally, &news, Signal::Metrics, refused).is_empty());
            assert!(fail(&tally, &news, Signal::Traces, "no answer").is_empty());
        }
        assert!(heard(|| news.succeeded(Signal::Metrics, &tally)).is_empty());
        assert_eq!(
            heard(|| news.succeeded(Signal::Traces, &tally)),
            [
                "INFO telemetry is exported to http://one:4318 again; lost meanwhile: 35 spans, 15 data points"
            ]
        );
        assert!(heard(|| news.succeeded(Signal::Traces, &tally)).is_empty());
        assert_eq!(fail(&tally, &news, Signal::Traces, refused).len(), 1);
        assert_eq!(
            heard(|| news.succeeded(Signal::Traces, &tally)),
            ["INFO telemetry is exported to http://one:4318 again; lost meanwhile: 5 spans"]
        );
    }

    #[test]
    fn signals_that_fail_at_the_same_moment_are_all_lost_meanwhile() {
        let (tally, news) = news();
        // Lost before anything failed.
        tally.dropped(Signal::Metrics, 7);
        let _ = heard(|| news.succeeded(Signal::Metrics, &tally));
        for signal in [Signal::Traces, Signal::Metrics] {
            tally.failed(signal, 5, "refused");
        }
        for signal in [Signal::Traces, Signal::Metrics] {
            let _ = heard(|| news.failed(signal, 5, "refused", &tally));
        }
        let _ = heard(|| news.succeeded(Signal::Traces, &tally));
        // It fails again while the other still does.
        assert!(fail(&tally, &news, Signal::Traces, "refused").is_empty());
        let _ = heard(|| news.succeeded(Signal::Traces, &tally));
        let over = heard(|| news.succeeded(Signal::Metrics, &tally));
        let lost = "again; lost meanwhile: 10 spans, 5 data points";
        assert!(over.iter().any(|line| line.ends_with(lost)), "{over:?}");
    }

    #[test]
    fn another_server_or_another_cause_is_news() {
        let (tally, news) = news();
        let not_found = "the answer was 404 Not Found";
        assert_eq!(fail(&tally, &news, Signal::Metrics, not_found).len(), 1);
        assert_eq!(fail(&tally, &news, Signal::Traces, "refused").len(), 1);
        assert_eq!(fail(&tally, &news, Signal::Logs, "refused").len(), 1);
    }

    #[test]
    fn a_full_queue_is_told_once_and_so_is_its_end() {
        let (tally, news) = news();
        assert!(heard(|| news.succeeded(Signal::Traces, &tally)).is_empty());
        tally.dropped(Signal::Traces, 7);
        let first = heard(|| news.succeeded(Signal::Traces, &tally));
        assert!(first[0].starts_with("WARN 7 spans were dropped: the queue is full"));
        tally.dropped(Signal::Traces, 2);
        assert!(heard(|| news.succeeded(Signal::Traces, &tally)).is_empty());
        assert_eq!(
            heard(|| news.succeeded(Signal::Traces, &tally)),
            ["INFO spans are exported as fast as they come again; 9 were dropped"]
        );
    }

    #[test]
    fn rejections_are_told_once() {
        let (_, news) = news();
        let first = heard(|| news.rejected(Signal::Logs, "rejected in part: too old"));
        assert!(first[0].starts_with("WARN http://other:4318 does not take all log records:"));
        assert!(heard(|| news.rejected(Signal::Logs, "rejected in part: too old")).is_empty());
    }
}
