//! Limits connection attempts: how many at a time, in which order, and how soon after a refused one.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{MutexGuard, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until, timeout};

use super::connect_errors::ConnectErrors;
use super::connection_counter::Counter;
use crate::backend::{ConnectError, ConnectErrorKind};

/// The time between two connection attempts to a database that refuses them.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a connection attempt waits for the one ahead of it.
const PATIENCE: Duration = Duration::from_secs(1);

/// All connection attempts of a pool.
///
/// At most `max_connecting` run at a time, first come, first served. While they succeed, they run
/// independently. After the server has refused one, only one at a time runs, and the attempts that
/// were requested before it began share its failure. So a refusing server does not get an attempt
/// from every checkout, and no checkout receives a failure older than itself. (An unreachable server
/// opens the [`CircuitBreaker`](super::circuit_breaker::CircuitBreaker).)
#[derive(Debug)]
pub(super) struct ConnectLimiter {
    connect_errors: Arc<ConnectErrors>,
    counter: Arc<Counter>,
    /// tokio's semaphore is a fair queue.
    turns: Semaphore,
    begun: AtomicU64,
    /// The value of `begun` when an attempt last succeeded.
    succeeded: AtomicU64,
    under_way: AtomicU32,
    refused: AtomicBool,
    last_refusal: Mutex<Option<RefusedConnect>>,
    ahead: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone)]
struct RefusedConnect {
    error: ConnectError,
    /// The number of the refused attempt among all attempts.
    number: u64,
    ended: Instant,
}

/// The permission to connect.
#[derive(Debug)]
pub(super) struct ConnectPermit<'a> {
    limiter: &'a ConnectLimiter,
    number: u64,
    pub(super) began: Instant,
    _turn: SemaphorePermit<'a>,
    _ahead: Option<MutexGuard<'a, ()>>,
}

impl ConnectLimiter {
    pub(super) fn new(
        connect_errors: Arc<ConnectErrors>,
        counter: Arc<Counter>,
        most: u32,
    ) -> Self {
        Self {
            connect_errors,
            counter,
            turns: Semaphore::new(most as usize),
            begun: AtomicU64::new(0),
            succeeded: AtomicU64::new(0),
            under_way: AtomicU32::new(0),
            refused: AtomicBool::new(false),
            last_refusal: Mutex::default(),
            ahead: tokio::sync::Mutex::default(),
        }
    }

    /// Waits for the permission to connect.
    ///
    /// # Errors
    /// Returns the refusal of an attempt that began after this call.
    pub(super) async fn permit(&self) -> Result<ConnectPermit<'_>, ConnectError> {
        let asked = self.begun.load(Ordering::Acquire);
        let ahead = if self.refused.load(Ordering::Acquire) {
            // Do not wait long behind an attempt that hangs: the next one may succeed at once.
            let ahead = timeout(PATIENCE, self.ahead.lock()).await.ok();
            match self.last_refusal() {
                // An attempt has succeeded meanwhile.
                None => None,
                Some(refusal) if refusal.number > asked => return Err(refusal.error),
                Some(refusal) => {
                    sleep_until(refusal.ended + PAUSE).await;
                    ahead
                }
            }
        } else {
            None
        };
        let turn = match self.turns.acquire().await {
            Ok(turn) => turn,
            Err(_) => unreachable!("never closed"),
        };
        self.under_way.fetch_add(1, Ordering::AcqRel);
        Ok(ConnectPermit {
            limiter: self,
            number: self.begun.fetch_add(1, Ordering::AcqRel) + 1,
            began: Instant::now(),
            _turn: turn,
            _ahead: ahead,
        })
    }

    /// Returns whether a checkout should keep waiting after a failed connection attempt: connections in
    /// use will be returned and, if the server only has too many connections, other attempts may yet
    /// open one.
    pub(super) fn others_may_come(&self, failure: &ConnectError) -> bool {
        let full = failure.kind() == ConnectErrorKind::TooManyConnections;
        self.any_open() || (full && self.under_way.load(Ordering::Acquire) > 0)
    }

    pub(super) fn any_open(&self) -> bool {
        self.counter.read().0 > 0
    }

    pub(super) fn sink(&self) -> Sink {
        Sink(Arc::clone(&self.connect_errors))
    }

    /// Records that a connection attempt of the pool or of the prober succeeded.
    pub(super) fn succeeded(&self) {
        self.succeeded
            .fetch_max(self.begun.load(Ordering::Acquire), Ordering::AcqRel);
        self.remember(None);
    }

    /// Records that the server refused a connection attempt.
    pub(super) fn refused(&self, error: ConnectError) {
        self.remember(Some(RefusedConnect {
            error,
            number: self.begun.fetch_add(1, Ordering::AcqRel) + 1,
            ended: Instant::now(),
        }));
    }

    fn last_refusal(&self) -> Option<RefusedConnect> {
        self.last_refusal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn remember(&self, refusal: Option<RefusedConnect>) {
        let mut last = self
            .last_refusal
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.refused.store(refusal.is_some(), Ordering::Release);
        *last = refusal;
    }
}

impl ConnectPermit<'_> {
    /// Records the result of the attempt. Returns true if the database is unreachable and no attempt
    /// has succeeded since this one began.
    pub(super) fn ended(self, failure: Option<&ConnectError>) -> bool {
        match failure {
            None => {
                self.limiter.succeeded();
                false
            }
            Some(error) if error.is_absence() => {
                self.limiter.succeeded.load(Ordering::Acquire) < self.number
            }
            Some(error) => {
                self.limiter.remember(Some(RefusedConnect {
                    error: error.clone(),
                    number: self.number,
                    ended: Instant::now(),
                }));
                false
            }
        }
    }
}

/// Ends the attempt, also if its task is cancelled.
impl Drop for ConnectPermit<'_> {
    fn drop(&mut self) {
        self.limiter.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Receives connect errors from bb8 after bb8 has decremented its own count. A checkout that got the
/// error earlier could ask bb8 again and wait for an attempt that is over.
#[derive(Debug, Clone)]
pub(super) struct Sink(Arc<ConnectErrors>);

impl bb8::ErrorSink<ConnectError> for Sink {
    fn sink(&self, error: ConnectError) {
        if !error.is_unheard() {
            self.0.fail(error);
        }
    }

    fn boxed_clone(&self) -> Box<dyn bb8::ErrorSink<ConnectError>> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::cell::Cell;

    fn limiter(most: u32) -> ConnectLimiter {
        ConnectLimiter::new(Arc::default(), Arc::default(), most)
    }

    fn error(kind: ConnectErrorKind) -> ConnectError {
        ConnectError::new(kind, "no", None)
    }

    async fn dial<T>(
        limiter: &ConnectLimiter,
        open: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<T, ConnectError> {
        let permit = limiter.permit().await?;
        let opened = open.await;
        permit.ended(opened.as_ref().err());
        opened
    }

    #[tokio::test(start_paused = true)]
    async fn requests_to_a_refusing_server_share_one_attempt() {
        let (limiter, dialled) = (limiter(8), Cell::new(0));
        let refused = || async {
            dialled.set(dialled.get() + 1);
            Err::<(), _>(error(ConnectErrorKind::Authentication))
        };
        assert!(dial(&limiter, refused()).await.is_err());
        let all = futures_util::future::join_all((0..50).map(|_| dial(&limiter, refused()))).await;
        assert!(all.iter().all(Result::is_err));
        assert_eq!(dialled.get(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn no_request_gets_a_failure_older_than_itself() {
        let limiter = limiter(8);
        let refused = async { Err::<(), _>(error(ConnectErrorKind::TooManyConnections)) };
        assert!(dial(&limiter, refused).await.is_err());
        // The server accepts connections again: the first request waits for the pause and succeeds.
        let start = Instant::now();
        assert!(dial(&limiter, async { Ok(()) }).await.is_ok());
        assert_eq!(start.elapsed(), PAUSE);
        // Later requests do not wait.
        assert!(dial(&limiter, async { Ok(()) }).await.is_ok());
        assert_eq!(start.elapsed(), PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_behind_a_hanging_attempt_is_limited() {
        let limiter = limiter(8);
        let refused = async { Err::<(), _>(error(ConnectErrorKind::Database)) };
        assert!(dial(&limiter, refused).await.is_err());
        let start = Instant::now();
        let hangs = dial(&limiter, std::future::pending::<Result<(), _>>());
        let next = dial(&limiter, async { Ok(()) });
        tokio::select! {
            biased;
            _ = hangs => unreachable!("the attempt hangs"),
            next = next => assert!(next.is_ok()),
        }
        assert!(start.elapsed() <= PATIENCE + PAUSE);
    }

    #[tokio::test]
    async fn attempts_are_limited_and_first_come_first_served() {
        let limiter = limiter(2);
        let first = limiter.permit().await.unwrap();
        let second = limiter.permit().await.unwrap();
        let mut third = Box::pin(limiter.permit());
        let mut fourth = Box::pin(limiter.permit());
        assert!(third.as_mut().now_or_never().is_none());
        assert!(fourth.as_mut().now_or_never().is_none());
        first.ended(None);
        assert!(fourth.as_mut().now_or_never().is_none());
        let third = third.now_or_never().unwrap().unwrap();
        // A cancelled attempt frees its slot too.
        drop(second);
        let fourth = fourth.now_or_never().unwrap().unwrap();
        drop((third, fourth));
        assert_eq!(limiter.under_way.load(Ordering::Acquire), 0);
    }

    #[tokio::test]
    async fn an_unreachable_database_counts_unless_an_attempt_has_succeeded_since() {
        let limiter = limiter(8);
        let gone = error(ConnectErrorKind::TimedOut);
        let (hangs, luckier) = (
            limiter.permit().await.unwrap(),
            limiter.permit().await.unwrap(),
        );
        luckier.ended(None);
        let later = limiter.permit().await.unwrap();
        assert!(!hangs.ended(Some(&gone)));
        assert!(later.ended(Some(&gone)));
        let refused = limiter.permit().await.unwrap();
        assert!(!refused.ended(Some(&error(ConnectErrorKind::Authentication))));
    }

    #[tokio::test]
    async fn a_checkout_waits_on_while_others_may_provide_a_connection() {
        let limiter = limiter(8);
        let [refused, full] = [
            ConnectErrorKind::Unreachable,
            ConnectErrorKind::TooManyConnections,
        ]
        .map(error);
        assert!(!limiter.others_may_come(&full) && !limiter.others_may_come(&refused));
        let other = limiter.permit().await.unwrap();
        assert!(limiter.others_may_come(&full) && !limiter.others_may_come(&refused));
        drop(other);
        let _open = limiter.counter.place(1).unwrap().opened();
        assert!(limiter.others_may_come(&full) && limiter.others_may_come(&refused));
    }
}
