//! Attributes checkouts and queries to requests, and counts what each request uses.
//!
//! The request's future is polled with its [`Attribution`] as a task-local value. A checkout looks it
//! up once and stores it in the connection's context slot, so that a query finds it on any thread.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use foldhash::fast::FixedState;
use opentelemetry::Context;
use opentelemetry::trace::{FutureExt, SpanId};
use tokio::task::futures::TaskLocalFuture;

tokio::task_local! {
    static CURRENT: Arc<Attribution>;
}

/// The number of the next request in this process.
static REQUESTS: AtomicU32 = AtomicU32::new(1);

/// Maximum number of distinct statements counted per request. Further ones are not counted, because
/// a request that sends this many different statements is not an N+1 pattern.
const STATEMENTS: usize = 1000;

/// A request and its use of the pools.
pub(crate) struct Attribution {
    /// The method of the request: a known method, or `_OTHER`.
    pub(crate) method: &'static str,
    /// The template of its path; `None` if the route is unknown. The number of distinct templates is
    /// limited.
    pub(crate) route: Option<Arc<str>>,
    /// The number of the request in this process, from 1. Numbers repeat after 2^32 requests.
    pub(crate) number: u32,
    /// The span that records the request, if there is one.
    pub(crate) span: OnceLock<AttributedSpan>,
    tallies: Mutex<Tallies>,
}

/// The span on which a request's counters are recorded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttributedSpan {
    pub(crate) id: SpanId,
    /// Whether the span was opened for the request by a layer that did not know the route.
    pub(crate) lacks_route: bool,
}

/// A request's use of one pool or of all pools.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Used {
    pub(crate) checkouts: u64,
    pub(crate) queries: u64,
    /// Total time from the start of a checkout to its end, failed checkouts included.
    pub(crate) waited: Duration,
    pub(crate) held: Duration,
    /// The part of the hold time during which the server executed queries.
    pub(crate) busy: Duration,
}

#[derive(Default)]
struct Tallies {
    /// One entry per pool that the request has used; nearly always one.
    books: Vec<(Arc<dyn RequestRecord>, Tally)>,
    /// The use by requests nested in this one, which the pools have already recorded.
    within: Option<Used>,
}

/// A request's use of one pool, and the statements it has sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) used: Used,
    /// The number of times each statement was sent, by the hash of its text.
    statements: HashMap<u64, u32, FixedState>,
    /// Whether a statement was sent more often than the N+1 limit.
    pub(crate) repeated: bool,
}

/// Records the use of a pool by requests that have ended.
pub(crate) trait RequestRecord: Send + Sync {
    /// Records a request that used this pool and has ended.
    fn request_ended(&self, request: &Attribution, tally: &Tally);
}

impl Attribution {
    pub(crate) fn new(method: &'static str, route: Option<Arc<str>>) -> Arc<Self> {
        Arc::new(Self {
            method,
            route,
            number: REQUESTS.fetch_add(1, Relaxed).max(1),
            span: OnceLock::new(),
            tallies: Mutex::default(),
        })
    }

    /// Returns the request that the current task belongs to; `None` outside a request.
    pub(crate) fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }

    /// Polls a future as part of this request.
    pub(crate) fn scope<F: Future>(self: Arc<Self>, future: F) -> TaskLocalFuture<Arc<Self>, F> {
        CURRENT.scope(self, future)
    }

    /// Runs a closure as part of this request.
    pub(crate) fn sync_scope<T>(self: Arc<Self>, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, work)
    }

    /// Changes the request's counters of a pool. Creates them on first use.
    pub(crate) fn tally<B>(&self, book: &Arc<B>, change: impl FnOnce(&mut Tally))
    where
        B: RequestRecord + 'static,
    {
        let mut tallies = self.tallies();
        match tallies.find(Arc::as_ptr(book)) {
            Some(tally) => change(tally),
            None => {
                let mut tally = Tally::default();
                change(&mut tally);
                let book = Arc::clone(book) as Arc<dyn RequestRecord>;
                tallies.books.push((book, tally));
            }
        }
    }

    /// Changes the request's counters of a pool. Returns `None` if it has none, as after its end.
    pub(crate) fn update<B: ?Sized, T>(
        &self,
        book: *const B,
        change: impl FnOnce(&mut Tally) -> T,
    ) -> Option<T> {
        self.tallies().find(book).map(change)
    }

    /// Returns the request's use so far; `None` if it has used no pool.
    pub(crate) fn used(&self) -> Option<Used> {
        self.tallies().sum()
    }

    /// Adds the use of a request nested in this one, which has ended.
    pub(crate) fn add_within(&self, used: &Used) {
        let within = &mut self.tallies().within;
        *within = Some(within.unwrap_or_default().plus(*used));
    }

    /// Ends the request: reports its use to each pool, and returns the sum over all pools.
    ///
    /// Work that outlives the request starts new counters, which are never read.
    pub(crate) fn finish(&self) -> Option<Used> {
        let tallies = std::mem::take(&mut *self.tallies());
        for (book, tally) in &tallies.books {
            book.request_ended(self, tally);
        }
        tallies.sum()
    }

    fn tallies(&self) -> MutexGuard<'_, Tallies> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tallies {
    fn find<B: ?Sized>(&mut self, book: *const B) -> Option<&mut Tally> {
        let mut books = self.books.iter_mut();
        let found = books.find(|(other, _)| std::ptr::addr_eq(Arc::as_ptr(other), book));
        found.map(|(_, tally)| tally)
    }

    fn sum(&self) -> Option<Used> {
        let used = self.books.iter().map(|(_, tally)| tally.used);
        used.chain(self.within).reduce(Used::plus)
    }
}

impl Used {
    /// Returns the values in the order of the fields; times are in seconds.
    pub(crate) fn values(&self) -> [f64; 5] {
        [
            self.checkouts as f64,
            self.queries as f64,
            self.waited.as_secs_f64(),
            self.held.as_secs_f64(),
            self.busy.as_secs_f64(),
        ]
    }

    fn plus(mut self, other: Self) -> Self {
        self.checkouts += other.checkouts;
        self.queries += other.queries;
        self.waited += other.waited;
        self.held += other.held;
        self.busy += other.busy;
        self
    }
}

impl Tally {
    /// Counts a statement. Returns the number of times the request has sent it, including this one;
    /// always 1 for statements beyond the limit of distinct ones.
    pub(crate) fn statement(&mut self, hash: u64) -> u32 {
        if self.statements.len() >= STATEMENTS && !self.statements.contains_key(&hash) {
            return 1;
        }
        let count = self.statements.entry(hash).or_default();
        *count += 1;
        *count
    }
}

/// Attributes a spawned task to the request that spawns it: to its route, counters and trace.
///
/// Without it, checkouts in a spawned task are attributed to no route.
///
/// ```
/// # #[tokio::main] async fn main() {
/// tokio::spawn(poolscope::attributed(async {
///     // pool.get() here counts for the request that the spawning handler serves.
/// }));
/// # }
/// ```
pub fn attributed<F: Future>(future: F) -> impl Future<Output = F::Output> + use<F> {
    let request = Attribution::current();
    let context = Context::current();
    async move {
        match request {
            Some(request) => request.scope(future).await,
            None => future.await,
        }
    }
    .with_context(context)
}
