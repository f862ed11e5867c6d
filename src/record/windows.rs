//! Sliding windows over the last 10 seconds, the last minute and the last 5 minutes.
//!
//! Only the current second is written to. When it ends, it moves into the ring of seconds and is merged
//! into the ring of 5-second slots. So recording a value updates one histogram, regardless of the number
//! of windows.

use std::collections::VecDeque;

use crate::checkout::wait_phase::Phases;
use crate::record::clock::SECOND;
use crate::record::histogram::Histogram;
use crate::record::hour::Hour;
use crate::record::traffic::{GaugeValues, Traffic};

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

/// The data of one slot, or of a whole window after merging.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interval {
    pub(crate) traffic: Traffic,
    pub(crate) wait: Histogram,
    pub(crate) held: Histogram,
    pub(crate) create: Histogram,
    /// Waits by phase, of the checkouts that waited in it; `None` if no checkout waited or the phases
    /// are unknown.
    pub(crate) phases: Option<Box<[Histogram; 3]>>,
}

impl Interval {
    fn merge(&mut self, other: &Self) {
        self.traffic.add(&other.traffic);
        self.wait.merge(&other.wait);
        self.held.merge(&other.held);
        self.create.merge(&other.create);
        if let Some(phases) = &other.phases {
            let merged = self.phases.get_or_insert_default();
            for (into, from) in merged.iter_mut().zip(phases.iter()) {
                into.merge(from);
            }
        }
    }

    /// Empties the slot. Keeps its memory.
    fn clear(&mut self) {
        self.traffic = Traffic::default();
        let phases = self.phases.iter_mut().flat_map(|phases| phases.iter_mut());
        [&mut self.wait, &mut self.held, &mut self.create]
            .into_iter()
            .chain(phases)
            .for_each(Histogram::clear);
    }

    /// Records the phases of a checkout's wait.
    pub(crate) fn waited_in(&mut self, phases: &Phases) {
        let histograms = self.phases.get_or_insert_default();
        for (phase, time) in phases.spent() {
            histograms[phase as usize].record(time);
        }
    }

    /// Sets the peak of the arrivals of a single second.
    fn peaked(&mut self) -> &Self {
        self.traffic.peak_arrivals = self.traffic.arrivals;
        self
    }

    /// Returns the traffic with the connections returned.
    fn traffic(&self) -> Traffic {
        Traffic {
            returned: self.held.count(),
            held: self.held.sum(),
            ..self.traffic
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
            level: GaugeValues::default(),
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
    pub(crate) fn set_level(&mut self, now: u64, level: GaugeValues) {
        self.at(now).traffic.peak.reach(level);
        self.level = level;
    }

    /// Returns the merged data of a window that ends at `now`.
    pub(crate) fn read(&mut self, now: u64, span: Span) -> Interval {
        let mut sum = self.at(now).peaked().clone();
        match span {
            Span::TenSeconds => self.seconds.iter().for_each(|slot| sum.merge(slot)),
            Span::Minute => self.coarse.iter().take(12).for_each(|slot| sum.merge(slot)),
            Span::FiveMinutes => self.coarse.iter().for_each(|slot| sum.merge(slot)),
        }
        sum
    }

    /// Returns the traffic of the last minutes (at most 60) up to `now`.
    pub(crate) fn traffic(&mut self, now: u64, minutes: u64) -> Traffic {
        self.at(now).peaked();
        let filling = self.coarse.iter().take(usize::from(self.filling > 0));
        let open = filling.chain([&self.current]).map(Interval::traffic);
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
        if self.filling == 0 {
            let slot = unused(&mut self.coarse, COARSE_SLOTS);
            self.coarse.push_front(slot);
        }
        self.filling = (self.filling + 1) % COARSE;
        if let Some(front) = self.coarse.front_mut() {
            front.merge(&self.current);
            if self.filling == 0 {
                self.hour.push(end, front.traffic());
            }
        }
        let fresh = unused(&mut self.seconds, SECONDS);
        self.seconds
            .push_front(std::mem::replace(&mut self.current, fresh));
    }
}

/// Returns an empty slot. Takes the memory of the oldest one if the ring has all of its `slots`.
fn unused(ring: &mut VecDeque<Interval>, slots: usize) -> Interval {
    if ring.len() < slots {
        return Interval::default();
    }
    let mut oldest = ring.pop_back().unwrap_or_default();
    oldest.clear();
    oldest
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
            (minute.traffic.mean_checked_out() - 2.5).abs() < 1e-9,
            "{}",
            minute.traffic.mean_checked_out()
        );
        assert_eq!(minute.traffic.observed(), Duration::from_secs(10));
        assert_eq!(minute.traffic.peak.checked_out, 10);
    }

    #[test]
    fn windows_survive_an_idle_hour_and_a_clock_that_goes_back() {
        let mut windows = Windows::new();
        windows.at(0).traffic.arrivals += 5;
        let later = 3600 * SECOND;
        let minute = windows.read(later, Span::Minute);
        assert_eq!((minute.traffic.arrivals, minute.traffic.rate()), (0, 0.0));
        windows.at(0).traffic.arrivals += 1;
        assert_eq!(windows.read(later, Span::TenSeconds).traffic.arrivals, 1);
    }

    #[test]
    fn peaks_of_arrivals_are_kept_per_second() {
        let mut windows = Windows::new();
        windows.at(0).traffic.arrivals += 3;
        windows.at(4 * SECOND).traffic.arrivals += 30;
        let minute = windows.read(6 * SECOND, Span::Minute);
        assert_eq!(
            (minute.traffic.arrivals, minute.traffic.peak_arrivals),
            (33, 30)
        );
    }
}
