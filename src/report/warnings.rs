//! The warnings of `health`, each with its value, its threshold and the next step. A healthy pool has none.

use std::time::Duration;

use serde::Serialize;

use super::grant::Grant;
use super::health::Health;
use super::holders::HolderReport;
use super::repeats::RepeatedStatement;
use super::source::SettingNames;
use super::status::Status;
use super::timings::{lasting, millis, round};
use crate::record::interval::Interval;
use crate::settings::Thresholds;

/// Means over a shorter time are not evaluated.
const ENOUGH: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_secs(60);

/// A warning and its recommendation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// The warning in fewer words, if it is long.
    pub(crate) headline: Option<String>,
    pub(crate) warning: String,
    pub(crate) recommendation: String,
}

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    /// Worth a line in `health`, and no reason to act.
    Ok,
    Warning,
    /// Requests fail or wait because of it.
    Critical,
}

impl Severity {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl Finding {
    pub(crate) fn new(warning: impl Into<String>, recommendation: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            headline: None,
            warning: warning.into(),
            recommendation: recommendation.into(),
        }
    }

    /// Makes the finding critical if `serious`.
    pub(crate) fn critical_if(mut self, serious: bool) -> Self {
        if serious {
            self.severity = Severity::Critical;
        }
        self
    }
}

/// Returns the findings, the most urgent first. `health` has all holders, the longest hold first, and
/// `minute` is the window of the last minute.
pub(super) fn judge(
    health: &Health,
    minute: &Interval,
    grant: Option<Grant>,
    limits: &Thresholds,
    names: &SettingNames,
) -> Vec<Finding> {
    [
        nested(health),
        leaks(health, names),
        exhausted(health, limits, names),
        utilization(health, minute, limits, names),
        overflow(health, minute, limits),
        timeouts(minute, limits, names),
        shed(health, names),
        idle_in_transaction(health.database.idle_in_transaction, limits),
        average_wait(minute, limits, names),
        longest_query(health.database.longest_query_seconds, limits),
        grant.and_then(|grant| grantable(health, grant, names)),
        low_efficiency(health, minute),
        RepeatedStatement::finding(&health.n_plus_one),
        lost_telemetry(health),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Returns whether all connections are checked out and at least one checkout waits.
fn is_exhausted(status: &Status) -> bool {
    status.pending > 0 && status.checked_out >= status.max_connections
}

fn finding(warning: String, recommendation: impl Into<String>) -> Option<Finding> {
    Some(Finding::new(warning, recommendation))
}

fn critical(warning: String, recommendation: impl Into<String>) -> Option<Finding> {
    Some(Finding::new(warning, recommendation).critical_if(true))
}

/// Warns of requests that wait for a connection while they hold one. Nothing else can end such a wait than
/// the return of another connection.
fn nested(health: &Health) -> Option<Finding> {
    let nested: Vec<_> = health
        .longest_holders
        .iter()
        .filter_map(HolderReport::nested_sentence)
        .collect();
    let (number, shown) = (nested.len(), &nested[..nested.len().min(3)]);
    if number == 0 {
        return None;
    }
    critical(
        format!("nested checkouts: {number} waiting: {}", shown.join("; ")),
        "Return the first connection before you ask for the second, or pass it on and use it for both; `nested_checkouts` = deny makes the second checkout fail at once while the pool is full.",
    )
}

/// Warns of an exhausted pool at once, without waiting for a mean over a minute. A busy pool is exhausted now
/// and then: it is serious once a checkout waits for longer than the average may be.
fn exhausted(health: &Health, limits: &Thresholds, names: &SettingNames) -> Option<Finding> {
    let max = health.status.max_connections;
    if !is_exhausted(&health.status) {
        return None;
    }
    let waiting = match health.status.pending {
        1 => "1 request is waiting".to_owned(),
        pending => format!("{pending} requests are waiting"),
    };
    let waited = lasting(health.longest_wait_seconds.unwrap_or_default());
    let held: Vec<_> = health
        .longest_holders
        .iter()
        .take(3)
        .map(HolderReport::sentence)
        .collect();
    let blamed = health.blame.sentence();
    let longest = health.longest_wait_seconds.unwrap_or_default();
    let finding = finding(
        format!(
            "pool exhausted: all {max} connections are checked out and {waiting}, the longest for {waited}; held longest by {}{}",
            if held.is_empty() {
                "checkouts made outside of poolscope".to_owned()
            } else {
                held.join(", ")
            },
            blamed.map(|it| format!("; {it}")).unwrap_or_default(),
        ),
        format!(
            "Shorten the longest holds (make no slow calls while holding a connection), or raise {} if the database allows more connections.",
            names.more,
        ),
    )?;
    let is_serious = longest > limits.average_wait.as_secs_f64();
    let first = held.first().map(|first| {
        format!("All {max} connections are in use and {waiting}, the longest for {waited}; held longest by {first}")
    });
    Some(Finding {
        headline: first,
        severity: if is_serious {
            Severity::Critical
        } else {
            Severity::Ok
        },
        ..finding
    })
}

fn leaks(health: &Health, names: &SettingNames) -> Option<Finding> {
    let leaks: Vec<_> = health
        .longest_holders
        .iter()
        .filter(|h| h.leak)
        .map(HolderReport::sentence)
        .collect();
    if leaks.is_empty() {
        return None;
    }
    let finding = finding(
        format!(
            "possible connection leak: {} held longer than {}: {}",
            leaks.len(),
            names.leak_threshold,
            leaks.join(", ")
        ),
        format!(
            "Drop the connection before other work, and check that no task keeps it; raise {} if holds of this length are intended.",
            names.leak_threshold,
        ),
    )?;
    let first = format!(
        "Possible connection leak: {} held longer than {}, the longest by {}",
        leaks.len(),
        names.leak_threshold,
        leaks[0],
    );
    let finding = Finding {
        headline: Some(first),
        ..finding
    };
    Some(finding.critical_if(is_exhausted(&health.status)))
}

fn utilization(
    health: &Health,
    minute: &Interval,
    limits: &Thresholds,
    names: &SettingNames,
) -> Option<Finding> {
    let max = health.status.max_connections;
    let mean = minute.traffic.mean_checked_out();
    let percent = mean * 100.0 / f64::from(max.max(1));
    if minute.traffic.observed() < ENOUGH || percent <= limits.utilization_pct {
        return None;
    }
    finding(
        format!(
            "high pool utilization: {percent:.1} % over the last minute ({mean:.1} of {max} connections in use on average, threshold {} %)",
            limits.utilization_pct,
        ),
        format!(
            "Raise {}, or shorten the holds; `optimize` reports by how much.",
            names.more,
        ),
    )
}

fn overflow(health: &Health, minute: &Interval, limits: &Thresholds) -> Option<Finding> {
    let max = health.configuration.max_overflow;
    if max == 0 || minute.traffic.observed() < ENOUGH {
        return None;
    }
    let mean = minute.traffic.mean_overflow();
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
            health.status.pool_size,
        ),
    )
}

fn timeouts(minute: &Interval, limits: &Thresholds, names: &SettingNames) -> Option<Finding> {
    let timeouts = minute.traffic.timeouts;
    if timeouts as f64 <= limits.timeouts_per_minute {
        return None;
    }
    critical(
        format!(
            "connection timeouts: {timeouts} in the last minute (threshold {} a minute)",
            limits.timeouts_per_minute,
        ),
        format!(
            "Find the longest holds in `connections` and shorten them, or raise {}; a longer {} only makes callers wait longer.",
            names.size, names.timeout,
        ),
    )
}

fn shed(health: &Health, names: &SettingNames) -> Option<Finding> {
    if health.shed.last_1m == 0 {
        return None;
    }
    critical(
        format!(
            "load shed: {} checkouts were rejected in the last minute; in the last five minutes by route: {}",
            health.shed.last_1m,
            health.shed.sentence(),
        ),
        format!(
            "The load exceeds what the pool can serve: shorten the holds of the busiest routes, raise {} if the database allows more connections, or add replicas. DB_POOL_QUEUE_TARGET and DB_POOL_MAX_PENDING set when load is shed.",
            names.size,
        ),
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

fn average_wait(minute: &Interval, limits: &Thresholds, names: &SettingNames) -> Option<Finding> {
    // A young pool opens connections while its first checkouts wait. Those waits belong to the start
    // and are no sign of poor health.
    let young = minute.traffic.observed() < MINUTE;
    if young && minute.wait.count() < 2 * minute.create.count() {
        return None;
    }
    let mean = minute.wait.mean()?;
    if mean <= limits.average_wait {
        return None;
    }
    finding(
        format!(
            "slow checkouts: {} ms on average over the last minute ({} checkouts, threshold {} ms)",
            round(millis(mean), 1),
            minute.wait.count(),
            millis(limits.average_wait),
        ),
        format!(
            "Compare with `create` in the windows: if opening connections is slow, raise {} so that fewer are opened; otherwise the pool is too small or holds are too long.",
            names.size,
        ),
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

fn grantable(health: &Health, grant: Grant, names: &SettingNames) -> Option<Finding> {
    let max = health.status.max_connections;
    if max <= grant.available {
        return None;
    }
    finding(
        format!(
            "the pool may open {max} connections, but the server can grant it only {} (max_connections {}, reserved {}, used by others {})",
            grant.available, grant.max_connections, grant.reserved, grant.others,
        ),
        format!(
            "Lower {} to {} or less, raise the server's max_connections, or put a pooler such as PgBouncer in between.",
            names.most, grant.available,
        ),
    )
}

fn low_efficiency(health: &Health, minute: &Interval) -> Option<Finding> {
    // Unused hold time does no harm while enough connections are free.
    let most = f64::from(health.status.max_connections);
    let is_busy = is_exhausted(&health.status)
        || minute.traffic.mean_checked_out() * 2.0 > most
        || minute.traffic.mean_pending() >= 1.0;
    health.hold_efficiency.finding(is_busy)
}

fn lost_telemetry(health: &Health) -> Option<Finding> {
    let (warning, recommendation) = health.telemetry.as_ref()?.warning()?;
    finding(warning, recommendation)
}

#[cfg(test)]
mod tests {
    use super::super::blame::BlameReport;
    use super::super::efficiency::HoldEfficiency;
    use super::super::health::{DatabaseHealth, Windows};
    use super::super::shed::ShedReport;
    use super::super::shed::ShedRoute;
    use super::super::source::Configuration;
    use super::super::status::WaitingFor;
    use super::super::timings::Window;
    use super::*;
    use crate::record::inventory::Availability;
    use crate::record::totals::Totals;
    use crate::record::traffic::Traffic;

    fn slot(checked_out: f64, overflow: f64) -> Interval {
        let of = |level: f64| MINUTE.mul_f64(level).as_nanos() as u64;
        Interval {
            traffic: Traffic {
                observed: of(1.0),
                checked_out_time: of(checked_out),
                overflow_time: of(overflow),
                ..Traffic::default()
            },
            ..Interval::default()
        }
    }

    /// Returns the health of a pool with 5 of 30 connections open, of which 3 are in use.
    fn healthy() -> Health {
        let window = Window::from(&Interval::default());
        Health {
            status: Status {
                pool: "test".to_owned(),
                state: Availability::Open,
                pool_size: 10,
                checked_out: 3,
                overflow: 0,
                total_connections: 5,
                idle: 2,
                pending: 0,
                waiting_for: WaitingFor::default(),
                max_connections: 30,
                totals: Totals::default(),
                uptime_seconds: 600.0,
            },
            utilization_pct: 10.0,
            configuration: Configuration {
                pool_size: 10,
                max_overflow: 20,
                pool_timeout: None,
                pool_recycle: None,
                pool_pre_ping: None,
            },
            warnings: Vec::new(),
            recommendations: Vec::new(),
            database: DatabaseHealth {
                reachable: true,
                error: None,
                last_connect_error: None,
                last_invalidation: None,
                idle_in_transaction: Some(0),
                longest_query_seconds: Some(0.1),
                server_max_connections: None,
                server_can_grant: None,
            },
            windows: Windows {
                last_10s: window,
                last_1m: window,
                last_5m: window,
            },
            timeouts_last_1m: 0,
            blame: BlameReport::default(),
            shed: ShedReport::default(),
            longest_wait_seconds: None,
            longest_holders: Vec::new(),
            hold_efficiency: HoldEfficiency {
                pct: None,
                worst: Vec::new(),
            },
            n_plus_one: Vec::new(),
            telemetry: None,
            reason: None,
        }
    }

    const GRANT: Grant = Grant {
        max_connections: 100,
        available: 97,
        others: 0,
        reserved: 3,
    };

    fn warnings_with(health: &Health, minute: &Interval, grant: Option<Grant>) -> Vec<String> {
        judge(
            health,
            minute,
            grant,
            &Thresholds::default(),
            &SettingNames::VARIABLES,
        )
        .into_iter()
        .map(|finding| finding.warning)
        .collect()
    }

    fn warnings(health: &Health, minute: &Interval) -> Vec<String> {
        warnings_with(health, minute, Some(GRANT))
    }

    /// Asserts that there is exactly one warning, and that it contains all parts.
    #[track_caller]
    fn only(warnings: &[String], parts: &[&str]) {
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        for part in parts {
            assert!(warnings[0].contains(part), "{part} in {}", warnings[0]);
        }
    }

    #[test]
    fn shed_load_is_reported_with_its_routes() {
        let minute = slot(5.0, 0.0);
        let lost = |route: Option<&str>, last_5m| ShedRoute {
            route: route.map(str::to_owned),
            last_5m,
            total: 100,
        };
        let shed = ShedReport {
            last_1m: 7,
            total: 300,
            routes: vec![
                lost(Some("/orders"), 9),
                lost(None, 2),
                lost(Some("/old"), 0),
            ],
        };
        let health = Health { shed, ..healthy() };
        let warnings = warnings(&health, &minute);
        let parts = [
            "load shed: 7 checkouts",
            "by route: /orders (9), outside of a request (2)",
        ];
        only(&warnings, &parts);
        assert!(!warnings[0].contains("/old"));
    }

    const NONE: Vec<String> = Vec::new();

    #[test]
    fn a_healthy_pool_has_no_warnings() {
        assert_eq!(warnings(&healthy(), &slot(24.0, 16.0)), NONE);
        assert_eq!(warnings(&healthy(), &Interval::default()), NONE);
    }

    #[test]
    fn utilization_is_the_mean_of_a_minute() {
        only(
            &warnings(&healthy(), &slot(24.3, 0.0)),
            &["utilization: 81.0 %", "24.3 of 30", "threshold 80 %"],
        );
        let mut young = slot(30.0, 0.0);
        young.traffic.observed /= 60;
        assert_eq!(warnings(&healthy(), &young), NONE);
    }

    #[test]
    fn overflow_is_evaluated_if_the_pool_has_any() {
        let minute = slot(0.0, 17.0);
        let mut health = healthy();
        only(
            &warnings(&health, &minute),
            &["overflow: 85.0 %", "17.0 of 20"],
        );
        health.configuration.max_overflow = 0;
        assert_eq!(warnings(&health, &minute), NONE);
    }

    #[test]
    fn exhaustion_is_reported_at_once_with_the_holders() {
        let minute = Interval::default();
        let mut health = Health {
            longest_wait_seconds: Some(1.5),
            ..healthy()
        };
        (health.status.checked_out, health.status.pending) = (30, 22);
        only(
            &warnings(&health, &minute),
            &["all 30 connections", "22 requests are waiting", "1.5 s"],
        );
        health.status.pending = 0;
        assert_eq!(warnings(&health, &minute), NONE);
    }

    #[test]
    fn values_at_a_threshold_are_no_warning() {
        let mut health = healthy();
        let mut minute = Interval::default();
        minute.traffic.timeouts = 1;
        assert_eq!(warnings(&health, &minute), NONE);
        minute.traffic.timeouts = 2;
        only(
            &warnings(&health, &minute),
            &["timeouts: 2 in the last minute", "threshold 1"],
        );

        let mut minute = Interval::default();
        minute.wait.record(Duration::from_millis(60));
        only(
            &warnings(&health, &minute),
            &["60 ms on average", "threshold 50 ms"],
        );

        let minute = Interval::default();
        health.database.idle_in_transaction = Some(5);
        assert_eq!(warnings(&health, &minute), NONE);
        health.database.idle_in_transaction = Some(6);
        only(
            &warnings(&health, &minute),
            &["6 sessions are idle in a transaction", "threshold 5"],
        );
        health = healthy();
        health.database.longest_query_seconds = Some(30.0);
        assert_eq!(warnings(&health, &minute), NONE);
        health.database.longest_query_seconds = Some(30.1);
        only(&warnings(&health, &minute), &["30.1 s", "threshold 30 s"]);
        let grant = Grant {
            max_connections: 40,
            available: 29,
            others: 8,
            reserved: 3,
        };
        only(
            &warnings_with(&healthy(), &minute, Some(grant)),
            &["may open 30", "grant it only 29", "others 8"],
        );
    }

    #[test]
    fn the_first_connections_of_a_young_pool_are_not_slow_checkouts() {
        let health = healthy();
        let mut minute = Interval::default();
        minute.wait.record(Duration::from_millis(80));
        minute.create.record(Duration::from_millis(80));
        assert_eq!(warnings(&health, &minute), NONE);
        // After a minute, a pool should not open a connection for each checkout.
        minute.traffic.observed = MINUTE.as_nanos() as u64;
        only(&warnings(&health, &minute), &["80 ms on average"]);
        // A checkout that waits for a returned connection counts in a young pool too.
        minute.traffic.observed = 0;
        minute.wait.record(Duration::from_millis(80));
        only(&warnings(&health, &minute), &["80 ms on average"]);
    }

    #[test]
    fn unknown_values_raise_no_warning() {
        let mut health = healthy();
        health.database.idle_in_transaction = None;
        health.database.longest_query_seconds = None;
        assert_eq!(warnings_with(&health, &Interval::default(), None), NONE);
    }
}
