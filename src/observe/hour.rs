//! What the pool was asked for in each five seconds of the last hour.

use std::collections::VecDeque;

use super::clock::{MINUTE, SECOND, seconds};
use super::window::Slot;

/// Time that one sample covers.
const LENGTH: u64 = 5 * SECOND;
/// Samples that are kept: those of an hour.
const KEPT: usize = (60 * MINUTE / LENGTH) as usize;

/// Sums over some time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Traffic {
    /// Time covered, in seconds.
    pub(crate) seconds: f64,
    /// Checkouts asked for, including those that timed out or were shed.
    pub(crate) asked: u64,
    /// Checkouts that timed out in the queue or were shed.
    pub(crate) unserved: u64,
    /// Connections that came back, and the seconds that they were held.
    pub(crate) returned: u64,
    pub(crate) held: f64,
    /// Most connections in use at once, most requests waiting at once, and most checkouts asked for
    /// within one second.
    pub(crate) peak: u32,
    pub(crate) peak_pending: u32,
    pub(crate) peak_rate: f64,
}

impl Traffic {
    /// All but the time covered.
    fn of(slot: &Slot) -> Self {
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

    /// Checkouts asked for per second.
    pub(crate) fn rate(&self) -> f64 {
        if self.seconds > 0.0 {
            self.asked as f64 / self.seconds
        } else {
            0.0
        }
    }

    /// Mean seconds that a connection was held; `None` before one came back.
    pub(crate) fn mean_held(&self) -> Option<f64> {
        (self.returned > 0).then(|| self.held / self.returned as f64)
    }
}

/// A ring of samples, each with the time of its end.
#[derive(Debug, Default)]
pub(crate) struct Hour(VecDeque<(u64, Traffic)>);

impl Hour {
    /// A slot of the windows has ended.
    pub(super) fn push(&mut self, ended: u64, slot: &Slot) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((ended, Traffic::of(slot)));
    }

    /// The last minutes, and the slots that have not ended.
    pub(super) fn last<'a>(
        &self,
        minutes: u64,
        now: u64,
        open: impl Iterator<Item = &'a Slot>,
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
    use crate::observe::window::{Level, Windows};
    use std::time::Duration;

    #[test]
    fn windows_add_up_and_what_is_older_than_an_hour_is_forgotten() {
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
    fn a_silence_counts_as_time() {
        let mut windows = Windows::new();
        windows.at(0).arrivals += 30;
        let hour = windows.traffic(50 * MINUTE, 60);
        assert_eq!((hour.seconds, hour.asked, hour.rate()), (3000.0, 30, 0.01));
    }

    #[test]
    fn a_connection_that_is_held_counts_in_each_sample() {
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
