//! The state of the queries on a connection, readable from other tasks.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use super::streams::Streams;
use super::text::{SessionChange, describe};
use crate::backend::{Errors, statement_asks_read_only};
use crate::checkout::query_context::{ContextSlot, LastStatement};
use crate::checkout::{ConnectionFacts, TransactionState};
use crate::settings::DatabaseKind;

const LIVE: u64 = 1 << 63;

const SET_TRANSACTION: &str = "SET TRANSACTION ";

/// The state of the queries on a connection, written by its [`QueryInstrumentation`](super::QueryInstrumentation).
#[derive(Debug)]
pub(crate) struct QueryState {
    kind: DatabaseKind,
    in_flight: AtomicU32,
    pub(super) in_transaction: AtomicBool,
    pub(super) failed: AtomicBool,
    pub(super) given_up: AtomicBool,
    /// Whether a holder has the connection to itself while queries seem to be in flight: it has dropped them.
    exclusive: AtomicBool,
    pub(super) streams: Streams,
    /// Whether a nested transaction has ended successfully inside the one that is open.
    pub(super) nested_commit: AtomicBool,
    /// Whether a statement has opened the current transaction as read-only.
    pub(super) in_read_only_transaction: AtomicBool,
    /// The invalidating errors, as far as diesel shows them.
    invalidating: AtomicU32,
    /// Whether statements are inspected.
    pub(super) sees_transactions: bool,
    /// What the statements so far have left in the session: a [`SessionChange`].
    change: AtomicU8,
    base: Instant,
    /// Nanoseconds with a query in flight, excluding the current busy period.
    busy: AtomicU64,
    /// [`LIVE`] and the start of the current busy period, in nanoseconds since `base`; 0 when idle.
    busy_since: AtomicU64,
    /// The start of this hold's first query and the end of its last one, in nanoseconds since `base`;
    /// `first` is 0 before the first query.
    first: AtomicU64,
    last: AtomicU64,
    /// The context slot of the connection.
    pub(super) slot: ContextSlot,
}

impl QueryState {
    pub(super) fn new(kind: DatabaseKind, sees_transactions: bool) -> Self {
        Self {
            kind,
            in_flight: AtomicU32::new(0),
            in_transaction: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            exclusive: AtomicBool::new(false),
            streams: Streams::default(),
            nested_commit: AtomicBool::new(false),
            in_read_only_transaction: AtomicBool::new(false),
            invalidating: AtomicU32::new(0),
            sees_transactions,
            change: AtomicU8::new(0),
            base: Instant::now(),
            busy: AtomicU64::new(0),
            busy_since: AtomicU64::new(0),
            first: AtomicU64::new(0),
            last: AtomicU64::new(0),
            slot: ContextSlot::default(),
        }
    }

    /// Returns the number of queries started and not finished: at check-in, those whose futures were
    /// dropped.
    #[inline]
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Returns whether a query failed because its connection failed.
    #[inline]
    pub(crate) fn connection_failed(&self) -> bool {
        self.failed.load(Relaxed)
    }

    /// Records a query's error, if it is one that invalidates the connection. In a transaction that was
    /// opened as read-only, an error because of that is none.
    pub(super) fn failed_with(&self, error: &diesel::result::Error) {
        let mut errors = Errors::of_diesel(self.kind, error);
        if self.in_read_only_transaction.load(Relaxed) {
            errors = errors.without_read_only();
        }
        if !errors.is_empty() {
            self.invalidating.fetch_or(errors.0, Relaxed);
        }
    }

    /// Records whether the transaction that a statement opens is read-only; `open` is what the statement
    /// does to the transaction. `SET TRANSACTION` concerns the current or the next one.
    pub(super) fn sees_read_only(&self, open: Option<bool>, statement: &str) {
        let concerns = match open {
            Some(open) => open,
            None => statement
                .get(..SET_TRANSACTION.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(SET_TRANSACTION)),
        };
        if open == Some(false) {
            self.in_read_only_transaction.store(false, Relaxed);
        } else if concerns && statement_asks_read_only(statement) {
            self.in_read_only_transaction.store(true, Relaxed);
        }
    }

    /// Returns whether there are errors to [take](Self::take_invalidating).
    #[inline]
    pub(crate) fn is_invalidated(&self) -> bool {
        self.invalidating.load(Relaxed) != 0
    }

    /// Returns the errors since the last call that invalidate the connection.
    pub(crate) fn take_invalidating(&self) -> Errors {
        Errors(self.invalidating.swap(0, Relaxed))
    }

    /// Records that the connection is closed because its queries were abandoned: the end of the
    /// connection is not the reason why they fail.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Relaxed);
    }

    /// Records that the holder borrows the connection exclusively. A query borrows it until it ends, so those
    /// in flight were abandoned.
    pub(crate) fn borrowed_exclusively(&self) {
        if self.in_flight() > 0 || self.streams.any() {
            self.exclusive.store(true, Relaxed);
        }
    }

    /// Returns whether the queries in flight were abandoned, as far as is known.
    pub(super) fn take_exclusive(&self) -> bool {
        self.exclusive.load(Relaxed) && self.exclusive.swap(false, Relaxed)
    }

    /// Records that the connection was returned. Nobody reads its streams any more.
    #[inline]
    pub(crate) fn returned(&self) {
        if self.streams.any() {
            self.streams.give_up();
        }
    }

    /// Returns whether a nested transaction has ended successfully inside the one that is open.
    pub(crate) fn has_nested_commit(&self) -> bool {
        self.nested_commit.load(Relaxed)
    }

    /// Returns whether a statement has left something in the session.
    #[inline]
    pub(crate) fn is_session_changed(&self) -> bool {
        self.change.load(Relaxed) != SessionChange::None as u8
    }

    /// Returns whether a statement has left something in the session that a reset does not remove.
    pub(crate) fn is_session_changed_for_good(&self) -> bool {
        self.change.load(Relaxed) == SessionChange::Lasting as u8
    }

    /// Records that the session was reset.
    pub(crate) fn session_is_reset(&self) {
        self.change.store(SessionChange::None as u8, Relaxed);
    }

    pub(super) fn leaves(&self, change: SessionChange) {
        if change != SessionChange::None {
            self.change.fetch_max(change as u8, Relaxed);
        }
    }

    // There is only one writer at a time, because diesel locks the instrumentation.

    pub(super) fn started(&self) {
        let under_way = self.in_flight.load(Relaxed);
        self.in_flight.store(under_way.saturating_add(1), Relaxed);
    }

    pub(super) fn finished(&self) {
        let under_way = self.in_flight.load(Relaxed);
        self.in_flight.store(under_way.saturating_sub(1), Relaxed);
    }

    /// Begins or ends a busy period, in which a caller waits for a response. Abandoned queries stay in
    /// flight, but no caller waits for them.
    pub(super) fn set_live(&self, live: bool, now: Instant) {
        let since = self.busy_since.load(Relaxed);
        match (since & LIVE != 0, live) {
            (false, true) => {
                let now = self.at(now);
                self.busy_since.store(LIVE | now, Relaxed);
                if self.first.load(Relaxed) == 0 {
                    self.first.store(now.max(1), Relaxed);
                }
            }
            (true, false) => {
                let now = self.at(now);
                self.last.store(now, Relaxed);
                let worked = now.saturating_sub(since & !LIVE);
                self.busy.store(self.busy.load(Relaxed) + worked, Relaxed);
                self.busy_since.store(0, Relaxed);
            }
            _ => {}
        }
    }

    fn at(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.base).as_nanos() as u64
    }
}

/// The part of the connection info that concerns queries. A connection that another crate's pool has
/// opened has no other.
impl ConnectionFacts for QueryState {
    /// Returns the time with a query in flight, measured at the caller. Used where no wire measures
    /// the server's execution time.
    fn busy(&self) -> Option<Duration> {
        let past = self.busy.load(Relaxed);
        let now = match self.busy_since.load(Relaxed) {
            since if since & LIVE != 0 => self.at(Instant::now()).saturating_sub(since & !LIVE),
            _ => 0,
        };
        Some(Duration::from_nanos(past + now))
    }

    fn queried(&self, start: Instant) -> Option<(u64, u64)> {
        let first = self.first.load(Relaxed);
        if first == 0 {
            return None;
        }
        let last = self.last.load(Relaxed).max(first);
        Some(match self.base.checked_duration_since(start) {
            Some(after) => {
                let after = after.as_nanos() as u64;
                (after + first, after + last)
            }
            None => {
                let before = start.saturating_duration_since(self.base).as_nanos() as u64;
                (first.saturating_sub(before), last.saturating_sub(before))
            }
        })
    }

    fn hold_begins(&self) {
        self.first.store(0, Relaxed);
    }

    /// Returns whether an observed statement has opened a transaction that no observed statement has
    /// ended; `None` if statements are not inspected.
    fn transaction(&self) -> Option<TransactionState> {
        let state = || match self.in_transaction.load(Relaxed) {
            true => TransactionState::Open,
            false => TransactionState::Idle,
        };
        self.sees_transactions.then(state)
    }

    fn queries_in_flight(&self) -> Option<u32> {
        Some(self.in_flight())
    }

    fn last_query(&self) -> Option<String> {
        let summary = match self.slot.last_statement()? {
            LastStatement::Known(observer, id) => observer.summary(id)?,
            LastStatement::Other(text) => describe(&text, self.kind).summary,
        };
        (!summary.is_empty()).then(|| summary.to_string())
    }

    fn slot(&self) -> Option<&ContextSlot> {
        Some(&self.slot)
    }
}
