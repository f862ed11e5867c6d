//! The part of an entry that reports read while the connection is in use.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::backend::{Errors, InvalidatingError, Readings, Session};
use crate::checkout::query_context::ContextSlot;
use crate::checkout::{ConnectionFacts, TransactionState};
use crate::query::QueryState;

/// The part of an entry that reports read while the connection is in use.
#[derive(Debug)]
pub(in crate::connection) struct EntryState {
    /// Identifies the connection within its pool.
    pub(in crate::connection) number: u64,
    pub(super) born: Instant,
    pub(in crate::connection) session: Option<Arc<dyn Session>>,
    pub(in crate::connection) queries: Arc<QueryState>,
    /// Whether the URL or the app's set-up asked for a read-only session.
    pub(super) asked_read_only: bool,
    /// Whether the session was read-only when it was opened; `None` if that is unknown.
    pub(super) opened_read_only: Option<bool>,
}

impl EntryState {
    fn read_only(&self) -> Option<bool> {
        self.session.as_ref()?.read_only()
    }

    pub(super) fn became_read_only(&self) -> bool {
        self.opened_read_only == Some(false)
            && !self.asked_read_only
            && self.read_only() == Some(true)
    }

    /// Returns the error since the last call that has invalidated the connection, if there was one, and
    /// whether there was another that the session has not confirmed.
    #[cold]
    pub(super) fn take_invalidating(&self) -> (Option<&'static InvalidatingError>, bool) {
        let session = self.session.as_ref();
        let seen = session.map_or(Errors::NONE, |session| session.take_invalidating());
        let mut shown = self.queries.take_invalidating();
        let is_shown = !shown.is_empty();
        // The session knows better than diesel's error whether it can write.
        if self.read_only().is_some() {
            shown = shown.without_read_only();
        }
        let errors = Errors(seen.0 | shown.0);
        let errors = match self.asked_read_only {
            true => errors.without_read_only(),
            false => errors,
        };
        (errors.iter().next(), is_shown && errors.is_empty())
    }

    /// Returns what the session shows; nothing if the backend does not observe it.
    #[inline]
    pub(super) fn readings(&self) -> Readings {
        let session = self.session.as_ref();
        session.map_or_else(Readings::default, |session| session.readings())
    }

    /// Returns the state of the transaction. Prefers the wire protocol; otherwise uses the state derived
    /// from the statements' first words.
    #[inline]
    pub(super) fn transaction_seen(&self, seen: &Readings) -> Option<TransactionState> {
        seen.transaction.or_else(|| self.queries.transaction())
    }
}

impl ConnectionFacts for EntryState {
    fn number(&self) -> Option<u64> {
        Some(self.number)
    }

    fn process_id(&self) -> Option<u64> {
        self.session.as_ref()?.process_id()
    }

    fn age(&self) -> Option<Duration> {
        Some(self.born.elapsed())
    }

    fn busy(&self) -> Option<Duration> {
        let wire = self.session.as_ref().and_then(|session| session.busy());
        wire.or_else(|| self.queries.busy())
    }

    fn queried(&self, start: Instant) -> Option<(u64, u64)> {
        self.queries.queried(start)
    }

    fn hold_begins(&self) {
        self.queries.hold_begins();
    }

    fn transaction(&self) -> Option<TransactionState> {
        self.transaction_seen(&self.readings())
    }

    fn queries_in_flight(&self) -> Option<u32> {
        self.queries.queries_in_flight()
    }

    fn last_query(&self) -> Option<String> {
        self.queries.last_query()
    }

    fn slot(&self) -> Option<&ContextSlot> {
        self.queries.slot()
    }
}
