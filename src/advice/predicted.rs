//! The predicted waits by pool size.

use std::collections::BTreeSet;

use serde::Serialize;

use super::model::Prediction;
use super::sizes::meets;
use crate::report::timings::round;
use crate::settings::Settings;

/// The number of sizes shown below and above the recommended one.
const AROUND: u32 = 3;

/// The predicted waits with a number of connections. Waits are those in the pool's queue, in
/// milliseconds; `null` if more arrives than can be served, so that the queue grows without bound.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PredictedWait {
    /// Total number of connections, including overflow.
    pub connections: u32,
    /// Mean connections in use, in percent of all. Above 100 in an overload: arrivals in percent of the
    /// throughput.
    pub utilization_pct: Option<f64>,
    /// Share of checkouts that queue at all, in percent.
    pub queueing_pct: Option<f64>,
    /// The mean of all checkouts, including those that do not queue.
    pub mean_ms: Option<f64>,
    /// The median.
    pub p50_ms: Option<f64>,
    /// The 95th percentile.
    pub p95_ms: Option<f64>,
    /// The 80 % interval of `p95_ms`, by resampling the record. It is wide if few checkouts were
    /// recorded.
    pub p95_range_ms: Option<[f64; 2]>,
    /// The 99th percentile.
    pub p99_ms: Option<f64>,
    /// Whether `p95_ms` is within the target.
    pub meets_target: bool,
    /// How many connections more than were in use in the record; 0 within it. Predictions far beyond
    /// the record are unverified.
    pub beyond_data: u32,
}

impl PredictedWait {
    pub(super) fn new(prediction: &Prediction, target: f64) -> Self {
        let percent = |share: f64| finite(share * 100.0, 1);
        let millis = |seconds: f64| finite(seconds * 1e3, 3);
        Self {
            connections: prediction.connections,
            utilization_pct: percent(prediction.utilization),
            queueing_pct: percent(prediction.queueing),
            mean_ms: millis(prediction.mean),
            p50_ms: millis(prediction.p50),
            p95_ms: millis(prediction.p95),
            p95_range_ms: millis(prediction.p95_range.0)
                .zip(millis(prediction.p95_range.1))
                .map(|(least, most)| [least, most]),
            p99_ms: millis(prediction.p99),
            meets_target: meets(prediction, target),
            beyond_data: prediction.beyond_data,
        }
    }

    /// Returns the sizes of the table: those around the recommended one, and those in `more`.
    pub(super) fn table(
        recommended: u32,
        more: impl IntoIterator<Item = u32>,
    ) -> impl Iterator<Item = u32> {
        let around = recommended.saturating_sub(AROUND)..=recommended.saturating_add(AROUND);
        let sizes: BTreeSet<u32> = around.chain(more).collect();
        let allowed = 1..=2 * Settings::MAX_CONNECTIONS;
        sizes.into_iter().filter(move |size| allowed.contains(size))
    }
}

/// Rounds a number for a report; `None` if it is infinite or NaN, which JSON cannot represent.
pub(super) fn finite(value: f64, digits: i32) -> Option<f64> {
    Some(round(value, digits)).filter(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(connections: u32) -> PredictedWait {
        let wait = match connections {
            0..4 => f64::INFINITY,
            _ => 0.1 / f64::from(connections),
        };
        let prediction = Prediction {
            connections,
            utilization: 3.5 / f64::from(connections),
            served: 1.0,
            queueing: f64::NAN,
            mean: wait / 3.0,
            p50: 0.0,
            p95: wait,
            p95_range: (0.5 * wait, 2.0 * wait),
            p99: 2.0 * wait,
            beyond_data: connections.saturating_sub(5),
        };
        PredictedWait::new(&prediction, 0.02)
    }

    #[test]
    fn the_table_has_each_size_once_and_only_finite_numbers() {
        let table = PredictedWait::table(5, [30, 0, 5, 9, 30]);
        let table: Vec<_> = table.map(row).collect();
        let sizes: Vec<_> = table.iter().map(|row| row.connections).collect();
        assert_eq!(sizes, [2, 3, 4, 5, 6, 7, 8, 9, 30]);
        let meets: Vec<_> = table.iter().map(|row| row.meets_target).collect();
        assert_eq!(meets[..4], [false, false, false, true]);
        let json = serde_json::to_value(&table).unwrap();
        assert_eq!(json[0]["p95_ms"], serde_json::Value::Null);
        assert_eq!(json[0]["queueing_pct"], serde_json::Value::Null);
        assert_eq!(json[0]["utilization_pct"], 175.0);
        assert_eq!(json[3]["p95_ms"], 20.0);
        assert_eq!(json[8]["beyond_data"], 25);
    }

    #[test]
    fn the_table_has_no_row_for_size_zero() {
        let table: Vec<u32> = PredictedWait::table(1, [u32::MAX]).collect();
        assert_eq!(table, [1, 2, 3, 4]);
    }
}
