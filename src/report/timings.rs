//! Durations of a window, in milliseconds.

use std::time::Duration;

use serde::Serialize;

use crate::observe::Histogram;
use crate::observe::window::{PhaseTimes, Slot};

/// How long something took within a window. All in milliseconds; `null` when nothing happened.
/// Percentiles are within 7 % above the exact value, never below it.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Timings {
    /// How often it happened.
    pub count: u64,
    /// The mean.
    pub mean_ms: Option<f64>,
    /// The median.
    pub p50_ms: Option<f64>,
    /// 95 of 100 took no longer.
    pub p95_ms: Option<f64>,
    /// 99 of 100 took no longer.
    pub p99_ms: Option<f64>,
    /// The longest, exact.
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

/// What waits were spent on; each of those that spent time on it.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PhaseTimings {
    /// Waiting for their turn, all connections being in use.
    pub queued: Timings,
    /// Waiting for a connection to be opened.
    pub connecting: Timings,
    /// Waiting for the answer to a pre-ping.
    pub pinging: Timings,
}

impl From<&PhaseTimes> for PhaseTimings {
    fn from(times: &PhaseTimes) -> Self {
        Self {
            queued: Timings::from(&times.queued),
            connecting: Timings::from(&times.connecting),
            pinging: Timings::from(&times.pinging),
        }
    }
}

/// What happened within a window.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Window {
    /// Time covered, in seconds: shorter than the window while the pool is younger.
    pub observed_seconds: f64,
    /// Checkouts asked for per second.
    pub arrivals_per_second: f64,
    /// Checkouts that timed out.
    pub timeouts: u64,
    /// Time-weighted mean of the connections in use.
    pub mean_checked_out: f64,
    /// Most connections in use at once.
    pub peak_checked_out: u32,
    /// Most requests waiting at once.
    pub peak_pending: u32,
    /// From asking to having a connection; successes only.
    pub wait: Timings,
    /// Checkouts turned away for load's sake.
    pub shed: u64,
    /// What the waits were spent on; `null` for an existing pool, which does not tell.
    pub phases: Option<PhaseTimings>,
    /// From having a connection to giving it back.
    #[serde(rename = "use")]
    pub held: Timings,
    /// Opening a connection.
    pub create: Timings,
}

impl From<&Slot> for Window {
    fn from(slot: &Slot) -> Self {
        Self {
            observed_seconds: round(slot.observed().as_secs_f64(), 3),
            arrivals_per_second: round(slot.arrival_rate(), 3),
            timeouts: slot.timeouts,
            mean_checked_out: round(slot.mean_checked_out(), 3),
            peak_checked_out: slot.peak.checked_out,
            peak_pending: slot.peak.pending,
            wait: Timings::from(&slot.wait),
            shed: slot.shed,
            phases: slot.phases.as_deref().map(PhaseTimings::from),
            held: Timings::from(&slot.held),
            create: Timings::from(&slot.create),
        }
    }
}

pub(crate) fn millis(duration: Duration) -> f64 {
    round(duration.as_secs_f64() * 1e3, 3)
}

pub(crate) fn seconds(duration: Duration) -> f64 {
    round(duration.as_secs_f64(), 3)
}

pub(crate) fn round(value: f64, digits: i32) -> f64 {
    let unit = 10_f64.powi(digits);
    (value * unit).round() / unit
}
