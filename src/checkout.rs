//! The request type of the pool's tower stack, and the connection info of its responses.

pub(crate) mod query_context;
pub(crate) mod wait_phase;

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::checkout::query_context::ContextSlot;

/// A request for a connection: the request type of every layer and service in this crate.
///
/// It records the source line that created it, so that reports can name the holder of a connection.
///
/// ```
/// use poolscope::Checkout;
///
/// let checkout = Checkout::new().label("nightly-report");
/// assert_eq!(checkout.label_text(), Some("nightly-report"));
/// assert!(checkout.caller().file().ends_with(".rs"));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Checkout {
    caller: &'static Location<'static>,
    label: Option<&'static str>,
    waits: bool,
    asked: Option<Instant>,
}

impl Checkout {
    /// Creates a checkout for the calling source line. It may wait.
    #[track_caller]
    #[must_use]
    pub fn new() -> Self {
        Self::at(Location::caller())
    }

    /// Creates a checkout on behalf of another source line. It may wait.
    #[must_use]
    pub const fn at(caller: &'static Location<'static>) -> Self {
        Self {
            caller,
            label: None,
            waits: true,
            asked: None,
        }
    }

    /// Sets a label that names the work, for apps whose checkouts all share one source line, as in
    /// an extractor. The label is static, so that the program bounds the number of labels.
    #[must_use]
    pub const fn label(mut self, label: &'static str) -> Self {
        self.label = Some(label);
        self
    }

    /// Makes the checkout fail at once if no connection is idle.
    #[must_use]
    pub const fn without_waiting(mut self) -> Self {
        self.waits = false;
        self
    }

    /// Sets the instant since which the caller has waited, for a layer that made it wait. During an
    /// outage, a checkout that has already waited long enough does not wait for another connection
    /// attempt.
    #[must_use]
    pub const fn asked_at(mut self, asked: Instant) -> Self {
        self.asked = Some(asked);
        self
    }

    /// Returns the instant since which the caller has waited; now if no layer has set it.
    pub(crate) fn asked(&self) -> Instant {
        self.asked.unwrap_or_else(Instant::now)
    }

    /// Returns the source line that created the checkout.
    #[must_use]
    pub const fn caller(&self) -> &'static Location<'static> {
        self.caller
    }

    /// Returns the label, if one is set.
    #[must_use]
    pub const fn label_text(&self) -> Option<&'static str> {
        self.label
    }

    /// Returns whether the checkout may wait; false after [`without_waiting`](Self::without_waiting).
    #[must_use]
    pub const fn waits(&self) -> bool {
        self.waits
    }
}

impl Default for Checkout {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

/// The connection info that the response of a [`Service<Checkout>`](tower_service::Service) provides.
///
/// Every method has a default that means "unknown", so a guard of your own needs one line:
/// `impl PooledGuard for MyGuard {}`.
pub trait PooledGuard {
    /// Returns the live info of the connection. The pool keeps it while the connection is held.
    fn facts(&self) -> Option<Arc<dyn ConnectionFacts>> {
        None
    }

    /// Returns the instant of the handout, if the clock was just read for it.
    #[doc(hidden)]
    fn since(&self) -> Option<Instant> {
        None
    }

    /// Announces that the connection is returned at the instant `at`.
    #[doc(hidden)]
    fn comes_back(&mut self, at: Instant) {
        let _ = at;
    }

    /// If the connection must be cleaned before its next use, takes it, cleans it in the background,
    /// returns it, and then drops the permit.
    #[doc(hidden)]
    fn clean(&mut self, permit: &mut dyn FnMut() -> Box<dyn Send>) {
        let _ = permit;
    }
}

/// Information about an open connection that is available without asking the server.
///
/// Reports read it while the holder uses the connection, so implementations read atomics, or hold a
/// lock only while copying.
pub trait ConnectionFacts: fmt::Debug + Send + Sync {
    /// Returns a number that identifies the connection within its pool. It is not used again.
    #[doc(hidden)]
    fn number(&self) -> Option<u64> {
        None
    }

    /// Returns the server's id of this session (Postgres: backend pid; MySQL: connection id).
    fn process_id(&self) -> Option<u64> {
        None
    }

    /// Returns the time since the connection was opened.
    fn age(&self) -> Option<Duration> {
        None
    }

    /// Returns the total time the server has worked for this connection since it was opened.
    fn busy(&self) -> Option<Duration> {
        None
    }

    /// Returns when the first query since [`hold_begins`](Self::hold_begins) began and when the last
    /// one ended, in nanoseconds since `start`.
    #[doc(hidden)]
    fn queried(&self, start: Instant) -> Option<(u64, u64)> {
        let _ = start;
        None
    }

    /// Marks the beginning of a hold.
    #[doc(hidden)]
    fn hold_begins(&self) {}

    /// Returns the state of the transaction; `None` if it is unknown.
    fn transaction(&self) -> Option<TransactionState> {
        None
    }

    /// Returns the number of queries in flight; `None` if it is unknown.
    fn queries_in_flight(&self) -> Option<u32> {
        None
    }

    /// Returns the operation and tables of the holder's last query (`SELECT orders`), without any
    /// values of the query.
    fn last_query(&self) -> Option<String> {
        None
    }

    /// Returns the slot for the query context of the holder.
    #[doc(hidden)]
    fn slot(&self) -> Option<&ContextSlot> {
        None
    }
}

/// The state of the transaction on a connection, as in Postgres' `ReadyForQuery`.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TransactionState {
    /// No transaction is open.
    Idle,
    /// A transaction is open.
    Open,
    /// A transaction is open and has failed; the server accepts only a rollback.
    Failed,
}
