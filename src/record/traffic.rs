//! Counts and gauge values of a period.

use std::time::Duration;

use crate::record::clock::seconds;

/// Gauge values at an instant, integrated over time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct GaugeValues {
    pub(crate) checked_out: u32,
    pub(crate) pending: u32,
    pub(crate) overflow: u32,
}

impl GaugeValues {
    /// Raises each value to the other's if that is higher.
    pub(super) fn reach(&mut self, other: Self) {
        self.checked_out = self.checked_out.max(other.checked_out);
        self.pending = self.pending.max(other.pending);
        self.overflow = self.overflow.max(other.overflow);
    }
}

/// Sums over a period. Times are in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// Time covered.
    pub(crate) observed: u64,
    /// Checkouts requested. Refusals by a closed or suspended pool do not count.
    pub(crate) arrivals: u64,
    /// Most arrivals within one second.
    pub(crate) peak_arrivals: u64,
    pub(crate) timeouts: u64,
    pub(crate) shed: u64,
    /// Checkouts that timed out in the queue or were shed.
    pub(crate) unserved: u64,
    /// Connections returned, and the time that they were held. Zero in a slot of the windows, where the
    /// histogram of the hold times has both.
    pub(crate) returned: u64,
    pub(crate) held: u64,
    /// Integrals of the gauge values over the time covered.
    pub(crate) checked_out_time: u64,
    pub(crate) pending_time: u64,
    pub(crate) overflow_time: u64,
    pub(crate) peak: GaugeValues,
}

impl Traffic {
    pub(crate) fn add(&mut self, other: &Self) {
        self.observed += other.observed;
        self.arrivals += other.arrivals;
        self.peak_arrivals = self.peak_arrivals.max(other.peak_arrivals);
        self.timeouts += other.timeouts;
        self.shed += other.shed;
        self.unserved += other.unserved;
        self.returned += other.returned;
        self.held = self.held.saturating_add(other.held);
        self.checked_out_time += other.checked_out_time;
        self.pending_time += other.pending_time;
        self.overflow_time += other.overflow_time;
        self.peak.reach(other.peak);
    }

    /// Adds a time in which the gauge values did not change.
    pub(super) fn elapse(&mut self, time: u64, level: GaugeValues) {
        let of = |level: u32| time.saturating_mul(u64::from(level));
        self.observed += time;
        self.checked_out_time = self.checked_out_time.saturating_add(of(level.checked_out));
        // Usually both are zero.
        if level.pending | level.overflow > 0 {
            self.pending_time = self.pending_time.saturating_add(of(level.pending));
            self.overflow_time = self.overflow_time.saturating_add(of(level.overflow));
        }
        self.peak.reach(level);
    }

    /// Returns whether nothing has happened, and no connection was in use.
    pub(super) fn is_idle(&self) -> bool {
        let observed = self.observed;
        *self
            == Self {
                observed,
                ..Self::default()
            }
    }

    fn mean_of(&self, integral: u64) -> f64 {
        match self.observed {
            0 => 0.0,
            observed => integral as f64 / observed as f64,
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
    pub(crate) fn rate(&self) -> f64 {
        match self.observed {
            0 => 0.0,
            observed => self.arrivals as f64 / seconds(observed),
        }
    }

    /// Returns the mean time that a connection was held, in seconds; `None` if none was returned.
    pub(crate) fn mean_held(&self) -> Option<f64> {
        (self.returned > 0).then(|| seconds(self.held) / self.returned as f64)
    }
}
