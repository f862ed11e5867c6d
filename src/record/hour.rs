//! The pool's traffic in the last hour, in samples of five seconds.

use std::collections::VecDeque;

use crate::record::clock::{MINUTE, SECOND};
use crate::record::traffic::Traffic;

/// Time covered by one sample.
const LENGTH: u64 = 5 * SECOND;
/// Number of samples kept, which is one hour.
const KEPT: usize = (60 * MINUTE / LENGTH) as usize;

/// The samples of the last hour, each with the time of its end.
#[derive(Debug, Default)]
pub(crate) struct Hour(VecDeque<(u64, Traffic)>);

impl Hour {
    /// Adds a completed slot of the windows.
    pub(crate) fn push(&mut self, ended: u64, traffic: Traffic) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((ended, traffic));
    }

    /// Returns the sums over the last minutes, including the slots that have not ended.
    pub(crate) fn last(
        &self,
        minutes: u64,
        now: u64,
        open: impl Iterator<Item = Traffic>,
    ) -> Traffic {
        let since = now.saturating_sub(minutes * MINUTE);
        let samples = self.0.iter().rev().take_while(|(ended, _)| *ended > since);
        let mut sum = Traffic::default();
        let mut began = since;
        for (ended, sample) in samples {
            sum.add(sample);
            began = began.min(ended.saturating_sub(LENGTH));
        }
        open.for_each(|slot| sum.add(&slot));
        // The windows do not count all of an idle time.
        sum.observed = now - began;
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::traffic::GaugeValues;
    use crate::record::windows::Windows;
    use std::time::Duration;

    #[test]
    fn samples_add_up_and_expire_after_an_hour() {
        let mut windows = Windows::new();
        for second in 0..600 {
            let slot = windows.at(second * SECOND);
            slot.traffic.arrivals += 2;
            slot.held.record(Duration::from_millis(500));
        }
        let now = 600 * SECOND;
        let minute = windows.traffic(now, 1);
        assert_eq!((minute.observed().as_secs(), minute.arrivals), (60, 120));
        assert_eq!((minute.rate(), minute.mean_held()), (2.0, Some(0.5)));
        assert_eq!(minute.peak_arrivals, 2);
        let later = windows.traffic(now + 32 * SECOND, 5);
        assert_eq!((later.observed().as_secs(), later.arrivals), (302, 540));
        let hour = windows.traffic(now, 60);
        assert_eq!((hour.observed().as_secs(), hour.arrivals), (600, 1200));
        let later = windows.traffic(10 * now, 60);
        assert_eq!((later.observed().as_secs(), later.arrivals), (3600, 0));
        assert_eq!((later.rate(), later.mean_held()), (0.0, None));
    }

    #[test]
    fn idle_time_counts_as_observed() {
        let mut windows = Windows::new();
        windows.at(0).traffic.arrivals += 30;
        let hour = windows.traffic(50 * MINUTE, 60);
        assert_eq!(
            (hour.observed().as_secs(), hour.arrivals, hour.rate()),
            (3000, 30, 0.01)
        );
    }

    #[test]
    fn a_held_connection_counts_in_each_sample() {
        let mut windows = Windows::new();
        let level = |checked_out| GaugeValues {
            checked_out,
            ..GaugeValues::default()
        };
        windows.set_level(0, level(7));
        windows.set_level(SECOND, level(3));
        assert_eq!(windows.traffic(SECOND, 1).peak.checked_out, 7);
        assert_eq!(windows.traffic(10 * MINUTE, 1).peak.checked_out, 3);
    }
}
