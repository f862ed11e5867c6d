//! The last hour in columns.

use serde::Serialize;

use super::PageClock;
use crate::record::clock::seconds;
use crate::record::timeline::{LENGTH, Sample, Samples, Work};
use crate::report::timings::round;

/// The samples of the last hour. All columns have the same length, with the oldest sample first.
#[derive(Debug, Serialize)]
pub(super) struct HourColumns {
    step_seconds: f64,
    /// Number of samples since the start before the first one here.
    first_number: u64,
    /// When the last sample ended.
    ends_at: f64,
    /// The mean number of connections in use, and of those in each state; `null` if the queries of some were
    /// not observed.
    in_use: Vec<f64>,
    querying: Vec<Option<f64>>,
    idle_in_hand: Vec<Option<f64>>,
    idle_in_transaction: Vec<Option<f64>>,
    /// The mean number of waiting checkouts, and the most at once.
    pending: Vec<f64>,
    pending_peak: Vec<u32>,
    pool_size: Vec<u16>,
    max_connections: Vec<u16>,
    /// Checkouts requested.
    checkouts: Vec<u32>,
    timeouts: Vec<u32>,
    wait_p95: Vec<Option<f64>>,
}

impl HourColumns {
    pub(super) fn of(read: &Samples, clock: PageClock) -> Self {
        let samples = &read.samples;
        Self {
            step_seconds: seconds(LENGTH),
            first_number: read.first,
            ends_at: clock.unix(read.end),
            in_use: column(samples, |it| three(it.in_use)),
            querying: column(samples, |it| Some(three(it.work()?.querying))),
            idle_in_hand: column(samples, |it| {
                let Work {
                    querying,
                    idle_in_transaction,
                } = it.work()?;
                let idle = it.in_use - querying - idle_in_transaction;
                Some(three(idle.max(0.0)))
            }),
            idle_in_transaction: column(samples, |it| Some(three(it.work()?.idle_in_transaction))),
            pending: column(samples, |it| three(it.pending)),
            pending_peak: column(samples, |it| it.pending_peak),
            pool_size: column(samples, |it| it.size.pool_size),
            max_connections: column(samples, |it| it.size.max_connections),
            checkouts: column(samples, |it| it.arrivals),
            timeouts: column(samples, |it| it.timeouts),
            wait_p95: column(samples, |it| Some(round(f64::from(it.wait_p95()?), 6))),
        }
    }
}

fn column<T>(samples: &[Sample], value: impl Fn(&Sample) -> T) -> Vec<T> {
    samples.iter().map(value).collect()
}

fn three(value: f32) -> f64 {
    round(value.into(), 3)
}
