//! Who holds a connection, told to the connection: so that a query finds out on whatever thread it
//! runs whose it is, and where its telemetry goes.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::global::BoxedSpan;
use opentelemetry::trace::SpanBuilder;
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
#[derive(Default)]
pub struct Slot(Mutex<Occupied>);

#[derive(Default)]
struct Occupied {
    by: Option<Occupant>,
    /// The statement that the occupant has sent last, without bind values.
    statement: String,
    /// Whether it is: a statement is not always known while it is under way.
    is_known: bool,
}

impl Slot {
    pub(crate) fn occupy(&self, occupant: Occupant) {
        let mut slot = self.lock();
        slot.by = Some(occupant);
        slot.is_known = false;
    }

    pub(crate) fn vacate(&self) {
        let occupant = {
            let mut slot = self.lock();
            slot.is_known = false;
            slot.by.take()
        };
        // Outside the lock: the last of a request's handles may do some work.
        drop(occupant);
    }

    pub(crate) fn read<T>(&self, read: impl FnOnce(&Occupant) -> T) -> Option<T> {
        self.lock().by.as_ref().map(read)
    }

    /// Another statement is sent; says by whom.
    pub(crate) fn statement_starts(&self) -> Option<Occupant> {
        let mut slot = self.lock();
        slot.is_known = false;
        slot.by.clone()
    }

    /// Keeps the text of the statement sent last, unless nobody holds the connection: the pool's own
    /// pings are nobody's. Takes the text and gives a buffer for it, so that nothing is allocated.
    pub(crate) fn keep_statement(&self, text: &mut String) {
        let mut slot = self.lock();
        if slot.by.is_some() {
            std::mem::swap(&mut slot.statement, text);
            slot.is_known = true;
        }
    }

    /// The statement that the occupant has sent last. A copy, so that no query waits for whoever
    /// reads it.
    pub(crate) fn last_statement(&self) -> Option<String> {
        let slot = self.lock();
        slot.is_known.then(|| slot.statement.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Occupied> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes down the queries of a pool's connections.
pub(crate) trait QueryObserver: Send + Sync {
    /// Opens a span.
    fn open_span(&self, builder: SpanBuilder, parent: &Context) -> BoxedSpan;

    /// The id of a statement, by the hash of its text as it was sent. What it is without values is
    /// asked for if it is not known; that costs, and is done under no lock.
    fn statement(&self, hash: u64, read: &mut dyn FnMut() -> Statement) -> StatementId;

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) text: String,
    /// What it does, to which tables.
    pub(crate) summary: String,
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
