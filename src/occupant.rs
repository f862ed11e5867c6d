//! Who holds a connection, told to the connection: so that a query finds out on whatever thread it
//! runs whose it is, and where its telemetry goes.

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::global::BoxedSpan;
use opentelemetry::trace::SpanBuilder;
use opentelemetry::{Context, StringValue};
use tokio::time::Instant;

use crate::attribution::Attribution;

/// Who holds a connection.
#[derive(Clone)]
pub(crate) struct Occupant {
    /// Where its queries are written down.
    pub(crate) observer: Arc<dyn QueryObserver>,
    /// The context of the checkout: the parent of the queries' spans.
    pub(crate) context: Context,
    /// The request it serves.
    pub(crate) request: Option<Arc<Attribution>>,
}

/// The place beside a connection where its [`Occupant`] is named.
#[doc(hidden)]
pub struct Slot {
    occupied: Mutex<Occupied>,
    /// The id of the statement that the occupant has sent last; [`UNKNOWN`] while that is not known.
    statement: AtomicU32,
}

#[derive(Default)]
struct Occupied {
    by: Option<Occupant>,
    /// The text of the statement sent last, without bind values, if it is one of too many to have an
    /// id.
    other: String,
}

const UNKNOWN: u32 = u32::MAX;

/// The statement that an occupant has sent last.
pub(crate) enum LastStatement {
    Known(Arc<dyn QueryObserver>, StatementId),
    /// Without bind values, but with the values that were written into it.
    Other(String),
}

impl Slot {
    pub(crate) fn occupy(&self, occupant: Occupant) {
        let mut slot = self.lock();
        slot.by = Some(occupant);
        self.statement.store(UNKNOWN, Relaxed);
    }

    pub(crate) fn vacate(&self) {
        let occupant = {
            let mut slot = self.lock();
            self.statement.store(UNKNOWN, Relaxed);
            slot.by.take()
        };
        // Outside the lock: the last of a request's handles may do some work.
        drop(occupant);
    }

    pub(crate) fn read<T>(&self, read: impl FnOnce(&Occupant) -> T) -> Option<T> {
        self.lock().by.as_ref().map(read)
    }

    /// Another statement is sent; reads by whom.
    pub(crate) fn statement_starts<T>(&self, read: impl FnOnce(&Occupant) -> T) -> Option<T> {
        self.statement.store(UNKNOWN, Relaxed);
        self.read(read)
    }

    /// Keeps which statement was sent last.
    pub(crate) fn keep_statement(&self, id: StatementId) {
        self.statement.store(id.0, Relaxed);
    }

    /// Keeps the text of the statement sent last, which is one of too many. Takes the text and gives
    /// a buffer for it, so that nothing is allocated.
    pub(crate) fn keep_other(&self, text: &mut String) {
        std::mem::swap(&mut self.lock().other, text);
        self.keep_statement(StatementId::OTHER);
    }

    /// The statement that the occupant has sent last; a copy, so that no query waits for whoever
    /// reads it.
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

impl Default for Slot {
    fn default() -> Self {
        Self {
            occupied: Mutex::default(),
            statement: AtomicU32::new(UNKNOWN),
        }
    }
}

/// Writes down the queries of a pool's connections.
pub(crate) trait QueryObserver: Send + Sync {
    /// Whether a span may be more than nothing: somebody listens, as far as it is known.
    fn listens(&self) -> bool;

    /// Opens a span.
    fn open_span(&self, builder: SpanBuilder, parent: &Context) -> BoxedSpan;

    /// A statement by the hash of its text as it was sent; `None` if it is one of too many. What it
    /// is without values is asked for if it is not known; that costs, and is done under no lock.
    fn statement(&self, hash: u64, read: &mut dyn FnMut() -> Statement) -> Option<Known>;

    /// What a statement does, to which tables.
    fn summary(&self, statement: StatementId) -> Option<Arc<str>>;

    /// A query has ended.
    fn query_ended(&self, query: &Ended<'_>);

    /// A request has sent the same statement more often than is reasonable; told once for each
    /// statement and request.
    fn repeated(&self, request: &Attribution, statement: &Repeat<'_>);
}

/// A query that has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended<'a> {
    pub(crate) took: Duration,
    pub(crate) at: Instant,
    pub(crate) failure: Option<&'a QueryFailure>,
    /// Where its text has been known in time.
    pub(crate) statement: Option<StatementId>,
}

/// A statement, without any value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Statement {
    /// At most 2 KiB.
    pub(crate) text: Arc<str>,
    /// What it does, to which tables; empty if it begins with no word of SQL.
    pub(crate) summary: Arc<str>,
    /// Its first operation in capitals, where there is one.
    pub(crate) operation: Option<StringValue>,
}

/// A statement that an observer tells from the others.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) id: StatementId,
    pub(crate) statement: Arc<Statement>,
}

/// One of the statements that an observer tells apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StatementId(u32);

impl StatementId {
    /// One of too many.
    pub(crate) const OTHER: Self = Self(0);

    pub(crate) fn new(index: usize) -> Self {
        Self(index as u32)
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A statement that one request has sent again and again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Repeat<'a> {
    /// The statement, without any value.
    pub(crate) text: &'a str,
    /// What it does, to which tables.
    pub(crate) summary: &'a str,
    /// How often by now.
    pub(crate) times: u32,
}

/// How a query failed, without any text of the server's: that may quote data.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct QueryFailure {
    /// `error.type`: the SQLSTATE, else diesel's kind of the error, else `canceled`.
    pub(crate) error_type: Cow<'static, str>,
    /// `db.response.status_code`: the SQLSTATE, where it is known.
    pub(crate) status_code: Option<String>,
}

impl QueryFailure {
    /// Nobody waits for the query any more.
    pub(crate) const CANCELED: Self = Self {
        error_type: Cow::Borrowed("canceled"),
        status_code: None,
    };

    /// One of too many kinds.
    pub(crate) const OTHER: Self = Self {
        error_type: Cow::Borrowed("_OTHER"),
        status_code: None,
    };

    /// The connection ended before the answer did.
    pub(crate) const LOST: Self = Self {
        error_type: Cow::Borrowed("connection_closed"),
        status_code: None,
    };
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").finish_non_exhaustive()
    }
}
