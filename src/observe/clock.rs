//! The clock of a pool's record, in nanoseconds since the record began.
//!
//! A moment is translated once and then compared, subtracted and summed up as an integer: between two
//! [`Instant`]s each of these takes many times as long.

use std::time::Duration;

use tokio::time::Instant;

pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const MINUTE: u64 = 60 * SECOND;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) start: Instant,
}

impl Clock {
    /// What is before the start is at the start.
    pub(crate) fn at(self, instant: Instant) -> u64 {
        nanos(instant.saturating_duration_since(self.start))
    }

    pub(crate) fn now(self) -> u64 {
        self.at(Instant::now())
    }
}

/// The clock of a process does not reach beyond 64 bits, which are 584 years.
pub(crate) fn nanos(time: Duration) -> u64 {
    time.as_secs()
        .wrapping_mul(SECOND)
        .wrapping_add(u64::from(time.subsec_nanos()))
}

pub(crate) fn seconds(nanos: u64) -> f64 {
    // Half of all numbers are enough, and signed ones are converted in one instruction.
    nanos.cast_signed() as f64 / SECOND as f64
}
