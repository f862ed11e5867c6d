//! `health`: the complete report, with warnings and recommendations.

use serde::Serialize;
use tokio::time::Instant;

use super::blame::BlameReport;
use super::efficiency::HoldEfficiency;
use super::grant::{Grant, Own};
use super::holders::HolderReport;
use super::invalidation::Invalidation;
use super::lock_waits;
use super::repeats::RepeatedStatement;
use super::sessions::count;
use super::shed::ShedReport;
use super::source::{Configuration, Source, SourceFacts};
use super::status::Status;
use super::timings::{Window, round};
use super::warnings::{Finding, judge};
use crate::backend::{Activity, MonitorConnection};
use crate::observe::Observe;
use crate::record::inventory::Availability;
use crate::record::readiness::Readiness;
use crate::record::windows::Span;
use crate::telemetry::Exports;

/// The number of holders in a report.
const NAMED: usize = 10;

/// The pool's health. The seed system's `get_pool_health`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Health {
    /// All fields of `status`.
    #[serde(flatten)]
    pub status: Status,
    /// Connections in use now, in percent of the most that the pool may open.
    pub utilization_pct: f64,
    /// The settings in force.
    pub configuration: Configuration,
    /// Warnings, each with its value and its threshold; empty if the pool is healthy.
    pub warnings: Vec<String>,
    /// The next step for each warning, in the same order.
    pub recommendations: Vec<String>,
    /// The database's state.
    pub database: DatabaseHealth,
    /// Waits, holds and connects within the last 10 seconds, minute and 5 minutes.
    pub windows: Windows,
    /// Number of checkouts that timed out within the last minute.
    pub timeouts_last_1m: u64,
    /// Whose holds make checkouts queue.
    pub blame: BlameReport,
    /// Checkouts rejected by load shedding.
    pub shed: ShedReport,
    /// How long the oldest waiting checkout has waited, in seconds; `null` if none waits.
    pub longest_wait_seconds: Option<f64>,
    /// The holders of connections, the longest hold first, at most ten.
    pub longest_holders: Vec<HolderReport>,
    /// How much of the hold time the database is at work.
    pub hold_efficiency: HoldEfficiency,
    /// Routes whose requests repeat the same statement; requires a
    /// [`RequestLayer`](crate::RequestLayer).
    pub n_plus_one: Vec<RepeatedStatement>,
    /// The state of the telemetry export; `null` unless this crate's feature `otlp` exports it.
    pub telemetry: Option<Exports>,
    /// Why the pool can't serve; absent if it can. If present, the route answers 503.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The database's state, as read by the monitoring connection.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DatabaseHealth {
    /// Whether the database answered the monitoring connection.
    pub reachable: bool,
    /// Why the database did not answer, or did not show its sessions.
    pub error: Option<String>,
    /// The last connect error, if no connection attempt has succeeded since.
    pub last_connect_error: Option<String>,
    /// The last error that invalidated a connection: its code and name, its meaning, and its age.
    pub last_invalidation: Option<String>,
    /// Number of this pool's sessions that are idle in a transaction; `null` if unknown.
    pub idle_in_transaction: Option<u32>,
    /// How long this pool's longest current query has been running, in seconds.
    pub longest_query_seconds: Option<f64>,
    /// The server's `max_connections`.
    pub server_max_connections: Option<u32>,
    /// The most connections this pool could have if all other sessions stay.
    pub server_can_grant: Option<u32>,
}

/// The three windows of `health`.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Windows {
    /// The last 10 seconds.
    pub last_10s: Window,
    /// The last minute. Warnings are evaluated from this window.
    pub last_1m: Window,
    /// The last 5 minutes.
    pub last_5m: Window,
}

/// What is known of the database, besides the record.
struct Known<'a> {
    activity: Option<&'a Activity>,
    reachable: bool,
    error: Option<String>,
}

impl Health {
    /// Returns whether the pool can serve. Warnings do not affect this.
    #[must_use]
    pub fn can_serve(&self) -> bool {
        self.reason.is_none()
    }
}

/// Returns the next step if the pool can't serve.
fn cannot_serve_advice(availability: Availability) -> &'static str {
    match availability {
        Availability::Open => {
            "See `database` for the error, and the longest holders. Checkouts succeed again once the database answers and connections are returned."
        }
        Availability::Suspended => {
            "The application has suspended the pool and must resume it (`Pool::resume`) when the maintenance is over."
        }
        Availability::Draining | Availability::Closed => {
            "No action needed if the application is shutting down; otherwise, find where the application closes the pool, or ends the runtime in which it was built."
        }
    }
}

impl<S: Source> Observe<S> {
    /// Returns the pool's health. Queries the database over the monitoring connection, never over the
    /// pool.
    pub async fn health(&self) -> Health {
        self.health_by(self.get_ref().facts()).await
    }

    /// Returns the health of the pool with these facts.
    pub(crate) async fn health_by(&self, facts: SourceFacts) -> Health {
        let answer = facts.monitor.activity(MonitorConnection::TIMEOUT).await;
        // A server that refuses to show its sessions can still be reachable.
        let reached = match &answer {
            Ok(_) => Ok(()),
            Err(_) => facts
                .monitor
                .ping(super::healthcheck::DEADLINE)
                .await
                .map(drop),
        };
        // Read after the answer, so that all values are of the same instant.
        let status = self.status();
        let evidence = Readiness::gather(&self.recorder);
        let reason = evidence.own_verdict().or_else(|| {
            self.recorder
                .monitor_verdict(evidence.unreachable(reached.as_ref().map(|_| ())))
        });

        let known = Known {
            activity: answer.as_deref().ok(),
            reachable: reached.is_ok(),
            error: answer.as_ref().err().map(|error| error.cause.to_string()),
        };
        self.judged(&facts, status, evidence, reason, known).0
    }

    /// Returns the health as far as it is known without asking the database, and its findings.
    pub(crate) fn health_now(&self, facts: &SourceFacts) -> (Health, Vec<Finding>) {
        let (status, evidence) = (self.status(), Readiness::gather(&self.recorder));
        let unreachable = self.recorder.known_unreachable();
        let known = Known {
            activity: None,
            reachable: unreachable.is_none(),
            error: None,
        };
        let reason = evidence.own_verdict().or(unreachable);
        self.judged(facts, status, evidence, reason, known)
    }

    /// Returns the health with its findings, the most urgent first.
    fn judged(
        &self,
        facts: &SourceFacts,
        status: Status,
        evidence: Readiness,
        reason: Option<String>,
        known: Known<'_>,
    ) -> (Health, Vec<Finding>) {
        let activity = known.activity;
        let process_ids = facts.process_ids();
        let own = Own {
            process_ids: process_ids.as_deref(),
            open: evidence.counts.open,
        };
        let holders = self.holder_reports(facts);
        let tally = activity
            .map(|activity| count(activity, facts, &holders, evidence.counts.open))
            .unwrap_or_default();
        let grant = activity.and_then(|activity| Grant::of(activity, own.count(activity)));
        let locks = activity.and_then(|activity| lock_waits::finding(activity, facts, &holders));
        let minute = self.recorder.window(Span::Minute);
        let last_connect_error = {
            let state = self.recorder.state();
            let last = state.last_connect_error.as_ref();
            last.map(|(error, at)| {
                format!(
                    "{error} ({:.1} s ago)",
                    Instant::now().saturating_duration_since(*at).as_secs_f64()
                )
            })
        };
        let last_invalidation = {
            let state = self.recorder.state();
            state.last_invalidation.map(Invalidation::at)
        };
        let mut health = Health {
            utilization_pct: round(
                f64::from(status.checked_out) * 100.0 / f64::from(status.max_connections.max(1)),
                1,
            ),
            configuration: facts.configuration,
            warnings: Vec::new(),
            recommendations: Vec::new(),
            database: DatabaseHealth {
                reachable: known.reachable,
                error: known.error,
                last_connect_error,
                last_invalidation: last_invalidation.as_ref().map(Invalidation::sentence),
                idle_in_transaction: tally.idle_in_transaction,
                longest_query_seconds: tally.longest_query,
                server_max_connections: grant.map(|grant| grant.max_connections),
                server_can_grant: grant.map(|grant| grant.available),
            },
            windows: Windows {
                last_10s: Window::from(&self.recorder.window(Span::TenSeconds)),
                last_1m: Window::from(&minute),
                last_5m: Window::from(&self.recorder.window(Span::FiveMinutes)),
            },
            timeouts_last_1m: minute.traffic.timeouts,
            blame: BlameReport::read(&self.recorder, facts.source_lines),
            shed: ShedReport::read(&self.recorder, &minute),
            longest_wait_seconds: evidence.longest_wait.map(super::timings::seconds),
            longest_holders: holders,
            hold_efficiency: HoldEfficiency::read(&self.recorder, facts.source_lines),
            n_plus_one: RepeatedStatement::read(&self.recorder, facts),
            telemetry: Exports::snapshot(),
            reason,
            status,
        };
        let judged = judge(
            &health,
            &minute,
            grant,
            &facts.settings.thresholds,
            facts.names(),
        );
        // The reason is also the first warning, because some readers only look at the warnings.
        let cannot_serve = health.reason.clone().map(|warning| {
            Finding::new(warning, cannot_serve_advice(evidence.availability)).critical_if(true)
        });
        let invalidation = last_invalidation.and_then(|last| last.finding(&health.status));
        let findings = cannot_serve
            .into_iter()
            .chain(invalidation)
            .chain(locks)
            .chain(judged);
        let findings: Vec<_> = findings.collect();
        for finding in &findings {
            health.warnings.push(finding.warning.clone());
            health.recommendations.push(finding.recommendation.clone());
        }
        health.longest_holders.truncate(NAMED);
        (health, findings)
    }
}
