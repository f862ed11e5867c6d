//! The book in which one pool's checkouts are written down.
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
use super::leaks::Leaks;
use super::ledger::{Holder, Ledger, Waiter};
use super::load::{Load, Loads};
use super::metrics::Metrics;
use super::occupancy::{Hold, Occupancy, Reading};
use super::operations::Operations;
use super::requests::Requests;
use super::scored::Scored;
use super::seldom::Seldom;
use super::serving::Evidence;
use super::shed::{ShedByRoute, ShedCount};
use super::span::Tracing;
use super::usage::{BySite, Scraped, Site, SiteUse, Usage};
use super::window::{Level, Slot, Span, Windows};
use crate::backend::ConnectError;
use crate::error::{PoolError, Rejection};
use crate::inventory::{Availability, Counts, Inventory};
use crate::phase::{Phase, Phases};
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
    started: Instant,
    book: Mutex<Book>,
    // Locks of their own: queries and requests come in other moments than checkouts.
    operations: Mutex<Operations>,
    requests: Mutex<Requests>,
    /// The usage as the last scrape has read it.
    scraped: Scraped,
    /// How good the advice was, as of the last minute.
    pub(super) scored: Scored,
}

/// What the lock protects.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) ledger: Ledger,
    pub(crate) windows: Windows,
    /// What advice is learned from.
    pub(super) occupancy: Occupancy,
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
    next_bind: Instant,
}

/// How a checkout ended that got no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    TimedOut,
    Failed,
    Rejected,
    /// Turned away for load's sake.
    Shed,
    /// Turned away for load's sake by a layer that is not ours.
    Overloaded,
    Canceled,
}

impl From<&PoolError> for Refusal {
    fn from(error: &PoolError) -> Self {
        match error {
            PoolError::TimedOut(_) => Self::TimedOut,
            PoolError::Rejected(Rejection::Shed { .. } | Rejection::TooManyPending { .. }) => {
                Self::Shed
            }
            PoolError::Rejected(Rejection::Overloaded) => Self::Overloaded,
            PoolError::Closed | PoolError::Suspended | PoolError::Rejected(_) => Self::Rejected,
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
        leaks: Leaks,
        inventory: Box<dyn Inventory>,
    ) -> Arc<Self> {
        let now = Instant::now();
        let limit = inventory.counts().max_connections();
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
            started: now,
            book: Mutex::new(Book {
                ledger: Ledger::default(),
                windows: Windows::new(now),
                occupancy: Occupancy::new(now, limit),
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
            scored: Scored::default(),
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

    /// Somebody has to wait.
    pub(crate) fn queued(&self, since: Instant, phase: Option<Phase>) -> u32 {
        let mut book = self.book();
        book.windows.at(since).arrivals += 1;
        self.advance(&mut book, since);
        book.occupancy.arrived(Duration::ZERO);
        let key = book.ledger.waiters.insert(Waiter { since, phase });
        self.level(&mut book, since);
        key
    }

    /// Somebody waits on, for something else.
    pub(crate) fn waits_for(&self, key: u32, phase: Option<Phase>) {
        if let Some(waiter) = self.book().ledger.waiters.get_mut(key) {
            waiter.phase = phase;
        }
    }

    /// Somebody got a connection.
    pub(crate) fn granted(
        self: &Arc<Self>,
        mut holder: Holder,
        waiter: Option<u32>,
        phases: Option<Phases>,
    ) -> u32 {
        let (now, waited) = (holder.since, holder.waited);
        if let Some(request) = &holder.request {
            request.tally(self, |tally| {
                tally.used.checkouts += 1;
                tally.used.waited += waited;
            });
        }
        let (key, rebind) = {
            let mut book = self.book();
            let slot = book.windows.at(now);
            slot.wait.record(waited);
            if let Some(phases) = &phases {
                slot.waited_in(phases);
            }
            slot.arrivals += u64::from(waiter.is_none());
            self.advance(&mut book, now);
            let queued = match waiter {
                None => {
                    book.occupancy.arrived(waited);
                    Duration::ZERO
                }
                Some(key) => {
                    book.ledger.waiters.remove(key);
                    // Over a pool that does not tell, any wait may be one for its turn.
                    phases.map_or(waited, |phases| phases.queued)
                }
            };
            holder.level_before = book.occupancy.granted(queued);
            book.totals.checkouts += 1;
            book.waits.record_time(waited);
            if let Some(phases) = &phases {
                for (phase, buckets) in Phase::ALL.into_iter().zip(&mut book.phases) {
                    let time = phases.of(phase);
                    if !time.is_zero() {
                        buckets.record_time(time);
                    }
                }
            }
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
            self.look_for_leaks();
        }
        self.metrics.waited(waited, phases.as_ref());
        key
    }

    /// Somebody got no connection.
    pub(crate) fn refused(
        &self,
        refusal: Refusal,
        waiter: Option<u32>,
        asked: Instant,
        route: Option<&Arc<str>>,
    ) {
        let now = Instant::now();
        let mut book = self.book();
        self.advance(&mut book, now);
        let waiting = waiter.and_then(|key| book.ledger.waiters.remove(key));
        let Book {
            windows,
            occupancy,
            totals,
            shed,
            ..
        } = &mut *book;
        let slot = windows.at(now);
        if waiter.is_none() {
            slot.arrivals += 1;
        }
        let waited = now.saturating_duration_since(asked);
        // Whom a closed pool turns away, or who would not wait, is no demand that a larger one
        // would meet. Who waited when it was closed was counted when the wait began.
        if waiter.is_none() && refusal != Refusal::Rejected {
            occupancy.arrived(waited);
        }
        match refusal {
            Refusal::TimedOut => occupancy.unserved(Some(waited)),
            Refusal::Shed | Refusal::Overloaded => occupancy.unserved(None),
            Refusal::Canceled => {
                if waiting.is_some_and(|waiter| waiter.phase.is_none_or(|it| it == Phase::Queued)) {
                    occupancy.gave_up(waited);
                }
            }
            Refusal::Failed | Refusal::Rejected => {}
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
            Refusal::Rejected | Refusal::Overloaded => totals.rejected += 1,
            Refusal::Shed => {
                totals.shed += 1;
                slot.shed += 1;
                shed.add(route, now);
            }
            Refusal::Canceled => totals.canceled += 1,
        }
        self.level(&mut book, now);
    }

    /// A connection came back.
    pub(crate) fn returned(&self, key: u32) {
        let now = Instant::now();
        let mut book = self.book();
        self.advance(&mut book, now);
        let holder = book.ledger.holders.remove(key);
        let ended = holder.map(|holder| {
            let (held, busy) = (holder.held(now), holder.busy());
            book.windows.at(now).held.record(held);
            book.holds.record_time(held);
            book.occupancy.returned(Hold {
                held,
                busy,
                level_before: holder.level_before,
            });
            book.usage.returned(&holder, held, busy, now);
            if self.leaks.is_leak(held) && !holder.told_as_leak {
                book.totals.leaks += 1;
            }
            (holder, held, busy)
        });
        book.last_returned = Some(now);
        self.level(&mut book, now);
        drop(book);
        if let Some((holder, held, busy)) = ended {
            self.tell_return(&holder, held, busy);
        }
    }

    /// Tells whom else it concerns that a connection came back.
    fn tell_return(&self, holder: &Holder, held: Duration, busy: Option<Duration>) {
        self.tell_end_of_leak(holder, held);
        if let Some(slot) = holder.facts.as_ref().and_then(|facts| facts.slot()) {
            slot.vacate();
        }
        if let Some(request) = &holder.request {
            let book: *const Self = self;
            request.update(book, |tally| {
                tally.used.held += held;
                tally.used.busy += busy.unwrap_or_default();
            });
        }
        self.metrics.held(held);
    }

    /// Everything within a window, and the ledger and totals at the same instant.
    pub(crate) fn read<T>(&self, span: Span, read: impl FnOnce(Slot, &Book, Instant) -> T) -> T {
        let now = Instant::now();
        let mut book = self.book();
        self.level(&mut book, now);
        let slot = book.windows.read(now, span);
        read(slot, &book, now)
    }

    /// What was learned of the load up to now, and what was seen within these windows until then.
    pub(crate) fn loads<const N: usize>(&self, spans: [Span; N]) -> (Loads, [Slot; N]) {
        let limit = self.counts().max_connections();
        let now = Instant::now();
        let mut book = self.book();
        self.level(&mut book, now);
        let slots = spans.map(|span| book.windows.read(now, span));
        let reading = Self::occupancy(&mut book, now, limit);
        // The windows are added up outside of the lock.
        drop(book);
        (reading.loads(), slots)
    }

    /// Each of the last sixty minutes that are complete, the newest last, and the one under way.
    pub(crate) fn minutes(&self) -> (Vec<Arc<Load>>, Load) {
        let limit = self.counts().max_connections();
        let now = Instant::now();
        let Reading {
            minutes, current, ..
        } = Self::occupancy(&mut self.book(), now, limit);
        (minutes, current)
    }

    fn occupancy(book: &mut Book, now: Instant, limit: u32) -> Reading {
        book.occupancy.advance(now, || limit);
        book.occupancy.limit_is(limit);
        book.occupancy.read()
    }

    /// The pool may have another number of connections from now on.
    pub(super) fn limit_changed(&self) {
        let limit = self.counts().max_connections();
        let mut book = self.book();
        book.occupancy.advance(Instant::now(), || limit);
        book.occupancy.limit_is(limit);
    }

    fn advance(&self, book: &mut Book, now: Instant) {
        book.occupancy
            .advance(now, || self.counts().max_connections());
    }

    fn level(&self, book: &mut Book, now: Instant) {
        let level = Level {
            checked_out: book.ledger.holders.len(),
            pending: book.ledger.waiters.len(),
            overflow: self.inventory.overflow(),
        };
        book.windows.set_level(now, level);
        book.occupancy.set_level(level.checked_out);
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
