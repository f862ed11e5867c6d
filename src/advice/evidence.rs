//! The measurements behind a recommendation.

use serde::Serialize;

use super::bottleneck::BottleneckKind;
use super::learned::Forecast;
use super::predicted::finite;
use super::recommendation::Recommendation;
use crate::record::traffic::Traffic;

/// The maximum number of sizes in the throughput curve.
const CURVE: u32 = 32;

/// The measurements behind a recommendation.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evidence {
    /// The measurements by window.
    pub windows: EvidenceWindows,
    /// The window whose checkouts were replayed: `busiest`, the busiest five minutes of the last 24
    /// hours, or `recent`; `null` without enough data. The usual load, which determines
    /// `recommended_pool_size`, is the recent one scaled to the arrivals of the last hour.
    pub learned_from: Option<&'static str>,
    /// The replayed record; `null` without enough data.
    pub replayed: Option<ReplayedRecord>,
    /// Arrivals per second of the replayed window, multiplied by the headroom and the requested factor.
    /// All predictions are for this load.
    pub planned_arrivals_per_second: Option<f64>,
    /// How many more arrivals than measured the recommendation plans for, in percent.
    pub headroom_pct: f64,
    /// The number of clients if each waits for a response before sending the next request, so that no
    /// more than these can queue; `null` for other loads. The headroom and the requested factor
    /// multiply the number of clients.
    pub clients: Option<u32>,
    /// The throughput by number of connections, if each is always in use.
    pub curve: Vec<CurvePoint>,
    /// The most connections that the server can grant to this pool now; `null` if it has no limit or
    /// could not be queried.
    pub server_can_grant: Option<u32>,
}

/// The measurements by window.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EvidenceWindows {
    /// The last minute.
    pub last_1m: EvidenceWindow,
    /// The last five minutes.
    pub last_5m: EvidenceWindow,
    /// The last hour.
    pub last_1h: EvidenceWindow,
}

/// The measurements of one window.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EvidenceWindow {
    /// Time covered, in seconds: the window plus up to 5 s, or less while the pool is younger.
    pub seconds: f64,
    /// Number of connections returned within the window.
    pub samples: u64,
    /// Checkouts requested per second, with any outcome.
    pub arrivals_per_second: f64,
    /// Total number of checkouts that timed out in the queue or were rejected.
    pub unserved: u64,
    /// Mean hold time, in milliseconds; `null` before a connection was returned.
    pub mean_held_ms: Option<f64>,
    /// Arrivals per second times the mean hold time (Little's law), in connections; `null` before a
    /// connection was returned. No pool can serve the load with fewer.
    pub mean_connections_needed: Option<f64>,
    /// The most connections in use at once.
    pub peak_checked_out: u32,
    /// The most arrivals within one second.
    pub peak_arrivals_per_second: f64,
    /// The most requests waiting at once.
    pub peak_pending: u32,
}

/// The checkouts that were replayed.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ReplayedRecord {
    /// Number of checkouts. For a busy pool, these are samples of thousands of consecutive checkouts.
    pub checkouts: u64,
    /// Start of the record, in seconds before now.
    pub from_seconds_ago: f64,
    /// End of the record, in seconds before now.
    pub until_seconds_ago: f64,
    /// Checkouts requested per second in the record.
    pub arrivals_per_second: f64,
    /// Number of connections allowed at the time.
    pub connections: u32,
    /// Mean hold time, in milliseconds.
    pub mean_held_ms: Option<f64>,
    /// Mean time per hold in which a query was in flight, in milliseconds; `null` if queries are not
    /// observed.
    pub mean_busy_ms: Option<f64>,
    /// The measured p95 of the time queued, in milliseconds; `null` if more than 5 % of the checkouts
    /// got no connection.
    pub measured_p95_ms: Option<f64>,
    /// The p95 of a replay at the same size. Shows how well the model reproduces the measurement.
    pub reproduced_p95_ms: Option<f64>,
    /// Whether the model explains how concurrent holds slow each other down. If not, predictions for
    /// other sizes than the observed one are unreliable.
    pub understood: bool,
}

/// The throughput of a number of connections.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CurvePoint {
    /// Number of connections, each always in use.
    pub connections: u32,
    /// Checkouts served per second, by replay.
    pub per_second: Option<f64>,
}

impl EvidenceWindow {
    pub(super) fn read(traffic: &Traffic) -> Self {
        let held = traffic.mean_held();
        Self {
            seconds: finite(traffic.observed().as_secs_f64(), 1).unwrap_or_default(),
            samples: traffic.returned,
            arrivals_per_second: finite(traffic.rate(), 3).unwrap_or_default(),
            unserved: traffic.unserved,
            mean_held_ms: held.and_then(|held| finite(held * 1e3, 3)),
            mean_connections_needed: held.and_then(|held| finite(held * traffic.rate(), 3)),
            peak_checked_out: traffic.peak.checked_out,
            peak_arrivals_per_second: traffic.peak_arrivals as f64,
            peak_pending: traffic.peak.pending,
        }
    }
}

impl ReplayedRecord {
    pub(super) fn read(of: &Recommendation<'_>) -> Self {
        let recorded = of.recorded;
        let millis = |seconds: f64| finite(seconds * 1e3, 3);
        let ago = |at: f64| finite((of.measured.now - at).max(0.0), 1).unwrap_or_default();
        let reproduced = of.peak.forecast.at(recorded.connections, 1.0);
        Self {
            checkouts: recorded.checkouts,
            from_seconds_ago: ago(recorded.from),
            until_seconds_ago: ago(recorded.until),
            arrivals_per_second: finite(recorded.rate, 3).unwrap_or_default(),
            connections: recorded.connections,
            mean_held_ms: millis(recorded.held),
            mean_busy_ms: recorded.busy.and_then(millis),
            measured_p95_ms: millis(recorded.queued_p95),
            reproduced_p95_ms: millis(reproduced.p95),
            understood: of.bottleneck.kind != BottleneckKind::Unknown,
        }
    }
}

impl CurvePoint {
    /// Returns the throughput of up to `most` connections, in steps if there are many.
    pub(super) fn curve(forecast: &dyn Forecast, most: u32) -> Vec<Self> {
        let step = most.div_ceil(CURVE).max(1);
        let sizes = (1..=most / step).map(|number| number * step);
        sizes
            .map(|connections| Self {
                connections,
                per_second: finite(forecast.throughput(connections), 3),
            })
            .collect()
    }
}
