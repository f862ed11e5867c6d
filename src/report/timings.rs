//! Durations and counts of a window.

use std::time::Duration;

use serde::Serialize;

use crate::record::histogram::Histogram;
use crate::record::interval::Interval;

/// The distribution of a duration within a window, in milliseconds; `null` if `count` is 0.
/// Percentiles are at most 7 % above the exact value, never below it.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Timings {
    /// Number of measurements.
    pub count: u64,
    /// The mean.
    pub mean_ms: Option<f64>,
    /// The median.
    pub p50_ms: Option<f64>,
    /// The 95th percentile.
    pub p95_ms: Option<f64>,
    /// The 99th percentile.
    pub p99_ms: Option<f64>,
    /// The exact maximum.
    pub max_ms: Option<f64>,
}

impl From<&Histogram> for Timings {
    fn from(histogram: &Histogram) -> Self {
        let quantile = |q| histogram.quantile(q).map(millis);
        Self {
            count: histogram.count(),
            mean_ms: histogram.mean().map(millis),
            p50_ms: quantile(0.50),
            p95_ms: quantile(0.95),
            p99_ms: quantile(0.99),
            max_ms: histogram.max().map(millis),
        }
    }
}

/// The wait times by phase. Each phase counts only the checkouts that waited in it.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PhaseTimings {
    /// Time in the queue while all connections were in use.
    pub queued: Timings,
    /// Time spent waiting for a connection to be opened.
    pub connecting: Timings,
    /// Time spent waiting for the answer to a pre-ping.
    pub pinging: Timings,
}

/// The measurements of a window.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Window {
    /// Time covered, in seconds; shorter than the window while the pool is younger.
    pub observed_seconds: f64,
    /// Checkouts requested per second.
    pub arrivals_per_second: f64,
    /// Number of checkouts that timed out.
    pub timeouts: u64,
    /// Time-weighted mean number of connections in use.
    pub mean_checked_out: f64,
    /// The most connections in use at once.
    pub peak_checked_out: u32,
    /// The most requests waiting at once.
    pub peak_pending: u32,
    /// From the request to the connection; successful checkouts only.
    pub wait: Timings,
    /// Number of checkouts rejected by load shedding.
    pub shed: u64,
    /// Wait times by phase; `null` for an existing pool, which does not expose them.
    pub phases: Option<PhaseTimings>,
    /// Hold times, from checkout to check-in.
    pub held: Timings,
    /// Time to open a connection.
    pub create: Timings,
}

impl From<&Interval> for Window {
    fn from(slot: &Interval) -> Self {
        let traffic = &slot.traffic;
        Self {
            observed_seconds: seconds(traffic.observed()),
            arrivals_per_second: round(traffic.rate(), 3),
            timeouts: traffic.timeouts,
            mean_checked_out: round(traffic.mean_checked_out(), 3),
            peak_checked_out: traffic.peak.checked_out,
            peak_pending: traffic.peak.pending,
            wait: Timings::from(&slot.wait),
            shed: traffic.shed,
            phases: slot.phases.as_deref().map(|phases| PhaseTimings {
                queued: Timings::from(&phases[0]),
                connecting: Timings::from(&phases[1]),
                pinging: Timings::from(&phases[2]),
            }),
            held: Timings::from(&slot.held),
            create: Timings::from(&slot.create),
        }
    }
}

/// Formats a duration for a sentence: `2.5 s`, or `0.2 ms` if it is shorter than a tenth of a second.
pub(super) fn lasting(seconds: f64) -> String {
    match seconds < 0.1 {
        true => format!("{:.1} ms", seconds * 1e3),
        false => format!("{seconds:.1} s"),
    }
}

pub(crate) fn millis(duration: Duration) -> f64 {
    round(duration.as_secs_f64() * 1e3, 3)
}

pub(crate) fn seconds(duration: Duration) -> f64 {
    round(duration.as_secs_f64(), 3)
}

/// Returns a share in percent.
pub(crate) fn percent(share: f64) -> f64 {
    round(share * 100.0, 1)
}

pub(crate) fn round(value: f64, digits: i32) -> f64 {
    let unit = 10_f64.powi(digits);
    (value * unit).round() / unit
}
