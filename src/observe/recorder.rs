//! The book in which one pool's checkouts are written down, by `checkouts.rs`.
//!
//! Ledger, windows and totals are under one lock, taken twice in the life of a checkout (granted,
//! returned): every reading is consistent, and no count can drift from another.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry::KeyValue;
use tokio::time::Instant;

use super::buckets::{Buckets, SECONDS};
use super::clock::Clock;
use super::history::{History, Recorded};
use super::hour::Traffic;
use super::leaks::Leaks;
use super::ledger::Ledger;
use super::metrics::Metrics;
use super::operations::Operations;
use super::requests::Requests;
use super::seldom::Seldom;
use super::serving::Evidence;
use super::shed::{ShedByRoute, ShedCount};
use super::span::Tracing;
use super::usage::{BySite, Scraped, Site, SiteUse, Usage};
use super::window::{Level, Slot, Span, Windows};
use crate::advice::advisor::Advisor;
use crate::backend::ConnectError;
use crate::inventory::{Availability, Counts, Inventory};
use crate::totals::Totals;

/// For how long it is believed what the database answered a report.
const VERDICT_AGE: Duration = Duration::from_secs(60);

/// The target of all events, so that a filter needs to know one word.
pub(super) const TARGET: &str = "poolscope";

/// Everything observed of one pool, shared by the service, its guards and its reports.
pub(crate) struct Recorder {
    pub(crate) name: Arc<str>,
    pub(crate) tracing: Tracing,
    pub(super) metrics: Metrics,
    pub(super) slow_wait: Duration,
    pub(super) slow_waits: Seldom,
    pub(super) failed_dials: Seldom,
    pub(super) lasting_outages: Seldom,
    pub(super) n_plus_ones: Seldom,
    pub(crate) leaks: Leaks,
    inventory: Box<dyn Inventory>,
    database: Vec<KeyValue>,
    pub(crate) clock: Clock,
    book: Mutex<Book>,
    // Locks of their own: queries and requests come in other moments than checkouts.
    operations: Mutex<Operations>,
    requests: Mutex<Requests>,
    /// The usage as the last scrape has read it.
    scraped: Scraped,
    pub(crate) advisor: Arc<Advisor>,
}

/// What the lock protects.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) ledger: Ledger,
    pub(crate) windows: Windows,
    /// What advice replays.
    pub(super) history: History,
    pub(crate) totals: Totals,
    /// Who used how much, by place.
    pub(crate) usage: Usage,
    pub(crate) shed: ShedByRoute,
    /// All since the start, as Prometheus wants them.
    pub(crate) waits: Buckets,
    pub(crate) holds: Buckets,
    pub(crate) creates: Buckets,
    pub(crate) phases: [Buckets; 3],
    pub(crate) last_granted: Option<Instant>,
    pub(crate) last_returned: Option<Instant>,
    /// The last failure to connect; forgotten at the next success.
    pub(crate) last_connect_error: Option<(ConnectError, Instant)>,
    /// Whether the database could be reached, when a report last asked it.
    lane_verdict: Option<(bool, Instant)>,
    pub(super) next_bind: Instant,
}

impl Recorder {
    pub(crate) fn new(
        name: Arc<str>,
        tracing: Tracing,
        metrics: Metrics,
        slow_wait: Duration,
        leaks: Leaks,
        inventory: Box<dyn Inventory>,
    ) -> Arc<Self> {
        let now = Instant::now();
        let size = inventory.counts().max_connections();
        let recorder = Arc::new(Self {
            name,
            tracing,
            metrics,
            slow_wait,
            slow_waits: Seldom::default(),
            failed_dials: Seldom::default(),
            lasting_outages: Seldom::default(),
            n_plus_ones: Seldom::default(),
            leaks,
            database: inventory.database(),
            inventory,
            clock: Clock { start: now },
            book: Mutex::new(Book {
                ledger: Ledger::default(),
                windows: Windows::new(),
                history: History::new(size),
                totals: Totals {
                    connect_failures: Some(0),
                    ..Totals::default()
                },
                usage: Usage::new(now),
                shed: ShedByRoute::new(now),
                waits: Buckets::new(SECONDS),
                holds: Buckets::new(SECONDS),
                creates: Buckets::new(SECONDS),
                phases: [SECONDS; 3].map(Buckets::new),
                last_granted: None,
                last_returned: None,
                last_connect_error: None,
                lane_verdict: None,
                next_bind: now,
            }),
            operations: Mutex::new(Operations::new(now)),
            requests: Mutex::new(Requests::new(now)),
            scraped: Scraped::default(),
            advisor: Arc::default(),
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
        self.clock.start
    }

    /// What telemetry says of the database.
    pub(crate) fn database(&self) -> &[KeyValue] {
        &self.database
    }

    pub(crate) fn availability(&self) -> Availability {
        self.inventory.availability()
    }

    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.inventory.timeout()
    }

    pub(crate) fn sees_transactions(&self) -> bool {
        self.inventory.sees_transactions()
    }

    pub(crate) fn wait_target(&self) -> Option<Duration> {
        self.inventory.wait_target()
    }

    pub(crate) fn operations(&self) -> MutexGuard<'_, Operations> {
        self.operations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who used how much.
    pub(crate) fn usage(&self) -> HashMap<Site, SiteUse> {
        let reading = self.book().usage.read(Instant::now());
        reading.by_site()
    }

    /// The places that take connections, by their numbers in the history.
    pub(crate) fn places(&self) -> HashMap<u16, Site> {
        self.book().usage.places()
    }

    /// Who used how much, for one of several metrics that are read one after the other.
    pub(crate) fn usage_of_scrape(&self, is_first: bool) -> BySite {
        self.scraped.read(is_first, Instant::now(), || self.usage())
    }

    /// Checkouts turned away for load's sake, by route.
    pub(crate) fn shed(&self, now: Instant) -> Vec<(Option<Arc<str>>, ShedCount)> {
        self.book().shed.read(now)
    }

    /// The totals, with what an existing pool counts by itself.
    pub(crate) fn completed(&self, totals: Totals) -> Totals {
        self.inventory.completed(totals)
    }

    pub(crate) fn totals(&self) -> Totals {
        let totals = self.book().totals;
        self.completed(totals)
    }

    /// Remembers what a report found when it asked the database: why it can't be reached.
    pub(crate) fn lane_verdict(&self, unreachable: Option<String>) -> Option<String> {
        self.book().lane_verdict = Some((unreachable.is_none(), Instant::now()));
        unreachable
    }

    /// Whether the database can be reached, as far as it is known without asking it.
    pub(crate) fn is_database_reachable(&self) -> bool {
        let book = self.book();
        let served_since = |at: Instant| book.last_granted.is_some_and(|granted| granted >= at);
        let refused = book
            .last_connect_error
            .as_ref()
            .is_some_and(|(error, at)| error.is_absence() && !served_since(*at));
        let asked = book.lane_verdict.is_some_and(|(reached, at)| {
            !reached && at.elapsed() < VERDICT_AGE && !served_since(at)
        });
        !refused && !asked
    }

    /// Whether the pool can serve, as far as it is known without asking the database.
    pub(crate) fn is_serving(&self) -> bool {
        self.is_database_reachable() && Evidence::gather(self).own_verdict().is_none()
    }

    /// Follows a change of the global OpenTelemetry providers, at most once a second.
    pub(crate) fn rebind(self: &Arc<Self>) {
        self.metrics.bind(self);
        self.tracing.bind();
    }

    /// Everything within a window, and the ledger and totals at the same instant.
    pub(crate) fn read<T>(&self, span: Span, read: impl FnOnce(Slot, &Book, Instant) -> T) -> T {
        let now = Instant::now();
        let at = self.clock.at(now);
        let mut book = self.book();
        self.level(&mut book, at);
        let slot = book.windows.read(at, span);
        read(slot, &book, now)
    }

    /// The recent checkouts, one by one, and what was asked for in the last minutes.
    pub(crate) fn history(&self, minutes: [u64; 3]) -> (Recorded, [Traffic; 3], u64) {
        let now = self.clock.now();
        let mut book = self.book();
        let recorded = book.history.read(now);
        let traffic = minutes.map(|minutes| book.windows.traffic(now, minutes));
        (recorded, traffic, now)
    }

    /// The pool may have another number of connections from now on.
    pub(super) fn size_changed(&self) {
        let size = self.counts().max_connections();
        self.book().history.set_size(size);
    }

    pub(super) fn level(&self, book: &mut Book, now: u64) {
        let level = Level {
            checked_out: book.ledger.holders.len(),
            pending: book.ledger.waiters.len(),
            overflow: self.inventory.overflow(),
        };
        book.windows.set_level(now, level);
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
