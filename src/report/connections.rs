//! `connections`: the server's view of this pool's sessions, each joined with its holder.

use std::collections::HashMap;

use serde::Serialize;
use tokio::time::Instant;

use super::holders::HolderReport;
use super::source::{Source, SourceFacts};
use super::timings::round;
use crate::backend::{Activity, MonitorConnection, MonitorError, ServerSession, SessionState};
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
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    /// The query without values; only with `DB_POOL_QUERY_TEXT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// The holder of the connection; `null` while the connection is idle in the pool.
    pub holder: Option<HolderReport>,
}

/// Session counts, shared with `health` and the advice.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) total: u32,
    pub(crate) active: u32,
    pub(crate) idle: u32,
    pub(crate) idle_in_transaction: Option<u32>,
    pub(crate) longest_query: Option<f64>,
    pub(crate) longest_idle: Option<f64>,
}

/// Returns the pool's sessions among those shown by the server, and the scope used to select them.
fn ours(
    activity: &Activity,
    own: Option<&[u64]>,
    holders: &[HolderReport],
) -> (&'static str, Vec<ServerSession>) {
    let (scope, mut sessions) = told_apart(activity, own);
    if scope == "pool" {
        sessions
            .iter_mut()
            .for_each(|session| session.state = completed(session, holders));
    }
    (scope, sessions)
}

/// Returns the state of a session. If the server does not show whether an idle session is in a
/// transaction, uses the pool's own state: a connection that is not held was returned clean, and the
/// pool has observed the statements of a held one.
fn completed(session: &ServerSession, holders: &[HolderReport]) -> SessionState {
    if session.state != SessionState::IdleUnknown {
        return session.state;
    }
    let holder = holders
        .iter()
        .find(|holder| holder.process_id == Some(session.process_id));
    match holder.map(HolderReport::state) {
        None => SessionState::Idle,
        // The server reports it idle, so the query that the pool saw has ended since.
        Some(SessionState::Active) => SessionState::IdleUnknown,
        Some(state) => state,
    }
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

/// Selects the pool's sessions: by id, else by `application_name`, else by user and database.
fn told_apart(activity: &Activity, own: Option<&[u64]>) -> (&'static str, Vec<ServerSession>) {
    let sessions = activity.sessions.as_deref().unwrap_or_default();
    let others = || {
        sessions
            .iter()
            .filter(|s| Some(s.process_id) != activity.lane_process_id)
    };
    if let Some(own) = own.filter(|own| !own.is_empty() || activity.sessions.is_some()) {
        let found: Vec<_> = others()
            .filter(|s| own.contains(&s.process_id))
            .cloned()
            .collect();
        // The server knows none of our ids: they are those of a pooler in between.
        if own.is_empty() || !found.is_empty() {
            return ("pool", found);
        }
    }
    // The monitoring connection is opened like the pool's connections and has the same name: that of
    // this process, unless the URL sets one.
    let name = sessions
        .iter()
        .find(|s| Some(s.process_id) == activity.lane_process_id)
        .and_then(|lane| lane.application_name.as_deref())
        .filter(|name| !name.is_empty());
    match name {
        Some(name) => (
            "application_name",
            others()
                .filter(|s| s.same_database && s.application_name.as_deref() == Some(name))
                .cloned()
                .collect(),
        ),
        None => (
            "user_and_database",
            others()
                .filter(|s| s.same_user && s.same_database)
                .cloned()
                .collect(),
        ),
    }
}

fn tally(sessions: &[ServerSession]) -> Tally {
    let count =
        |of: &[SessionState]| sessions.iter().filter(|s| of.contains(&s.state)).count() as u32;
    let longest = |seconds: &dyn Fn(&ServerSession) -> Option<f64>| {
        sessions
            .iter()
            .filter_map(seconds)
            .reduce(f64::max)
            .map(|s| round(s.max(0.0), 3))
    };
    let unknown = count(&[SessionState::IdleUnknown]);
    Tally {
        total: sessions.len() as u32,
        active: count(&[SessionState::Active]),
        idle: count(&[SessionState::Idle, SessionState::IdleUnknown]),
        idle_in_transaction: (unknown == 0).then(|| count(&[SessionState::IdleInTransaction])),
        longest_query: longest(&|s| s.query_seconds),
        longest_idle: longest(&|s| s.state_seconds.filter(|_| s.state != SessionState::Active)),
    }
}

/// Returns the counts from the pool's own state.
fn own_tally(holders: &[HolderReport], open: u32) -> Tally {
    let count = |state: SessionState| holders.iter().filter(|h| h.state() == state).count() as u32;
    let active = count(SessionState::Active);
    let unknown = count(SessionState::IdleUnknown);
    let in_transaction = count(SessionState::IdleInTransaction);
    Tally {
        total: open,
        active,
        idle: open.saturating_sub(active + in_transaction),
        idle_in_transaction: (unknown == 0).then_some(in_transaction),
        longest_query: None,
        longest_idle: None,
    }
}

/// Returns the server's counts of the pool's sessions, or the pool's own if the server shows none.
pub(crate) fn count(
    activity: &Activity,
    facts: &SourceFacts,
    holders: &[HolderReport],
    open: u32,
) -> Tally {
    match activity.sessions {
        Some(_) => tally(&ours(activity, facts.process_ids.as_deref(), holders).1),
        None => own_tally(holders, open),
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
        let answer = facts.lane.activity(MonitorConnection::TIMEOUT).await;
        match answer {
            Ok(activity) if activity.sessions.is_some() => self.server_view(&facts, &activity),
            Ok(_) => self.pool_view(&facts, None),
            Err(error) => self.pool_view(&facts, Some(&error)),
        }
    }

    fn server_view(&self, facts: &SourceFacts, activity: &Activity) -> Connections {
        let mut holders = self.holder_reports(facts);
        let (scope, sessions) = ours(activity, facts.process_ids.as_deref(), &holders);
        if scope == "pool" {
            name_queries_under_way(&mut holders, &sessions, facts.kind);
        }
        let tally = tally(&sessions);
        let mut by_id: HashMap<u64, HolderReport> = holders
            .into_iter()
            .filter_map(|h| Some((h.process_id?, h)))
            .collect();
        let on_database = activity
            .sessions
            .iter()
            .flatten()
            .filter(|s| s.same_database)
            .count() as u32;
        let lane = u32::from(activity.lane_process_id.is_some());
        Connections {
            total_connections: tally.total,
            active_count: tally.active,
            idle_count: tally.idle,
            idle_in_transaction: tally.idle_in_transaction,
            longest_query_seconds: tally.longest_query,
            longest_idle_seconds: tally.longest_idle,
            server_max_connections: activity.limits.map(|limits| limits.max_connections),
            server_connections: activity.limits.map(|limits| limits.in_use),
            other_connections: Some(on_database.saturating_sub(tally.total + lane)),
            scope,
            monitoring_process_id: activity.lane_process_id,
            restricted: activity.restricted.clone(),
            error: None,
            too_many_idle_in_transaction: tally
                .idle_in_transaction
                .is_some_and(|n| n > facts.thresholds.idle_in_transaction),
            sessions: sessions
                .iter()
                .map(|session| SessionReport {
                    process_id: Some(session.process_id),
                    state: session.state.as_str(),
                    state_seconds: session.state_seconds.map(|s| round(s, 3)),
                    query_seconds: session.query_seconds.map(|s| round(s, 3)),
                    transaction_seconds: session.transaction_seconds.map(|s| round(s, 3)),
                    wait_event: session.wait_event.clone(),
                    // MySQL and MariaDB insert bind values into the statement's text while a
                    // general log or a binlog is enabled.
                    query: session
                        .query
                        .as_deref()
                        .filter(|_| facts.query_text && scope == "pool")
                        .map(|query| describe(query, facts.kind).text.to_string()),
                    holder: by_id.remove(&session.process_id),
                })
                .collect(),
        }
    }

    /// Returns the pool's own view: always for SQLite, and if the server can't be queried.
    fn pool_view(&self, facts: &SourceFacts, error: Option<&MonitorError>) -> Connections {
        let counts = self.recorder.counts();
        let holders = self.holder_reports(facts);
        let tally = own_tally(&holders, counts.open);
        let sessions: Vec<_> = holders
            .into_iter()
            .map(|holder| SessionReport {
                process_id: holder.process_id,
                state: holder.state().as_str(),
                state_seconds: None,
                query_seconds: None,
                transaction_seconds: None,
                wait_event: None,
                query: None,
                holder: Some(holder),
            })
            .collect();
        Connections {
            total_connections: tally.total,
            active_count: tally.active,
            idle_count: tally.idle,
            idle_in_transaction: tally.idle_in_transaction,
            longest_query_seconds: None,
            longest_idle_seconds: None,
            server_max_connections: None,
            server_connections: None,
            other_connections: None,
            scope: "pool_view",
            monitoring_process_id: None,
            restricted: None,
            error: error.map(|error| error.cause.to_string()),
            sessions,
            too_many_idle_in_transaction: tally
                .idle_in_transaction
                .is_some_and(|n| n > facts.thresholds.idle_in_transaction),
        }
    }

    /// Returns all holders of connections, the longest hold first.
    pub(crate) fn holder_reports(&self, facts: &SourceFacts) -> Vec<HolderReport> {
        let now = Instant::now();
        let state = self.recorder.state();
        let mut holders: Vec<_> = state.ledger.holders.iter().cloned().collect();
        drop(state);
        holders.sort_by_key(|holder| holder.since);
        holders
            .iter()
            .map(|holder| {
                let report = HolderReport::new(holder, now, &self.recorder.leaks);
                match facts.source_lines {
                    true => report,
                    false => report.without_caller(),
                }
            })
            .collect()
    }
}
