//! A connection and what is kept beside it: born, last used, generation, in flight.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::care::Care;
use super::counter::{Open, Place};
use super::jitter;
use crate::backend::{Backend, Session};
use crate::checkout::{ConnectionFacts, TransactionState};
use crate::lifecycle::CloseReason;
use crate::occupant::Slot;
use crate::query::QueryState;

/// What bb8 holds.
pub struct Entry<C> {
    pub(super) connection: C,
    pub(super) state: Arc<EntryState>,
    /// When it was handed out, or came back.
    pub(super) last_used: Instant,
    /// Set by a holder who gives it back and has read the clock.
    pub(super) came_back: Option<Instant>,
    pub(super) generation: u64,
    /// Set when the connection is to be closed instead of going back.
    pub(super) retired: Option<CloseReason>,
    /// Set when it was taken out of bb8 only to be looked at: it goes back as it was.
    pub(super) untouched: bool,
    /// Set while a probe is under way: one that is dropped half-way has proven nothing.
    pub(super) probing: bool,
    /// When it is too old to be handed out.
    expires: Option<Instant>,
    registered: Registered,
}

/// The part that reports may read while the connection is in use.
#[derive(Debug)]
pub(super) struct EntryState {
    born: Instant,
    session: Option<Arc<dyn Session>>,
    queries: Arc<QueryState>,
}

/// In the pool's books for as long as it exists.
struct Registered {
    care: Arc<Care>,
    key: u64,
    reason: CloseReason,
    open: Open,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.care.leave(self.key, self.reason);
    }
}

impl<C: Backend> Entry<C> {
    pub(super) fn new(
        connection: C,
        session: Option<Arc<dyn Session>>,
        queries: Arc<QueryState>,
        care: &Arc<Care>,
        place: Place,
    ) -> Self {
        let now = Instant::now();
        let state = Arc::new(EntryState {
            born: now,
            session,
            queries,
        });
        let mut open = place.opened();
        // Until a checkout takes it: one whose checkout has gone away stays counted right.
        open.idle();
        let key = care.enter(&state);
        let registered = Registered {
            care: Arc::clone(care),
            key,
            reason: CloseReason::Shutdown,
            open,
        };
        let settings = &care.settings;
        let expires = settings
            .recycle
            .map(|age| now + jitter::shortened(age, settings.recycle_jitter_pct));
        Self {
            connection,
            state,
            last_used: now,
            came_back: None,
            generation: care.generation(),
            retired: None,
            untouched: false,
            probing: false,
            expires,
            registered,
        }
    }

    /// Takes it out of the idle ones.
    pub(super) fn take(&mut self) {
        self.registered.open.taken();
    }

    /// Judges a connection that comes back: `None` when it may be used again.
    pub(super) fn judge(&mut self, care: &Care) -> Option<CloseReason> {
        if let Some(reason) = self.retired {
            return Some(reason);
        }
        // First of all: a holder that panicked may have left anything, a poisoned lock included.
        if std::thread::panicking() {
            return Some(CloseReason::Broken);
        }
        if self.probing {
            return Some(CloseReason::PingFailed);
        }
        if self.state.failed() {
            care.suspect_all();
            return Some(CloseReason::Broken);
        }
        if self.state.queries.in_flight() > 0 {
            self.state.queries.give_up();
            self.cancel();
            // Dropped, or failed where diesel-async does not say so (on MySQL, a socket found dead
            // while the last statement is closed): only a wire can tell which.
            if self.wired().is_none() {
                care.suspect(self.generation);
            }
            return Some(CloseReason::Broken);
        }
        if !self.is_outside_transaction() || self.connection.is_broken() {
            return Some(CloseReason::Broken);
        }
        care.is_closed().then_some(CloseReason::Shutdown)
    }

    /// Whether no transaction is open, as far as it can be known.
    pub(super) fn is_outside_transaction(&self) -> bool {
        self.state
            .transaction()
            .is_none_or(|state| state == TransactionState::Idle)
    }

    /// Tells the server to stop what nobody waits for; closing alone would let it work on.
    fn cancel(&self) {
        if let Some(cancel) = self
            .state
            .session
            .as_ref()
            .and_then(|session| session.cancel())
        {
            self.registered.care.runtime().spawn(cancel);
        }
    }

    /// A place among the idle ones, or why there is none.
    pub(super) fn keep(&mut self, care: &Care) -> Result<(), CloseReason> {
        // One that was looked after in the background has kept its place.
        match self.registered.open.is_idle() {
            true => Ok(()),
            false => care.keep(&mut self.registered.open),
        }
    }

    /// Whether there are more open than there may be, so that it is not kept.
    pub(super) fn is_one_too_many(&mut self, care: &Care) -> bool {
        self.registered.open.gives_way(care.limits.most())
    }

    /// It no longer counts as open: before bb8 wakes one who waits and may open another in its
    /// place.
    pub(super) fn closing(&mut self, reason: CloseReason) {
        self.registered.reason = reason;
        self.registered.open.closes();
    }

    /// Whether the server is known to have closed it, by what needs no round trip.
    pub(super) fn is_gone(&self) -> bool {
        self.state.failed()
    }

    pub(super) fn is_too_old(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }

    /// Whether the last user left commands that the server has not answered yet.
    pub(super) fn is_busy(&self) -> bool {
        self.wired().is_some_and(|outstanding| outstanding > 0)
    }

    /// Waits for the server to answer what was sent before.
    pub(super) fn answered(&self) -> impl Future<Output = ()> + Send + use<C> {
        let session = self.state.session.clone();
        async move {
            let sent = session
                .as_ref()
                .and_then(|session| Some((session, session.sent()?)));
            if let Some((session, sent)) = sent {
                let (tell, told) = oneshot::channel();
                let done = move || {
                    let _ = tell.send(());
                };
                session.when_answered(sent, Box::new(done));
                let _ = told.await;
            }
        }
    }

    /// Commands not answered yet, where there is a wire to tell.
    fn wired(&self) -> Option<u32> {
        self.state.session.as_ref()?.outstanding()
    }
}

impl EntryState {
    fn failed(&self) -> bool {
        self.queries.connection_failed()
            || self
                .session
                .as_ref()
                .is_some_and(|session| session.is_closed())
    }
}

impl ConnectionFacts for EntryState {
    fn process_id(&self) -> Option<u64> {
        self.session.as_ref()?.process_id()
    }

    fn age(&self) -> Option<Duration> {
        Some(self.born.elapsed())
    }

    fn busy(&self) -> Option<Duration> {
        let wire = self.session.as_ref().and_then(|session| session.busy());
        Some(wire.unwrap_or_else(|| self.queries.busy()))
    }

    fn queried(&self, start: Instant) -> Option<(u64, u64)> {
        self.queries.queried(start)
    }

    fn hold_begins(&self) {
        self.queries.hold_begins();
    }

    fn transaction(&self) -> Option<TransactionState> {
        // The wire knows; else what the statements' first words told.
        let wire = self
            .session
            .as_ref()
            .and_then(|session| session.transaction());
        wire.or_else(|| {
            let open = self.queries.in_transaction()?;
            Some(if open {
                TransactionState::Open
            } else {
                TransactionState::Idle
            })
        })
    }

    fn queries_in_flight(&self) -> Option<u32> {
        Some(self.queries.in_flight())
    }

    fn last_query(&self) -> Option<String> {
        self.queries.last_query()
    }

    fn slot(&self) -> Option<&Slot> {
        Some(&self.queries.slot)
    }
}

impl<C> std::fmt::Debug for Entry<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
