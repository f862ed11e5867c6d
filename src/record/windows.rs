//! Sliding windows over the last 10 seconds, the last minute and the last 5 minutes.
//!
//! Only the current second is written to. When it ends, its data moves into the ring of seconds; five of
//! them are merged into the ring of 5-second slots. So recording a value updates one histogram, regardless
//! of the number of windows. The rings take the memory that their values need.

use std::collections::VecDeque;

use crate::record::clock::SECOND;
use crate::record::hour::{Hour, LENGTH};
use crate::record::interval::{Interval, Slot};
use crate::record::timeline::{Size, Timeline};
use crate::record::traffic::{GaugeValues, Traffic};

const SECONDS: usize = 10;
/// Seconds merged into one coarse slot.
const COARSE: usize = (LENGTH / SECOND) as usize;
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

/// Slots of the same length, the newest first.
#[derive(Debug)]
struct Ring {
    /// `None` for a slot in which nothing has happened.
    slots: VecDeque<Option<Box<Slot>>>,
    /// Number of slots kept.
    kept: usize,
    /// Length of a slot in nanoseconds.
    length: u64,
}

impl Ring {
    fn new(kept: usize, length: u64) -> Self {
        Self {
            slots: VecDeque::new(),
            kept,
            length,
        }
    }

    fn push(&mut self, slot: Option<Box<Slot>>) {
        self.slots.truncate(self.kept - 1);
        self.slots.push_front(slot);
    }

    /// Adds the newest slots, at most `newest`, to `sum`.
    fn merge_into(&self, sum: &mut Interval, newest: usize) {
        for slot in self.slots.iter().take(newest) {
            match slot {
                Some(slot) => sum.merge(slot),
                None => sum.traffic.observed += self.length,
            }
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
    level: GaugeValues,
    seconds: Ring,
    /// 5-second slots.
    coarse: Ring,
    /// Number of completed seconds that are not in a coarse slot yet.
    filling: usize,
    hour: Hour,
    pub(super) timeline: Timeline,
}

impl Windows {
    /// Creates the windows of a pool of this size.
    pub(crate) fn new(size: Size) -> Self {
        Self {
            current: Interval::default(),
            ends: SECOND,
            integrated: 0,
            level: GaugeValues::default(),
            seconds: Ring::new(SECONDS, SECOND),
            coarse: Ring::new(COARSE_SLOTS, LENGTH),
            filling: 0,
            hour: Hour::default(),
            timeline: Timeline::new(size),
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
        // After a long time without an event, only the seconds that the windows can still show are closed
        // one by one.
        if let Some(horizon) = now.checked_sub(HORIZON)
            && self.ends + LENGTH < horizon
        {
            self.close_second();
            while self.filling > 0 {
                self.close_second();
            }
            let slots = horizon.saturating_sub(self.integrated) / LENGTH;
            self.timeline.pass(slots, self.level);
            self.integrated += slots * LENGTH;
            self.ends = self.integrated + SECOND;
        }
        while now >= self.ends {
            self.close_second();
        }
    }

    /// Sets the gauge values from `now` on.
    pub(crate) fn set_level(&mut self, now: u64, level: GaugeValues) {
        self.at(now).traffic.peak.reach(level);
        self.level = level;
    }

    /// Returns the slot of the current second, as of the last event.
    pub(crate) fn slot(&mut self) -> &mut Interval {
        &mut self.current
    }

    /// Sets how many connections the pool may have from `now` on.
    pub(crate) fn set_size(&mut self, now: u64, size: Size) {
        self.at(now);
        self.timeline.size = size;
    }

    /// Returns the merged data of a window that ends at `now`.
    pub(crate) fn read(&mut self, now: u64, span: Span) -> Interval {
        let mut sum = self.at(now).peaked().clone();
        let slots = match span {
            Span::TenSeconds => {
                self.seconds.merge_into(&mut sum, SECONDS);
                return sum;
            }
            Span::Minute => 12,
            Span::FiveMinutes => COARSE_SLOTS,
        };
        self.seconds.merge_into(&mut sum, self.filling);
        let complete = slots - usize::from(self.filling > 0);
        self.coarse.merge_into(&mut sum, complete);
        sum
    }

    /// Returns the traffic of the last minutes (at most 60) up to `now`.
    pub(crate) fn traffic(&mut self, now: u64, minutes: u64) -> Traffic {
        let current = self.at(now).peaked().traffic();
        let filling = self.seconds.slots.iter().take(self.filling).flatten();
        let open = filling.map(|slot| slot.traffic()).chain([current]);
        self.hour.last(minutes, now, open)
    }

    fn integrate(&mut self, until: u64) {
        // Usually no time has passed.
        if until > self.integrated {
            let passed = until - self.integrated;
            self.current.traffic.elapse(passed, self.level);
            self.integrated = until;
        }
    }

    fn close_second(&mut self) {
        let end = self.ends;
        self.integrate(end);
        self.ends = end + SECOND;
        self.current.peaked();
        self.seconds.push(self.current.end());
        self.filling += 1;
        if self.filling == COARSE {
            self.filling = 0;
            // The empty current second is the place where they are merged.
            self.seconds.merge_into(&mut self.current, COARSE);
            self.hour.push(end, self.current.traffic());
            self.timeline.push(&self.current);
            self.coarse.push(self.current.end());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const MS: Duration = Duration::from_millis(1);

    fn level(checked_out: u32) -> GaugeValues {
        GaugeValues {
            checked_out,
            ..GaugeValues::default()
        }
    }

    #[test]
    fn each_window_drops_older_data() {
        let mut windows = Windows::new(Size::default());
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
    fn a_slot_takes_memory_only_if_something_happened() {
        let mut windows = Windows::new(Size::default());
        windows.at(0).held.record(MS);
        windows.set_level(20 * SECOND, level(1));
        windows.set_level(30 * SECOND, level(0));
        let minute = windows.read(60 * SECOND, Span::Minute);
        assert_eq!(minute.traffic.observed().as_secs(), 60);
        assert_eq!(minute.traffic.checked_out_time, 10 * SECOND);
        let used = windows.coarse.slots.iter().rev().map(Option::is_some);
        let used: Vec<_> = used.collect();
        let (yes, no) = (true, false);
        assert_eq!(used, [yes, no, no, no, yes, yes, no, no, no, no, no, no]);
        assert!(windows.seconds.slots.iter().all(Option::is_none));
    }

    #[test]
    fn the_mean_is_weighted_by_time_across_slots() {
        let mut windows = Windows::new(Size::default());
        windows.set_level(0, level(10));
        windows.set_level(5 * SECOND / 2, level(0));
        let minute = windows.read(10 * SECOND, Span::Minute);
        assert!(
            (minute.traffic.mean_checked_out() - 2.5).abs() < 1e-9,
            "{}",
            minute.traffic.mean_checked_out()
        );
        assert_eq!(minute.traffic.observed(), Duration::from_secs(10));
        assert_eq!(minute.traffic.peak.checked_out, 10);
    }

    #[test]
    fn windows_survive_an_idle_hour_and_a_clock_that_goes_back() {
        let mut windows = Windows::new(Size::default());
        windows.at(0).traffic.arrivals += 5;
        let later = 3600 * SECOND;
        let minute = windows.read(later, Span::Minute);
        assert_eq!((minute.traffic.arrivals, minute.traffic.rate()), (0, 0.0));
        windows.at(0).traffic.arrivals += 1;
        assert_eq!(windows.read(later, Span::TenSeconds).traffic.arrivals, 1);
    }

    #[test]
    fn peaks_of_arrivals_are_kept_per_second() {
        let mut windows = Windows::new(Size::default());
        windows.at(0).traffic.arrivals += 3;
        windows.at(4 * SECOND).traffic.arrivals += 30;
        let minute = windows.read(6 * SECOND, Span::Minute);
        assert_eq!(
            (minute.traffic.arrivals, minute.traffic.peak_arrivals),
            (33, 30)
        );
    }
}
