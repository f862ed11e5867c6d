//! The query context, stored beside each connection: a query finds its holder and the destination of
//! its telemetry there, on any thread.

use std::borrow::Cow;
use std::fmt;
use std::panic::Location;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::global::BoxedSpan;
use opentelemetry::trace::SpanBuilder;
use tokio::time::Instant;

use crate::request::attribution::Attribution;

/// The context of a connection's queries: the holder of the connection.
#[derive(Clone)]
pub(crate) struct QueryContext {
    /// Records the queries.
    pub(crate) observer: Arc<dyn QueryObserver>,
    /// The context of the checkout: the parent of the queries' spans.
    pub(crate) context: Context,
    /// The request that holds the connection, if any.
    pub(crate) request: Option<Arc<Attribution>>,
    /// The source line that checked out the connection.
    pub(crate) caller: &'static Location<'static>,
}

/// The context slot of a connection: holds its [`QueryContext`].
#[doc(hidden)]
pub struct ContextSlot {
    occupied: Mutex<Occupied>,
    /// The id of the statement sent last by the current holder; [`UNKNOWN`] until it is identified.
    statement: AtomicU32,
}

#[derive(Default)]
struct Occupied {
    by: Option<QueryContext>,
    /// The text of the statement sent last, without bind values, if it has no id because there are
    /// too many distinct statements.
    other: String,
}

const UNKNOWN: u32 = u32::MAX;

/// The statement that a holder has sent last.
pub(crate) enum LastStatement {
    Known(Arc<dyn QueryObserver>, StatementId),
    /// The text of a statement without an id: without bind values, but with its literals.
    Other(String),
}

impl ContextSlot {
    pub(crate) fn set(&self, occupant: QueryContext) {
        let mut slot = self.lock();
        slot.by = Some(occupant);
        self.statement.store(UNKNOWN, Relaxed);
    }

    pub(crate) fn clear(&self) {
        let occupant = {
            let mut slot = self.lock();
            self.statement.store(UNKNOWN, Relaxed);
            slot.by.take()
        };
        // Drop outside the lock, because dropping the last handle of a request may do some work.
        drop(occupant);
    }

    pub(crate) fn read<T>(&self, read: impl FnOnce(&QueryContext) -> T) -> Option<T> {
        self.lock().by.as_ref().map(read)
    }

    /// Forgets the last statement, because another one is sent, and reads the query context.
    pub(crate) fn statement_starts<T>(&self, read: impl FnOnce(&QueryContext) -> T) -> Option<T> {
        self.statement.store(UNKNOWN, Relaxed);
        self.read(read)
    }

    /// Stores the id of the statement sent last.
    pub(crate) fn keep_statement(&self, id: StatementId) {
        self.statement.store(id.0, Relaxed);
    }

    /// Stores the text of the statement sent last, which has no id. Swaps the text with the previous
    /// buffer, so that nothing is allocated.
    pub(crate) fn keep_other(&self, text: &mut String) {
        std::mem::swap(&mut self.lock().other, text);
        self.keep_statement(StatementId::OTHER);
    }

    /// Returns the statement that the holder has sent last; `None` if there is no holder or the
    /// statement is not identified. Returns a copy, so that no query waits for the reader.
    pub(crate) fn last_statement(&self) -> Option<LastStatement> {
        let slot = self.lock();
        let occupant = slot.by.as_ref()?;
        match StatementId(self.statement.load(Relaxed)) {
            StatementId(UNKNOWN) => None,
            StatementId::OTHER => Some(LastStatement::Other(slot.other.clone())),
            id => Some(LastStatement::Known(Arc::clone(&occupant.observer), id)),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Occupied> {
        self.occupied.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ContextSlot {
    fn default() -> Self {
        Self {
            occupied: Mutex::default(),
            statement: AtomicU32::new(UNKNOWN),
        }
    }
}

/// Records the queries of a pool's connections.
pub(crate) trait QueryObserver: Send + Sync {
    /// Returns whether spans may be recorded, as far as is known.
    fn listens(&self) -> bool;

    /// Opens a span.
    fn open_span(&self, builder: SpanBuilder, parent: &Context) -> BoxedSpan;

    /// Returns a statement by the hash of its text as it was sent; `None` if there are too many
    /// distinct statements. Calls `read` for the statement without values if the hash is unknown;
    /// that is expensive, so it is done without holding a lock.
    fn statement(
        &self,
        hash: u64,
        read: &mut dyn FnMut() -> Statement,
    ) -> Option<IdentifiedStatement>;

    /// Returns the operations of a statement and their tables.
    fn summary(&self, statement: StatementId) -> Option<Arc<str>>;

    /// Records a query that has ended.
    fn query_ended(&self, query: &Ended<'_>);

    /// Records that a request has sent the same statement more often than the N+1 limit. Called once
    /// per statement and request.
    fn repeated(&self, request: &Attribution, statement: &Repeat<'_>);
}

/// A query that has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended<'a> {
    pub(crate) took: Duration,
    pub(crate) at: Instant,
    pub(crate) failure: Option<&'a QueryFailure>,
    /// The statement, if it was identified before the query ended.
    pub(crate) statement: Option<StatementId>,
}

/// A statement without values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Statement {
    /// The text, at most 2 KiB.
    pub(crate) text: Arc<str>,
    /// Its operations and their tables; empty if it does not begin with an SQL keyword.
    pub(crate) summary: Arc<str>,
}

/// A statement that has an id.
#[derive(Debug, Clone)]
pub(crate) struct IdentifiedStatement {
    pub(crate) id: StatementId,
    pub(crate) statement: Arc<Statement>,
}

/// The id of a statement, assigned by an observer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StatementId(u32);

impl StatementId {
    /// The id of all statements beyond the limit of distinct ones.
    pub(crate) const OTHER: Self = Self(0);

    pub(crate) fn new(index: usize) -> Self {
        Self(index as u32)
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A statement that one request has sent more often than the N+1 limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Repeat<'a> {
    /// The statement without values.
    pub(crate) text: &'a str,
    /// Its operations and their tables.
    pub(crate) summary: &'a str,
    /// The source line that checked out the connection.
    pub(crate) caller: &'static Location<'static>,
    /// The number of times it was sent so far.
    pub(crate) times: u32,
}

/// How a query failed, without the server's text, because that may quote data.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct QueryFailure {
    /// `error.type`: the SQLSTATE on Postgres, else diesel's kind of the error, else `canceled`.
    pub(crate) error_type: Cow<'static, str>,
    /// `db.response.status_code`: the SQLSTATE, if it is known.
    pub(crate) status_code: Option<String>,
}

impl QueryFailure {
    /// The query's future was dropped before the query ended.
    pub(crate) const CANCELED: Self = Self {
        error_type: Cow::Borrowed("canceled"),
        status_code: None,
    };

    /// All failures beyond the limit of distinct kinds.
    pub(crate) const OTHER: Self = Self {
        error_type: Cow::Borrowed("_OTHER"),
        status_code: None,
    };

    /// The connection ended before the response was complete.
    pub(crate) const LOST: Self = Self {
        error_type: Cow::Borrowed("connection_closed"),
        status_code: None,
    };
}

impl fmt::Debug for ContextSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContextSlot").finish_non_exhaustive()
    }
}
