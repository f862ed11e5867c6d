//! The dials under way, and the one that goes ahead when dials fail.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::board::Board;
use super::counter::Counter;
use crate::backend::{ConnectError, ConnectErrorKind};

/// Time between two dials to a database that refuses them.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a dial waits for the one that goes ahead.
const PATIENCE: Duration = Duration::from_secs(1);

/// All dials of a pool.
///
/// While they succeed, each goes its own way. After one has failed, one at a time goes ahead, and
/// those that were asked for before it began share its failure: an outage is not dialled by every
/// checkout, and no checkout is told of a failure that is older than itself.
#[derive(Debug)]
pub(super) struct Dials {
    board: Arc<Board>,
    counter: Arc<Counter>,
    begun: AtomicU64,
    under_way: AtomicU32,
    failing: AtomicBool,
    last_failure: Mutex<Option<Failure>>,
    ahead: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone)]
struct Failure {
    error: ConnectError,
    /// Its number among all dials begun.
    number: u64,
    ended: Instant,
}

impl Dials {
    pub(super) fn new(board: Arc<Board>, counter: Arc<Counter>) -> Self {
        Self {
            board,
            counter,
            begun: AtomicU64::new(0),
            under_way: AtomicU32::new(0),
            failing: AtomicBool::new(false),
            last_failure: Mutex::default(),
            ahead: tokio::sync::Mutex::default(),
        }
    }

    /// Dials, or shares the failure of one that was begun after this was asked for.
    pub(super) async fn dial<T>(
        &self,
        open: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<T, ConnectError> {
        let asked = self.begun.load(Ordering::Acquire);
        let _ahead = if self.failing.load(Ordering::Acquire) {
            // Behind a dial that hangs nobody waits for long: the next may succeed at once.
            let ahead = timeout(PATIENCE, self.ahead.lock()).await.ok();
            match self.last_failure() {
                // It has come back meanwhile.
                None => None,
                Some(failure) if failure.number > asked => return Err(failure.error),
                Some(failure) => {
                    sleep_until(failure.ended + PAUSE).await;
                    ahead
                }
            }
        } else {
            None
        };
        let _under_way = UnderWay::new(&self.under_way);
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let outcome = open.await;
        let failure = outcome.as_ref().err();
        self.remember(failure.map(|error| Failure {
            error: error.clone(),
            number,
            ended: Instant::now(),
        }));
        outcome
    }

    /// Whether a checkout does better to wait on, after a failed dial, than to fail: connections
    /// that are out will come back, and where the server only lacks room, so will those that other
    /// dials may yet open.
    pub(super) fn others_may_come(&self, failure: &ConnectError) -> bool {
        let (open, _) = self.counter.read();
        let full = failure.kind() == ConnectErrorKind::TooManyConnections;
        open > 0 || (full && self.under_way.load(Ordering::Acquire) > 0)
    }

    pub(super) fn sink(&self) -> Sink {
        Sink(Arc::clone(&self.board))
    }

    fn last_failure(&self) -> Option<Failure> {
        self.last_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn remember(&self, failure: Option<Failure>) {
        let mut last = self
            .last_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.failing.store(failure.is_some(), Ordering::Release);
        *last = failure;
    }
}

/// Counts a dial for as long as it takes, however it ends.
struct UnderWay<'a>(&'a AtomicU32);

impl<'a> UnderWay<'a> {
    fn new(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Where bb8 tells a failed dial, once it has taken it off its own count: a checkout that was told
/// earlier could ask again and be made to wait for a dial that is over.
#[derive(Debug, Clone)]
pub(super) struct Sink(Arc<Board>);

impl bb8::ErrorSink<ConnectError> for Sink {
    fn sink(&self, error: ConnectError) {
        self.0.fail(error);
    }

    fn boxed_clone(&self) -> Box<dyn bb8::ErrorSink<ConnectError>> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn dials() -> Dials {
        Dials::new(Arc::default(), Arc::default())
    }

    fn error(kind: ConnectErrorKind) -> ConnectError {
        ConnectError::new(kind, "no", None)
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_ask_during_an_outage_share_one_dial() {
        let (dials, dialled) = (dials(), Cell::new(0));
        let refused = || async {
            dialled.set(dialled.get() + 1);
            Err::<(), _>(error(ConnectErrorKind::Unreachable))
        };
        assert!(dials.dial(refused()).await.is_err());
        let all = futures_util::future::join_all((0..50).map(|_| dials.dial(refused()))).await;
        assert!(all.iter().all(Result::is_err));
        assert_eq!(dialled.get(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_told_of_a_failure_older_than_the_question() {
        let dials = dials();
        let refused = async { Err::<(), _>(error(ConnectErrorKind::Unreachable)) };
        assert!(dials.dial(refused).await.is_err());
        // The database is back: the first who asks waits for the pause, and succeeds.
        let start = Instant::now();
        assert!(dials.dial(async { Ok(()) }).await.is_ok());
        assert_eq!(start.elapsed(), PAUSE);
        // From then on nobody waits.
        assert!(dials.dial(async { Ok(()) }).await.is_ok());
        assert_eq!(start.elapsed(), PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn behind_a_dial_that_hangs_nobody_waits_for_long() {
        let dials = dials();
        let refused = async { Err::<(), _>(error(ConnectErrorKind::Unreachable)) };
        assert!(dials.dial(refused).await.is_err());
        let start = Instant::now();
        let hangs = dials.dial(std::future::pending::<Result<(), _>>());
        let next = dials.dial(async { Ok(()) });
        tokio::select! {
            biased;
            _ = hangs => unreachable!("it hangs"),
            next = next => assert!(next.is_ok()),
        }
        assert!(start.elapsed() <= PATIENCE + PAUSE);
    }

    #[test]
    fn what_is_worth_waiting_for() {
        let dials = dials();
        let [refused, full] = [
            ConnectErrorKind::Unreachable,
            ConnectErrorKind::TooManyConnections,
        ]
        .map(error);
        assert!(!dials.others_may_come(&full) && !dials.others_may_come(&refused));
        let other = UnderWay::new(&dials.under_way);
        assert!(dials.others_may_come(&full) && !dials.others_may_come(&refused));
        drop(other);
        let _open = dials.counter.open();
        assert!(dials.others_may_come(&full) && dials.others_may_come(&refused));
    }
}
