//! The sessions of the database server, and its connection limits.

use crate::checkout::TransactionState;

/// The sessions and limits that one query of the server returned.
#[derive(Debug, Clone, Default)]
#[doc(hidden)]
pub struct Activity {
    /// All visible client sessions; `None` if the database has no such view.
    pub(crate) sessions: Option<Vec<ServerSession>>,
    pub(crate) limits: Option<Limits>,
    /// The process id of the monitoring connection.
    pub(crate) monitor_process_id: Option<u64>,
    /// What the database user may not see, and the privilege that would allow it; `None` if
    /// everything is visible.
    pub(crate) restricted: Option<String>,
}

/// One session on the server.
#[derive(Debug, Clone)]
pub(crate) struct ServerSession {
    pub(crate) process_id: u64,
    pub(crate) state: SessionState,
    pub(crate) state_seconds: Option<f64>,
    /// The seconds that the current query has run; `None` unless the session is active.
    pub(crate) query_seconds: Option<f64>,
    pub(crate) transaction_seconds: Option<f64>,
    pub(crate) wait_event: Option<String>,
    pub(crate) application_name: Option<String>,
    pub(crate) user: Option<String>,
    /// The replica of this service that the session belongs to, if known.
    ///
    /// On Postgres it is the instance in the session's name, if the name is one of this service; on
    /// MySQL it is the client's host.
    pub(crate) replica: Option<String>,
    pub(crate) same_user: bool,
    pub(crate) same_database: bool,
    pub(crate) query: Option<String>,
    /// The sessions that hold the lock that this one waits for, or [`PREPARED`](super::PREPARED);
    /// empty if it waits for none, `None` if that is unknown.
    pub(crate) blocked_by: Option<Vec<u64>>,
}

/// The state of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SessionState {
    Active,
    Idle,
    IdleInTransaction,
    /// Idle; it is unknown whether a transaction is open.
    IdleUnknown,
    Other,
}

impl SessionState {
    /// Returns the state of a connection as the pool has observed it.
    pub(crate) fn seen(queries_in_flight: u32, transaction: Option<TransactionState>) -> Self {
        match (queries_in_flight, transaction) {
            (1.., _) => Self::Active,
            (0, Some(TransactionState::Idle)) => Self::Idle,
            (0, Some(_)) => Self::IdleInTransaction,
            (0, None) => Self::IdleUnknown,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Idle => "idle",
            Self::IdleInTransaction => "idle_in_transaction",
            Self::IdleUnknown => "idle_unknown",
            Self::Other => "other",
        }
    }
}

/// The connection limits of the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The server's `max_connections`.
    pub(crate) max_connections: u32,
    /// The part of `max_connections` that is reserved for administrators.
    pub(crate) reserved: u32,
    /// The client sessions on the server now, including the monitoring connection.
    pub(crate) in_use: u32,
    /// The limit of this user or database, if there is one.
    pub(crate) user_limit: Option<u32>,
}
