//! The pool's traffic in the last hour: five minutes in samples of five seconds, and the rest in samples of a
//! minute.

use std::collections::VecDeque;

use crate::record::clock::{MINUTE, SECOND};
use crate::record::traffic::Traffic;

/// Time covered by one slot that is added.
pub(crate) const LENGTH: u64 = 5 * SECOND;
/// Age from which samples are merged.
const FINE: u64 = 5 * MINUTE;
/// Age at which samples are discarded.
const KEPT: u64 = 60 * MINUTE;

/// The traffic between two times.
#[derive(Debug)]
struct Sample {
    began: u64,
    ended: u64,
    traffic: Traffic,
}

/// The samples of the last hour, the oldest first. There is none of a time in which nothing happened.
#[derive(Debug, Default)]
pub(crate) struct Hour {
    minutes: VecDeque<Sample>,
    fine: VecDeque<Sample>,
}

impl Hour {
    /// Adds a completed slot of the windows.
    pub(super) fn push(&mut self, ended: u64, traffic: Traffic) {
        while let Some(oldest) = older(&mut self.fine, FINE, ended) {
            self.coarsen(oldest);
        }
        while older(&mut self.minutes, KEPT, ended).is_some() {}
        if !traffic.is_idle() {
            self.fine.push_back(Sample {
                began: ended.saturating_sub(LENGTH),
                ended,
                traffic,
            });
        }
    }

    /// Moves a sample into that of its minute.
    fn coarsen(&mut self, sample: Sample) {
        match self.minutes.back_mut() {
            Some(minute) if minute.began / MINUTE == sample.began / MINUTE => {
                minute.traffic.add(&sample.traffic);
                minute.ended = sample.ended;
            }
            _ => self.minutes.push_back(sample),
        }
    }

    /// Returns the sums over the last minutes, including the slots that have not ended. A sample that
    /// began earlier is included as a whole.
    pub(super) fn last(
        &self,
        minutes: u64,
        now: u64,
        open: impl Iterator<Item = Traffic>,
    ) -> Traffic {
        let since = now.saturating_sub(minutes * MINUTE);
        let samples = self.minutes.iter().chain(&self.fine);
        let mut sum = Traffic::default();
        let mut began = since;
        for sample in samples.filter(|it| it.ended > since) {
            sum.add(&sample.traffic);
            began = began.min(sample.began);
        }
        open.for_each(|slot| sum.add(&slot));
        // Idle times have no sample.
        sum.observed = now - began;
        sum
    }
}

/// Removes and returns the oldest sample if it has this age.
fn older(samples: &mut VecDeque<Sample>, age: u64, now: u64) -> Option<Sample> {
    let oldest = samples.front()?;
    (oldest.ended + age <= now).then(|| samples.pop_front())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::timeline::Size;
    use crate::record::traffic::GaugeValues;
    use crate::record::windows::Windows;
    use std::time::Duration;

    #[test]
    fn samples_add_up_and_expire_after_an_hour() {
        let mut windows = Windows::new(Size::default());
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
        let mut windows = Windows::new(Size::default());
        windows.at(0).traffic.arrivals += 30;
        let hour = windows.traffic(50 * MINUTE, 60);
        assert_eq!(
            (hour.observed().as_secs(), hour.arrivals, hour.rate()),
            (3000, 30, 0.01)
        );
    }

    #[test]
    fn an_hour_takes_a_sample_for_each_minute_and_none_for_idle_time() {
        let (mut hour, traffic) = (
            Hour::default(),
            Traffic {
                observed: LENGTH,
                arrivals: 10,
                ..Traffic::default()
            },
        );
        let mut now = 0;
        for _ in 0..2000 {
            now += LENGTH;
            hour.push(now, traffic);
            assert!(hour.fine.len() <= 60 && hour.minutes.len() <= 60);
        }
        for minutes in [1, 5, 60] {
            let sum = hour.last(minutes, now, std::iter::empty());
            assert_eq!(sum.rate(), 2.0, "{minutes}");
            let observed = sum.observed().as_secs();
            assert!(
                (minutes * 60..minutes * 60 + 60).contains(&observed),
                "{observed}"
            );
        }
        let idle = Traffic {
            observed: LENGTH,
            ..Traffic::default()
        };
        hour.push(now + KEPT + FINE, idle);
        assert!(hour.fine.is_empty() && hour.minutes.is_empty());
    }

    #[test]
    fn a_held_connection_counts_in_each_sample() {
        let mut windows = Windows::new(Size::default());
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
