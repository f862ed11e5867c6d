//! The monitoring connection: a separate connection to the database, outside the pool.
//!
//! Reports must work exactly when the pool is exhausted or the server is down, so they never queue
//! for a pooled connection. The monitoring connection is opened when first needed, shares one response
//! among all requests within a second, and is closed after a minute without use.
//!
//! A report waits for a short time only, and a slow network needs longer to open a connection. So a
//! request that is late goes on, and the report is made from what is known ([`Known`]).

mod session;

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, Either, select};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use self::session::{Idle, TIMEOUT};
use super::{Activity, ConnectError, ConnectErrorKind};

/// A response younger than this is reused.
const FRESH: Duration = Duration::from_secs(1);

/// Opens the monitoring connection.
pub(crate) type OpenMonitorConnection = Box<
    dyn Fn() -> BoxFuture<'static, Result<Box<dyn MonitorSession>, ConnectError>> + Send + Sync,
>;

/// The monitoring connection, to any kind of database.
pub(crate) trait MonitorSession: Send {
    fn ping(&mut self) -> BoxFuture<'_, Result<(), ConnectError>>;
    fn activity(&mut self) -> BoxFuture<'_, Result<Activity, ConnectError>>;
}

/// The error of a request over the monitoring connection.
#[derive(Debug, Clone)]
pub(crate) struct MonitorError {
    pub(crate) cause: ConnectError,
    /// The time at which the request began. A checkout that succeeded later contradicts the error.
    pub(crate) asked: Instant,
    /// `None` if the request has failed. Otherwise it goes on, and this is what is known meanwhile.
    pub(crate) pending: Option<Box<Known>>,
}

/// What earlier requests have found out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// When the server last answered.
    pub(crate) answered: Option<Instant>,
    /// The last failure, if the server has not answered since, and when its request began.
    pub(crate) failed: Option<(ConnectError, Instant)>,
}

type Answer<T> = Result<Arc<T>, MonitorError>;

/// Sends requests over the monitoring connection and shares their responses.
pub(crate) struct MonitorConnection {
    open: OpenMonitorConnection,
    closed: watch::Sender<bool>,
    known: Mutex<Known>,
    connection: tokio::sync::Mutex<Idle>,
    pings: Mutex<Shared<()>>,
    activities: Mutex<Shared<Activity>>,
}

/// One kind of request: the latest response, and the request in progress.
#[derive(Default)]
struct Shared<T> {
    latest: Option<(Instant, Answer<T>)>,
    under_way: Option<(Instant, watch::Receiver<Option<Answer<T>>>)>,
}

impl MonitorConnection {
    /// The longest time for which a report may wait.
    pub(crate) const TIMEOUT: Duration = TIMEOUT;

    pub(crate) fn new(open: OpenMonitorConnection) -> Arc<Self> {
        Arc::new(Self {
            open,
            closed: watch::Sender::new(false),
            known: Mutex::default(),
            connection: tokio::sync::Mutex::default(),
            pings: Mutex::default(),
            activities: Mutex::default(),
        })
    }

    /// Pings the server. Waits at most `deadline` for the response.
    pub(crate) async fn ping(self: &Arc<Self>, deadline: Duration) -> Answer<()> {
        self.ask(deadline, |monitor| &monitor.pings, |session| session.ping())
            .await
    }

    /// Reads the server's sessions and limits. Waits at most `deadline` for the response.
    pub(crate) async fn activity(self: &Arc<Self>, deadline: Duration) -> Answer<Activity> {
        self.ask(
            deadline,
            |monitor| &monitor.activities,
            |session| session.activity(),
        )
        .await
    }

    async fn ask<T: Send + Sync + 'static>(
        self: &Arc<Self>,
        deadline: Duration,
        shared: fn(&Self) -> &Mutex<Shared<T>>,
        question: for<'a> fn(&'a mut dyn MonitorSession) -> BoxFuture<'a, Result<T, ConnectError>>,
    ) -> Answer<T> {
        let (asked, mut answer) = {
            let mut state = shared(self).lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((at, answer)) = &state.latest
                && at.elapsed() < FRESH
            {
                return answer.clone();
            }
            match &state.under_way {
                // If the task was dropped with its runtime, its sender is dropped too.
                Some((asked, answer)) if answer.has_changed().is_ok() => (*asked, answer.clone()),
                _ => {
                    let (sender, answer) = watch::channel(None);
                    let asked = Instant::now();
                    state.under_way = Some((asked, answer.clone()));
                    // Runs in a separate task, so that a caller that is cancelled does not cancel
                    // the request of the others.
                    tokio::spawn(Arc::clone(self).answer(asked, shared, question, sender));
                    (asked, answer)
                }
            }
        };
        let late = |what: &str, pending| {
            let cause = ConnectError::new(ConnectErrorKind::TimedOut, what, None);
            Err(MonitorError {
                cause,
                asked,
                pending,
            })
        };
        match timeout(deadline, answer.wait_for(Option::is_some)).await {
            Ok(Ok(answer)) => answer.clone().expect("waited for an answer"),
            Ok(Err(_)) => late("the runtime is shutting down", None),
            Err(_) => {
                let known = self.known().clone();
                late(
                    &format!("no answer within {deadline:?}"),
                    Some(Box::new(known)),
                )
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer<T: Send + Sync + 'static>(
        self: Arc<Self>,
        asked: Instant,
        shared: fn(&Self) -> &Mutex<Shared<T>>,
        question: for<'a> fn(&'a mut dyn MonitorSession) -> BoxFuture<'a, Result<T, ConnectError>>,
        sender: watch::Sender<Option<Answer<T>>>,
    ) {
        let mut closed = self.closed.subscribe();
        let closed = async { drop(closed.wait_for(|closed| *closed).await) };
        let answer = match select(pin!(self.question(question)), pin!(closed)).await {
            Either::Left((answer, _)) => answer,
            Either::Right(_) => Err(ConnectError::pool_closed()),
        };
        if let Err(cause) = &answer {
            let mut known = self.known();
            // Not if the server answered with an error.
            if known.answered.is_none_or(|at| at < asked) {
                known.failed = Some((cause.clone(), asked));
            }
        }
        let answer = answer.map(Arc::new);
        let answer = answer.map_err(|cause| MonitorError {
            cause,
            asked,
            pending: None,
        });
        let mut state = shared(&self).lock().unwrap_or_else(PoisonError::into_inner);
        state.latest = Some((Instant::now(), answer.clone()));
        state.under_way = None;
        sender.send_replace(Some(answer));
    }

    /// Closes the monitoring connection and opens no new one from now on.
    pub(crate) async fn close(&self) {
        self.closed.send_replace(true);
        *self.connection.lock().await = Idle::default();
    }
}

impl fmt::Debug for MonitorConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MonitorConnection").finish_non_exhaustive()
    }
}
