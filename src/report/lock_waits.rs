//! Who holds the locks that this pool's sessions wait for.

use std::collections::HashMap;

use serde::Serialize;

use super::holders::HolderReport;
use super::sessions::ours;
use super::source::SourceFacts;
use super::timings::{lasting, round};
use super::warnings::Finding;
use crate::backend::{Activity, PREPARED, ServerSession};
use crate::settings::DatabaseKind;

/// The most blockers in a report.
const NAMED: usize = 5;
/// The most blockers in a warning.
const IN_WARNING: usize = 3;
/// A shorter wait for a lock is no warning. Postgres logs waits (`log_lock_waits`) from the same time on.
const LONG: f64 = 1.0;

/// A session that holds a lock for which another session waits.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Blocker {
    /// The server's session id; `null` for a prepared transaction, which has no session.
    pub process_id: Option<u64>,
    /// The state of the session; `null` if it is not visible.
    pub state: Option<&'static str>,
    /// How long the session has been in this state, in seconds.
    pub state_seconds: Option<f64>,
    /// How long its transaction has been open, in seconds.
    pub transaction_seconds: Option<f64>,
    /// The session's `application_name`.
    pub application_name: Option<String>,
    /// The session's database user.
    pub user: Option<String>,
    /// The holder of the connection; `null` if the session is not this pool's.
    pub holder: Option<HolderReport>,
}

impl Blocker {
    /// Returns the blockers of a session, the oldest transaction first; `None` if they are unknown.
    pub(super) fn of(
        session: &ServerSession,
        activity: &Activity,
        holders: &[HolderReport],
    ) -> Option<Vec<Self>> {
        let ids = session.blocked_by.as_ref()?;
        let mut blockers: Vec<_> = ids
            .iter()
            .map(|id| Self::new(*id, activity, holders))
            .collect();
        let age = |blocker: &Self| blocker.transaction_seconds.unwrap_or_default();
        blockers.sort_by(|a, b| age(b).total_cmp(&age(a)));
        blockers.truncate(NAMED);
        Some(blockers)
    }

    fn new(id: u64, activity: &Activity, holders: &[HolderReport]) -> Self {
        let mut sessions = activity.sessions.iter().flatten();
        let session = sessions.find(|session| session.process_id == id);
        // A session whose state is not visible is `other`.
        let visible = session.filter(|session| session.state_seconds.is_some());
        let seconds = |seconds: Option<f64>| seconds.map(|seconds| round(seconds.max(0.0), 3));
        let holder = holders.iter().find(|holder| holder.process_id == Some(id));
        Self {
            process_id: Some(id).filter(|id| *id != PREPARED),
            state: visible.map(|session| session.state.as_str()),
            state_seconds: seconds(visible.and_then(|session| session.state_seconds)),
            transaction_seconds: seconds(visible.and_then(|session| session.transaction_seconds)),
            application_name: session.and_then(|session| session.application_name.clone()),
            user: session.and_then(|session| session.user.clone()),
            holder: holder.cloned(),
        }
    }

    /// Returns text for a sentence: `process 4711 holds: POST /orders (src/orders.rs:71), idle in
    /// transaction for 12.0 s`.
    fn sentence(&self) -> String {
        let Some(id) = self.process_id else {
            return "a prepared transaction holds".to_owned();
        };
        let name = self
            .application_name
            .as_deref()
            .filter(|name| !name.is_empty());
        let who = match (&self.holder, name, &self.user) {
            (Some(holder), ..) => holder.place(),
            (None, Some(name), Some(user)) => format!("{name} (user {user})"),
            (None, Some(name), None) => name.to_owned(),
            (None, None, Some(user)) => format!("another client (user {user})"),
            (None, None, None) => "another client".to_owned(),
        };
        let state = self.state.zip(self.state_seconds).map(|(state, seconds)| {
            format!(", {} for {}", state.replace('_', " "), lasting(seconds))
        });
        format!("process {id} holds: {who}{}", state.unwrap_or_default())
    }
}

/// Warns of sessions of this pool that wait for a lock, one of them for long. Names the blockers of the
/// most sessions.
pub(super) fn finding(
    activity: &Activity,
    facts: &SourceFacts,
    holders: &[HolderReport],
) -> Option<Finding> {
    let is_blocked = |session: &ServerSession| {
        session
            .blocked_by
            .as_ref()
            .is_some_and(|ids| !ids.is_empty())
    };
    if !activity.sessions.iter().flatten().any(is_blocked) {
        return None;
    }
    let (_, mut sessions) = ours(activity, facts.process_ids().as_deref(), holders);
    sessions.retain(is_blocked);
    if !sessions
        .iter()
        .any(|session| session.query_seconds >= Some(LONG))
    {
        return None;
    }
    let mut waiting: HashMap<u64, u32> = HashMap::new();
    for id in sessions
        .iter()
        .filter_map(|session| session.blocked_by.as_ref())
        .flatten()
    {
        *waiting.entry(*id).or_default() += 1;
    }
    let mut waiting = Vec::from_iter(waiting);
    waiting.sort_unstable_by_key(|(id, waiting)| (u32::MAX - waiting, *id));
    let sentences = waiting.iter().take(IN_WARNING).map(|(id, waiting)| {
        let connections = match waiting {
            1 => "1 connection waits".to_owned(),
            waiting => format!("{waiting} connections wait"),
        };
        let blocker = Blocker::new(*id, activity, holders);
        format!("{connections} for a lock that {}", blocker.sentence())
    });
    let warning = Vec::from_iter(sentences).join("; ");
    let (most, _) = waiting.first()?;
    let end = match (*most, facts.kind) {
        (PREPARED, DatabaseKind::Postgres) => {
            "ROLLBACK PREPARED ends it at once (`pg_prepared_xacts` lists them).".to_owned()
        }
        (PREPARED, _) => "XA ROLLBACK ends it at once (`XA RECOVER` lists them).".to_owned(),
        (id, DatabaseKind::Postgres) => {
            format!("`SELECT pg_terminate_backend({id})` ends it at once.")
        }
        (id, _) => format!("`KILL {id}` ends it at once."),
    };
    Some(Finding::new(
        warning,
        format!(
            "Shorten that transaction: change rows that many requests share last, and commit before slow work outside the database. {end}"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::usage::HIDDEN;

    fn holder(caller: &str, label: Option<&'static str>, route: Option<&str>) -> HolderReport {
        HolderReport {
            caller: caller.to_owned(),
            label,
            route: route.map(str::to_owned),
            trace_id: None,
            held_seconds: 13.0,
            process_id: Some(7),
            transaction: None,
            queries_in_flight: None,
            state: None,
            last_query: None,
            leak: false,
            nested_checkout: None,
        }
    }

    #[test]
    fn a_blocker_is_described_by_what_is_known_and_may_be_shown() {
        let unknown = Blocker {
            process_id: Some(7),
            state: None,
            state_seconds: None,
            transaction_seconds: None,
            application_name: None,
            user: None,
            holder: None,
        };
        assert_eq!(unknown.sentence(), "process 7 holds: another client");
        let idle = Blocker {
            state: Some("idle_in_transaction"),
            state_seconds: Some(12.0),
            ..unknown
        };
        let of = |holder| {
            Blocker {
                holder: Some(holder),
                ..idle.clone()
            }
            .sentence()
        };
        let (line, orders) = ("src/orders.rs:71", Some("POST /orders"));
        for (holder, who) in [
            (
                holder(line, None, orders),
                "POST /orders (src/orders.rs:71)",
            ),
            (
                holder(line, Some("nightly"), None),
                "nightly (src/orders.rs:71)",
            ),
            (holder(line, None, None), line),
            (holder(HIDDEN, None, orders), "POST /orders"),
            (holder(HIDDEN, None, None), "a checkout"),
        ] {
            let expected = format!("process 7 holds: {who}, idle in transaction for 12.0 s");
            assert_eq!(of(holder), expected);
        }
    }
}
