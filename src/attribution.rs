//! Which request a checkout and a query belong to, and what the request has used so far.
//!
//! The request's future is polled with its [`Attribution`] as a task-local value; a checkout looks
//! it up once, and hands it to the connection, so that a query finds it on any thread.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::{FutureExt, SpanId};
use tokio::task::futures::TaskLocalFuture;

use crate::hashed::ByHash;

tokio::task_local! {
    static CURRENT: Arc<Attribution>;
}

/// Requests since the process began.
static REQUESTS: AtomicU32 = AtomicU32::new(1);

/// Distinct statements counted in one request; a request with more is no N+1.
const STATEMENTS: usize = 1000;

/// One request, as the pools see it.
pub(crate) struct Attribution {
    /// The method of the request: one of the known ones, or `_OTHER`.
    pub(crate) method: &'static str,
    /// The template of its path, bounded in number; `None` where there is none.
    pub(crate) route: Option<Arc<str>>,
    /// A number of its own, from 1 on; after four billion requests they come again.
    pub(crate) number: u32,
    /// The span that tells of it, where there is one.
    pub(crate) span: OnceLock<ToldOn>,
    tallies: Mutex<Tallies>,
}

/// The span on which a request's numbers are told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ToldOn {
    pub(crate) id: SpanId,
    /// It was opened for the request, by a layer that did not know its route.
    pub(crate) lacks_route: bool,
}

/// What one request has used, of one pool or of all.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Used {
    pub(crate) checkouts: u64,
    pub(crate) queries: u64,
    /// Time from asking for connections to having them, failures included.
    pub(crate) waited: Duration,
    pub(crate) held: Duration,
    /// Of the time held, what the server was at work.
    pub(crate) busy: Duration,
}

#[derive(Default)]
struct Tallies {
    /// One for each pool that it has used: one, nearly always.
    books: Vec<(Arc<dyn RequestBook>, Tally)>,
    /// What requests inside of this one have used: their books know of it.
    within: Option<Used>,
}

/// What one request has used of one pool, and what it has sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) used: Used,
    /// How often each statement was sent, by the hash of its text.
    statements: ByHash<u32>,
    /// Whether one was sent again and again.
    pub(crate) repeated: bool,
}

/// Where a pool writes down what requests used of it.
pub(crate) trait RequestBook: Send + Sync {
    /// A request has ended that used this pool.
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

    /// The request that the current task works for.
    pub(crate) fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }

    /// Polls a future as part of this request.
    pub(crate) fn scope<F: Future>(self: Arc<Self>, future: F) -> TaskLocalFuture<Arc<Self>, F> {
        CURRENT.scope(self, future)
    }

    /// Does something as part of this request.
    pub(crate) fn sync_scope<T>(self: Arc<Self>, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, work)
    }

    /// Begins to count what this request uses of a pool, if it has not, and changes it.
    pub(crate) fn tally<B>(&self, book: &Arc<B>, change: impl FnOnce(&mut Tally))
    where
        B: RequestBook + 'static,
    {
        let mut tallies = self.tallies();
        match tallies.find(Arc::as_ptr(book)) {
            Some(tally) => change(tally),
            None => {
                let mut tally = Tally::default();
                change(&mut tally);
                let book = Arc::clone(book) as Arc<dyn RequestBook>;
                tallies.books.push((book, tally));
            }
        }
    }

    /// Changes what this request has used of a pool, unless it has ended since.
    pub(crate) fn update<B: ?Sized, T>(
        &self,
        book: *const B,
        change: impl FnOnce(&mut Tally) -> T,
    ) -> Option<T> {
        self.tallies().find(book).map(change)
    }

    /// What it has used so far; nothing, if no pool at all.
    pub(crate) fn used(&self) -> Option<Used> {
        self.tallies().sum()
    }

    /// A request inside of this one has ended.
    pub(crate) fn add_within(&self, used: &Used) {
        self.tallies().within.get_or_insert_default().add(used);
    }

    /// The request has ended: each pool writes down what it has used, and the sum over all pools
    /// comes back. What happens later, in work that outlives the request, is a new beginning that
    /// nobody reads.
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
        if self.books.is_empty() {
            return self.within;
        }
        let mut sum = self.within.unwrap_or_default();
        for (_, tally) in &self.books {
            sum.add(&tally.used);
        }
        Some(sum)
    }
}

impl Used {
    fn add(&mut self, other: &Self) {
        self.checkouts += other.checkouts;
        self.queries += other.queries;
        self.waited += other.waited;
        self.held += other.held;
        self.busy += other.busy;
    }
}

impl Tally {
    /// Counts a statement; says how often it was sent by now.
    pub(crate) fn statement(&mut self, hash: u64) -> u32 {
        if self.statements.len() >= STATEMENTS && !self.statements.contains_key(&hash) {
            return 1;
        }
        let count = self.statements.entry(hash).or_default();
        *count += 1;
        *count
    }
}

/// Keeps a spawned task part of the request that spawns it: its route, its counts, its trace.
///
/// A task of its own is, by itself, nobody's: what it checks out is attributed to no route.
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

impl fmt::Debug for Attribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attribution")
            .field("method", &self.method)
            .field("route", &self.route)
            .finish_non_exhaustive()
    }
}
