//! What travels down the pool's tower stack, and what comes back up of a connection's facts.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::occupant::Slot;

/// A request for a connection: the request type of every layer and service in this crate.
///
/// It remembers the source line that asked, so that a report can say who holds what.
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
    /// A checkout asked for by the calling source line, willing to wait.
    #[track_caller]
    #[must_use]
    pub fn new() -> Self {
        Self::at(Location::caller())
    }

    /// A checkout on behalf of another source line.
    #[must_use]
    pub const fn at(caller: &'static Location<'static>) -> Self {
        Self {
            caller,
            label: None,
            waits: true,
            asked: None,
        }
    }

    /// Names the work, for apps whose checkouts all go through one extractor, where the source
    /// line tells nothing. Static, so that the number of labels is bounded by the program.
    #[must_use]
    pub const fn label(mut self, label: &'static str) -> Self {
        self.label = Some(label);
        self
    }

    /// Asks for a connection that is idle right now, or an error at once.
    #[must_use]
    pub const fn without_waiting(mut self) -> Self {
        self.waits = false;
        self
    }

    /// Since when the caller has waited, told by a layer that made it wait. During an outage, who
    /// has waited long enough before is not made to wait for another dial.
    #[must_use]
    pub const fn asked_at(mut self, asked: Instant) -> Self {
        self.asked = Some(asked);
        self
    }

    /// Since when the caller has waited; now, if nobody has told.
    pub(crate) fn asked(&self) -> Instant {
        self.asked.unwrap_or_else(Instant::now)
    }

    /// The source line that asked.
    #[must_use]
    pub const fn caller(&self) -> &'static Location<'static> {
        self.caller
    }

    /// The label, when one was given.
    #[must_use]
    pub const fn label_text(&self) -> Option<&'static str> {
        self.label
    }

    /// False after [`without_waiting`](Self::without_waiting).
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

/// What the response of a [`Service<Checkout>`](tower_service::Service) can tell about the
/// connection it holds. Everything has a default that says "unknown", so a guard of your own
/// needs one line: `impl Held for MyGuard {}`.
pub trait Held {
    /// Live facts of the connection, kept by the ledger while the connection is held.
    fn facts(&self) -> Option<Arc<dyn ConnectionFacts>> {
        None
    }

    /// When it was handed out, if that was just now and the clock was read for it.
    #[doc(hidden)]
    fn since(&self) -> Option<Instant> {
        None
    }

    /// It is about to come back, at this moment.
    #[doc(hidden)]
    fn comes_back(&mut self, at: Instant) {
        let _ = at;
    }
}

/// What is known of one open connection without asking the server.
///
/// Read by reports while somebody else uses the connection, so implementations read atomics, or
/// lock for no longer than a copy takes.
pub trait ConnectionFacts: fmt::Debug + Send + Sync {
    /// The server's id of this session (Postgres: backend pid; MySQL: connection id).
    fn process_id(&self) -> Option<u64> {
        None
    }

    /// Time since the connection was opened.
    fn age(&self) -> Option<Duration> {
        None
    }

    /// Time the server has been at work for this connection since it was opened.
    fn busy(&self) -> Option<Duration> {
        None
    }

    /// When the first query since [`hold_begins`](Self::hold_begins) began, and the last one ended, in
    /// nanoseconds since `start`.
    #[doc(hidden)]
    fn queried(&self, start: Instant) -> Option<(u64, u64)> {
        let _ = start;
        None
    }

    /// The connection is handed out.
    #[doc(hidden)]
    fn hold_begins(&self) {}

    /// Whether a transaction is open, as far as it can be known.
    fn transaction(&self) -> Option<TransactionState> {
        None
    }

    /// Queries under way on the connection.
    fn queries_in_flight(&self) -> Option<u32> {
        None
    }

    /// What the last query of whoever holds the connection does, and to which tables
    /// (`SELECT orders`): nothing that was in it as a value.
    fn last_query(&self) -> Option<String> {
        None
    }

    /// Where the connection is told who holds it.
    #[doc(hidden)]
    fn slot(&self) -> Option<&Slot> {
        None
    }
}

/// The state of the transaction on a connection, in the words of Postgres' `ReadyForQuery`.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TransactionState {
    /// No transaction is open.
    Idle,
    /// A transaction is open.
    Open,
    /// A transaction is open and has failed: only a rollback is accepted.
    Failed,
}
