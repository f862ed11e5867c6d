//! The dials under way: how many at a time, in which order, and how soon after one that was refused.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{MutexGuard, Semaphore, SemaphorePermit};
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
/// No more than `max_connecting` at a time, first come, first served. While they succeed, each goes
/// its own way. After a server has refused one, one at a time goes ahead, and those that were asked
/// for before it began share its failure: a server that refuses is not dialled by every checkout,
/// and no checkout is told of a failure that is older than itself. (Where no server is there,
/// that is an [`Outage`](super::outage::Outage).)
#[derive(Debug)]
pub(super) struct Dials {
    board: Arc<Board>,
    counter: Arc<Counter>,
    /// tokio's is a queue, which nobody overtakes.
    turns: Semaphore,
    begun: AtomicU64,
    /// How many had begun when one succeeded last.
    succeeded: AtomicU64,
    under_way: AtomicU32,
    refused: AtomicBool,
    last_refusal: Mutex<Option<Refusal>>,
    ahead: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone)]
struct Refusal {
    error: ConnectError,
    /// Its number among all dials begun.
    number: u64,
    ended: Instant,
}

/// The leave to dial.
#[derive(Debug)]
pub(super) struct Leave<'a> {
    dials: &'a Dials,
    number: u64,
    pub(super) began: Instant,
    _turn: SemaphorePermit<'a>,
    _ahead: Option<MutexGuard<'a, ()>>,
}

impl Dials {
    pub(super) fn new(board: Arc<Board>, counter: Arc<Counter>, most: u32) -> Self {
        Self {
            board,
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

    /// Waits for the leave to dial; or shares the refusal of a dial that was begun after this was
    /// asked for.
    pub(super) async fn leave(&self) -> Result<Leave<'_>, ConnectError> {
        let asked = self.begun.load(Ordering::Acquire);
        let ahead = if self.refused.load(Ordering::Acquire) {
            // Behind a dial that hangs nobody waits for long: the next may succeed at once.
            let ahead = timeout(PATIENCE, self.ahead.lock()).await.ok();
            match self.last_refusal() {
                // It lets us in meanwhile.
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
        Ok(Leave {
            dials: self,
            number: self.begun.fetch_add(1, Ordering::AcqRel) + 1,
            began: Instant::now(),
            _turn: turn,
            _ahead: ahead,
        })
    }

    /// Whether a checkout does better to wait on, after a failed dial, than to fail: connections
    /// that are out will come back, and where the server only lacks room, so will those that other
    /// dials may yet open.
    pub(super) fn others_may_come(&self, failure: &ConnectError) -> bool {
        let full = failure.kind() == ConnectErrorKind::TooManyConnections;
        self.any_open() || (full && self.under_way.load(Ordering::Acquire) > 0)
    }

    pub(super) fn any_open(&self) -> bool {
        self.counter.read().0 > 0
    }

    pub(super) fn sink(&self) -> Sink {
        Sink(Arc::clone(&self.board))
    }

    /// A dial has succeeded, whoever began it.
    pub(super) fn succeeded(&self) {
        self.succeeded
            .fetch_max(self.begun.load(Ordering::Acquire), Ordering::AcqRel);
        self.remember(None);
    }

    /// A dial was refused, whoever began it.
    pub(super) fn refused(&self, error: ConnectError) {
        self.remember(Some(Refusal {
            error,
            number: self.begun.fetch_add(1, Ordering::AcqRel) + 1,
            ended: Instant::now(),
        }));
    }

    fn last_refusal(&self) -> Option<Refusal> {
        self.last_refusal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn remember(&self, refusal: Option<Refusal>) {
        let mut last = self
            .last_refusal
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.refused.store(refusal.is_some(), Ordering::Release);
        *last = refusal;
    }
}

impl Leave<'_> {
    /// What has become of the dial. True if it says that the database is not there, and no dial has
    /// succeeded since it began.
    pub(super) fn ended(self, failure: Option<&ConnectError>) -> bool {
        match failure {
            None => {
                self.dials.succeeded();
                false
            }
            Some(error) if error.is_absence() => {
                self.dials.succeeded.load(Ordering::Acquire) < self.number
            }
            Some(error) => {
                self.dials.remember(Some(Refusal {
                    error: error.clone(),
                    number: self.number,
                    ended: Instant::now(),
                }));
                false
            }
        }
    }
}

/// However it ends.
impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.dials.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Where bb8 tells a failed dial, once it has taken it off its own count: a checkout that was told
/// earlier could ask again and be made to wait for a dial that is over.
#[derive(Debug, Clone)]
pub(super) struct Sink(Arc<Board>);

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

    fn dials(most: u32) -> Dials {
        Dials::new(Arc::default(), Arc::default(), most)
    }

    fn error(kind: ConnectErrorKind) -> ConnectError {
        ConnectError::new(kind, "no", None)
    }

    async fn dial<T>(
        dials: &Dials,
        open: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<T, ConnectError> {
        let leave = dials.leave().await?;
        let opened = open.await;
        leave.ended(opened.as_ref().err());
        opened
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_ask_a_server_that_refuses_share_one_dial() {
        let (dials, dialled) = (dials(8), Cell::new(0));
        let refused = || async {
            dialled.set(dialled.get() + 1);
            Err::<(), _>(error(ConnectErrorKind::Authentication))
        };
        assert!(dial(&dials, refused()).await.is_err());
        let all = futures_util::future::join_all((0..50).map(|_| dial(&dials, refused()))).await;
        assert!(all.iter().all(Result::is_err));
        assert_eq!(dialled.get(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_told_of_a_failure_older_than_the_question() {
        let dials = dials(8);
        let refused = async { Err::<(), _>(error(ConnectErrorKind::TooManyConnections)) };
        assert!(dial(&dials, refused).await.is_err());
        // The server has room again: the first who asks waits for the pause, and succeeds.
        let start = Instant::now();
        assert!(dial(&dials, async { Ok(()) }).await.is_ok());
        assert_eq!(start.elapsed(), PAUSE);
        // From then on nobody waits.
        assert!(dial(&dials, async { Ok(()) }).await.is_ok());
        assert_eq!(start.elapsed(), PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn behind_a_dial_that_hangs_nobody_waits_for_long() {
        let dials = dials(8);
        let refused = async { Err::<(), _>(error(ConnectErrorKind::Database)) };
        assert!(dial(&dials, refused).await.is_err());
        let start = Instant::now();
        let hangs = dial(&dials, std::future::pending::<Result<(), _>>());
        let next = dial(&dials, async { Ok(()) });
        tokio::select! {
            biased;
            _ = hangs => unreachable!("it hangs"),
            next = next => assert!(next.is_ok()),
        }
        assert!(start.elapsed() <= PATIENCE + PAUSE);
    }

    #[tokio::test]
    async fn so_many_at_a_time_first_come_first_served() {
        let dials = dials(2);
        let first = dials.leave().await.unwrap();
        let second = dials.leave().await.unwrap();
        let mut third = Box::pin(dials.leave());
        let mut fourth = Box::pin(dials.leave());
        assert!(third.as_mut().now_or_never().is_none());
        assert!(fourth.as_mut().now_or_never().is_none());
        first.ended(None);
        assert!(fourth.as_mut().now_or_never().is_none());
        let third = third.now_or_never().unwrap().unwrap();
        // Dropped half-way, it makes room as well.
        drop(second);
        let fourth = fourth.now_or_never().unwrap().unwrap();
        drop((third, fourth));
        assert_eq!(dials.under_way.load(Ordering::Acquire), 0);
    }

    #[tokio::test]
    async fn an_absence_is_news_unless_a_dial_has_succeeded_since() {
        let dials = dials(8);
        let gone = error(ConnectErrorKind::TimedOut);
        let (hangs, luckier) = (dials.leave().await.unwrap(), dials.leave().await.unwrap());
        luckier.ended(None);
        let later = dials.leave().await.unwrap();
        assert!(!hangs.ended(Some(&gone)));
        assert!(later.ended(Some(&gone)));
        let refused = dials.leave().await.unwrap();
        assert!(!refused.ended(Some(&error(ConnectErrorKind::Authentication))));
    }

    #[tokio::test]
    async fn what_is_worth_waiting_for() {
        let dials = dials(8);
        let [refused, full] = [
            ConnectErrorKind::Unreachable,
            ConnectErrorKind::TooManyConnections,
        ]
        .map(error);
        assert!(!dials.others_may_come(&full) && !dials.others_may_come(&refused));
        let other = dials.leave().await.unwrap();
        assert!(dials.others_may_come(&full) && !dials.others_may_come(&refused));
        drop(other);
        let _open = dials.counter.place(1).unwrap().opened();
        assert!(dials.others_may_come(&full) && dials.others_may_come(&refused));
    }
}
