//! The warnings of `health`, each with its value, its threshold and the next step. A healthy pool has none.

use std::time::Duration;

use super::efficiency::HoldEfficiency;
use super::grant::Grant;
use super::holders::HolderReport;
use super::repeats::RepeatedStatement;
use super::shed::ShedReport;
use super::timings::{millis, round};
use crate::record::inventory::Counts;
use crate::record::windows::Interval;
use crate::settings::Thresholds;
use crate::telemetry::Exports;

/// Means over a shorter time are not evaluated.
const ENOUGH: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_secs(60);

/// The values that the warnings are evaluated from.
pub(super) struct Readings<'a> {
    pub(super) counts: Counts,
    pub(super) pending: u32,
    pub(super) longest_wait: Option<Duration>,
    /// The longest hold first.
    pub(super) holders: &'a [HolderReport],
    pub(super) minute: &'a Interval,
    pub(super) idle_in_transaction: Option<u32>,
    pub(super) longest_query_seconds: Option<f64>,
    pub(super) grant: Option<Grant>,
    pub(super) efficiency: &'a HoldEfficiency,
    pub(super) repeats: &'a [RepeatedStatement],
    pub(super) shed: &'a ShedReport,
    pub(super) telemetry: Option<&'a Exports>,
}

impl Readings<'_> {
    /// Whether all connections are checked out and at least one checkout waits.
    fn is_exhausted(&self) -> bool {
        self.pending > 0 && self.counts.checked_out() >= self.counts.max_connections()
    }
}

/// A warning and its recommendation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) warning: String,
    pub(crate) recommendation: String,
}

/// Returns the findings for these readings, the most urgent first.
pub(super) fn judge(readings: &Readings<'_>, limits: &Thresholds) -> Vec<Finding> {
    [
        exhausted(readings),
        leaks(readings),
        utilization(readings, limits),
        overflow(readings, limits),
        timeouts(readings, limits),
        shed(readings),
        idle_in_transaction(readings.idle_in_transaction, limits),
        average_wait(readings, limits),
        longest_query(readings.longest_query_seconds, limits),
        grantable(readings),
        low_efficiency(readings),
        RepeatedStatement::finding(readings.repeats),
        lost_telemetry(readings),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn finding(warning: String, recommendation: impl Into<String>) -> Option<Finding> {
    Some(Finding {
        warning,
        recommendation: recommendation.into(),
    })
}

/// Warns of an exhausted pool at once, without waiting for a mean over a minute.
fn exhausted(r: &Readings<'_>) -> Option<Finding> {
    let max = r.counts.max_connections();
    if !r.is_exhausted() {
        return None;
    }
    let waited = r.longest_wait.unwrap_or_default().as_secs_f64();
    let held: Vec<_> = r
        .holders
        .iter()
        .take(3)
        .map(HolderReport::sentence)
        .collect();
    finding(
        format!(
            "pool exhausted: all {max} connections are checked out and {} requests are waiting, the longest for {waited:.1} s; held longest by {}",
            r.pending,
            if held.is_empty() {
                "checkouts made outside of poolscope".to_owned()
            } else {
                held.join(", ")
            },
        ),
        "Shorten the longest holds (make no slow calls while holding a connection), or raise DB_POOL_SIZE or DB_MAX_OVERFLOW if the database allows more connections.",
    )
}

fn leaks(r: &Readings<'_>) -> Option<Finding> {
    let leaks: Vec<_> = r
        .holders
        .iter()
        .filter(|h| h.leak)
        .map(HolderReport::sentence)
        .collect();
    if leaks.is_empty() {
        return None;
    }
    finding(
        format!(
            "possible connection leak: {} held longer than DB_POOL_LEAK_THRESHOLD: {}",
            leaks.len(),
            leaks.join(", ")
        ),
        "Drop the connection before other work, and check that no task keeps it; raise DB_POOL_LEAK_THRESHOLD if holds of this length are intended.",
    )
}

fn utilization(r: &Readings<'_>, limits: &Thresholds) -> Option<Finding> {
    let max = r.counts.max_connections();
    let mean = r.minute.mean_checked_out();
    let percent = mean * 100.0 / f64::from(max.max(1));
    if r.minute.observed() < ENOUGH || percent <= limits.utilization_pct {
        return None;
    }
    finding(
        format!(
            "high pool utilization: {percent:.1} % over the last minute ({mean:.1} of {max} connections in use on average, threshold {} %)",
            limits.utilization_pct,
        ),
        "Raise DB_POOL_SIZE or DB_MAX_OVERFLOW, or shorten the holds; `optimize` reports by how much.",
    )
}

fn overflow(r: &Readings<'_>, limits: &Thresholds) -> Option<Finding> {
    let max = r.counts.max_overflow;
    if max == 0 || r.minute.observed() < ENOUGH {
        return None;
    }
    let mean = r.minute.mean_overflow();
    let percent = mean * 100.0 / f64::from(max);
    if percent <= limits.overflow_pct {
        return None;
    }
    finding(
        format!(
            "high overflow: {percent:.1} % of max_overflow over the last minute ({mean:.1} of {max} on average, threshold {} %)",
            limits.overflow_pct,
        ),
        format!(
            "Overflow is meant for peaks: raise DB_POOL_SIZE (now {}) to cover the usual load, so that connections are not constantly opened and closed.",
            r.counts.pool_size,
        ),
    )
}

fn timeouts(r: &Readings<'_>, limits: &Thresholds) -> Option<Finding> {
    let timeouts = r.minute.timeouts;
    if timeouts as f64 <= limits.timeouts_per_minute {
        return None;
    }
    finding(
        format!(
            "connection timeouts: {timeouts} in the last minute (threshold {} a minute)",
            limits.timeouts_per_minute,
        ),
        "Find the longest holds in `connections` and shorten them, or raise DB_POOL_SIZE; a longer DB_POOL_TIMEOUT only makes callers wait longer.",
    )
}

fn shed(r: &Readings<'_>) -> Option<Finding> {
    if r.shed.last_minute == 0 {
        return None;
    }
    finding(
        format!(
            "load shed: {} checkouts were rejected in the last minute; in the last five minutes by route: {}",
            r.shed.last_minute,
            r.shed.sentence(),
        ),
        "The load exceeds what the pool can serve: shorten the holds of the busiest routes, raise DB_POOL_SIZE if the database allows more connections, or add replicas. DB_POOL_QUEUE_TARGET and DB_POOL_MAX_PENDING set when load is shed.",
    )
}

/// Warns of sessions that are idle in a transaction, by their number if it is known.
pub(crate) fn idle_in_transaction(sessions: Option<u32>, limits: &Thresholds) -> Option<Finding> {
    let sessions = sessions?;
    if sessions <= limits.idle_in_transaction {
        return None;
    }
    finding(
        format!(
            "{sessions} sessions are idle in a transaction (threshold {})",
            limits.idle_in_transaction,
        ),
        "Commit before slow work outside the database; `connections` lists their holders. On Postgres, idle_in_transaction_session_timeout is the safety net.",
    )
}

fn average_wait(r: &Readings<'_>, limits: &Thresholds) -> Option<Finding> {
    // A young pool opens connections while its first checkouts wait. Those waits belong to the start
    // and are no sign of poor health.
    let young = r.minute.observed() < MINUTE;
    if young && r.minute.wait.count() < 2 * r.minute.create.count() {
        return None;
    }
    let mean = r.minute.wait.mean()?;
    if mean <= limits.average_wait {
        return None;
    }
    finding(
        format!(
            "slow checkouts: {} ms on average over the last minute ({} checkouts, threshold {} ms)",
            round(millis(mean), 1),
            r.minute.wait.count(),
            millis(limits.average_wait),
        ),
        "Compare with `create` in the windows: if opening connections is slow, raise DB_POOL_SIZE so that fewer are opened; otherwise the pool is too small or holds are too long.",
    )
}

/// Warns of a query that has been running for long, by its seconds if these are known.
pub(crate) fn longest_query(seconds: Option<f64>, limits: &Thresholds) -> Option<Finding> {
    let longest = seconds?;
    let threshold = limits.longest_query.as_secs_f64();
    if longest <= threshold {
        return None;
    }
    finding(
        format!("a query has been running for {longest:.1} s (threshold {threshold} s)"),
        "Find it in `connections` and EXPLAIN it; a statement timeout on the server limits how long a query can run.",
    )
}

fn grantable(r: &Readings<'_>) -> Option<Finding> {
    let grant = r.grant?;
    let max = r.counts.max_connections();
    if max <= grant.available {
        return None;
    }
    finding(
        format!(
            "the pool may open {max} connections, but the server can grant it only {} (max_connections {}, reserved {}, used by others {})",
            grant.available, grant.max_connections, grant.reserved, grant.others,
        ),
        format!(
            "Lower DB_POOL_SIZE + DB_MAX_OVERFLOW to {} or less, raise the server's max_connections, or put a pooler such as PgBouncer in between.",
            grant.available,
        ),
    )
}

fn low_efficiency(r: &Readings<'_>) -> Option<Finding> {
    // Unused hold time does no harm while enough connections are free.
    let most = f64::from(r.counts.max_connections());
    let is_busy = r.is_exhausted()
        || r.minute.mean_checked_out() * 2.0 > most
        || r.minute.mean_pending() >= 1.0;
    r.efficiency.finding(is_busy)
}

fn lost_telemetry(r: &Readings<'_>) -> Option<Finding> {
    let (warning, recommendation) = r.telemetry?.warning()?;
    finding(warning, recommendation)
}

#[cfg(test)]
mod tests {
    use super::super::shed::ShedRoute;
    use super::*;
    use crate::record::Histogram;

    fn slot(checked_out: f64, overflow: f64) -> Interval {
        let of = |level: f64| MINUTE.mul_f64(level).as_nanos() as u64;
        Interval {
            observed: of(1.0),
            checked_out_time: of(checked_out),
            overflow_time: of(overflow),
            ..Interval::default()
        }
    }

    static NOTHING_HELD: HoldEfficiency = HoldEfficiency {
        pct: None,
        worst: Vec::new(),
    };

    static NOTHING_SHED: ShedReport = ShedReport {
        last_minute: 0,
        total: 0,
        routes: Vec::new(),
    };

    fn readings(minute: &Interval) -> Readings<'_> {
        Readings {
            counts: Counts::new(5, 2, 10, 20),
            pending: 0,
            longest_wait: None,
            holders: &[],
            minute,
            idle_in_transaction: Some(0),
            longest_query_seconds: Some(0.1),
            grant: Some(Grant {
                max_connections: 100,
                available: 97,
                others: 0,
                reserved: 3,
            }),
            efficiency: &NOTHING_HELD,
            repeats: &[],
            shed: &NOTHING_SHED,
            telemetry: None,
        }
    }

    fn warnings(readings: &Readings<'_>) -> Vec<String> {
        judge(readings, &Thresholds::default())
            .into_iter()
            .map(|finding| finding.warning)
            .collect()
    }

    /// Asserts that there is exactly one warning, and that it contains all parts.
    #[track_caller]
    fn only(readings: &Readings<'_>, parts: &[&str]) {
        let warnings = warnings(readings);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        for part in parts {
            assert!(warnings[0].contains(part), "{part} in {}", warnings[0]);
        }
    }

    #[test]
    fn shed_load_is_reported_with_its_routes() {
        let minute = slot(5.0, 0.0);
        let lost = |route: Option<&str>, last_5_minutes| ShedRoute {
            route: route.map(str::to_owned),
            last_5_minutes,
            total: 100,
        };
        let shed = ShedReport {
            last_minute: 7,
            total: 300,
            routes: vec![
                lost(Some("/orders"), 9),
                lost(None, 2),
                lost(Some("/old"), 0),
            ],
        };
        let readings = Readings {
            shed: &shed,
            ..readings(&minute)
        };
        let parts = [
            "load shed: 7 checkouts",
            "by route: /orders (9), outside of a request (2)",
        ];
        only(&readings, &parts);
        assert!(!warnings(&readings)[0].contains("/old"));
    }

    #[test]
    fn a_healthy_pool_has_no_warnings() {
        assert_eq!(warnings(&readings(&slot(24.0, 16.0))), Vec::<String>::new());
        assert_eq!(
            warnings(&readings(&Interval::default())),
            Vec::<String>::new()
        );
    }

    #[test]
    fn utilization_is_the_mean_of_a_minute() {
        only(
            &readings(&slot(24.3, 0.0)),
            &["utilization: 81.0 %", "24.3 of 30", "threshold 80 %"],
        );
        let young = Interval {
            observed: MINUTE.as_nanos() as u64 / 60,
            ..slot(30.0, 0.0)
        };
        assert_eq!(warnings(&readings(&young)), Vec::<String>::new());
    }

    #[test]
    fn overflow_is_evaluated_if_the_pool_has_any() {
        only(
            &readings(&slot(0.0, 17.0)),
            &["overflow: 85.0 %", "17.0 of 20"],
        );
        let minute = slot(0.0, 17.0);
        let none = Readings {
            counts: Counts::new(5, 2, 10, 0),
            ..readings(&minute)
        };
        assert_eq!(warnings(&none), Vec::<String>::new());
    }

    #[test]
    fn exhaustion_is_reported_at_once_with_the_holders() {
        let minute = Interval::default();
        let full = Readings {
            counts: Counts::new(30, 0, 10, 20),
            pending: 22,
            longest_wait: Some(Duration::from_millis(1500)),
            ..readings(&minute)
        };
        only(
            &full,
            &["all 30 connections", "22 requests are waiting", "1.5 s"],
        );
        let served = Readings { pending: 0, ..full };
        assert_eq!(warnings(&served), Vec::<String>::new());
    }

    #[test]
    fn values_at_a_threshold_are_no_warning() {
        let mut minute = Interval {
            timeouts: 1,
            ..Interval::default()
        };
        assert_eq!(warnings(&readings(&minute)), Vec::<String>::new());
        minute.timeouts = 2;
        only(
            &readings(&minute),
            &["timeouts: 2 in the last minute", "threshold 1"],
        );

        let mut wait = Histogram::default();
        wait.record(Duration::from_millis(60));
        only(
            &readings(&Interval {
                wait,
                ..Interval::default()
            }),
            &["60 ms on average", "threshold 50 ms"],
        );

        let minute = Interval::default();
        let idle = |n| Readings {
            idle_in_transaction: Some(n),
            ..readings(&minute)
        };
        assert_eq!(warnings(&idle(5)), Vec::<String>::new());
        only(
            &idle(6),
            &["6 sessions are idle in a transaction", "threshold 5"],
        );
        let query = |s| Readings {
            longest_query_seconds: Some(s),
            ..readings(&minute)
        };
        assert_eq!(warnings(&query(30.0)), Vec::<String>::new());
        only(&query(30.1), &["30.1 s", "threshold 30 s"]);
        let grant = Grant {
            max_connections: 40,
            available: 29,
            others: 8,
            reserved: 3,
        };
        only(
            &Readings {
                grant: Some(grant),
                ..readings(&minute)
            },
            &["may open 30", "grant it only 29", "others 8"],
        );
    }

    #[test]
    fn the_first_connections_of_a_young_pool_are_not_slow_checkouts() {
        let mut minute = Interval::default();
        minute.wait.record(Duration::from_millis(80));
        minute.create.record(Duration::from_millis(80));
        assert_eq!(warnings(&readings(&minute)), Vec::<String>::new());
        // After a minute, a pool should not open a connection for each checkout.
        minute.observed = MINUTE.as_nanos() as u64;
        only(&readings(&minute), &["80 ms on average"]);
        // A checkout that waits for a returned connection counts in a young pool too.
        minute.observed = 0;
        minute.wait.record(Duration::from_millis(80));
        only(&readings(&minute), &["80 ms on average"]);
    }

    #[test]
    fn unknown_values_raise_no_warning() {
        let minute = Interval::default();
        let unknown = Readings {
            idle_in_transaction: None,
            longest_query_seconds: None,
            grant: None,
            ..readings(&minute)
        };
        assert_eq!(warnings(&unknown), Vec::<String>::new());
    }
}
