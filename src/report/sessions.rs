//! Selects and counts this pool's sessions among those that the server shows.

use std::iter::repeat_n;

use super::holders::HolderReport;
use super::source::SourceFacts;
use super::timings::round;
use crate::backend::{Activity, ServerSession, SessionState};

/// Session counts, shared by `connections`, `health` and the advice.
#[derive(Debug, Clone, Default)]
pub(crate) struct SessionTally {
    pub(crate) total: u32,
    pub(crate) active: u32,
    pub(crate) idle: u32,
    pub(crate) idle_in_transaction: Option<u32>,
    pub(crate) longest_query: Option<f64>,
    pub(crate) longest_idle: Option<f64>,
}

impl SessionTally {
    pub(super) fn of_sessions(sessions: &[ServerSession]) -> Self {
        let longest = |seconds: fn(&ServerSession) -> Option<f64>| {
            let longest = sessions.iter().filter_map(seconds).reduce(f64::max);
            longest.map(|seconds| round(seconds.max(0.0), 3))
        };
        Self {
            longest_query: longest(|s| s.query_seconds),
            longest_idle: longest(|s| s.state_seconds.filter(|_| s.state != SessionState::Active)),
            ..Self::of_states(sessions.iter().map(|session| session.state))
        }
    }

    /// Returns the counts from the pool's own state.
    pub(super) fn of_holders(holders: &[HolderReport], open: u32) -> Self {
        let unused = (open as usize).saturating_sub(holders.len());
        let held = holders.iter().map(HolderReport::state);
        Self::of_states(held.chain(repeat_n(SessionState::Idle, unused)))
    }

    fn of_states(states: impl Iterator<Item = SessionState>) -> Self {
        let mut tally = Self::default();
        let (mut in_transaction, mut unknown) = (0, false);
        for state in states {
            tally.total += 1;
            match state {
                SessionState::Active => tally.active += 1,
                SessionState::Idle => tally.idle += 1,
                SessionState::IdleInTransaction => in_transaction += 1,
                SessionState::IdleUnknown => (tally.idle, unknown) = (tally.idle + 1, true),
                SessionState::Other => {}
            }
        }
        tally.idle_in_transaction = (!unknown).then_some(in_transaction);
        tally
    }
}

/// Returns the server's counts of the pool's sessions, or the pool's own if the server shows none.
pub(crate) fn count(
    activity: &Activity,
    facts: &SourceFacts,
    holders: &[HolderReport],
    open: u32,
) -> SessionTally {
    match activity.sessions {
        Some(_) => {
            SessionTally::of_sessions(&ours(activity, facts.process_ids().as_deref(), holders).1)
        }
        None => SessionTally::of_holders(holders, open),
    }
}

/// Returns the pool's sessions among those shown by the server, and the scope used to select them.
pub(super) fn ours(
    activity: &Activity,
    own: Option<&[u64]>,
    holders: &[HolderReport],
) -> (&'static str, Vec<ServerSession>) {
    let (scope, mut sessions) = select(activity, own);
    if scope == "pool" {
        for session in &mut sessions {
            session.state = completed(session, holders);
        }
    }
    (scope, sessions)
}

/// Selects the pool's sessions: by id, else by `application_name`, else by user and database.
fn select(activity: &Activity, own: Option<&[u64]>) -> (&'static str, Vec<ServerSession>) {
    let sessions = activity.sessions.as_deref().unwrap_or_default();
    let is_monitor = |s: &&ServerSession| Some(s.process_id) == activity.monitor_process_id;
    let those = |are_ours: &dyn Fn(&ServerSession) -> bool| -> Vec<_> {
        let others = sessions.iter().filter(|s| !is_monitor(s));
        others.filter(|s| are_ours(s)).cloned().collect()
    };
    if let Some(own) = own {
        let found = those(&|s| own.contains(&s.process_id));
        // If the server knows none of our ids, they are those of a pooler in between.
        if own.is_empty() || !found.is_empty() {
            return ("pool", found);
        }
    }
    // The monitoring connection is opened like the pool's connections and has the same name: that of
    // this process, unless the URL sets one.
    let monitor = sessions.iter().find(is_monitor);
    let name = monitor.and_then(|monitor| monitor.application_name.as_deref());
    match name.filter(|name| !name.is_empty()) {
        Some(name) => {
            let has_name = |s: &ServerSession| s.application_name.as_deref() == Some(name);
            let found = those(&|s| s.same_database && has_name(s));
            ("application_name", found)
        }
        None => {
            let found = those(&|s| s.same_user && s.same_database);
            ("user_and_database", found)
        }
    }
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
