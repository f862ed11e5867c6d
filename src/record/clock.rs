//! The clock of a pool, in nanoseconds since its start.
//!
//! An instant is converted once, and then compared, subtracted and summed as an integer. The same
//! operations on [`Instant`]s take many times as long.

use std::time::Duration;

use tokio::time::Instant;

pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const MINUTE: u64 = 60 * SECOND;

/// Converts instants to nanoseconds since the pool's start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) start: Instant,
}

impl Clock {
    /// Returns the nanoseconds from the start to `instant`; 0 for an earlier one.
    pub(crate) fn at(self, instant: Instant) -> u64 {
        nanos(instant.saturating_duration_since(self.start))
    }

    pub(crate) fn now(self) -> u64 {
        self.at(Instant::now())
    }
}

/// Returns the duration in nanoseconds. Wraps after 64 bits, which is 584 years.
pub(crate) fn nanos(time: Duration) -> u64 {
    time.as_secs()
        .wrapping_mul(SECOND)
        .wrapping_add(u64::from(time.subsec_nanos()))
}

/// Converts nanoseconds to seconds.
pub(crate) fn seconds(nanos: u64) -> f64 {
    // 63 bits are enough, and a signed integer is converted in one instruction.
    nanos.cast_signed() as f64 / SECOND as f64
}
