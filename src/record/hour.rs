//! The pool's traffic in the last hour, in samples of five seconds.

use std::collections::VecDeque;

use crate::record::clock::{MINUTE, SECOND, seconds};
use crate::record::windows::Interval;

/// Time covered by one sample.
const LENGTH: u64 = 5 * SECOND;
/// Number of samples kept, which is one hour.
const KEPT: usize = (60 * MINUTE / LENGTH) as usize;

/// Sums over a period.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Traffic {
    /// Time covered, in seconds.
    pub(crate) seconds: f64,
    /// Checkouts requested, including those that timed out or were shed.
    pub(crate) asked: u64,
    /// Checkouts that timed out in the queue or were shed.
    pub(crate) unserved: u64,
    /// Connections returned.
    pub(crate) returned: u64,
    /// Seconds that these connections were held.
    pub(crate) held: f64,
    /// Most connections in use at once.
    pub(crate) peak: u32,
    /// Most checkouts waiting at once.
    pub(crate) peak_pending: u32,
    /// Most checkouts requested within one second.
    pub(crate) peak_rate: f64,
}

impl Traffic {
    /// Returns the sums of a slot, without the time covered.
    fn of(slot: &Interval) -> Self {
        Self {
            seconds: 0.0,
            asked: slot.arrivals,
            unserved: slot.unserved,
            returned: slot.held.count(),
            held: slot.held.sum().as_secs_f64(),
            peak: slot.peak.checked_out,
            peak_pending: slot.peak.pending,
            peak_rate: slot.peak_arrival_rate,
        }
    }

    fn add(&mut self, other: &Self) {
        self.asked += other.asked;
        self.unserved += other.unserved;
        self.returned += other.returned;
        self.held += other.held;
        self.peak = self.peak.max(other.peak);
        self.peak_pending = self.peak_pending.max(other.peak_pending);
        self.peak_rate = self.peak_rate.max(other.peak_rate);
    }

    /// Returns the checkouts requested per second.
    pub(crate) fn rate(&self) -> f64 {
        if self.seconds > 0.0 {
            self.asked as f64 / self.seconds
        } else {
            0.0
        }
    }

    /// Returns the mean time that a connection was held, in seconds; `None` if none was returned.
    pub(crate) fn mean_held(&self) -> Option<f64> {
        (self.returned > 0).then(|| self.held / self.returned as f64)
    }
}

/// The samples of the last hour, each with the time of its end.
#[derive(Debug, Default)]
pub(crate) struct Hour(VecDeque<(u64, Traffic)>);

impl Hour {
    /// Adds a completed slot of the windows.
    pub(crate) fn push(&mut self, ended: u64, slot: &Interval) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((ended, Traffic::of(slot)));
    }

    /// Returns the sums over the last minutes, including the slots that have not ended.
    pub(crate) fn last<'a>(
        &self,
        minutes: u64,
        now: u64,
        open: impl Iterator<Item = &'a Interval>,
    ) -> Traffic {
        let since = now.saturating_sub(minutes * MINUTE);
        let samples = self.0.iter().rev().take_while(|(ended, _)| *ended > since);
        let mut sum = Traffic::default();
        let mut began = since;
        for (ended, sample) in samples {
            sum.add(sample);
            began = began.min(ended.saturating_sub(LENGTH));
        }
        open.for_each(|slot| sum.add(&Traffic::of(slot)));
        sum.seconds = seconds(now - began);
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::windows::{Level, Windows};
    use std::time::Duration;

    #[test]
    fn samples_add_up_and_expire_after_an_hour() {
        let mut windows = Windows::new();
        for second in 0..600 {
            let slot = windows.at(second * SECOND);
            slot.arrivals += 2;
            slot.held.record(Duration::from_millis(500));
        }
        let now = 600 * SECOND;
        let minute = windows.traffic(now, 1);
        assert_eq!((minute.seconds, minute.asked), (60.0, 120));
        assert_eq!((minute.rate(), minute.mean_held()), (2.0, Some(0.5)));
        assert_eq!(minute.peak_rate, 2.0);
        let later = windows.traffic(now + 32 * SECOND, 5);
        assert_eq!((later.seconds, later.asked), (302.0, 540));
        let hour = windows.traffic(now, 60);
        assert_eq!((hour.seconds, hour.asked), (600.0, 1200));
        let later = windows.traffic(10 * now, 60);
        assert_eq!((later.seconds, later.asked), (3600.0, 0));
        assert_eq!((later.rate(), later.mean_held()), (0.0, None));
    }

    #[test]
    fn idle_time_is_covered() {
        let mut windows = Windows::new();
        windows.at(0).arrivals += 30;
        let hour = windows.traffic(50 * MINUTE, 60);
        assert_eq!((hour.seconds, hour.asked, hour.rate()), (3000.0, 30, 0.01));
    }

    #[test]
    fn a_held_connection_counts_in_each_sample() {
        let mut windows = Windows::new();
        let level = |checked_out| Level {
            checked_out,
            ..Level::default()
        };
        windows.set_level(0, level(7));
        windows.set_level(SECOND, level(3));
        assert_eq!(windows.traffic(SECOND, 1).peak, 7);
        assert_eq!(windows.traffic(10 * MINUTE, 1).peak, 3);
    }
}
