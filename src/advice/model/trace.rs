//! The recorded checkouts, converted for the model: in seconds and in the order of arrival.

use std::ops::Range;

use crate::record::clock::seconds;
use crate::record::history::{Counted, Entry, NEVER, Segment};

/// One checkout. Times are in seconds of the pool's clock; infinite for events that have not happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Checkout {
    pub(crate) asked: f64,
    /// When the checkout got its permit. Pings and connects follow.
    pub(crate) granted: f64,
    /// When the connection was returned, or when the caller gave up waiting.
    pub(crate) returned: f64,
    /// The queries of the hold; `None` if they are not observed.
    pub(crate) queries: Option<Queries>,
    /// The number of the request; 0 if unknown.
    pub(crate) request: u32,
    /// The number of the call site.
    pub(crate) place: u16,
    /// Number of connections allowed at the time.
    pub(crate) size: u16,
}

/// The queries of one hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Queries {
    /// Start of the first and end of the last query.
    pub(crate) first: f64,
    pub(crate) last: f64,
    /// Seconds in which a query was in flight.
    pub(crate) busy: f64,
}

impl Checkout {
    fn of(entry: &Entry, segment: &Segment) -> Self {
        // Added as integers, so that equal times in two segments remain equal.
        let began = (segment.began / 1000).cast_signed();
        let since = |micros: i64| (began + micros) as f64 / 1e6;
        let at = |micros: u32| match micros {
            NEVER => f64::INFINITY,
            micros => since(micros.into()),
        };
        let asked = since(entry.asked.into());
        // Each time was rounded down, so the order may be lost.
        let granted = at(entry.granted).max(asked);
        let returned = at(entry.returned).max(if entry.granted == NEVER {
            asked
        } else {
            granted
        });
        let queries = (entry.busy != NEVER && entry.granted != NEVER).then(|| {
            let (first, last) = match entry.first {
                NEVER if entry.busy == 0 => (granted, granted),
                // The times are unknown, but within the hold.
                NEVER => (granted, returned),
                first => (at(first), at(entry.last)),
            };
            let busy = f64::from(entry.busy) / 1e6;
            // The recorded end may be that of the first row, long before the last one.
            let first = first.clamp(granted, returned);
            Queries {
                first,
                last: last.max(first + busy).clamp(granted, returned),
                busy,
            }
        });
        Self {
            asked,
            granted,
            returned,
            queries,
            request: entry.request,
            place: entry.place,
            size: entry.size,
        }
    }

    /// Returns whether the checkout got a connection.
    pub(crate) fn is_served(&self) -> bool {
        self.granted.is_finite()
    }

    /// Returns whether the checkout got a connection and returned it.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_served() && self.returned.is_finite()
    }

    /// Returns the time queued, in seconds; infinite if the checkout got no connection.
    pub(crate) fn queued(&self) -> f64 {
        self.granted - self.asked
    }

    /// Returns the hold time, in seconds.
    pub(crate) fn held(&self) -> f64 {
        self.returned - self.granted
    }

    /// Returns the queries of the hold. If they are not observed, the whole hold counts as a query.
    pub(crate) fn queries(&self) -> Queries {
        self.queries.unwrap_or(Queries {
            first: self.granted,
            last: self.returned,
            busy: self.held(),
        })
    }
}

/// A time without holders and arrivals is a silence, and not part of the load, if it is longer than this
/// many seconds and than this many times the mean time between checkouts.
const SILENCE: f64 = 2.0;
const SILENT_GAPS: f64 = 20.0;

/// The complete checkouts of a continuous time span.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Run {
    /// The indices of the trace's checkouts.
    pub(crate) range: Range<usize>,
    pub(crate) from: f64,
    pub(crate) until: f64,
    /// The number of checkouts that the run represents, including later ones that were only counted.
    pub(crate) weight: f64,
}

impl Run {
    pub(crate) fn seconds(&self) -> f64 {
        self.until - self.from
    }

    /// Returns the time that the run represents, in seconds, by the number of checkouts.
    fn stands_for(&self) -> f64 {
        self.seconds() * self.weight / self.range.len().max(1) as f64
    }
}

/// The record of one window.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace {
    /// The checkouts, run by run, in the order of arrival.
    pub(crate) checkouts: Vec<Checkout>,
    pub(crate) runs: Vec<Run>,
}

impl Trace {
    /// Reads the record from segments, the oldest first.
    pub(crate) fn of(segments: &[Counted]) -> Self {
        let mut trace = Self::default();
        for joined in segments.chunk_by(|_, next| next.segment.follows) {
            let checkouts = joined.iter().flat_map(|Counted { segment, .. }| {
                let entries = segment.entries.iter();
                entries.map(|entry| Checkout::of(entry, segment))
            });
            let checkouts: Vec<Checkout> = checkouts.collect();
            let first = joined.first().map(|first| &first.segment);
            let mut from = seconds(first.map_or(0, |first| first.began));
            if first.is_some_and(|first| first.is_first()) {
                // Those requested before the first grant are all recorded, in any order.
                let asked = checkouts.iter().map(|checkout| checkout.asked);
                from = asked.fold(from, f64::min);
            }
            let until = joined.last().map_or(0, |last| last.segment.ended);
            let asked = joined.iter().map(|it| it.asked as f64).sum();
            trace.add(checkouts, from, seconds(until), asked);
        }
        trace
    }

    /// Adds a run that represents `asked` checkouts. Checkouts that arrived before `from` are omitted,
    /// because others that arrived then were not recorded.
    pub(crate) fn add(&mut self, mut checkouts: Vec<Checkout>, from: f64, until: f64, asked: f64) {
        checkouts.retain(|checkout| checkout.asked >= from && checkout.asked < until);
        if checkouts.is_empty() {
            return;
        }
        checkouts.sort_by(|a, b| a.asked.total_cmp(&b.asked));
        for checkout in &mut checkouts {
            // The record does not contain later returns.
            if checkout.returned > until {
                checkout.returned = f64::INFINITY;
            }
        }
        let each = asked.max(checkouts.len() as f64) / checkouts.len() as f64;
        let silence = SILENCE.max(SILENT_GAPS * (until - from) / checkouts.len() as f64);
        let (mut from, mut start) = (from, self.checkouts.len());
        let mut last = from;
        for checkout in checkouts {
            if checkout.asked - last > silence {
                self.end_run(start, from, last, each);
                (from, start) = (checkout.asked, self.checkouts.len());
            }
            last = last.max(checkout.asked);
            if checkout.returned.is_finite() || checkout.is_served() {
                last = last.max(checkout.returned);
            }
            self.checkouts.push(checkout);
        }
        let end = if until - last > silence { last } else { until };
        self.end_run(start, from, end, each);
    }

    fn end_run(&mut self, start: usize, from: f64, until: f64, each: f64) {
        let end = self.checkouts.len();
        if start < end {
            self.runs.push(Run {
                range: start..end,
                from,
                until,
                weight: each * (end - start) as f64,
            });
        }
    }

    /// Returns the part of the trace between two times, in seconds.
    pub(crate) fn between(&self, from: f64, until: f64) -> Self {
        let mut trace = Self::default();
        for run in &self.runs {
            let (start, end) = (run.from.max(from), run.until.min(until));
            if start < end {
                let within = |it: &&Checkout| it.asked >= start && it.asked < end;
                let part: Vec<_> = self.of_run(run).iter().filter(within).copied().collect();
                let share = part.len() as f64 / run.range.len() as f64;
                trace.add(part, start, end, run.weight * share);
            }
        }
        trace
    }

    pub(crate) fn of_run(&self, run: &Run) -> &[Checkout] {
        self.checkouts.get(run.range.clone()).unwrap_or_default()
    }

    /// Returns the number of checkouts requested per second.
    pub(crate) fn rate(&self) -> f64 {
        // Each run represents the time until the next one.
        let asked: f64 = self.runs.iter().map(|run| run.weight).sum();
        let seconds: f64 = self.runs.iter().map(Run::stands_for).sum();
        if seconds > 0.0 { asked / seconds } else { 0.0 }
    }

    /// Returns the seconds from the start to the end of the time that the last run represents.
    pub(crate) fn seconds(&self) -> f64 {
        match (self.runs.first(), self.runs.last()) {
            (Some(first), Some(last)) => last.from + last.stands_for() - first.from,
            _ => 0.0,
        }
    }

    /// Returns the seconds in which every checkout was recorded.
    pub(crate) fn recorded_seconds(&self) -> f64 {
        self.runs.iter().map(Run::seconds).sum()
    }

    /// Returns the connection-seconds in use within the runs.
    pub(crate) fn held(&self) -> f64 {
        let held = self.runs.iter().flat_map(|run| {
            let served = self.of_run(run).iter().filter(|it| it.is_served());
            served.map(|it| (it.returned.min(run.until) - it.granted).max(0.0))
        });
        held.sum()
    }

    /// Returns the number of checkouts whose connection was returned.
    pub(crate) fn completed(&self) -> usize {
        self.checkouts.iter().filter(|it| it.is_complete()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::history::{Asked, History, Queries as Recorded};

    const MILLISECOND: u64 = 1_000_000;

    /// Records consecutive checkouts, each held for `held`; the next one follows `pause` after the return.
    fn record(count: u64, began: u64, held: u64, pause: u64) -> (History, u64) {
        let (mut history, mut now) = (History::new(1), began);
        for _ in 0..count {
            let asked = Asked {
                asked: now,
                ..Asked::default()
            };
            history.asked();
            let position = history.granted(now, now, asked);
            now += held;
            let queries = Recorded {
                between: Some((now - held / 2, now)),
                busy: held / 2,
            };
            if let Some(position) = position {
                history.returned(position, now, Some(queries));
            }
            now += pause;
        }
        (history, now)
    }

    #[test]
    fn equal_times_in_two_segments_remain_equal() {
        // An odd number of nanoseconds.
        for began in [123, 123_456_789] {
            let (mut history, now) = record(9000, began, 1_234_567, 0);
            let trace = Trace::of(&history.read(now).recent);
            assert_eq!((trace.runs.len(), trace.checkouts.len()), (1, 9000));
            for two in trace.checkouts.windows(2) {
                assert_eq!(two[0].returned, two[1].asked);
            }
        }
    }

    #[test]
    fn a_checkout_that_was_overtaken_at_the_start_is_recorded() {
        let mut history = History::new(2);
        // Requested at 1 ms and at 2 ms, and granted the other way round.
        for asked in [2, 1] {
            let asked = Asked {
                asked: asked * MILLISECOND,
                ..Asked::default()
            };
            history.asked();
            let now = 3 * MILLISECOND;
            let position = history.granted(now, now, asked).expect("a segment");
            history.returned(position, 4 * MILLISECOND, None);
        }
        let trace = Trace::of(&history.read(5 * MILLISECOND).recent);
        let asked: Vec<f64> = trace.checkouts.iter().map(|it| it.asked).collect();
        assert_eq!(asked, [0.001, 0.002]);
    }

    #[test]
    fn checkouts_are_exact_to_a_microsecond() {
        let (mut history, now) = record(100, 5_000_000_000, 2 * MILLISECOND, 3 * MILLISECOND);
        let trace = Trace::of(&history.read(now).recent);
        assert_eq!(trace.runs.len(), 1);
        for (checkout, n) in trace.checkouts.iter().zip(0..) {
            let asked = 5.0 + f64::from(n) * 0.005;
            assert!((checkout.asked - asked).abs() < 1e-9);
            assert_eq!(checkout.queued(), 0.0);
            assert!((checkout.held() - 0.002).abs() < 1e-9);
            let queries = checkout.queries.unwrap();
            assert!((queries.first - asked - 0.001).abs() < 1e-9);
            assert_eq!((queries.last, queries.busy), (checkout.returned, 0.001));
        }
        assert!((trace.rate() - 200.0).abs() < 1e-6);
        assert!((trace.held() - 0.2).abs() < 1e-6);
        assert!((trace.seconds() - 0.5).abs() < 1e-6);
    }

    #[test]
    fn the_last_sample_of_a_fast_pool_represents_the_time_up_to_now() {
        // A segment is full after two seconds, and one is recorded every ten seconds.
        let (mut history, now) = record(100_000, 0, MILLISECOND / 2, 0);
        let trace = Trace::of(&history.read(now).recent);
        assert!(trace.runs.len() > 1 && trace.checkouts.len() < 40_000);
        assert!((trace.seconds() - 50.0).abs() < 0.5, "{}", trace.seconds());
        assert!(trace.recorded_seconds() < 20.0);
        assert!((trace.rate() - 2000.0).abs() < 1.0, "{}", trace.rate());
        // A part of a run keeps its weight.
        let part = trace.between(20.0, 40.0);
        assert!((part.rate() - 2000.0).abs() < 50.0, "{}", part.rate());
        assert!(
            part.checkouts
                .iter()
                .all(|it| (20.0..40.0).contains(&it.asked))
        );
    }

    #[test]
    fn returns_after_the_end_are_unknown() {
        let checkout = |asked, returned| Checkout {
            asked,
            granted: asked,
            returned,
            queries: None,
            request: 0,
            place: 0,
            size: 1,
        };
        let mut trace = Trace::default();
        let all = vec![
            checkout(3.0, 9.0),
            checkout(0.5, 1.5),
            checkout(4.0, 11.0),
            checkout(10.0, 10.5),
        ];
        trace.add(all, 1.0, 10.0, 0.0);
        let found: Vec<_> = trace
            .checkouts
            .iter()
            .map(|it| (it.asked, it.returned))
            .collect();
        assert_eq!(found, [(3.0, 9.0), (4.0, f64::INFINITY)]);
        assert_eq!((trace.completed(), trace.held()), (1, 12.0));
        trace.add(Vec::new(), 10.0, 20.0, 5.0);
        assert_eq!(trace.runs.len(), 1);
        assert_eq!(Trace::of(&[]).seconds(), 0.0);
    }
}
