//! [`Entry`]: a pooled connection with its age, last use, generation and query state.

mod state;
mod verdict;

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

pub(super) use self::state::EntryState;
use super::connection_counter::{Open, Place};
use super::jitter;
use super::own_pool::OwnShared;
use super::policy::ConnectionPolicy;
use crate::backend::{Backend, Dialed, Readings};
use crate::query::QueryState;
use crate::record::pool_events::CloseReason;

/// The connection type that bb8 stores.
pub struct Entry<C: Backend> {
    pub(super) own: Arc<OwnShared<C>>,
    /// `None` once the app has taken the connection out of the pool.
    connection: Option<C>,
    pub(super) state: Arc<EntryState>,
    /// When the connection was last handed out or returned.
    pub(super) last_used: Instant,
    pub(super) generation: u64,
    /// The era in which opening the connection began.
    era: u64,
    /// Set if the connection must be closed instead of returned to the pool.
    pub(super) retired: Option<CloseReason>,
    /// Set if the connection was taken out of bb8 only for inspection and is put back unchanged.
    pub(super) untouched: bool,
    /// Set while the connection is in the hands of a borrower.
    pub(super) lent: bool,
    /// Set while a probe, a hook or a reset runs. One that is cancelled proves nothing.
    pub(super) probing: bool,
    /// When the connection becomes too old to be handed out. `None` means never.
    expires: Option<Instant>,
    registered: Registered,
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
            number: policy.next_number(),
            born: now,
            opened_read_only: session.as_ref().and_then(|session| session.read_only()),
            asked_read_only: dialed.asked_read_only,
            session,
            queries,
        });
        let mut open = place.opened();
        // Idle until a checkout takes it, so that the counts stay correct if the checkout is cancelled.
        open.idle();
        policy.enter(&state);
        let registered = Registered {
            policy: Arc::clone(policy),
            key: state.number,
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

    /// Records whether the connection is idle.
    pub(super) fn set_idle(&self, idle: bool) {
        if let Some(session) = &self.state.session {
            session.set_idle(idle);
        }
    }

    pub(super) fn is_too_old(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }

    /// Returns what the session shows; nothing if the backend does not observe it.
    pub(super) fn readings(&self) -> Readings {
        self.state.readings()
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
}

impl<C: Backend> std::fmt::Debug for Entry<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
