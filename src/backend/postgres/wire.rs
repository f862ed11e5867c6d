//! The readings of one Postgres connection, taken from its message headers and readable at any time
//! from any thread.
//!
//! diesel's `Instrumentation` sees a query only from the client's side. It does not know when the
//! server has really finished, whether an error came after the first row, whether a raw `BEGIN` is
//! open, or which server process does the work. All of this can be read from the socket: the
//! [`tap`](super::tap) passes every byte to a [`Reader`](super::reader::Reader), which writes its
//! results to this [`Wire`].
//!
//! Each value has a single writer, the task that drives the connection. Therefore the writer needs
//! no read-modify-write operations and the readers need no lock. No reading is torn, and none goes
//! backwards.
//!
//! A command that still waits in tokio-postgres's own queue is not included, because it has not
//! been sent.

mod writer;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::awaited::Awaited;
use super::outcomes::{Outcomes, code_in};
use super::server_errors::ServerErrors;
use super::validity::Validity;
use crate::backend::{Errors, Readings};
use crate::checkout::TransactionState;

/// The readings of one connection.
///
/// The reader turns itself off when it finds bytes that are not valid in the Postgres protocol.
/// From then on, the readings from message headers are `None`. [`is_closed`](Self::is_closed) needs
/// no headers and remains available.
#[derive(Debug)]
pub(crate) struct Wire {
    /// All times are nanoseconds since this instant.
    base: Instant,
    /// Outstanding commands, transaction state and flags in one word, so that a reader sees a
    /// consistent combination.
    state: AtomicU64,
    /// The server's working time.
    ///
    /// While the server is idle, it is the total in nanoseconds. While the server works, it is
    /// [`RUNNING`] and the instant at which the work would have started without pauses. It is one
    /// word, so that the total and the start of the current period always match.
    work: AtomicU64,
    /// [`KNOWN`] and the process id.
    process_id: AtomicU64,
    /// The last SQLSTATE, encoded by [`word_of`].
    sqlstate: AtomicU64,
    /// Whether nobody holds the connection. Written by the pool.
    idle: AtomicBool,
    outcomes: Outcomes,
    errors: ServerErrors,
    awaited: Awaited,
    validity: Validity,
}

const TRANSACTION_SHIFT: u32 = 32;
const OFF: u64 = 1 << 40;
const CLOSED: u64 = 1 << 41;
const NOTIFIED: u64 = 1 << 42;
const RUNNING: u64 = 1 << 63;
const KNOWN: u64 = 1 << 63;

impl Wire {
    /// Creates a wire without readings.
    pub(crate) fn new() -> Self {
        Self {
            base: Instant::now(),
            state: AtomicU64::new(0),
            work: AtomicU64::new(0),
            process_id: AtomicU64::new(0),
            sqlstate: AtomicU64::new(0),
            idle: AtomicBool::new(false),
            outcomes: Outcomes::default(),
            errors: ServerErrors::default(),
            awaited: Awaited::default(),
            validity: Validity::default(),
        }
    }

    /// Returns the server's process id, as in `pg_stat_activity.pid`.
    pub(crate) fn process_id(&self) -> Option<i32> {
        let word = self.process_id.load(Relaxed);
        (word & KNOWN != 0 && !self.is_off()).then_some(word as u32 as i32)
    }

    /// Returns whether the connection is closed, the number of commands not yet answered by
    /// `ReadyForQuery`, and the transaction state of the last one. The startup of the connection counts
    /// as a command; before its `ReadyForQuery`, the transaction state is `None`.
    pub(crate) fn readings(&self) -> Readings {
        let state = self.state.load(Relaxed);
        let is_on = state & OFF == 0;
        Readings {
            is_closed: state & CLOSED != 0,
            is_invalidated: self.validity.has_errors(),
            outstanding: is_on.then_some(state as u32),
            transaction: match (state >> TRANSACTION_SHIFT) as u8 {
                b'I' if is_on => Some(TransactionState::Idle),
                b'T' if is_on => Some(TransactionState::Open),
                b'E' if is_on => Some(TransactionState::Failed),
                _ => None,
            },
        }
    }

    #[cfg(test)]
    pub(crate) fn outstanding(&self) -> Option<u32> {
        self.readings().outstanding
    }

    #[cfg(test)]
    pub(crate) fn transaction(&self) -> Option<TransactionState> {
        self.readings().transaction
    }

    /// Returns the total time during which commands were outstanding, including the current period.
    ///
    /// A client that reads its rows slowly keeps the server busy.
    pub(crate) fn busy(&self) -> Option<Duration> {
        if self.is_off() {
            return None;
        }
        let work = self.work.load(Relaxed);
        let nanos = if work & RUNNING == 0 {
            work
        } else {
            self.now().saturating_sub(work & !RUNNING)
        };
        Some(Duration::from_nanos(nanos))
    }

    /// Returns whether the connection is known to be unusable: the server closed it or announced
    /// that it will (a `FATAL` error), the socket failed, or this side dropped it.
    pub(crate) fn is_closed(&self) -> bool {
        self.state.load(Relaxed) & CLOSED != 0
    }

    /// Records whether the connection is idle.
    pub(crate) fn set_idle(&self, idle: bool) {
        self.idle.store(idle, Relaxed);
    }

    /// Returns whether the connection was closed because a notification arrived while it was idle.
    pub(crate) fn is_notified_while_idle(&self) -> bool {
        self.state.load(Relaxed) & NOTIFIED != 0
    }

    /// Returns the SQLSTATE of the last error that the server reported.
    pub(crate) fn last_sqlstate(&self) -> Option<[u8; 5]> {
        code_in(self.sqlstate.load(Relaxed)).filter(|_| !self.is_off())
    }

    /// Returns the SQLSTATE of the latest error with this text.
    pub(crate) fn code_of(&self, text: &str) -> Option<[u8; 5]> {
        self.errors.code_of(text)
    }

    /// Returns the SQLSTATE of the error that ended the session.
    pub(crate) fn fatal(&self) -> Option<[u8; 5]> {
        self.errors.fatal()
    }

    /// Returns the number of the last command sent.
    pub(crate) fn sent(&self) -> Option<u64> {
        (!self.is_off()).then(|| self.awaited.sent())
    }

    /// Returns the number of the last command answered.
    pub(crate) fn answered(&self) -> Option<u64> {
        (!self.is_off()).then(|| self.awaited.answered())
    }

    /// Returns the SQLSTATE and the rows of a command so far; `None` if it is too old to be
    /// remembered.
    pub(crate) fn outcome(&self, number: u64) -> Option<(Option<[u8; 5]>, u64)> {
        self.outcomes.read(number, self.sent()?)
    }

    /// Calls `done` when a command is answered, or when it never will be.
    ///
    /// Calls it immediately if that is already the case. Otherwise the task that drives the
    /// connection calls it.
    pub(crate) fn when_answered(&self, number: u64, done: Box<dyn FnOnce() + Send>) {
        self.awaited.push(number, done);
        if self.is_off() || self.is_closed() {
            self.awaited.call_all();
        }
    }

    /// Returns the errors since the last call that invalidate the session.
    pub(crate) fn take_invalidating(&self) -> Errors {
        self.validity.take_errors()
    }

    /// Returns whether the session's transactions are read-only unless they say otherwise.
    pub(crate) fn read_only(&self) -> Option<bool> {
        self.validity.read_only().filter(|_| !self.is_off())
    }

    fn is_off(&self) -> bool {
        self.state.load(Relaxed) & OFF != 0
    }

    /// Returns the nanoseconds since the base. The top bit stays free for [`RUNNING`] for 292
    /// years.
    fn now(&self) -> u64 {
        self.base.elapsed().as_nanos() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_wire_has_no_readings() {
        let wire = Wire::new();
        assert_eq!(wire.process_id(), None);
        assert_eq!(wire.outstanding(), Some(0));
        assert_eq!(wire.transaction(), None);
        assert_eq!(wire.busy(), Some(Duration::ZERO));
        assert_eq!(wire.last_sqlstate(), None);
        assert!(!wire.is_closed());
    }

    #[test]
    fn a_reading_does_not_disturb_its_neighbours() {
        let wire = Wire::new();
        wire.set_outstanding(3);
        wire.set_transaction(b'T');
        assert_eq!(
            (wire.outstanding(), wire.transaction()),
            (Some(3), Some(TransactionState::Open))
        );
        wire.set_outstanding(0);
        wire.set_transaction(b'E');
        assert_eq!(
            (wire.outstanding(), wire.transaction()),
            (Some(0), Some(TransactionState::Failed))
        );
        assert!(!wire.is_closed());
        // Process ids are signed in the protocol, and zero is a valid one.
        wire.set_process_id(0);
        assert_eq!(wire.process_id(), Some(0));
        wire.set_process_id(u32::MAX);
        assert_eq!(wire.process_id(), Some(-1));
        wire.add_error(None, Some(*b"23505"));
        wire.add_error(None, None);
        assert_eq!(wire.last_sqlstate(), Some(*b"23505"));
    }

    #[test]
    fn busy_time_grows_only_while_something_is_outstanding() {
        let wire = Wire::new();
        wire.set_outstanding(1);
        // Time is what is measured here.
        std::thread::sleep(Duration::from_millis(5));
        let running = wire.busy().unwrap();
        assert!(running >= Duration::from_millis(5), "{running:?}");
        wire.set_outstanding(2);
        wire.set_outstanding(0);
        let first = wire.busy().unwrap();
        assert!(first >= running);
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(wire.busy(), Some(first));
        let resumed = Instant::now();
        wire.set_outstanding(1);
        let busy = wire.busy().unwrap();
        assert!(busy >= first);
        assert!(busy <= first + resumed.elapsed(), "pauses are not counted");
    }

    #[test]
    fn the_end_of_the_connection_ends_the_work() {
        let wire = Wire::new();
        wire.set_outstanding(1);
        wire.set_closed();
        let busy = wire.busy();
        wire.set_outstanding(0);
        wire.set_outstanding(1);
        assert_eq!(wire.busy(), busy);
        assert!(wire.is_closed());
    }

    #[test]
    fn a_wire_that_is_off_has_only_readings_without_headers() {
        let wire = Wire::new();
        wire.set_process_id(7);
        wire.set_outstanding(1);
        wire.set_transaction(b'I');
        wire.add_error(None, Some(*b"42601"));
        wire.set_off();
        assert_eq!(wire.process_id(), None);
        assert_eq!(wire.outstanding(), None);
        assert_eq!(wire.transaction(), None);
        assert_eq!(wire.busy(), None);
        assert_eq!(wire.last_sqlstate(), None);
        wire.set_closed();
        assert!(wire.is_closed());
    }
}
