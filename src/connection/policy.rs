//! The shared connection state of a pool and its rules, used by its manager and its service.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::connect_errors::ConnectErrors;
use super::connect_limiter::ConnectLimiter;
use super::connection_counter::{Counter, Open, Place};
use super::entry::EntryState;
use super::limits::Limits;
use crate::backend::{Affects, InvalidatingError};
use crate::checkout::ConnectionFacts;
use crate::error::PoolError;
use crate::log_limiter::LogLimiter;
use crate::query::QueryOptions;
use crate::record::inventory::Counts;
use crate::record::pool_events::{CloseReason, PoolEvents};
use crate::settings::ResetOnReturn;

/// The shortest time between two errors that replace all connections.
const ERA: Duration = Duration::from_secs(60);

/// The settings that apply to connections.
#[derive(Debug, Clone)]
pub(crate) struct PolicySettings {
    pub(crate) pool_size: u32,
    pub(crate) max_overflow: u32,
    pub(crate) max_connecting: u32,
    pub(crate) recycle: Option<Duration>,
    pub(crate) recycle_jitter_pct: f64,
    pub(crate) keepalive: Option<Duration>,
    pub(crate) pre_ping: bool,
    pub(crate) pre_ping_bypass: Duration,
    pub(crate) pre_ping_timeout: Duration,
    /// Also limits cancelling a query, which takes a connection of its own.
    pub(crate) connect_timeout: Duration,
    pub(crate) raw_transactions: bool,
    pub(crate) reset_on_return: ResetOnReturn,
    pub(crate) queries: Arc<QueryOptions>,
}

/// The pool's shared connection state. Not generic, because it does not depend on the database.
pub(crate) struct ConnectionPolicy {
    pub(super) settings: PolicySettings,
    pub(super) limits: Limits,
    pub(super) counter: Arc<Counter>,
    pub(super) connect_errors: Arc<ConnectErrors>,
    pub(super) limiter: ConnectLimiter,
    /// The one request to cancel a query that may be left to itself, unanswered.
    pub(super) unanswered: Arc<Semaphore>,
    /// Incremented by every connection failure. Connections of an older generation are pinged before
    /// their next use, at any age, because the cause of one failure often affects them all.
    generation: AtomicU64,
    /// Incremented to replace every connection of an earlier era, which is closed when it is returned or
    /// before its next use.
    era: AtomicU64,
    eras_begun: LogLimiter,
    closed: AtomicBool,
    runtime_ended: AtomicBool,
    /// Whether the keepalive has taken all idle connections out of bb8 for a moment.
    gathered: AtomicBool,
    observer: OnceLock<Weak<dyn PoolEvents>>,
    /// The pool's runtime, for work started by a guard that is dropped outside a runtime.
    runtime: Handle,
    /// All open connections, for reports that join them with the server's sessions.
    entries: Mutex<HashMap<u64, Arc<EntryState>>>,
    next_entry: AtomicU64,
}

impl ConnectionPolicy {
    pub(crate) fn new(settings: PolicySettings, runtime: Handle) -> Arc<Self> {
        let (connect_errors, counter) =
            (Arc::<ConnectErrors>::default(), Arc::<Counter>::default());
        Arc::new(Self {
            limits: Limits::new(settings.pool_size, settings.max_overflow),
            limiter: ConnectLimiter::new(
                Arc::clone(&connect_errors),
                Arc::clone(&counter),
                settings.max_connecting,
            ),
            settings,
            counter,
            connect_errors,
            unanswered: Arc::new(Semaphore::new(1)),
            generation: AtomicU64::new(0),
            era: AtomicU64::new(0),
            eras_begun: LogLimiter::default(),
            closed: AtomicBool::new(false),
            runtime_ended: AtomicBool::new(false),
            gathered: AtomicBool::new(false),
            observer: OnceLock::new(),
            runtime,
            entries: Mutex::default(),
            next_entry: AtomicU64::new(0),
        })
    }

    pub(crate) fn counts(&self) -> Counts {
        let (open, idle) = self.counter.read();
        let (size, overflow) = self.limits.read();
        Counts::new(open, idle, size, overflow)
    }

    /// Returns the number of connections open beyond the pool size.
    #[inline]
    pub(crate) fn overflow(&self) -> u32 {
        let ((open, _), (size, _)) = (self.counter.read(), self.limits.read());
        open.saturating_sub(size)
    }

    /// Reserves one more connection, unless the pool is at its limit.
    pub(super) fn place(&self) -> Option<Place> {
        self.counter.place(self.limits.most())
    }

    /// Keeps a connection as idle, or returns why to close it. The pool keeps `pool_size` idle
    /// connections and one more for each waiting request, because several connections may be returned
    /// before the first of those requests is served.
    #[inline]
    pub(super) fn keep(&self, open: &mut Open) -> Result<(), CloseReason> {
        let (size, overflow) = self.limits.read();
        // Happens only after the pool has shrunk.
        if open.gives_way(size.saturating_add(overflow)) {
            return Err(CloseReason::Resize);
        }
        let kept = open.idle_within(size) || open.idle_within(size.saturating_add(self.waiting()));
        kept.then_some(())
            .ok_or_else(|| self.limits.reason_beyond())
    }

    /// Returns the open connections.
    pub(crate) fn connections(&self) -> Vec<Arc<dyn ConnectionFacts>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let facts = entries.values();
        facts
            .map(|entry| Arc::clone(entry) as Arc<dyn ConnectionFacts>)
            .collect()
    }

    pub(crate) fn observe(&self, observer: Weak<dyn PoolEvents>) {
        // The first observer remains: a second layer over the same service observes only checkouts.
        let _ = self.observer.set(observer);
    }

    /// Closes the pool: no connection is opened from now on, and each returned one is closed.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Records that the pool's runtime has ended. The caller closes the pool.
    pub(crate) fn runtime_ended(&self) {
        self.runtime_ended.store(true, Ordering::SeqCst);
    }

    /// Returns the error of a checkout from a closed pool.
    pub(super) fn closed_error(&self) -> PoolError {
        match self.runtime_ended.load(Ordering::SeqCst) {
            true => PoolError::RuntimeEnded,
            false => PoolError::Closed,
        }
    }

    /// Blocks new connections until the guard is dropped, because the missing ones are put back at
    /// once.
    pub(super) fn gather(&self) -> Gathering<'_> {
        self.gathered.store(true, Ordering::Release);
        Gathering(self)
    }

    pub(super) fn is_gathered(&self) -> bool {
        self.gathered.load(Ordering::Acquire)
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Begins a new generation, because a connection of this one may have failed. Does nothing if a
    /// newer generation exists.
    pub(super) fn suspect(&self, generation: u64) {
        let _ = self.generation.compare_exchange(
            generation,
            generation + 1,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
    }

    /// Marks every open connection to be pinged before its next use, because one has failed and
    /// everything known about the others is older than that failure.
    pub(super) fn suspect_all(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn era(&self) -> u64 {
        self.era.load(Ordering::Acquire)
    }

    /// Replaces every connection that was opened before: each is closed when it is returned or before
    /// its next use.
    pub(super) fn replace_all(&self) {
        self.era.fetch_add(1, Ordering::AcqRel);
        // So that a checkout, which compares generations only, notices.
        self.suspect_all();
    }

    /// Returns whether an error invalidates its connection. Reports it, and draws the conclusion for the
    /// others.
    ///
    /// One error replaces one connection, or once in a while all that were opened before it. So a
    /// primary that stays read-only, or an app whose statements fail like this again and again, causes
    /// no storm of reconnects.
    pub(super) fn invalidates(
        &self,
        error: &'static InvalidatingError,
        became_read_only: bool,
    ) -> bool {
        let begins_era = || self.eras_begun.try_log_every(ERA, Instant::now()).is_some();
        match error.affects {
            Affects::EarlierSessions => {
                if begins_era() {
                    self.replace_all();
                }
            }
            Affects::PerhapsEarlierSessions => {
                if !begins_era() {
                    return false;
                }
                self.replace_all();
            }
            // If the session was read-only from its first moment, the others were, too, or are not.
            Affects::ReadOnlySession if became_read_only => self.suspect_all(),
            Affects::ReadOnlySession | Affects::Session => {}
        }
        self.notify(|observer| observer.invalidated(error));
        true
    }

    /// Returns the number of requests that wait for a connection, as counted by the observer.
    pub(super) fn waiting(&self) -> u32 {
        let observer = self.observer.get().and_then(Weak::upgrade);
        observer.map_or(0, |observer| observer.waiting())
    }

    pub(super) fn notify(&self, event: impl FnOnce(&dyn PoolEvents)) {
        if let Some(observer) = self.observer.get().and_then(Weak::upgrade) {
            event(&*observer);
        }
    }

    pub(super) fn next_number(&self) -> u64 {
        self.next_entry.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn enter(&self, entry: &Arc<EntryState>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.insert(entry.number, Arc::clone(entry));
    }

    pub(super) fn leave(&self, key: u64, reason: CloseReason) {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&key);
        self.notify(|observer| observer.closed(reason));
    }
}

/// Marks that the keepalive inspects the idle connections; see [`ConnectionPolicy::gather`].
pub(super) struct Gathering<'a>(&'a ConnectionPolicy);

impl Drop for Gathering<'_> {
    fn drop(&mut self) {
        self.0.gathered.store(false, Ordering::Release);
    }
}

impl fmt::Debug for ConnectionPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionPolicy")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
