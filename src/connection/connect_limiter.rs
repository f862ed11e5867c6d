//! Limits connection attempts: how many at a time, in which order, and how soon after a refused one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::connect_attempts::{
    AttemptVerdict, Attempts, LOGIN_PAUSE, PATIENCE, RefusedConnect, is_login,
};
use super::connect_errors::ConnectErrors;
use super::connection_counter::Counter;
use crate::backend::{ConnectError, ConnectErrorKind};

/// All connection attempts of a pool.
///
/// At most `max_connecting` run at a time, first come, first served. The first of several runs alone,
/// for a second at most, because the server may refuse it; once it has succeeded, the others run
/// independently. After the server has refused one, only one at a time runs, and the
/// attempts that were requested before it began share its failure. So a refusing server does not get
/// an attempt from every checkout, and at most one login a second fails. (An unreachable server
/// opens the [`CircuitBreaker`](super::circuit_breaker::CircuitBreaker).)
#[derive(Debug)]
pub(super) struct ConnectLimiter {
    connect_errors: Arc<ConnectErrors>,
    counter: Arc<Counter>,
    /// tokio's semaphore is a fair queue.
    turns: Semaphore,
    state: Mutex<Attempts>,
    news: watch::Sender<()>,
}

/// The permission to connect.
#[derive(Debug)]
pub(super) struct ConnectPermit<'a> {
    limiter: &'a ConnectLimiter,
    number: u64,
    pub(super) began: Instant,
    _turn: Option<SemaphorePermit<'a>>,
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
            state: Mutex::default(),
            news: watch::channel(()).0,
        }
    }

    fn state(&self) -> MutexGuard<'_, Attempts> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the permission to connect.
    ///
    /// # Errors
    /// Returns the refusal of an attempt that began after this call, or of the last login if there is
    /// none soon.
    pub(super) async fn permit(&self) -> Result<ConnectPermit<'_>, ConnectError> {
        self.permitted(Some(&self.turns)).await
    }

    /// Waits for the permission to connect outside the pool: for the monitoring connection, or to
    /// cancel a query. It takes no turn of the pool.
    ///
    /// # Errors
    /// The same as of [`permit`](Self::permit).
    pub(super) async fn permit_outside(&self) -> Result<ConnectPermit<'_>, ConnectError> {
        self.permitted(None).await
    }

    async fn permitted<'a>(
        &'a self,
        turns: Option<&'a Semaphore>,
    ) -> Result<ConnectPermit<'a>, ConnectError> {
        let mut news = self.news.subscribe();
        let (asked, since) = (self.state().begun, Instant::now());
        loop {
            let verdict = self.state().verdict(asked, since);
            match verdict {
                AttemptVerdict::Connect => {}
                AttemptVerdict::Refused(error) => return Err(error),
                AttemptVerdict::Wait(until) => {
                    drop(timeout_at(until, news.changed()).await);
                    continue;
                }
            }
            let turn = match turns {
                None => None,
                Some(turns) => match turns.acquire().await {
                    Ok(turn) => Some(turn),
                    Err(_) => unreachable!("never closed"),
                },
            };
            // Another attempt may have begun or failed before this turn came.
            let mut state = self.state();
            if let AttemptVerdict::Connect = state.verdict(asked, since) {
                let began = Instant::now();
                return Ok(ConnectPermit {
                    limiter: self,
                    number: state.begin(began),
                    began,
                    _turn: turn,
                });
            }
        }
    }

    /// Returns whether a checkout that has waited since `began` should keep waiting after a failed
    /// connection attempt: connections in use will be returned and, if the server only has too many
    /// connections, other attempts may yet open one. A checkout that needs a connection which the
    /// server does not grant waits no longer than [`PATIENCE`].
    pub(super) fn others_may_come(&self, failure: &ConnectError, began: Instant) -> bool {
        let full = failure.kind() == ConnectErrorKind::TooManyConnections;
        let lasts = failure.is_lasting() && began.elapsed() >= PATIENCE;
        (self.any_open() && !lasts) || (full && self.state().under_way > 0)
    }

    pub(super) fn any_open(&self) -> bool {
        self.counter.read().0 > 0
    }

    /// Waits until a checkout can no longer expect a connection, because the server has refused a login
    /// since a second before `began`. Never resolves before `until`.
    pub(super) async fn login_refused(&self, began: Instant, until: Instant) -> ConnectError {
        let mut news = self.news.subscribe();
        sleep_until(until).await;
        loop {
            let refusal = self.state().last_refusal.clone();
            match refusal {
                Some(RefusedConnect { error, ended, .. })
                    if is_login(&error) && ended + LOGIN_PAUSE > began =>
                {
                    return error;
                }
                _ => drop(news.changed().await),
            }
        }
    }

    /// Waits until a login may fail again.
    pub(super) async fn login_due(&self) {
        let refusal = self.state().last_refusal.clone();
        if let Some(refusal) = refusal.filter(|refusal| is_login(&refusal.error)) {
            sleep_until(refusal.ended + LOGIN_PAUSE).await;
        }
    }

    /// Returns whether the server refused the last attempt.
    pub(super) fn is_refusing(&self) -> bool {
        self.state().last_refusal.is_some()
    }

    pub(super) fn sink(&self) -> Sink {
        Sink(Arc::clone(&self.connect_errors))
    }

    /// Records that a connection attempt of the pool or of the prober succeeded.
    pub(super) fn succeeded(&self) {
        self.state().succeed();
        self.news.send_replace(());
    }

    /// Records that the server refused a connection attempt.
    pub(super) fn refused(&self, error: ConnectError) {
        let mut state = self.state();
        state.begun += 1;
        let number = state.begun;
        state.refuse(error, number);
        drop(state);
        self.news.send_replace(());
    }
}

impl ConnectPermit<'_> {
    /// Records the result of the attempt. Returns true if the database is unreachable and no attempt
    /// has succeeded since this one began.
    pub(super) fn ended(self, failure: Option<&ConnectError>) -> bool {
        let mut state = self.limiter.state();
        match failure {
            None => state.succeed(),
            Some(error) if error.is_absence() => return state.succeeded < self.number,
            Some(error) => state.refuse(error.clone(), self.number),
        }
        false
    }

    /// Records the result of an attempt outside the pool. It concerns the pool only if it shows whether
    /// the server accepts the login.
    pub(super) fn ended_outside(self, failure: Option<&ConnectError>) {
        if failure.is_none_or(is_login) {
            self.ended(failure);
        }
    }
}

/// Ends the attempt, also if its task is cancelled.
impl Drop for ConnectPermit<'_> {
    fn drop(&mut self) {
        self.limiter.state().under_way -= 1;
        self.limiter.news.send_replace(());
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
    use std::cell::Cell;
    use std::time::Duration;

    use futures_util::FutureExt;
    use futures_util::future::join_all;
    use tokio::time::sleep;

    use super::super::connect_attempts::PAUSE;
    use super::*;

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
            Err::<(), _>(error(ConnectErrorKind::Database))
        };
        assert!(dial(&limiter, refused()).await.is_err());
        let all = join_all((0..50).map(|_| dial(&limiter, refused()))).await;
        assert!(all.iter().all(Result::is_err));
        assert_eq!(dialled.get(), 2);
    }

    /// Requests come all the time, from the pool and from outside it.
    #[tokio::test(start_paused = true)]
    async fn at_most_one_login_a_second_fails_and_each_request_is_answered_soon() {
        let (limiter, failed) = (limiter(8), Cell::new(0));
        let login = async |outside| {
            let asked = Instant::now();
            let permit = match outside {
                true => limiter.permit_outside().await,
                false => limiter.permit().await,
            };
            if let Ok(permit) = permit {
                failed.set(failed.get() + 1);
                sleep(Duration::from_millis(20)).await;
                let refused = error(ConnectErrorKind::Authentication);
                match outside {
                    true => permit.ended_outside(Some(&refused)),
                    false => drop(permit.ended(Some(&refused))),
                }
            }
            assert!(asked.elapsed() <= PATIENCE + Duration::from_millis(20));
        };
        let login = &login;
        let requests = (0..20).flat_map(|second| {
            (0..50).map(move |number| async move {
                sleep(Duration::from_millis(second * 500 + number % 5)).await;
                login(number % 10 == 0).await;
            })
        });
        join_all(requests).await;
        // Ten seconds.
        assert!((8..=11).contains(&failed.get()), "{}", failed.get());

        // The right password is found a second later, and no request waits from then on.
        sleep(LOGIN_PAUSE).await;
        assert!(dial(&limiter, async { Ok(()) }).await.is_ok());
        let start = Instant::now();
        let all = join_all((0..50).map(|_| dial(&limiter, async { Ok(()) }))).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_login_runs_alone_for_a_second() {
        let limiter = limiter(8);
        let start = Instant::now();
        let slow = async |login: Duration| {
            dial(&limiter, async {
                sleep(login).await;
                Ok(())
            })
            .await
            .unwrap();
            start.elapsed()
        };
        let all = join_all((0..4).map(|_| slow(Duration::from_millis(300)))).await;
        assert_eq!(all[0], Duration::from_millis(300));
        assert!(
            all[1..]
                .iter()
                .all(|took| *took == Duration::from_millis(600))
        );
        sleep(LOGIN_PAUSE).await;
        let slow = limiter.permit().await.unwrap();
        let next = limiter.permit().await.unwrap();
        assert_eq!(next.began - slow.began, LOGIN_PAUSE);
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
        assert!(start.elapsed() <= LOGIN_PAUSE + PAUSE);
    }

    #[tokio::test]
    async fn attempts_are_limited_and_first_come_first_served() {
        let limiter = limiter(2);
        let leader = limiter.permit().await.unwrap();
        let mut all: Vec<_> = (0..4).map(|_| Box::pin(limiter.permit())).collect();
        for waiting in &mut all {
            assert!(
                waiting.as_mut().now_or_never().is_none(),
                "the first runs alone"
            );
        }
        leader.ended(None);
        let mut fourth = all.pop().unwrap();
        let mut third = all.pop().unwrap();
        let second = all.pop().unwrap();
        let first = all.pop().unwrap().now_or_never().unwrap().unwrap();
        let second = second.now_or_never().unwrap().unwrap();
        assert!(third.as_mut().now_or_never().is_none());
        assert!(fourth.as_mut().now_or_never().is_none());
        first.ended(None);
        assert!(fourth.as_mut().now_or_never().is_none());
        let third = third.now_or_never().unwrap().unwrap();
        // A cancelled attempt frees its slot too.
        drop(second);
        let fourth = fourth.now_or_never().unwrap().unwrap();
        drop((third, fourth));
        assert_eq!(limiter.state().under_way, 0);
    }

    #[tokio::test(start_paused = true)]
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
        let began = Instant::now();
        assert!(
            !limiter.others_may_come(&full, began) && !limiter.others_may_come(&refused, began)
        );
        let other = limiter.permit().await.unwrap();
        assert!(limiter.others_may_come(&full, began) && !limiter.others_may_come(&refused, began));
        drop(other);
        let _open = limiter.counter.place(1).unwrap().opened();
        assert!(limiter.others_may_come(&full, began) && limiter.others_may_come(&refused, began));
    }
}
