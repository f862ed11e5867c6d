//! The recorded state of one pool; `checkouts.rs` updates it for each checkout.
//!
//! Holders and waiters, windows and totals are under one lock, which a checkout takes twice if it does
//! not wait (granted, returned). So every reading is consistent, and no count can drift from another.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::KeyValue;
use tokio::time::Instant;

use crate::advice::advisor::Advisor;
use crate::backend::{ConnectError, InvalidatingError};
use crate::log_limiter::LogLimiter;
use crate::recent::Sum;
use crate::record::blame::{Blame, Owed};
use crate::record::buckets::{Buckets, SECONDS};
use crate::record::by_route::ByRoute;
use crate::record::clock::Clock;
use crate::record::culprits::{Pairs, PastHolds};
use crate::record::debt::Debts;
use crate::record::duration_sink::DurationSink;
use crate::record::events::{Event, Events};
use crate::record::history::{History, Recorded};
use crate::record::interval::Interval;
use crate::record::inventory::{Counts, Inventory};
use crate::record::leaks::Leaks;
use crate::record::ledger::Ledger;
use crate::record::living::{Entered, Living};
use crate::record::nested::Nested;
use crate::record::queries::QueryDurations;
use crate::record::readiness::{Readiness, cannot_be_reached};
use crate::record::requests::Requests;
use crate::record::timeline::{Samples, Size};
use crate::record::totals::Totals;
use crate::record::traffic::{GaugeValues, Traffic};
use crate::record::usage::{BySite, Scraped, Usage, by_site};
use crate::record::windows::{Span, Windows};
use crate::telemetry::Tracing;

/// How long the result of a report's query on the monitoring connection is used.
pub(crate) const VERDICT_AGE: Duration = Duration::from_secs(60);

/// The target of all log events, so that one word selects them in a filter.
pub(crate) const TARGET: &str = "poolscope";

/// Everything recorded of one pool, shared by the service, its guards and its reports.
pub(crate) struct Recorder {
    pub(crate) name: Arc<str>,
    pub(crate) tracing: Tracing,
    pub(crate) metrics: Box<dyn DurationSink>,
    pub(crate) slow_wait: Duration,
    pub(crate) slow_waits: LogLimiter,
    pub(crate) connect_failures_log: LogLimiter,
    pub(crate) lasting_outages: LogLimiter,
    /// The reasons for closing connections that were logged.
    pub(crate) closed_because_log: Mutex<Vec<(&'static str, LogLimiter)>>,
    pub(crate) invalidations_log: LogLimiter,
    pub(crate) n_plus_ones: LogLimiter,
    pub(crate) leaks: Leaks,
    pub(crate) nested: Nested,
    /// Whether the use per request is recorded in histograms by route and method.
    pub(crate) request_metrics: bool,
    pub(crate) inventory: Box<dyn Inventory>,
    /// The attributes that describe the database in telemetry.
    pub(crate) database: Vec<KeyValue>,
    pub(crate) clock: Clock,
    /// The start of the clock, in Unix seconds.
    pub(crate) began: f64,
    state: Mutex<PoolState>,
    // Separate locks, because queries and requests end at other times than checkouts.
    operations: Mutex<QueryDurations>,
    requests: Mutex<Requests>,
    scraped: Scraped,
    pub(crate) advisor: Arc<Advisor>,
    /// Where the monitor of this pool was last reached: `/api/v1/monitoring/pool/`.
    mount: Mutex<Option<Arc<str>>>,
    /// This pool's entry in the list of all.
    entered: OnceLock<Entered>,
}

/// The options of a [`Recorder`].
pub(crate) struct RecorderOptions {
    pub(crate) slow_wait: Duration,
    pub(crate) leaks: Leaks,
    pub(crate) request_metrics: bool,
    pub(crate) nested: Nested,
}

/// The pool state that is under one lock.
pub(crate) struct PoolState {
    pub(crate) ledger: Ledger,
    pub(crate) windows: Windows,
    pub(crate) events: Events,
    /// Recent checkouts, which advice replays.
    pub(crate) history: History,
    pub(crate) totals: Totals,
    /// Connection time used and owed, by call site.
    pub(crate) usage: Usage,
    pub(crate) blame: Blame,
    /// The reading up to which what the current holders owe is in `usage`.
    pub(crate) settled: Owed,
    /// The time queued that no hold owes.
    pub(crate) nobodys: Debts,
    pub(crate) past_holds: PastHolds,
    pub(crate) pairs: Pairs,
    /// Whether the pool was neither suspended nor closed when that was last looked at.
    pub(crate) is_open: bool,
    /// Shed checkouts.
    pub(crate) shed: ByRoute<()>,
    /// Durations since the start, in the buckets of the metrics.
    pub(crate) waits: Buckets,
    pub(crate) holds: Buckets,
    pub(crate) creates: Buckets,
    pub(crate) phases: [Buckets; 3],
    pub(crate) last_granted: Option<Instant>,
    /// When a connection was last opened.
    pub(crate) last_opened: Option<Instant>,
    pub(crate) last_returned: Option<Instant>,
    /// The last connect error; cleared when a connection is opened.
    pub(crate) last_connect_error: Option<(ConnectError, Instant)>,
    /// The last error that has invalidated a connection.
    pub(crate) last_invalidation: Option<(&'static InvalidatingError, Instant)>,
    /// Why the last report could not reach the database over the monitoring connection, `None` if it
    /// could, and when that was.
    monitor_verdict: Option<(Option<String>, Instant)>,
    pub(crate) next_bind: Instant,
}

impl Recorder {
    pub(crate) fn new(
        name: Arc<str>,
        tracing: Tracing,
        metrics: Box<dyn DurationSink>,
        options: RecorderOptions,
        inventory: Box<dyn Inventory>,
    ) -> Arc<Self> {
        let RecorderOptions {
            slow_wait,
            leaks,
            request_metrics,
            nested,
        } = options;
        let now = Instant::now();
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        let size = Size::of(inventory.counts());
        let mut shed = ByRoute::new(now);
        // Exported as 0 from the start, so that the first one shed is an increase.
        shed.add(None, 0, now);
        let recorder = Arc::new(Self {
            name,
            tracing,
            metrics,
            slow_wait,
            slow_waits: LogLimiter::default(),
            connect_failures_log: LogLimiter::default(),
            lasting_outages: LogLimiter::default(),
            closed_because_log: Mutex::default(),
            invalidations_log: LogLimiter::default(),
            n_plus_ones: LogLimiter::default(),
            leaks,
            nested,
            request_metrics,
            database: inventory.database(),
            inventory,
            clock: Clock { start: now },
            began: unix.map_or(0.0, |since| since.as_secs_f64()),
            state: Mutex::new(PoolState {
                ledger: Ledger::default(),
                windows: Windows::new(size),
                events: Events::default(),
                history: History::new(size.max_connections.into()),
                totals: Totals {
                    connect_failures: Some(0),
                    ..Totals::default()
                },
                usage: Usage::new(now),
                blame: Blame::default(),
                settled: Owed::ZERO,
                nobodys: Debts::default(),
                past_holds: PastHolds::default(),
                pairs: Pairs::default(),
                is_open: true,
                shed,
                waits: Buckets::new(SECONDS),
                holds: Buckets::new(SECONDS),
                creates: Buckets::new(SECONDS),
                phases: [SECONDS; 3].map(Buckets::new),
                last_granted: None,
                last_opened: None,
                last_returned: None,
                last_connect_error: None,
                last_invalidation: None,
                monitor_verdict: None,
                next_bind: now,
            }),
            operations: Mutex::new(QueryDurations::new(now)),
            requests: Mutex::new(Requests::new(now)),
            scraped: Scraped::default(),
            advisor: Arc::default(),
            mount: Mutex::default(),
            entered: OnceLock::new(),
        });
        let _ = recorder.entered.set(Living::all().enter(&recorder));
        recorder.metrics.bind(&recorder);
        recorder
    }

    /// Locks the pool state. A poisoned lock is used as it is: a panic cannot leave the state
    /// inconsistent in a way that matters.
    pub(crate) fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records where the monitor of this pool is reached.
    pub(crate) fn mounted(&self, path: &str) {
        let mut mount = self.mount.lock().unwrap_or_else(PoisonError::into_inner);
        if mount.as_deref() != Some(path) {
            *mount = Some(Arc::from(path));
        }
    }

    /// Returns where the monitor of this pool was last reached; `None` if it never was.
    pub(crate) fn mount(&self) -> Option<Arc<str>> {
        let mount = self.mount.lock().unwrap_or_else(PoisonError::into_inner);
        mount.clone()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.inventory.counts()
    }

    pub(crate) fn operations(&self) -> MutexGuard<'_, QueryDurations> {
        self.operations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the connection time used, by call site.
    pub(crate) fn usage(&self) -> BySite {
        let entries = self.state().usage.read(Instant::now());
        by_site(entries)
    }

    /// Returns the connection time used, for one of several metrics that a scrape reads one after the
    /// other. All of one scrape get the same reading; `is_first` makes a new one.
    pub(crate) fn usage_of_scrape(&self, is_first: bool) -> Arc<BySite> {
        self.scraped.read(is_first, Instant::now(), || self.usage())
    }

    /// Returns the shed checkouts, by route.
    pub(crate) fn shed(&self) -> Vec<(Option<Arc<str>>, Sum<u64>)> {
        let mut state = self.state();
        let routes = state.shed.read(Instant::now());
        routes
            .map(|(route, count, ())| (route.cloned(), count))
            .collect()
    }

    pub(crate) fn totals(&self) -> Totals {
        let totals = self.state().totals;
        self.inventory.completed(totals)
    }

    /// Records whether a report could reach the database. Passes on the reason why it could not.
    pub(crate) fn monitor_verdict(&self, unreachable: Option<String>) -> Option<String> {
        self.state().monitor_verdict = Some((unreachable.clone(), Instant::now()));
        unreachable
    }

    /// Returns whether the database can be reached, as far as known without asking it.
    pub(crate) fn is_database_reachable(&self) -> bool {
        self.known_unreachable().is_none()
    }

    /// Returns why the database can't be reached, as far as known without asking it.
    pub(crate) fn known_unreachable(&self) -> Option<String> {
        let state = self.state();
        let served_since = |at: Instant| state.last_granted.is_some_and(|granted| granted >= at);
        let refused = state.last_connect_error.as_ref();
        let refused = refused.filter(|(error, at)| error.is_absence() && !served_since(*at));
        let asked = || {
            let (reason, at) = state.monitor_verdict.as_ref()?;
            let holds = at.elapsed() < VERDICT_AGE && !served_since(*at);
            reason.clone().filter(|_| holds)
        };
        refused
            .map(|(error, _)| cannot_be_reached(error))
            .or_else(asked)
    }

    /// Returns whether the pool can serve, as far as known without asking the database.
    pub(crate) fn is_serving(&self) -> bool {
        self.is_database_reachable() && Readiness::gather(self).own_verdict().is_none()
    }

    /// Returns the data of a window.
    pub(crate) fn window(&self, span: Span) -> Interval {
        let now = self.clock.now();
        let mut state = self.state();
        self.level(&mut state, now);
        state.windows.read(now, span)
    }

    /// Returns the recent checkouts, the traffic of the last minutes for each of `minutes`, and the
    /// time of the pool's clock.
    pub(crate) fn history(&self, minutes: [u64; 3]) -> (Recorded, [Traffic; 3], u64) {
        let now = self.clock.now();
        let mut state = self.state();
        let recorded = state.history.read(now);
        let traffic = minutes.map(|minutes| state.windows.traffic(now, minutes));
        (recorded, traffic, now)
    }

    /// Returns the last samples of the timeline, at most `most`.
    pub(crate) fn timeline(&self, most: usize) -> Samples {
        let now = self.clock.now();
        let mut state = self.state();
        self.level(&mut state, now);
        state.windows.timeline.read(most)
    }

    /// Records an event of the pool.
    pub(crate) fn happened(&self, event: Event) {
        let now = self.clock.now();
        self.state().events.add(now, event);
    }

    /// Records the current gauge values in the windows, and who owes from now on. Returns the slot of the
    /// current second.
    pub(crate) fn level<'a>(&self, state: &'a mut PoolState, now: u64) -> &'a mut Interval {
        let level = GaugeValues {
            checked_out: state.ledger.holders.len(),
            pending: state.ledger.waiters.len(),
            overflow: self.inventory.overflow(),
        };
        self.level_blame(state, now);
        state.windows.set_level(now, level);
        if state.windows.timeline.is_open() {
            settle_timeline(state, now);
        }
        state.windows.slot()
    }
}

/// Completes the samples of the timeline that have ended.
#[cold]
fn settle_timeline(state: &mut PoolState, now: u64) {
    let holders = state.ledger.at_work();
    state.windows.timeline.settle(now, holders);
}
