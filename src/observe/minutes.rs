//! What the pool was asked for in each minute of the last hour.

use super::clock::{MINUTE, seconds};

/// Minutes that are kept: the current one, and the sixty before.
const KEPT: usize = 61;

/// Sums of some time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Demand {
    /// Time covered, in seconds.
    pub(crate) seconds: f64,
    /// Checkouts asked for. Those that timed out or were shed are demand, too.
    pub(crate) asked: u64,
    /// Of these, those that timed out or were shed.
    pub(crate) unserved: u64,
    /// Connections that came back, and the nanoseconds that they were held.
    pub(crate) returned: u64,
    pub(crate) held: u64,
    /// Most connections in use at once.
    pub(crate) peak: u32,
}

impl Demand {
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
        (self.returned > 0).then(|| seconds(self.held) / self.returned as f64)
    }
}

/// A ring of minutes, each of which begins at a multiple of its length.
#[derive(Debug)]
pub(crate) struct Minutes {
    ring: [Demand; KEPT],
    /// The number of the current minute since the pool began, and where it ends.
    current: u64,
    ends: u64,
    in_use: u32,
}

impl Minutes {
    pub(crate) fn new() -> Self {
        Self {
            ring: [Demand::default(); KEPT],
            current: 0,
            ends: MINUTE,
            in_use: 0,
        }
    }

    /// The minute to write to.
    pub(crate) fn at(&mut self, now: u64) -> &mut Demand {
        if now >= self.ends {
            self.advance(now);
        }
        &mut self.ring[(self.current % KEPT as u64) as usize]
    }

    /// From now on this many connections are in use.
    pub(crate) fn set_in_use(&mut self, now: u64, in_use: u32) {
        self.in_use = in_use;
        let minute = self.at(now);
        minute.peak = minute.peak.max(in_use);
    }

    #[cold]
    fn advance(&mut self, now: u64) {
        let number = now / MINUTE;
        // What lies further back has no place in the ring.
        let first = (self.current + 1).max((number + 1).saturating_sub(KEPT as u64));
        for minute in first..=number {
            self.ring[(minute % KEPT as u64) as usize] = Demand {
                peak: self.in_use,
                ..Demand::default()
            };
        }
        self.current = number;
        self.ends = (number + 1) * MINUTE;
    }

    /// The current minute and as many whole ones before it.
    pub(crate) fn last(&mut self, minutes: u64, now: u64) -> Demand {
        self.at(now);
        let first = self.current.saturating_sub(minutes);
        let mut sum = Demand::default();
        for number in first..=self.current {
            let minute = &self.ring[(number % KEPT as u64) as usize];
            sum.asked += minute.asked;
            sum.unserved += minute.unserved;
            sum.returned += minute.returned;
            sum.held += minute.held;
            sum.peak = sum.peak.max(minute.peak);
        }
        sum.seconds = seconds(now.saturating_sub(first * MINUTE));
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::clock::SECOND;

    #[test]
    fn windows_add_up_and_old_minutes_are_forgotten() {
        let mut minutes = Minutes::new();
        for second in 0..600 {
            let minute = minutes.at(second * SECOND);
            minute.asked += 2;
            minute.returned += 1;
            minute.held += SECOND / 2;
        }
        let now = 600 * SECOND;
        let minute = minutes.last(1, now);
        assert_eq!((minute.seconds, minute.asked), (60.0, 120));
        assert_eq!((minute.rate(), minute.mean_held()), (2.0, Some(0.5)));
        assert_eq!(minutes.last(5, now + 30 * SECOND).seconds, 330.0);
        let hour = minutes.last(60, now);
        assert_eq!((hour.seconds, hour.asked), (600.0, 1200));
        let later = minutes.last(60, 10 * now);
        assert_eq!((later.seconds, later.asked), (3600.0, 0));
        assert_eq!((later.rate(), later.mean_held()), (0.0, None));
    }

    #[test]
    fn a_connection_that_is_held_counts_in_each_minute() {
        let mut minutes = Minutes::new();
        minutes.set_in_use(0, 7);
        minutes.set_in_use(SECOND, 3);
        assert_eq!(minutes.last(0, SECOND).peak, 7);
        assert_eq!(minutes.last(1, 10 * MINUTE).peak, 3);
    }
}
