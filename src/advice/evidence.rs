//! What an advice rests on.

use serde::Serialize;

use super::learned::{Forecast, Measured, Models};
use super::predicted::finite;
use crate::observe::hour::Traffic;

/// Sizes of which the throughput is shown, at most.
const CURVE: u32 = 32;

/// The measurements behind a recommendation.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evidence {
    /// What was measured, by window.
    pub windows: EvidenceWindows,
    /// The window whose checkouts were replayed: `busiest`, the busiest five minutes of the last 24
    /// hours, or `recent`; `null` without enough data. The usual load, which `recommended_pool_size` is for,
    /// is the recent one at the arrivals of the last hour.
    pub learned_from: Option<&'static str>,
    /// What was replayed; `null` without enough data.
    pub replayed: Option<ReplayedRecord>,
    /// Arrivals a second of the window that was replayed, with the headroom and the factor that was
    /// asked for: the load of all that is predicted.
    pub planned_arrivals_per_second: Option<f64>,
    /// How many more arrivals than were measured it is ready for, in percent.
    pub headroom_pct: f64,
    /// How many clients the load is of, where each waits for its answer before it asks again, so that no
    /// more of them can ever queue; `null` where it is not such a load. The headroom and the factor that
    /// was asked for are more of them.
    pub clients: Option<u32>,
    /// What this many connections serve, were each always in use.
    pub curve: Vec<CurvePoint>,
    /// The most connections the server could grant this pool at this instant; `null` where it has
    /// no limit or could not be asked.
    pub server_can_grant: Option<u32>,
}

/// What was measured, by window.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EvidenceWindows {
    /// The last minute.
    pub minute: EvidenceWindow,
    /// The last five minutes.
    pub five_minutes: EvidenceWindow,
    /// The last hour.
    pub hour: EvidenceWindow,
}

/// What was measured within one window.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EvidenceWindow {
    /// Time covered, in seconds: the window and up to 5 s more, or less while the pool is younger.
    pub seconds: f64,
    /// Connections that came back within it.
    pub samples: u64,
    /// Checkouts asked for per second, whatever became of them.
    pub arrivals_per_second: f64,
    /// Of these, those that timed out in the queue or were turned away, in all.
    pub unserved: u64,
    /// How long a connection is held, in milliseconds; `null` before one has come back.
    pub mean_use_ms: Option<f64>,
    /// Little's law: arrivals per second times the time held, in connections; `null` before one
    /// has come back. No pool can do with less.
    pub mean_connections_needed: Option<f64>,
    /// Most connections in use at once.
    pub peak_checked_out: u32,
    /// Most arrivals within one second.
    pub peak_arrivals_per_second: f64,
    /// Most requests waiting at once.
    pub peak_pending: u32,
}

/// The checkouts that were replayed.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ReplayedRecord {
    /// How many they are. Of a busy pool they are samples of thousands in a row.
    pub checkouts: u64,
    /// When they begin and end, in seconds before now.
    pub from_seconds_ago: f64,
    /// See `from_seconds_ago`.
    pub until_seconds_ago: f64,
    /// Checkouts asked for per second meanwhile.
    pub arrivals_per_second: f64,
    /// Connections allowed at the time.
    pub connections: u32,
    /// Mean time held, in milliseconds.
    pub mean_use_ms: Option<f64>,
    /// Of that, the time in which a query was under way; `null` where queries are not watched.
    pub in_queries_ms: Option<f64>,
    /// The time queued that 95 of 100 did not exceed, in milliseconds, as it was measured; `null` if
    /// more than 5 got no connection.
    pub measured_p95_ms: Option<f64>,
    /// The same as the replay at that size has it: how well the model reproduces what was seen.
    pub reproduced_p95_ms: Option<f64>,
    /// Whether how holds are in each other's way is explained. If not, other sizes than the one that
    /// was observed cannot be predicted well.
    pub understood: bool,
}

/// What a number of connections serves.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CurvePoint {
    /// Connections, each of them always in use.
    pub connections: u32,
    /// Checkouts served a second, by replay.
    pub per_second: Option<f64>,
}

impl EvidenceWindows {
    pub(super) fn read(measured: &Measured) -> Self {
        Self {
            minute: EvidenceWindow::read(&measured.minute),
            five_minutes: EvidenceWindow::read(&measured.five_minutes),
            hour: EvidenceWindow::read(&measured.hour),
        }
    }
}

impl EvidenceWindow {
    fn read(traffic: &Traffic) -> Self {
        let held = traffic.mean_held();
        Self {
            seconds: finite(traffic.seconds, 1).unwrap_or_default(),
            samples: traffic.returned,
            arrivals_per_second: finite(traffic.rate(), 3).unwrap_or_default(),
            unserved: traffic.unserved,
            mean_use_ms: held.and_then(|held| finite(held * 1e3, 3)),
            mean_connections_needed: held.and_then(|held| finite(held * traffic.rate(), 3)),
            peak_checked_out: traffic.peak,
            peak_arrivals_per_second: finite(traffic.peak_rate, 3).unwrap_or_default(),
            peak_pending: traffic.peak_pending,
        }
    }
}

impl ReplayedRecord {
    pub(super) fn read(models: &Models<'_>) -> Self {
        let recorded = models.peak.recorded();
        let millis = |seconds: f64| finite(seconds * 1e3, 3);
        let ago = |at: f64| finite((models.measured.now - at).max(0.0), 1).unwrap_or_default();
        let reproduced = models.peak.at(recorded.connections, 1.0);
        Self {
            checkouts: recorded.checkouts,
            from_seconds_ago: ago(recorded.from),
            until_seconds_ago: ago(recorded.until),
            arrivals_per_second: finite(recorded.rate, 3).unwrap_or_default(),
            connections: recorded.connections,
            mean_use_ms: millis(recorded.held),
            in_queries_ms: recorded.busy.and_then(millis),
            measured_p95_ms: millis(recorded.queued_p95),
            reproduced_p95_ms: millis(reproduced.p95),
            understood: models.peak.is_understood(),
        }
    }
}

impl CurvePoint {
    /// Up to this many connections, with gaps where they are many.
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
