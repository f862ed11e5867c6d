//! [`Entry`]: a pooled connection with its age, last use, generation and query state.

use std::sync::Arc;
use std::time::Duration;

use diesel_async::TransactionManager;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::connection_counter::{Open, Place};
use super::jitter;
use super::own_pool::OwnShared;
use super::policy::ConnectionPolicy;
use crate::backend::{Backend, Dialed, Errors, InvalidatingError, Session};
use crate::checkout::query_context::ContextSlot;
use crate::checkout::{ConnectionFacts, TransactionState};
use crate::query::QueryState;
use crate::record::pool_events::CloseReason;
use crate::settings::DatabaseKind;

/// The connection type that bb8 stores.
pub struct Entry<C: Backend> {
    pub(super) own: Arc<OwnShared<C>>,
    /// `None` once the app has taken the connection out of the pool.
    connection: Option<C>,
    pub(super) state: Arc<EntryState>,
    /// When the connection was last handed out or returned.
    pub(super) last_used: Instant,
    /// The time of the return, if the holder has already read the clock.
    pub(super) came_back: Option<Instant>,
    pub(super) generation: u64,
    /// The era in which opening the connection began.
    era: u64,
    /// Set if the connection must be closed instead of returned to the pool.
    pub(super) retired: Option<CloseReason>,
    /// Set if the connection was taken out of bb8 only for inspection and is put back unchanged.
    pub(super) untouched: bool,
    /// Set while the connection is, or was, in the hands of a borrower, and not cleaned since.
    pub(super) lent: bool,
    /// Set while a probe, a hook or a reset runs. One that is cancelled proves nothing.
    pub(super) probing: bool,
    /// When the connection becomes too old to be handed out. `None` means never.
    expires: Option<Instant>,
    registered: Registered,
}

/// The part of an entry that reports read while the connection is in use.
#[derive(Debug)]
pub(super) struct EntryState {
    born: Instant,
    session: Option<Arc<dyn Session>>,
    pub(super) queries: Arc<QueryState>,
    /// Whether the URL or the app's set-up asked for a read-only session.
    asked_read_only: bool,
    /// Whether the session was read-only when it was opened; `None` if that is unknown.
    opened_read_only: Option<bool>,
}

/// Registers a connection in the pool's shared state until it is dropped.
struct Registered {
    policy: Arc<ConnectionPolicy>,
    key: u64,
    reason: CloseReason,
    open: Open,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.policy.leave(self.key, self.reason);
    }
}

impl<C: Backend> Entry<C> {
    pub(super) fn new(
        dialed: Dialed<C>,
        queries: Arc<QueryState>,
        own: &Arc<OwnShared<C>>,
        place: Place,
        era: u64,
    ) -> Self {
        let policy = &own.policy;
        let now = Instant::now();
        let session = dialed.session;
        let state = Arc::new(EntryState {
            born: now,
            opened_read_only: session.as_ref().and_then(|session| session.read_only()),
            asked_read_only: dialed.asked_read_only,
            session,
            queries,
        });
        let mut open = place.opened();
        // Idle until a checkout takes it, so that the counts stay correct if the checkout is cancelled.
        open.idle();
        let key = policy.enter(&state);
        let registered = Registered {
            policy: Arc::clone(policy),
            key,
            reason: CloseReason::Shutdown,
            open,
        };
        let settings = &policy.settings;
        let expires = settings
            .recycle
            .map(|age| now + jitter::shortened(age, settings.recycle_jitter_pct));
        Self {
            own: Arc::clone(own),
            connection: Some(dialed.connection),
            state,
            last_used: now,
            came_back: None,
            generation: match era == policy.era() {
                true => policy.generation(),
                // A checkout looks closer at a connection of another generation.
                false => u64::MAX,
            },
            era,
            retired: None,
            untouched: false,
            lent: false,
            probing: false,
            expires,
            registered,
        }
    }

    /// Marks the connection as in use.
    pub(super) fn take(&mut self) {
        self.set_idle(false);
        self.registered.open.taken();
    }

    /// Removes the connection from the pool, which then closes the entry.
    pub(super) fn detach(&mut self) -> C {
        self.retired = Some(CloseReason::Taken);
        let taken = self.connection.take();
        let mut connection = taken.expect("taken once, because that consumes the guard");
        connection.set_instrumentation(diesel::connection::get_default_instrumentation());
        connection
    }

    pub(super) fn connection(&self) -> &C {
        let connection = self.connection.as_ref();
        connection.expect("the guard is gone once the connection is taken")
    }

    pub(super) fn connection_mut(&mut self) -> &mut C {
        let connection = self.connection.as_mut();
        connection.expect("the guard is gone once the connection is taken")
    }

    /// Assesses a returned connection. Returns why to close it, or `None` if it may be used again.
    pub(super) fn judge(&mut self, policy: &ConnectionPolicy) -> Option<CloseReason> {
        self.state.queries.returned();
        if let Some(reason) = self.retired {
            return Some(reason);
        }
        // First, because a holder that panicked may have left any state, even a poisoned lock.
        if std::thread::panicking() {
            return Some(CloseReason::Broken);
        }
        if self.probing {
            return Some(CloseReason::PingFailed);
        }
        if self.is_gone() {
            return Some(self.gone(policy));
        }
        if self.abandon() {
            // The query was cancelled, or it failed without a report from diesel-async (on MySQL, if
            // the socket dies while the last statement is closed). Only the wire state
            // distinguishes the two.
            if self.wired().is_none() {
                policy.suspect(self.generation);
            }
            return Some(CloseReason::Broken);
        }
        if self.is_invalidated(policy) {
            return Some(CloseReason::Invalidated);
        }
        if self.connection_mut().is_broken() || !self.may_be_reused() {
            self.report_lost_work(policy);
            return Some(CloseReason::Broken);
        }
        if self.is_replaced(policy) {
            return Some(CloseReason::Invalidated);
        }
        policy.is_closed().then_some(CloseReason::Shutdown)
    }

    /// Reports that work is rolled back whose caller has seen `Ok`. A transaction whose future was
    /// dropped, by a timeout or a caught panic, stays open; one that is begun on the same connection
    /// after that is a savepoint inside it.
    fn report_lost_work(&self, policy: &ConnectionPolicy) {
        if self.state.queries.has_nested_commit() {
            let why = "it was returned inside a transaction that was dropped half-way; transactions \
                that succeeded inside it are rolled back";
            policy.notify(|observer| observer.closed_because(why, ""));
        }
    }

    /// Returns whether connections of this era are to be replaced.
    pub(super) fn is_replaced(&self, policy: &ConnectionPolicy) -> bool {
        self.era != policy.era()
    }

    /// Returns whether an error has invalidated the connection since the last call. If the server has not
    /// answered completely, suspects the connection, so that it is asked again after a ping.
    pub(super) fn is_invalidated(&mut self, policy: &ConnectionPolicy) -> bool {
        let (error, undecided) = self.state.take_invalidating();
        if undecided && self.is_busy() {
            self.generation = u64::MAX;
        }
        error.is_some_and(|error| policy.invalidates(error, self.state.became_read_only()))
    }

    /// Returns whether the session can no longer write, although it could when it was opened. Asked of
    /// a suspect only.
    pub(super) fn became_read_only(&self) -> bool {
        self.state.became_read_only()
    }

    /// Returns whether no transaction is open, as far as is known, or only diesel's test transaction,
    /// which a pool keeps open from test to test.
    pub(super) fn may_be_reused(&mut self) -> bool {
        match self.state.transaction() {
            None | Some(TransactionState::Idle) => true,
            Some(TransactionState::Failed) => false,
            Some(TransactionState::Open) => self.is_in_test_transaction(),
        }
    }

    /// Returns whether diesel knows of a transaction and yet takes the connection for reusable. It does
    /// so only after `begin_test_transaction`.
    fn is_in_test_transaction(&mut self) -> bool {
        let connection = self.connection_mut();
        let status = C::TransactionManager::transaction_manager_status_mut(connection);
        matches!(status.transaction_depth(), Ok(Some(_))) && !connection.is_broken()
    }

    /// Cancels the queries whose futures were dropped. Returns whether there are any.
    pub(super) fn abandon(&self) -> bool {
        let any = self.state.queries.in_flight() > 0;
        if any {
            self.state.queries.give_up();
            self.cancel();
        }
        any
    }

    /// Cancels the abandoned query on the server, which would otherwise keep running after the close.
    /// This is best effort.
    fn cancel(&self) {
        let session = self.state.session.as_ref();
        let Some(cancel) = session.and_then(|session| session.cancel()) else {
            return;
        };
        let policy = Arc::clone(&self.registered.policy);
        let limit = policy.settings.connect_timeout;
        let cancelling = async move {
            // On MySQL this takes a login.
            if C::KIND != DatabaseKind::Mysql {
                let _ = cancel.await;
            } else if let Ok(permit) = policy.limiter.permit_outside().await {
                permit.ended_outside(cancel.await.as_ref().err());
            }
        };
        let runtime = self.registered.policy.runtime();
        runtime.spawn(async move { timeout(limit, cancelling).await });
    }

    /// Keeps the connection as idle, or returns why to close it.
    pub(super) fn keep(&mut self, policy: &ConnectionPolicy) -> Result<(), CloseReason> {
        // A connection that was only inspected or pinged in the background still counts as idle.
        match self.registered.open.is_idle() {
            true => Ok(()),
            false => policy.keep(&mut self.registered.open),
        }
    }

    /// Stops counting the connection if more are open than permitted. Returns whether it did.
    pub(super) fn is_one_too_many(&mut self, policy: &ConnectionPolicy) -> bool {
        self.registered.open.gives_way(policy.limits.most())
    }

    /// Stops counting the connection as open. Called before bb8 wakes a waiting checkout, which may
    /// open a replacement.
    pub(super) fn closing(&mut self, reason: CloseReason) {
        self.registered.reason = reason;
        self.registered.open.closes();
    }

    /// Returns whether the connection is known to be closed, without a round trip.
    pub(super) fn is_gone(&self) -> bool {
        self.state.failed()
    }

    /// Returns why a connection that [is gone](Self::is_gone) is closed. If it has failed, so may have
    /// the others.
    pub(super) fn gone(&self, policy: &ConnectionPolicy) -> CloseReason {
        let session = self.state.session.as_ref();
        if session.is_some_and(|session| session.is_notified_while_idle()) {
            let why = "a notification arrived while nobody held it: LISTEN without UNLISTEN";
            policy.notify(|observer| observer.closed_because(why, ""));
            return CloseReason::Dirty;
        }
        policy.suspect_all();
        CloseReason::Broken
    }

    /// Returns whether nothing speaks against another use of the connection, without side effects.
    pub(super) fn is_sound(&mut self) -> bool {
        self.retired.is_none()
            && !self.probing
            && !std::thread::panicking()
            && !self.is_gone()
            && self.state.queries.in_flight() == 0
            && !matches!(
                self.state.transaction(),
                Some(TransactionState::Open | TransactionState::Failed)
            )
            && !self.registered.policy.is_closed()
            && !self.connection_mut().is_broken()
            && !self.is_in_test_transaction()
    }

    /// Records whether the connection is idle.
    pub(super) fn set_idle(&self, idle: bool) {
        if let Some(session) = &self.state.session {
            session.set_idle(idle);
        }
    }

    pub(super) fn is_too_old(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }

    /// Returns whether the last user left commands that the server has not answered yet.
    pub(super) fn is_busy(&self) -> bool {
        self.wired().is_some_and(|outstanding| outstanding > 0)
    }

    /// Waits until the server has answered every command sent so far.
    pub(super) fn answered(&self) -> impl Future<Output = ()> + Send + use<C> {
        let session = self.state.session.clone();
        async move {
            let sent = session
                .as_ref()
                .and_then(|session| Some((session, session.sent()?)));
            if let Some((session, sent)) = sent {
                let (done, ended) = oneshot::channel();
                let done = move || {
                    let _ = done.send(());
                };
                session.when_answered(sent, Box::new(done));
                let _ = ended.await;
            }
        }
    }

    /// Returns the number of unanswered commands, or `None` if the wire is not observed.
    fn wired(&self) -> Option<u32> {
        self.state.session.as_ref()?.outstanding()
    }
}

impl EntryState {
    pub(super) fn is_session_changed(&self) -> bool {
        self.queries.is_session_changed()
    }

    pub(super) fn is_session_changed_for_good(&self) -> bool {
        self.queries.is_session_changed_for_good()
    }

    pub(super) fn session_is_reset(&self) {
        self.queries.session_is_reset();
    }

    fn read_only(&self) -> Option<bool> {
        self.session.as_ref()?.read_only()
    }

    fn became_read_only(&self) -> bool {
        self.opened_read_only == Some(false)
            && !self.asked_read_only
            && self.read_only() == Some(true)
    }

    /// Returns the error since the last call that has invalidated the connection, if there was one, and
    /// whether there was another that the session has not confirmed.
    fn take_invalidating(&self) -> (Option<&'static InvalidatingError>, bool) {
        let session = self.session.as_ref();
        let seen = session.map_or(Errors::NONE, |session| session.take_invalidating());
        let mut shown = self.queries.take_invalidating();
        if seen.is_empty() && shown.is_empty() {
            return (None, false);
        }
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
        wire.or_else(|| self.queries.busy())
    }

    fn queried(&self, start: Instant) -> Option<(u64, u64)> {
        self.queries.queried(start)
    }

    fn hold_begins(&self) {
        self.queries.hold_begins();
    }

    fn transaction(&self) -> Option<TransactionState> {
        // Prefer the wire protocol; otherwise use the state derived from the statements' first words.
        let wire = self
            .session
            .as_ref()
            .and_then(|session| session.transaction());
        wire.or_else(|| self.queries.transaction())
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

impl<C: Backend> std::fmt::Debug for Entry<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
