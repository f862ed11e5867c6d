//! `connections`: the server's side, each of our sessions joined with its holder.

use std::collections::HashMap;

use serde::Serialize;
use tokio::time::Instant;

use super::holders::HolderReport;
use super::source::{Source, SourceFacts};
use super::timings::round;
use crate::backend::{Activity, Lane, LaneError, ServerSession, SessionState};
use crate::observe::Observe;
use crate::query::{describe, summary};
use crate::settings::DatabaseKind;

/// The server's view of this pool's sessions. The seed system's `get_active_connections`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Connections {
    /// Sessions counted.
    pub total_connections: u32,
    /// Of these, running a query.
    pub active_count: u32,
    /// Of these, idle outside a transaction.
    pub idle_count: u32,
    /// Of these, idle inside a transaction; `null` where it can't be known.
    pub idle_in_transaction: Option<u32>,
    /// The longest current query, in seconds.
    pub longest_query_seconds: Option<f64>,
    /// The longest idle time, in seconds.
    pub longest_idle_seconds: Option<f64>,
    /// The server's `max_connections`.
    pub server_max_connections: Option<u32>,
    /// Client sessions on the server, everybody's.
    pub server_connections: Option<u32>,
    /// Sessions on this database that are not counted above: other pools, replicas, applications.
    pub other_connections: Option<u32>,
    /// Which sessions are counted: `pool` (by the server's ids), `application_name`,
    /// `user_and_database`, or `pool_view` where the server has no view.
    pub scope: &'static str,
    /// The session that asked: not counted.
    pub monitoring_process_id: Option<u64>,
    /// What could not be seen, and what it would take.
    pub restricted: Option<String>,
    /// Why the server could not be asked; the counts are the pool's own view then.
    pub error: Option<String>,
    /// The sessions counted.
    pub sessions: Vec<SessionReport>,
    /// Whether too many sessions idle in a transaction: the route answers 503.
    #[serde(skip)]
    pub(crate) too_many_idle_in_transaction: bool,
}

/// One of this pool's sessions.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SessionReport {
    /// The server's id of the session.
    pub process_id: Option<u64>,
    /// `active`, `idle`, `idle_in_transaction`, `idle_unknown` (no right to see transactions) or `other`.
    pub state: &'static str,
    /// How long it has been in this state, in seconds.
    pub state_seconds: Option<f64>,
    /// How long its query has run, in seconds.
    pub query_seconds: Option<f64>,
    /// How long its transaction has been open, in seconds.
    pub transaction_seconds: Option<f64>,
    /// What it waits for on the server.
    pub wait_event: Option<String>,
    /// Its query without values; only with `DB_POOL_QUERY_TEXT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Who holds the connection; `null` while it is idle in the pool.
    pub holder: Option<HolderReport>,
}

/// The counts that health needs too.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) total: u32,
    pub(crate) active: u32,
    pub(crate) idle: u32,
    pub(crate) idle_in_transaction: Option<u32>,
    pub(crate) longest_query: Option<f64>,
    pub(crate) longest_idle: Option<f64>,
}

/// Our sessions among all that the server showed, and by what they were told.
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

/// What a server would not say of a session of ours, the pool may know: one that nobody holds has
/// come back clean, and of one that is held it has seen the statements.
fn completed(session: &ServerSession, holders: &[HolderReport]) -> SessionState {
    if session.state != SessionState::IdleUnknown {
        return session.state;
    }
    let holder = holders
        .iter()
        .find(|holder| holder.process_id == Some(session.process_id));
    match holder.map(HolderReport::state) {
        None => SessionState::Idle,
        // The server says that it idles; its last query has ended since.
        Some(SessionState::Active) => SessionState::IdleUnknown,
        Some(state) => state,
    }
}

/// What is under way the pool does not always know; the server does.
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
        holder.last_query = query.and_then(|query| summary(query, kind));
    }
}

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
        // Ids that the server does not know are a pooler's between us and it.
        if own.is_empty() || !found.is_empty() {
            return ("pool", found);
        }
    }
    // The lane was opened as the pool's connections are, so it carries the same name: that of this
    // process, unless the URL has one.
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

/// What the pool knows by itself.
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

/// The server's count of our sessions, or the pool's own where the database has no view of them.
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
    /// The server's view of this pool's sessions. It asks over the monitoring lane, never over the
    /// pool; when the server does not answer, the counts are the pool's own and `error` says why.
    pub async fn connections(&self) -> Connections {
        self.connections_by(self.get_ref().facts()).await
    }

    pub(crate) async fn connections_by(&self, facts: SourceFacts) -> Connections {
        let answer = facts.lane.activity(Lane::TIMEOUT).await;
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
                    // MySQL and MariaDB write a statement's bind values into its text while they
                    // keep a general log or a binlog.
                    query: session
                        .query
                        .as_deref()
                        .filter(|_| facts.query_text && scope == "pool")
                        .map(|query| describe(query, facts.kind, true, false).text),
                    holder: by_id.remove(&session.process_id),
                })
                .collect(),
        }
    }

    /// What the pool knows by itself: all there is for SQLite, and the rest when the server is gone.
    fn pool_view(&self, facts: &SourceFacts, error: Option<&LaneError>) -> Connections {
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

    /// Everybody who holds a connection, the longest first.
    pub(crate) fn holder_reports(&self, facts: &SourceFacts) -> Vec<HolderReport> {
        let now = Instant::now();
        let book = self.recorder.book();
        let mut holders: Vec<_> = book.ledger.holders.iter().cloned().collect();
        drop(book);
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
