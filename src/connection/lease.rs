//! A connection taken out of a pool of ours, and the care taken of it before it is handed out.

use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{Either, poll_fn, select};
use tokio::time::{Instant, timeout};

use super::care::{Care, CareSettings};
use super::line::Place;
use super::manager::Manager;
use super::own::OwnCare;
use super::service::Shared;
use crate::backend::{Backend, ConnectError};
use crate::checkout::{Checkout, ConnectionFacts, Held};
use crate::error::PoolError;
use crate::lifecycle::CloseReason;
use crate::phase::{Phase, during};

/// After this, a checkout that still waits asks bb8 again, which dials if nothing is under way.
const REDIAL: Duration = Duration::from_millis(200);

/// The bottom guard: a connection of bb8's that derefs to diesel's.
pub struct Lease<C: Backend>(bb8::PooledConnection<'static, Manager<C>>);

/// What has to be done before a connection is handed out.
enum Need {
    Nothing,
    /// The server is about to answer something, such as the closing of a statement.
    Quiet,
    Ping,
    Replace(CloseReason),
}

/// What came of a probe; a connection that is not fit is closed.
pub(super) enum Probed<C: Backend> {
    Fit(Lease<C>),
    Unfit,
    /// There was no answer in time.
    Hung,
}

/// What bb8 answers.
type Got<C> = Result<bb8::PooledConnection<'static, Manager<C>>, bb8::RunError<ConnectError>>;

/// What a checkout that had to wait has to go on with.
enum Next<C: Backend> {
    Got(Got<C>),
    /// From one who has it to give away.
    Handed(Lease<C>),
    /// Time to ask again.
    Nothing,
}

impl<C: Backend> Lease<C> {
    /// An idle connection that is fit for use, if there is one: nothing is allocated to wait for it. Else
    /// the one that has to be cared for first.
    pub(super) fn at_hand(
        pool: &Shared<Manager<C>>,
        cx: &mut Context<'_>,
    ) -> Result<Self, Option<Self>> {
        let own = &pool.care;
        // Who has to wait for bb8 asks it only once: it counts who asks.
        if !own.care.counter.has_idle() {
            return Err(None);
        }
        let Poll::Ready(Ok(connection)) = pin!(pool.pool.get_owned()).poll(cx) else {
            return Err(None);
        };
        let mut lease = own.line.offer(None, Self::taken(connection)).ok_or(None)?;
        match lease.need(&own.care) {
            Need::Nothing => Ok(lease),
            _ => Err(Some(lease)),
        }
    }

    /// A connection fit for use: young enough, known to be alive, or just probed. The first that comes
    /// into question may be there already.
    pub(super) async fn checkout(
        pool: Arc<Shared<Manager<C>>>,
        checkout: Checkout,
        mut first: Option<Self>,
    ) -> Result<Self, PoolError> {
        let own = &pool.care;
        let mut hung = false;
        loop {
            let mut lease = match first.take() {
                Some(lease) => lease,
                None => {
                    let taking = Self::take(&pool.pool, own, checkout);
                    during(Phase::Connecting, taking).await?
                }
            };
            match lease.need(&own.care) {
                Need::Nothing => return Ok(lease),
                Need::Replace(reason) => lease.retire(reason),
                // One has not answered at all: what is as old is not asked too, one after the other.
                Need::Ping if hung => lease.retire(CloseReason::PingFailed),
                need => {
                    // In a task of its own: a probe that is not waited for to its end still tells
                    // whether the connection is fit, and SQLite's may not be dropped half-way on a
                    // current-thread runtime. Where the runtime is over the task is dropped at once,
                    // and the connection with it.
                    lease.0.probing = true;
                    let ping = matches!(need, Need::Ping);
                    let probed = Self::probed(lease, Arc::clone(own), ping);
                    let probing = own.care.runtime().spawn(probed);
                    if !checkout.waits() {
                        continue;
                    }
                    match during(Phase::Pinging, probing).await {
                        Ok(Probed::Fit(lease)) => return Ok(lease),
                        Ok(Probed::Hung) => hung = true,
                        // The connection is gone: the next.
                        Ok(Probed::Unfit) | Err(_) => {}
                    }
                }
            }
        }
    }

    /// An idle connection, or the next that comes back or is opened, or the reason why none is.
    async fn take(
        pool: &bb8::Pool<Manager<C>>,
        own: &Arc<OwnCare<C>>,
        checkout: Checkout,
    ) -> Result<Self, PoolError> {
        let (mut asked, mut place) = (None, None);
        loop {
            let since = own.care.board.failures();
            let mut get = pin!(pool.get_owned());
            let first = poll_fn(|cx| Poll::Ready(get.as_mut().poll(cx))).await;
            let next = match first {
                Poll::Ready(got) => Next::Got(got),
                Poll::Pending => {
                    let asked = *asked.get_or_insert_with(|| checkout.asked());
                    let place = place.get_or_insert_with(|| own.line.join());
                    // What waiting takes is larger than all the rest, which is moved and allocated for
                    // each checkout.
                    Box::pin(Self::next(get, own, since, asked, place)).await?
                }
            };
            let lease = match next {
                Next::Got(Ok(connection)) => Self::taken(connection),
                Next::Got(Err(bb8::RunError::User(error))) => {
                    return Err(PoolError::ConnectFailed(error));
                }
                Next::Got(Err(bb8::RunError::TimedOut)) => {
                    return Err(PoolError::timed_out(Duration::ZERO));
                }
                Next::Handed(lease) => return Ok(lease),
                Next::Nothing => continue,
            };
            // Whoever waits for longer goes first.
            if let Some(lease) = own.line.offer(place.as_ref(), lease) {
                return Ok(lease);
            }
        }
    }

    /// What comes first, where none is idle: of bb8, of the line, or the news that none will come.
    async fn next(
        get: Pin<&mut impl Future<Output = Got<C>>>,
        own: &Arc<OwnCare<C>>,
        since: u64,
        asked: Instant,
        place: &mut Place<'_, Self>,
    ) -> Result<Next<C>, PoolError> {
        let care = &own.care;
        let mut ticket = care.board.ticket(since);
        let mut failed = pin!(ticket.failed());
        let mut hopeless = pin!(own.outage.hopeless(asked));
        let failed = select(failed.as_mut(), hopeless.as_mut());
        let mut handed = pin!(place.handed());
        let got = select(get, handed.as_mut());
        // Bounded: the dial that was this checkout's may have served another, whose own has failed.
        let got = match timeout(REDIAL, select(got, failed)).await {
            Err(_) => {
                own.dial_if_nobody_does();
                return Ok(Next::Nothing);
            }
            Ok(Either::Left((got, _))) => got,
            Ok(Either::Right(_)) if care.is_closed() => return Err(PoolError::Closed),
            Ok(Either::Right((failure, got))) => {
                let error = failure.factor_first().0;
                if !own.others_may_come(&error) {
                    return Err(PoolError::ConnectFailed(error));
                }
                // The next that comes back; or, if none does soon, another dial.
                match timeout(REDIAL, got).await {
                    Ok(got) => got,
                    Err(_) => return Ok(Next::Nothing),
                }
            }
        };
        Ok(match got {
            Either::Left((got, _)) => Next::Got(got),
            Either::Right((lease, _)) => Next::Handed(lease),
        })
    }

    fn taken(mut connection: bb8::PooledConnection<'static, Manager<C>>) -> Self {
        connection.take();
        Self(connection)
    }

    /// One that is taken out only to be looked at: it still counts as idle, and goes back as it was.
    pub(super) fn looked_at(mut connection: bb8::PooledConnection<'static, Manager<C>>) -> Self {
        connection.untouched = true;
        Self(connection)
    }

    pub(super) fn last_used(&self) -> Instant {
        self.0.last_used
    }

    fn need(&mut self, care: &Care) -> Need {
        let CareSettings {
            pre_ping,
            pre_ping_bypass,
            ..
        } = care.settings;
        let entry = &mut *self.0;
        let now = Instant::now();
        if entry.is_gone() {
            care.suspect_all();
            Need::Replace(CloseReason::Broken)
        } else if entry.is_too_old(now) {
            Need::Replace(CloseReason::Recycle)
        } else if entry.generation != care.generation()
            || (pre_ping
                && entry
                    .last_used
                    .checked_add(pre_ping_bypass)
                    .is_some_and(|from| now >= from))
        {
            Need::Ping
        } else if entry.is_busy() {
            Need::Quiet
        } else {
            entry.last_used = now;
            Need::Nothing
        }
    }

    /// Probes under the probe's own timeout: by a ping, or by the answer to what is under way, which
    /// is here sooner and says as much. A connection that fails or hangs is retired.
    pub(super) async fn probed(mut lease: Self, own: Arc<OwnCare<C>>, ping: bool) -> Probed<C> {
        let care = &own.care;
        let generation = care.generation();
        let entry = &mut *lease.0;
        entry.untouched = false;
        entry.probing = true;
        let limit = care.settings.pre_ping_timeout;
        // `None`: no answer in time.
        let answered = if ping {
            let ping = own.opener.dial().ping(&mut entry.connection);
            timeout(limit, ping).await.ok().map(|pong| pong.is_ok())
        } else {
            let answered = timeout(limit, entry.answered()).await.ok();
            answered.map(|_| !entry.is_gone())
        };
        entry.probing = false;
        // What was still under way may have left a transaction open.
        if answered == Some(true) && entry.is_outside_transaction() {
            entry.generation = generation;
            entry.last_used = Instant::now();
            return Probed::Fit(lease);
        }
        care.suspect_all();
        lease.retire(CloseReason::PingFailed);
        match answered {
            None => Probed::Hung,
            Some(_) => Probed::Unfit,
        }
    }

    /// Closes it instead of putting it back.
    pub(super) fn retire(mut self, reason: CloseReason) {
        self.0.retired = Some(reason);
    }
}

impl<C: Backend> Deref for Lease<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.0.connection
    }
}

impl<C: Backend> DerefMut for Lease<C> {
    fn deref_mut(&mut self) -> &mut C {
        &mut self.0.connection
    }
}

impl<C: Backend> Held for Lease<C> {
    fn facts(&self) -> Option<Arc<dyn ConnectionFacts>> {
        Some(Arc::clone(&self.0.state) as Arc<dyn ConnectionFacts>)
    }

    fn since(&self) -> Option<Instant> {
        Some(self.0.last_used)
    }

    fn comes_back(&mut self, at: Instant) {
        self.0.came_back = Some(at);
    }
}

impl<C: Backend> fmt::Debug for Lease<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&*self.0).finish()
    }
}
