//! `connections`: the server's view of this pool's sessions, each joined with its holder.

use std::collections::HashMap;

use serde::Serialize;

use super::grant::count;
use super::holders::HolderReport;
use super::lock_waits::Blocker;
use super::sessions::{SessionTally, ours};
use super::source::{Source, SourceFacts};
use super::timings::round;
use crate::backend::{Activity, MonitorConnection, ServerSession, SessionState};
use crate::observe::Observe;
use crate::query::describe;
use crate::settings::DatabaseKind;

/// The server's view of this pool's sessions. The seed system's `get_active_connections`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Connections {
    /// Number of sessions counted.
    pub total_connections: u32,
    /// Number of these that run a query.
    pub active_count: u32,
    /// Number of these that are idle outside a transaction.
    pub idle_count: u32,
    /// Number of these that are idle in a transaction; `null` if unknown.
    pub idle_in_transaction: Option<u32>,
    /// Running time of the longest current query, in seconds.
    pub longest_query_seconds: Option<f64>,
    /// The longest idle time, in seconds.
    pub longest_idle_seconds: Option<f64>,
    /// The server's `max_connections`.
    pub server_max_connections: Option<u32>,
    /// Number of all client sessions on the server.
    pub server_connections: Option<u32>,
    /// Number of other sessions on this database: other pools, replicas and applications.
    pub other_connections: Option<u32>,
    /// How the counted sessions were selected: `pool` (by the server's session ids),
    /// `application_name`, `user_and_database`, or `pool_view` if the server shows no sessions.
    pub scope: &'static str,
    /// The id of the monitoring connection's session, which is not counted.
    pub monitoring_process_id: Option<u64>,
    /// What the server does not show to this user, and the privilege required.
    pub restricted: Option<String>,
    /// Why the server could not be queried. The counts are then the pool's own.
    pub error: Option<String>,
    /// The sessions counted.
    pub sessions: Vec<SessionReport>,
    /// Whether too many sessions are idle in a transaction. The route then answers 503.
    #[serde(skip)]
    pub(crate) too_many_idle_in_transaction: bool,
}

/// One of this pool's sessions.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SessionReport {
    /// The server's session id.
    pub process_id: Option<u64>,
    /// `active`, `idle`, `idle_in_transaction`, `idle_unknown` (no privilege to see transactions) or
    /// `other`.
    pub state: &'static str,
    /// How long the session has been in this state, in seconds.
    pub state_seconds: Option<f64>,
    /// How long the current query has been running, in seconds.
    pub query_seconds: Option<f64>,
    /// How long the transaction has been open, in seconds.
    pub transaction_seconds: Option<f64>,
    /// The event that the session waits for on the server.
    pub wait_event: Option<String>,
    /// The sessions that hold the lock that this one waits for, at most five. Those that wait for the same
    /// lock are left out. Empty if it waits for no lock; `null` if unknown.
    pub blocked_by: Option<Vec<Blocker>>,
    /// The query without values; only with `DB_POOL_QUERY_TEXT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// The holder of the connection; `null` while the connection is idle in the pool.
    pub holder: Option<HolderReport>,
}

/// Completes `last_query` from the server's view if the pool does not know the query in flight.
fn name_queries_under_way(
    holders: &mut [HolderReport],
    sessions: &[ServerSession],
    kind: DatabaseKind,
) {
    let unnamed = |holder: &&mut HolderReport| {
        holder.state() == SessionState::Active && holder.last_query.is_none()
    };
    for holder in holders.iter_mut().filter(unnamed) {
        let session = sessions.iter().find(|session| {
            Some(session.process_id) == holder.process_id && session.state == SessionState::Active
        });
        let query = session.and_then(|session| session.query.as_deref());
        let summary = query.map(|query| describe(query, kind).summary.to_string());
        holder.last_query = summary.filter(|summary| !summary.is_empty());
    }
}

impl<S: Source> Observe<S> {
    /// Returns the server's view of this pool's sessions. Queries the server over the monitoring
    /// connection, never over the pool. If the server does not answer, the counts are the pool's own
    /// and `error` has the reason.
    pub async fn connections(&self) -> Connections {
        self.connections_by(self.get_ref().facts()).await
    }

    pub(crate) async fn connections_by(&self, facts: SourceFacts) -> Connections {
        let answer = facts.monitor.activity(MonitorConnection::TIMEOUT).await;
        let activity = answer.as_deref().ok();
        let activity = activity.filter(|activity| activity.sessions.is_some());
        let mut holders = self.holder_reports(&facts);
        let (scope, tally, sessions) = match activity {
            Some(activity) => {
                let (scope, sessions) = ours(activity, facts.process_ids().as_deref(), &holders);
                if scope == "pool" {
                    name_queries_under_way(&mut holders, &sessions, facts.kind);
                }
                let tally = SessionTally::of_sessions(&sessions);
                let shows_query = facts.settings.query_text && scope == "pool";
                let reports = server_view(sessions, activity, &holders, shows_query, facts.kind);
                (scope, tally, reports)
            }
            None => {
                let tally = SessionTally::of_holders(&holders, self.recorder.counts().open);
                ("pool_view", tally, pool_view(holders))
            }
        };
        let limits = activity.and_then(|activity| activity.limits);
        let monitor = activity.and_then(|activity| activity.monitor_process_id);
        let most = facts.settings.thresholds.idle_in_transaction;
        Connections {
            total_connections: tally.total,
            active_count: tally.active,
            idle_count: tally.idle,
            idle_in_transaction: tally.idle_in_transaction,
            longest_query_seconds: tally.longest_query,
            longest_idle_seconds: tally.longest_idle,
            server_max_connections: limits.map(|limits| limits.max_connections),
            server_connections: limits.map(|limits| limits.in_use),
            other_connections: activity.map(|activity| {
                let all = activity.sessions.iter().flatten();
                let on_database = count(all.filter(|session| session.same_database));
                on_database.saturating_sub(tally.total + u32::from(monitor.is_some()))
            }),
            scope,
            monitoring_process_id: monitor,
            restricted: activity.and_then(|activity| activity.restricted.clone()),
            error: answer.as_ref().err().map(|error| error.cause.to_string()),
            sessions,
            too_many_idle_in_transaction: tally.idle_in_transaction.is_some_and(|n| n > most),
        }
    }
}

/// Returns the sessions that the server shows, each with its holder.
fn server_view(
    sessions: Vec<ServerSession>,
    activity: &Activity,
    holders: &[HolderReport],
    shows_query: bool,
    kind: DatabaseKind,
) -> Vec<SessionReport> {
    let by_id: HashMap<u64, &HolderReport> = holders
        .iter()
        .filter_map(|h| Some((h.process_id?, h)))
        .collect();
    let reports = sessions.into_iter().map(|session| SessionReport {
        process_id: Some(session.process_id),
        state: session.state.as_str(),
        state_seconds: session.state_seconds.map(|s| round(s, 3)),
        query_seconds: session.query_seconds.map(|s| round(s, 3)),
        transaction_seconds: session.transaction_seconds.map(|s| round(s, 3)),
        blocked_by: Blocker::of(&session, activity, holders),
        wait_event: session.wait_event,
        // MySQL and MariaDB insert bind values into the statement's text while a general log or a
        // binlog is enabled.
        query: session
            .query
            .filter(|_| shows_query)
            .map(|query| describe(&query, kind).text.to_string()),
        holder: by_id.get(&session.process_id).copied().cloned(),
    });
    reports.collect()
}

/// Returns the pool's own view: always for SQLite, and if the server can't be queried.
fn pool_view(holders: Vec<HolderReport>) -> Vec<SessionReport> {
    let reports = holders.into_iter().map(|holder| SessionReport {
        process_id: holder.process_id,
        state: holder.state().as_str(),
        holder: Some(holder),
        ..SessionReport::default()
    });
    reports.collect()
}
