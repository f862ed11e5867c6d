//! `health`: everything on one page, with what is wrong and what to do.

use serde::Serialize;
use tokio::time::Instant;

use super::connections::count;
use super::efficiency::HoldEfficiency;
use super::grant::grant;
use super::holders::HolderReport;
use super::judge::{Readings, judge};
use super::repeats::RepeatedStatement;
use super::shed::ShedReport;
use super::source::{Configuration, Source, SourceFacts};
use super::status::Status;
use super::timings::{Window, round};
use crate::backend::Lane;
use crate::inventory::Availability;
use crate::observe::Observe;
use crate::observe::serving::Evidence;
use crate::observe::window::Span;
use crate::telemetry::Exports;

/// How many holders a report names.
const NAMED: usize = 10;

/// The pool's health. The seed system's `get_pool_health`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Health {
    /// Everything `status` says.
    #[serde(flatten)]
    pub status: Status,
    /// Connections in use at this instant, of all the pool may open, in percent.
    pub utilization_pct: f64,
    /// The settings in force.
    pub configuration: Configuration,
    /// What is wrong, each with its number and its threshold; empty when healthy.
    pub warnings: Vec<String>,
    /// What to do about each.
    pub recommendations: Vec<String>,
    /// What the database said.
    pub database: DatabaseHealth,
    /// Waits, holds and connects of the last 10 seconds, minute and 5 minutes.
    pub windows: Windows,
    /// Checkouts that timed out within the last minute.
    pub timeouts_last_minute: u64,
    /// Checkouts turned away for load's sake.
    pub shed: ShedReport,
    /// How long the longest waiting has waited, in seconds.
    pub longest_wait_seconds: Option<f64>,
    /// Who holds connections, the longest first, at most ten.
    pub longest_holders: Vec<HolderReport>,
    /// How well the connections are used while they are held.
    pub hold_efficiency: HoldEfficiency,
    /// Routes that send the same statement again and again; needs a
    /// [`RequestLayer`](crate::RequestLayer).
    pub n_plus_one: Vec<RepeatedStatement>,
    /// What became of the telemetry; `null` unless this crate's feature `otlp` exports it.
    pub telemetry: Option<Exports>,
    /// Why the pool can't serve; absent when it can. Present, the route answers 503.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What the monitoring lane found.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DatabaseHealth {
    /// Whether the database answered the monitoring lane.
    pub reachable: bool,
    /// Why it did not.
    pub error: Option<String>,
    /// The last failure to open a connection, if none has succeeded since.
    pub last_connect_error: Option<String>,
    /// This pool's sessions that idle in a transaction; `null` where it can't be known.
    pub idle_in_transaction: Option<u32>,
    /// This pool's longest current query, in seconds.
    pub longest_query_seconds: Option<f64>,
    /// The server's `max_connections`.
    pub server_max_connections: Option<u32>,
    /// The most connections this pool could have, with everybody else staying as they are.
    pub server_can_grant: Option<u32>,
}

/// The three windows.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Windows {
    /// The last 10 seconds.
    pub last_10s: Window,
    /// The last minute: what warnings are judged by.
    pub last_1m: Window,
    /// The last 5 minutes.
    pub last_5m: Window,
}

impl Health {
    /// Whether the pool can serve. Warnings alone do not say otherwise.
    #[must_use]
    pub fn can_serve(&self) -> bool {
        self.reason.is_none()
    }
}

/// The next step for whoever reads that the pool can't serve.
fn cannot_serve_advice(availability: Availability) -> &'static str {
    match availability {
        Availability::Open => {
            "See `database` for what it answered, and the longest holders: checkouts succeed again by themselves once the database answers and connections come back."
        }
        Availability::Suspended => {
            "The app's own code has suspended the pool, and has to resume it (`Pool::resume`) when the maintenance is over."
        }
        Availability::Draining | Availability::Closed => {
            "Nothing to do: the app is shutting down. A pool that should serve has been closed by the app's own code."
        }
    }
}

impl<S: Source> Observe<S> {
    /// The pool's health. It asks the database over the monitoring lane, never over the pool.
    pub async fn health(&self) -> Health {
        self.health_by(self.get_ref().facts()).await
    }

    pub(crate) async fn health_by(&self, facts: SourceFacts) -> Health {
        let answer = facts.lane.activity(Lane::TIMEOUT).await;
        // A server that refuses to show its sessions is not one that can't be reached.
        let reached = match &answer {
            Ok(_) => Ok(()),
            Err(_) => facts
                .lane
                .ping(super::healthcheck::DEADLINE)
                .await
                .map(drop),
        };
        // Read after the answer, so that all figures are of one moment.
        let status = self.status();
        let evidence = Evidence::gather(&self.recorder);
        let reason = evidence.own_verdict().or_else(|| {
            self.recorder
                .lane_verdict(evidence.unreachable(reached.as_ref().map(|_| ())))
        });

        let activity = answer.as_ref().ok();
        let own = facts.process_ids.as_deref();
        let mut holders = self.holder_reports(&facts);
        let tally = activity
            .map(|activity| count(activity, &facts, &holders, evidence.counts.open))
            .unwrap_or_default();
        let grant = activity.and_then(|activity| grant(activity, own, evidence.counts.open));
        let window = |span| self.recorder.read(span, |slot, _, _| slot);
        let minute = window(Span::Minute);
        let hold_efficiency = HoldEfficiency::read(&self.recorder, facts.source_lines);
        let n_plus_one = RepeatedStatement::read(&self.recorder, facts.query_text);
        let shed = ShedReport::read(&self.recorder, &minute);
        let telemetry = Exports::snapshot();
        let findings = judge(
            &Readings {
                counts: evidence.counts,
                pending: status.pending,
                longest_wait: evidence.longest_wait,
                holders: &holders,
                minute: &minute,
                idle_in_transaction: tally.idle_in_transaction,
                longest_query_seconds: tally.longest_query,
                grant,
                efficiency: &hold_efficiency,
                repeats: &n_plus_one,
                shed: &shed,
                telemetry: telemetry.as_ref(),
            },
            &facts.thresholds,
        );
        holders.truncate(NAMED);
        // Why it can't serve comes first, and is there for whoever reads only the warnings.
        let (warnings, recommendations) = reason
            .iter()
            .map(|reason| {
                (
                    reason.clone(),
                    cannot_serve_advice(evidence.availability).to_owned(),
                )
            })
            .chain(
                findings
                    .into_iter()
                    .map(|finding| (finding.warning, finding.recommendation)),
            )
            .unzip();
        let last_connect_error = {
            let book = self.recorder.book();
            let last = book.last_connect_error.as_ref();
            last.map(|(error, at)| {
                format!(
                    "{error} ({:.1} s ago)",
                    Instant::now().saturating_duration_since(*at).as_secs_f64()
                )
            })
        };
        Health {
            utilization_pct: round(
                f64::from(status.checked_out) * 100.0 / f64::from(status.max_connections.max(1)),
                1,
            ),
            configuration: facts.configuration,
            warnings,
            recommendations,
            database: DatabaseHealth {
                reachable: reached.is_ok(),
                error: answer.as_ref().err().map(|error| error.cause.to_string()),
                last_connect_error,
                idle_in_transaction: tally.idle_in_transaction,
                longest_query_seconds: tally.longest_query,
                server_max_connections: grant.map(|grant| grant.max_connections),
                server_can_grant: grant.map(|grant| grant.available),
            },
            windows: Windows {
                last_10s: Window::from(&window(Span::TenSeconds)),
                last_1m: Window::from(&minute),
                last_5m: Window::from(&window(Span::FiveMinutes)),
            },
            timeouts_last_minute: minute.timeouts,
            shed,
            longest_wait_seconds: evidence.longest_wait.map(super::timings::seconds),
            longest_holders: holders,
            hold_efficiency,
            n_plus_one,
            telemetry,
            reason,
            status,
        }
    }
}
