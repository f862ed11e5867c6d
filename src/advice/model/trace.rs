//! The recorded checkouts, as the model reads them: in seconds, in the order in which they asked.

use std::ops::Range;

use crate::observe::history::{Counted, Entry, NEVER, Segment};

/// One checkout. Times are in seconds on one clock, infinite where something has not happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Checkout {
    pub(crate) asked: f64,
    /// When it got its permit. Pings and dials come after that.
    pub(crate) granted: f64,
    /// When the connection came back, or when the caller gave up waiting.
    pub(crate) returned: f64,
    /// What is known of its queries; `None` where they are not watched.
    pub(crate) queries: Option<Queries>,
    /// The request that it is part of; 0 where that is not known.
    pub(crate) request: u32,
    /// The place in the code that asked.
    pub(crate) place: u16,
    /// Connections allowed at the time.
    pub(crate) size: u16,
}

/// The queries of one hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Queries {
    /// When the first began, and the last ended.
    pub(crate) first: f64,
    pub(crate) last: f64,
    /// Seconds in which one was under way.
    pub(crate) busy: f64,
}

impl Checkout {
    fn of(entry: &Entry, segment: &Segment) -> Self {
        // Added up before they become fractions: what is at the same time in two segments stays so.
        let began = (segment.began / 1000).cast_signed();
        let since = |micros: i64| (began + micros) as f64 / 1e6;
        let at = |micros: u32| match micros {
            NEVER => f64::INFINITY,
            micros => since(micros.into()),
        };
        let asked = since(entry.asked.into());
        // Each is rounded down.
        let granted = at(entry.granted).max(asked);
        let returned = at(entry.returned).max(if entry.granted == NEVER {
            asked
        } else {
            granted
        });
        let queries = (entry.busy != NEVER && entry.granted != NEVER).then(|| {
            let (first, last) = match entry.first {
                NEVER if entry.busy == 0 => (granted, granted),
                // Somewhere in the hold.
                NEVER => (granted, returned),
                first => (at(first), at(entry.last)),
            };
            let busy = f64::from(entry.busy) / 1e6;
            // The last one may have ended with its first row, long before its last.
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

    pub(crate) fn is_served(&self) -> bool {
        self.granted.is_finite()
    }

    /// Served, and back.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_served() && self.returned.is_finite()
    }

    pub(crate) fn queued(&self) -> f64 {
        self.granted.min(self.returned) - self.asked
    }

    pub(crate) fn held(&self) -> f64 {
        self.returned - self.granted
    }

    /// Its queries. Where they are not watched, the whole hold may be one.
    pub(crate) fn queries(&self) -> Queries {
        self.queries.unwrap_or(Queries {
            first: self.granted,
            last: self.returned,
            busy: self.held(),
        })
    }
}

/// A time in which nobody held a connection or asked for one is no load if it lasts for this many
/// seconds, and for this many times as long as one checkout comes after the other.
const SILENCE: f64 = 2.0;
const SILENT_GAPS: f64 = 20.0;

/// Checkouts of one stretch of time, none left out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Run {
    /// Which of the trace's checkouts.
    pub(crate) range: Range<usize>,
    pub(crate) from: f64,
    pub(crate) until: f64,
    /// Checkouts that it stands for: those after it were counted but not recorded.
    pub(crate) weight: f64,
}

impl Run {
    pub(crate) fn seconds(&self) -> f64 {
        self.until - self.from
    }

    /// Seconds until the next run, by the checkouts that it stands for.
    fn stands_for(&self) -> f64 {
        self.seconds() * self.weight / self.range.len().max(1) as f64
    }
}

/// Everything recorded of one window.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace {
    /// Run by run, in the order of asking.
    pub(crate) checkouts: Vec<Checkout>,
    pub(crate) runs: Vec<Run>,
}

impl Trace {
    /// What was recorded in these segments, the oldest first.
    pub(crate) fn of(segments: &[Counted]) -> Self {
        let mut trace = Self::default();
        let mut joined: Vec<Checkout> = Vec::new();
        let (mut from, mut until, mut asked) = (0.0, 0.0, 0.0);
        for (
            index,
            Counted {
                segment,
                asked: more,
            },
        ) in segments.iter().enumerate()
        {
            if index == 0 || !segment.follows {
                trace.add(std::mem::take(&mut joined), from, until, asked);
                (from, asked) = (seconds(segment.began), 0.0);
            }
            joined.extend(
                segment
                    .entries
                    .iter()
                    .map(|entry| Checkout::of(entry, segment)),
            );
            asked += *more as f64;
            until = seconds(segment.ended);
        }
        trace.add(joined, from, until, asked);
        trace
    }

    /// Adds a run that stands for a number of checkouts. Those who asked before it are left out, because
    /// others like them were not recorded.
    pub(crate) fn add(&mut self, mut checkouts: Vec<Checkout>, from: f64, until: f64, asked: f64) {
        checkouts.retain(|checkout| checkout.asked >= from && checkout.asked < until);
        if checkouts.is_empty() {
            return;
        }
        checkouts.sort_by(|a, b| a.asked.total_cmp(&b.asked));
        for checkout in &mut checkouts {
            // What is still to come is not known.
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

    /// The part of it before or after a moment.
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

    /// Checkouts asked for per second.
    pub(crate) fn rate(&self) -> f64 {
        // Each run stands for the time until the next one.
        let asked: f64 = self.runs.iter().map(|run| run.weight).sum();
        let seconds: f64 = self.runs.iter().map(Run::stands_for).sum();
        if seconds > 0.0 { asked / seconds } else { 0.0 }
    }

    /// Seconds from the beginning to the end of what the last run stands for.
    pub(crate) fn seconds(&self) -> f64 {
        match (self.runs.first(), self.runs.last()) {
            (Some(first), Some(last)) => last.from + last.stands_for() - first.from,
            _ => 0.0,
        }
    }

    /// Seconds of which every checkout was recorded.
    pub(crate) fn recorded_seconds(&self) -> f64 {
        self.runs.iter().map(Run::seconds).sum()
    }

    /// Connection-seconds in use within the runs.
    pub(crate) fn held(&self) -> f64 {
        let held = self.runs.iter().flat_map(|run| {
            let served = self.of_run(run).iter().filter(|it| it.is_served());
            served.map(|it| (it.returned.min(run.until) - it.granted).max(0.0))
        });
        held.sum()
    }

    /// Checkouts whose connection came back.
    pub(crate) fn completed(&self) -> usize {
        self.checkouts.iter().filter(|it| it.is_complete()).count()
    }
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::history::{Asked, History, Queries as Recorded};

    const MILLISECOND: u64 = 1_000_000;

    /// One checkout after the other, each held for this long; the next one comes when it is back.
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
    fn what_is_at_the_same_time_in_two_segments_stays_so() {
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
    fn checkouts_are_as_they_were_to_a_microsecond() {
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
    fn the_last_sample_of_a_fast_pool_stands_for_the_time_up_to_now() {
        // A segment is full after two seconds, and there is one in ten.
        let (mut history, now) = record(100_000, 0, MILLISECOND / 2, 0);
        let trace = Trace::of(&history.read(now).recent);
        assert!(trace.runs.len() > 1 && trace.checkouts.len() < 40_000);
        assert!((trace.seconds() - 50.0).abs() < 0.5, "{}", trace.seconds());
        assert!(trace.recorded_seconds() < 20.0);
        assert!((trace.rate() - 2000.0).abs() < 1.0, "{}", trace.rate());
        // The weight is kept where it is cut.
        let part = trace.between(20.0, 40.0);
        assert!((part.rate() - 2000.0).abs() < 50.0, "{}", part.rate());
        assert!(
            part.checkouts
                .iter()
                .all(|it| (20.0..40.0).contains(&it.asked))
        );
    }

    #[test]
    fn what_comes_after_the_end_is_not_known() {
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
