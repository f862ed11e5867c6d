//! Sliding windows over the last 10 seconds, the last minute and the last 5 minutes.
//!
//! Only the current second is written to. When it ends, it moves into the ring of seconds and is merged
//! into the ring of 5-second slots. So recording a value updates one histogram, regardless of the number
//! of windows.

use std::collections::VecDeque;
use std::time::Duration;

use crate::checkout::wait_phase::{Phase, Phases};
use crate::record::clock::{SECOND, seconds};
use crate::record::histogram::Histogram;
use crate::record::hour::{Hour, Traffic};

const SECONDS: usize = 10;
/// Seconds merged into one coarse slot.
const COARSE: u32 = 5;
const COARSE_SLOTS: usize = 60;
/// Slightly longer than the longest window.
const HORIZON: u64 = 310 * SECOND;

/// The windows that reports are computed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Span {
    TenSeconds,
    Minute,
    FiveMinutes,
}

/// Gauge values at an instant, integrated over time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) checked_out: u32,
    pub(crate) pending: u32,
    pub(crate) overflow: u32,
}

/// The waits of one slot by phase. A phase has only the checkouts that waited in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct PhaseTimes {
    pub(crate) queued: Histogram,
    pub(crate) connecting: Histogram,
    pub(crate) pinging: Histogram,
}

impl PhaseTimes {
    pub(crate) fn of(&self, phase: Phase) -> &Histogram {
        match phase {
            Phase::Queued => &self.queued,
            Phase::Connecting => &self.connecting,
            Phase::Pinging => &self.pinging,
        }
    }

    fn each(&mut self) -> [(Phase, &mut Histogram); 3] {
        [
            (Phase::Queued, &mut self.queued),
            (Phase::Connecting, &mut self.connecting),
            (Phase::Pinging, &mut self.pinging),
        ]
    }

    fn record(&mut self, phases: &Phases) {
        for (phase, histogram) in self.each() {
            let time = phases.of(phase);
            if !time.is_zero() {
                histogram.record(time);
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        for (phase, histogram) in self.each() {
            histogram.merge(other.of(phase));
        }
    }

    fn cleared(self) -> Self {
        Self {
            queued: self.queued.cleared(),
            connecting: self.connecting.cleared(),
            pinging: self.pinging.cleared(),
        }
    }
}

/// The data of one slot, or of a whole window after merging.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interval {
    pub(crate) wait: Histogram,
    pub(crate) held: Histogram,
    pub(crate) create: Histogram,
    /// Waits by phase; `None` if no checkout waited or the phases are unknown.
    pub(crate) phases: Option<Box<PhaseTimes>>,
    /// Checkouts requested. Refusals by a closed or suspended pool do not count.
    pub(crate) arrivals: u64,
    pub(crate) timeouts: u64,
    pub(crate) failures: u64,
    pub(crate) shed: u64,
    /// Checkouts that timed out in the queue or were shed.
    pub(crate) unserved: u64,
    /// Time covered, in nanoseconds.
    pub(crate) observed: u64,
    /// Integrals of the gauge values over the time covered, in nanoseconds.
    pub(crate) checked_out_time: u64,
    pub(crate) pending_time: u64,
    pub(crate) overflow_time: u64,
    pub(crate) peak: Level,
    /// Most arrivals within one second.
    pub(crate) peak_arrival_rate: f64,
}

impl Interval {
    fn merge(&mut self, other: &Self) {
        self.wait.merge(&other.wait);
        self.held.merge(&other.held);
        self.create.merge(&other.create);
        if let Some(phases) = &other.phases {
            self.phases.get_or_insert_default().merge(phases);
        }
        self.arrivals += other.arrivals;
        self.timeouts += other.timeouts;
        self.failures += other.failures;
        self.shed += other.shed;
        self.unserved += other.unserved;
        self.observed += other.observed;
        self.checked_out_time += other.checked_out_time;
        self.pending_time += other.pending_time;
        self.overflow_time += other.overflow_time;
        self.peak.checked_out = self.peak.checked_out.max(other.peak.checked_out);
        self.peak.pending = self.peak.pending.max(other.peak.pending);
        self.peak.overflow = self.peak.overflow.max(other.peak.overflow);
        self.peak_arrival_rate = self.peak_arrival_rate.max(other.peak_arrival_rate);
    }

    /// Returns an empty slot that reuses the memory.
    fn cleared(self) -> Self {
        Self {
            wait: self.wait.cleared(),
            held: self.held.cleared(),
            create: self.create.cleared(),
            phases: self.phases.map(|phases| Box::new(phases.cleared())),
            arrivals: 0,
            timeouts: 0,
            failures: 0,
            shed: 0,
            unserved: 0,
            observed: 0,
            checked_out_time: 0,
            pending_time: 0,
            overflow_time: 0,
            peak: Level::default(),
            peak_arrival_rate: 0.0,
        }
    }

    /// Records the phases of a checkout's wait.
    pub(crate) fn waited_in(&mut self, phases: &Phases) {
        self.phases.get_or_insert_default().record(phases);
    }

    fn elapse(&mut self, time: u64, level: Level) {
        let of = |level: u32| time.saturating_mul(u64::from(level));
        self.observed += time;
        self.checked_out_time = self.checked_out_time.saturating_add(of(level.checked_out));
        // Usually both are zero.
        if level.pending | level.overflow > 0 {
            self.pending_time = self.pending_time.saturating_add(of(level.pending));
            self.overflow_time = self.overflow_time.saturating_add(of(level.overflow));
        }
        self.reach(level);
    }

    fn reach(&mut self, level: Level) {
        self.peak.checked_out = self.peak.checked_out.max(level.checked_out);
        self.peak.pending = self.peak.pending.max(level.pending);
        self.peak.overflow = self.peak.overflow.max(level.overflow);
    }

    fn mean_of(&self, integral: u64) -> f64 {
        if self.observed > 0 {
            integral as f64 / self.observed as f64
        } else {
            0.0
        }
    }

    /// Returns the time covered.
    pub(crate) fn observed(&self) -> Duration {
        Duration::from_nanos(self.observed)
    }

    /// Returns the time-weighted mean number of connections in use.
    pub(crate) fn mean_checked_out(&self) -> f64 {
        self.mean_of(self.checked_out_time)
    }

    /// Returns the time-weighted mean number of waiting checkouts.
    pub(crate) fn mean_pending(&self) -> f64 {
        self.mean_of(self.pending_time)
    }

    /// Returns the time-weighted mean number of open connections beyond the pool size.
    pub(crate) fn mean_overflow(&self) -> f64 {
        self.mean_of(self.overflow_time)
    }

    /// Returns the checkouts requested per second.
    pub(crate) fn arrival_rate(&self) -> f64 {
        if self.observed > 0 {
            self.arrivals as f64 / seconds(self.observed)
        } else {
            0.0
        }
    }
}

/// The rings of completed slots, and the current second. Times are nanoseconds of the pool's
/// [clock](crate::record::clock).
#[derive(Debug)]
pub(crate) struct Windows {
    current: Interval,
    /// When the current second ends.
    ends: u64,
    /// Time up to which the level has been integrated.
    integrated: u64,
    level: Level,
    seconds: VecDeque<Interval>,
    /// 5-second slots, the newest first. The front one may not be complete.
    coarse: VecDeque<Interval>,
    /// Number of seconds merged into the front slot, modulo [`COARSE`].
    filling: u32,
    hour: Hour,
}

impl Windows {
    pub(crate) fn new() -> Self {
        Self {
            current: Interval::default(),
            ends: SECOND,
            integrated: 0,
            level: Level::default(),
            seconds: VecDeque::with_capacity(SECONDS),
            coarse: VecDeque::with_capacity(COARSE_SLOTS),
            filling: 0,
            hour: Hour::default(),
        }
    }

    /// Advances the windows to `now`, and returns the slot of the current second.
    pub(crate) fn at(&mut self, now: u64) -> &mut Interval {
        if now >= self.ends {
            self.catch_up(now);
        }
        self.integrate(now);
        &mut self.current
    }

    #[cold]
    fn catch_up(&mut self, now: u64) {
        // After a long idle time, only the seconds that the windows can still show are closed one by one.
        if let Some(horizon) = now.checked_sub(HORIZON)
            && self.ends < horizon
        {
            (self.ends, self.integrated) = (horizon + SECOND, horizon);
        }
        while now >= self.ends {
            self.close_second();
        }
    }

    /// Sets the gauge values from `now` on.
    pub(crate) fn set_level(&mut self, now: u64, level: Level) {
        self.at(now).reach(level);
        self.level = level;
    }

    /// Returns the merged data of a window that ends at `now`.
    pub(crate) fn read(&mut self, now: u64, span: Span) -> Interval {
        self.at(now);
        let mut sum = Interval::default();
        match span {
            Span::TenSeconds => self.seconds.iter().for_each(|slot| sum.merge(slot)),
            Span::Minute => self.coarse.iter().take(12).for_each(|slot| sum.merge(slot)),
            Span::FiveMinutes => self.coarse.iter().for_each(|slot| sum.merge(slot)),
        }
        sum.merge(&self.current);
        sum.peak_arrival_rate = sum.peak_arrival_rate.max(self.current.arrivals as f64);
        sum
    }

    /// Returns the traffic of the last minutes (at most 60) up to `now`.
    pub(crate) fn traffic(&mut self, now: u64, minutes: u64) -> Traffic {
        self.at(now);
        self.current.peak_arrival_rate = self.current.arrivals as f64;
        let filling = self.coarse.iter().take(usize::from(self.filling > 0));
        let open = filling.chain([&self.current]);
        self.hour.last(minutes, now, open)
    }

    fn integrate(&mut self, until: u64) {
        // Usually no time has passed.
        if until > self.integrated {
            self.current.elapse(until - self.integrated, self.level);
            self.integrated = until;
        }
    }

    fn close_second(&mut self) {
        let end = self.ends;
        self.integrate(end);
        self.ends = end + SECOND;
        self.current.peak_arrival_rate = self.current.arrivals as f64;
        if self.filling == 0 {
            let slot = match self.coarse.len() {
                COARSE_SLOTS => self
                    .coarse
                    .pop_back()
                    .map(Interval::cleared)
                    .unwrap_or_default(),
                _ => Interval::default(),
            };
            self.coarse.push_front(slot);
        }
        self.filling = (self.filling + 1) % COARSE;
        if let Some(front) = self.coarse.front_mut() {
            front.merge(&self.current);
            if self.filling == 0 {
                self.hour.push(end, front);
            }
        }
        // The new second reuses the memory of the oldest.
        let fresh = match self.seconds.len() {
            SECONDS => self
                .seconds
                .pop_back()
                .map(Interval::cleared)
                .unwrap_or_default(),
            _ => Interval::default(),
        };
        self.seconds
            .push_front(std::mem::replace(&mut self.current, fresh));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn level(checked_out: u32) -> Level {
        Level {
            checked_out,
            ..Level::default()
        }
    }

    #[test]
    fn each_window_drops_older_data() {
        let mut windows = Windows::new();
        windows.at(0).held.record(MS);
        let seen = |w: &mut Windows, after: u64| {
            let now = after * SECOND;
            [Span::TenSeconds, Span::Minute, Span::FiveMinutes].map(|s| w.read(now, s).held.count())
        };
        assert_eq!(seen(&mut windows, 0), [1, 1, 1]);
        assert_eq!(seen(&mut windows, 10), [1, 1, 1]);
        assert_eq!(seen(&mut windows, 12), [0, 1, 1]);
        assert_eq!(seen(&mut windows, 70), [0, 0, 1]);
        assert_eq!(seen(&mut windows, 310), [0, 0, 0]);
    }

    #[test]
    fn the_mean_is_weighted_by_time_across_slots() {
        let mut windows = Windows::new();
        windows.set_level(0, level(10));
        windows.set_level(5 * SECOND / 2, level(0));
        let minute = windows.read(10 * SECOND, Span::Minute);
        assert!(
            (minute.mean_checked_out() - 2.5).abs() < 1e-9,
            "{}",
            minute.mean_checked_out()
        );
        assert_eq!(minute.observed(), Duration::from_secs(10));
        assert_eq!(minute.peak.checked_out, 10);
    }

    #[test]
    fn windows_survive_an_idle_hour_and_a_clock_that_goes_back() {
        let mut windows = Windows::new();
        windows.at(0).arrivals += 5;
        let later = 3600 * SECOND;
        let minute = windows.read(later, Span::Minute);
        assert_eq!((minute.arrivals, minute.arrival_rate()), (0, 0.0));
        windows.at(0).arrivals += 1;
        assert_eq!(windows.read(later, Span::TenSeconds).arrivals, 1);
    }

    #[test]
    fn peaks_of_arrivals_are_kept_per_second() {
        let mut windows = Windows::new();
        windows.at(0).arrivals += 3;
        windows.at(4 * SECOND).arrivals += 30;
        let minute = windows.read(6 * SECOND, Span::Minute);
        assert_eq!((minute.arrivals, minute.peak_arrival_rate), (33, 30.0));
    }
}
