//! The book in which one pool's checkouts are written down.
//!
//! Ledger, windows and totals are under one lock, taken twice in the life of a checkout (granted,
//! returned): every reading is consistent, and no count can drift from another.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry::trace::TraceId;
use tokio::time::Instant;

use super::ledger::{Holder, Ledger, Waiter};
use super::metrics::Metrics;
use super::seldom::Seldom;
use super::span::Tracing;
use super::totals::Totals;
use super::window::{Level, Slot, Span, Windows};
use crate::backend::ConnectError;
use crate::checkout::{Checkout, ConnectionFacts};
use crate::error::{LongestHolder, PoolError, Scene};
use crate::inventory::{Counts, Inventory};
use crate::lifecycle::{CloseReason, Lifecycle};

/// The target of all events, so that a filter needs to know one word.
const TARGET: &str = "poolscope";

/// Everything observed of one pool, shared by the service, its guards and its reports.
pub(crate) struct Recorder {
    pub(crate) name: Arc<str>,
    pub(crate) tracing: Tracing,
    metrics: Metrics,
    slow_wait: Duration,
    slow_waits: Seldom,
    failed_dials: Seldom,
    inventory: Box<dyn Inventory>,
    started: Instant,
    book: Mutex<Book>,
}

/// What the lock protects.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) ledger: Ledger,
    pub(crate) windows: Windows,
    pub(crate) totals: Totals,
    pub(crate) last_granted: Option<Instant>,
    pub(crate) last_returned: Option<Instant>,
    /// The last failure to connect; forgotten at the next success.
    pub(crate) last_connect_error: Option<(ConnectError, Instant)>,
    next_bind: Instant,
}

/// How a checkout ended that got no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    TimedOut,
    Failed,
    Rejected,
    Canceled,
}

impl From<&PoolError> for Refusal {
    fn from(error: &PoolError) -> Self {
        match error {
            PoolError::TimedOut(_) => Self::TimedOut,
            PoolError::Closed | PoolError::Rejected(_) => Self::Rejected,
            PoolError::ConnectFailed(_) | PoolError::Other(_) => Self::Failed,
        }
    }
}

impl Recorder {
    pub(crate) fn new(
        name: Arc<str>,
        tracing: Tracing,
        metrics: Metrics,
        slow_wait: Duration,
        inventory: Box<dyn Inventory>,
    ) -> Arc<Self> {
        let now = Instant::now();
        let recorder = Arc::new(Self {
            name,
            tracing,
            metrics,
            slow_wait,
            slow_waits: Seldom::default(),
            failed_dials: Seldom::default(),
            inventory,
            started: now,
            book: Mutex::new(Book {
                ledger: Ledger::default(),
                windows: Windows::new(now),
                totals: Totals {
                    connect_failures: Some(0),
                    ..Totals::default()
                },
                last_granted: None,
                last_returned: None,
                last_connect_error: None,
                next_bind: now,
            }),
        });
        recorder.metrics.bind(&recorder);
        recorder
    }

    /// The book. A panic while it was open can't leave it half-written in a way that matters.
    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn counts(&self) -> Counts {
        self.inventory.counts()
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Follows a change of the global OpenTelemetry providers, at most once a second.
    pub(crate) fn rebind(self: &Arc<Self>) {
        self.metrics.bind(self);
        self.tracing.bind();
    }

    /// Somebody has to wait.
    pub(crate) fn queued(&self, since: Instant) -> u32 {
        let mut book = self.book();
        book.windows.at(since).arrivals += 1;
        let key = book.ledger.waiters.insert(Waiter { since });
        self.level(&mut book, since);
        key
    }

    /// Somebody got a connection.
    pub(crate) fn granted(
        self: &Arc<Self>,
        holder: Holder,
        waiter: Option<u32>,
        asked: Instant,
    ) -> u32 {
        let now = holder.since;
        let waited = now.saturating_duration_since(asked);
        let (key, rebind) = {
            let mut book = self.book();
            let slot = book.windows.at(now);
            slot.wait.record(waited);
            match waiter {
                None => slot.arrivals += 1,
                Some(key) => drop(book.ledger.waiters.remove(key)),
            }
            book.totals.checkouts += 1;
            book.last_granted = Some(now);
            let key = book.ledger.holders.insert(holder);
            self.level(&mut book, now);
            let rebind = now >= book.next_bind;
            if rebind {
                book.next_bind = now + Duration::from_secs(1);
            }
            (key, rebind)
        };
        if rebind {
            self.rebind();
        }
        self.metrics.waited(waited);
        key
    }

    /// Somebody got no connection.
    pub(crate) fn refused(&self, refusal: Refusal, waiter: Option<u32>) {
        let now = Instant::now();
        let mut book = self.book();
        if let Some(key) = waiter {
            book.ledger.waiters.remove(key);
        }
        let Book {
            windows, totals, ..
        } = &mut *book;
        let slot = windows.at(now);
        if waiter.is_none() {
            slot.arrivals += 1;
        }
        match refusal {
            Refusal::TimedOut => {
                totals.timeouts += 1;
                slot.timeouts += 1;
            }
            Refusal::Failed => {
                totals.errors += 1;
                slot.failures += 1;
            }
            Refusal::Rejected => totals.rejected += 1,
            Refusal::Canceled => totals.canceled += 1,
        }
        self.level(&mut book, now);
    }

    /// A connection came back.
    pub(crate) fn returned(&self, key: u32) {
        let now = Instant::now();
        let mut held = None;
        {
            let mut book = self.book();
            if let Some(holder) = book.ledger.holders.remove(key) {
                let time = holder.held(now);
                held = Some(time);
                book.windows.at(now).held.record(time);
            }
            book.last_returned = Some(now);
            self.level(&mut book, now);
        }
        if let Some(held) = held {
            self.metrics.held(held);
        }
    }

    /// Everything within a window, and the ledger and totals at the same instant.
    pub(crate) fn read<T>(&self, span: Span, read: impl FnOnce(Slot, &Book, Instant) -> T) -> T {
        let now = Instant::now();
        let mut book = self.book();
        self.level(&mut book, now);
        let slot = book.windows.read(now, span);
        read(slot, &book, now)
    }

    /// Says a wait that was longer than the `slow_wait` setting; in a burst, one a second for all.
    pub(crate) fn tell_slow_wait(&self, checkout: Checkout, waited: Duration) {
        if waited <= self.slow_wait {
            return;
        }
        let Some(untold) = self.slow_waits.tell(Instant::now()) else {
            return;
        };
        let caller = checkout.caller();
        tracing::warn!(
            target: TARGET,
            pool = &*self.name,
            waited_ms = waited.as_millis() as u64,
            caller = %format_args!("{}:{}", caller.file(), caller.line()),
            label = checkout.label_text(),
            others_within_a_second = untold,
            "slow wait for a connection",
        );
    }

    /// The scene of a timeout.
    pub(crate) fn scene(&self, now: Instant) -> Scene {
        let counts = self.counts();
        let book = self.book();
        Scene {
            pool: self.name.to_string(),
            pool_size: counts.pool_size,
            max_overflow: counts.max_overflow,
            checked_out: book.ledger.holders.len(),
            pending: book.ledger.waiters.len(),
            longest_holder: book.ledger.longest_holder().map(|holder| LongestHolder {
                caller: holder.caller(),
                label: holder.checkout.label_text(),
                held: holder.held(now),
            }),
            last_connect_error: book
                .last_connect_error
                .as_ref()
                .map(|(error, at)| (error.clone(), now.saturating_duration_since(*at))),
        }
    }

    fn level(&self, book: &mut Book, now: Instant) {
        let level = Level {
            checked_out: book.ledger.holders.len(),
            pending: book.ledger.waiters.len(),
            overflow: self.inventory.overflow(),
        };
        book.windows.set_level(now, level);
    }
}

impl Lifecycle for Recorder {
    fn opened(&self, took: Duration) {
        let back;
        {
            let mut book = self.book();
            book.totals.connections_opened += 1;
            back = book.last_connect_error.take().is_some();
            book.windows.at(Instant::now()).create.record(took);
        }
        if back {
            tracing::info!(target: TARGET, pool = &*self.name, "connections can be opened again");
        }
        self.metrics.created(took);
    }

    fn connect_failed(&self, error: &ConnectError) {
        {
            let mut book = self.book();
            *book.totals.connect_failures.get_or_insert_default() += 1;
            book.last_connect_error = Some((error.clone(), Instant::now()));
        }
        if let Some(untold) = self.failed_dials.tell(Instant::now()) {
            tracing::warn!(
                target: TARGET,
                pool = &*self.name,
                error.type = error.kind().as_str(),
                others_within_a_second = untold,
                "could not open a connection: {error}",
            );
        }
    }

    fn waiting(&self) -> u32 {
        self.book().ledger.waiters.len()
    }

    fn closed(&self, reason: CloseReason) {
        self.book().totals.connections_closed.count(reason);
        match reason {
            CloseReason::Broken | CloseReason::PingFailed => {
                tracing::info!(target: TARGET, pool = &*self.name,
                    reason = reason.as_str(),
                    "connection closed"
                );
            }
            _ => tracing::debug!(target: TARGET, pool = &*self.name,
                reason = reason.as_str(),
                "connection closed"
            ),
        }
    }
}

/// What the ledger is told of a checkout that succeeded.
pub(crate) fn holder(
    checkout: Checkout,
    since: Instant,
    trace: Option<TraceId>,
    facts: Option<Arc<dyn ConnectionFacts>>,
) -> Holder {
    Holder {
        checkout,
        since,
        trace,
        route: None,
        facts,
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
