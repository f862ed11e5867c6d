//! The state of the queries on a connection, readable from other tasks.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use super::text::describe;
use crate::checkout::query_context::{ContextSlot, LastStatement};
use crate::checkout::{ConnectionFacts, TransactionState};
use crate::settings::DatabaseKind;

const LIVE: u64 = 1 << 63;

/// The state of the queries on a connection, written by its [`QueryInstrumentation`](super::QueryInstrumentation).
#[derive(Debug)]
pub(crate) struct QueryState {
    kind: DatabaseKind,
    in_flight: AtomicU32,
    pub(super) in_transaction: AtomicBool,
    pub(super) failed: AtomicBool,
    pub(super) given_up: AtomicBool,
    /// Whether statements are inspected.
    pub(super) sees_transactions: bool,
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
    pub(crate) slot: ContextSlot,
}

impl QueryState {
    pub(super) fn new(kind: DatabaseKind, sees_transactions: bool) -> Self {
        Self {
            kind,
            in_flight: AtomicU32::new(0),
            in_transaction: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            sees_transactions,
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
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Returns whether an observed statement has opened a transaction that no observed statement has
    /// ended; `None` if statements are not inspected.
    pub(crate) fn in_transaction(&self) -> Option<bool> {
        self.sees_transactions
            .then(|| self.in_transaction.load(Relaxed))
    }

    /// Returns whether a query failed because its connection failed.
    pub(crate) fn connection_failed(&self) -> bool {
        self.failed.load(Relaxed)
    }

    /// Returns the time with a query in flight, measured at the caller. Used where no wire measures
    /// the server's execution time.
    pub(crate) fn busy(&self) -> Duration {
        let past = self.busy.load(Relaxed);
        let now = match self.busy_since.load(Relaxed) {
            since if since & LIVE != 0 => self.at(Instant::now()).saturating_sub(since & !LIVE),
            _ => 0,
        };
        Duration::from_nanos(past + now)
    }

    /// Begins a hold: the connection's next query is the first one of the hold.
    pub(crate) fn hold_begins(&self) {
        self.first.store(0, Relaxed);
    }

    /// Returns the start of this hold's first query and the end of the last one that has ended, in
    /// nanoseconds since `start`; `None` before the first query.
    pub(crate) fn queried(&self, start: Instant) -> Option<(u64, u64)> {
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

    /// Returns the summary of the statement sent last in this hold; `None` if there is none.
    pub(crate) fn last_query(&self) -> Option<String> {
        let summary = match self.slot.last_statement()? {
            LastStatement::Known(observer, id) => observer.summary(id)?,
            LastStatement::Other(text) => describe(&text, self.kind).summary,
        };
        (!summary.is_empty()).then(|| summary.to_string())
    }

    /// Records that the connection is closed because its queries were abandoned: the end of the
    /// connection is not the reason why they fail.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Relaxed);
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

/// The connection info of a connection that another crate's pool has opened. It covers only queries.
impl ConnectionFacts for QueryState {
    fn busy(&self) -> Option<Duration> {
        Some(self.busy())
    }

    fn queried(&self, start: Instant) -> Option<(u64, u64)> {
        self.queried(start)
    }

    fn hold_begins(&self) {
        self.hold_begins();
    }

    fn transaction(&self) -> Option<TransactionState> {
        Some(match self.in_transaction()? {
            true => TransactionState::Open,
            false => TransactionState::Idle,
        })
    }

    fn queries_in_flight(&self) -> Option<u32> {
        Some(self.in_flight())
    }

    fn last_query(&self) -> Option<String> {
        self.last_query()
    }

    fn slot(&self) -> Option<&ContextSlot> {
        Some(&self.slot)
    }
}
