//! The server's view: which sessions it has, and how many it can grant.

use crate::checkout::TransactionState;

/// What one look at the server showed.
#[derive(Debug, Clone, Default)]
#[doc(hidden)]
pub struct Activity {
    /// All client sessions that could be seen; `None` where the database has no such view.
    pub(crate) sessions: Option<Vec<ServerSession>>,
    pub(crate) limits: Option<Limits>,
    /// The session of the monitoring lane itself.
    pub(crate) lane_process_id: Option<u64>,
    /// Says what could not be seen, and what would be needed.
    pub(crate) restricted: Option<String>,
}

/// One session on the server.
#[derive(Debug, Clone)]
pub(crate) struct ServerSession {
    pub(crate) process_id: u64,
    pub(crate) state: SessionState,
    pub(crate) state_seconds: Option<f64>,
    /// How long the current query has run; `None` unless active.
    pub(crate) query_seconds: Option<f64>,
    pub(crate) transaction_seconds: Option<f64>,
    pub(crate) wait_event: Option<String>,
    pub(crate) application_name: Option<String>,
    /// Which replica of this service it is of, as far as its session tells: on Postgres the instance
    /// in its name, if that is of the same service; on MySQL the host that it comes from.
    pub(crate) replica: Option<String>,
    pub(crate) same_user: bool,
    pub(crate) same_database: bool,
    pub(crate) query: Option<String>,
}

/// What a session is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SessionState {
    Active,
    Idle,
    IdleInTransaction,
    /// Idle, and the server did not say whether a transaction is open.
    IdleUnknown,
    Other,
}

impl SessionState {
    /// What a connection does by what the pool has seen of it.
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

/// How many sessions the server grants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The server's `max_connections`.
    pub(crate) max_connections: u32,
    /// Of these, kept for administrators.
    pub(crate) reserved: u32,
    /// Client sessions on the server now, the lane included.
    pub(crate) in_use: u32,
    /// A limit on this user or database, where there is one.
    pub(crate) user_limit: Option<u32>,
}
