//! [`Lease`]: a connection checked out of poolscope's own pool, and the checks before it is handed
//! out.

mod probe;

use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{Either, poll_fn, select};
use tokio::time::{Instant, timeout};

use self::probe::Need;
pub(super) use self::probe::Probed;
use super::between::Unprepared;
use super::connect_attempts::PATIENCE;
use super::entry::Entry;
use super::handoff::HandoffEntry;
use super::manager::Manager;
use super::own_pool::OwnShared;
use super::service::Shared;
use crate::backend::{Backend, ConnectError};
use crate::checkout::wait_phase::{Phase, during};
use crate::checkout::{Checkout, ConnectionFacts, PooledGuard};
use crate::error::PoolError;
use crate::record::pool_events::CloseReason;

/// A guard is not used while, or after, it is dropped.
const HELD: &str = "the guard holds its connection until it is dropped";

/// The time after which a waiting checkout asks bb8 again, which connects if no attempt is running.
const REDIAL: Duration = Duration::from_millis(200);

/// The innermost guard: a bb8 connection that derefs to the diesel connection.
pub struct Lease<C: Backend> {
    /// `None` once the connection is being cleaned.
    connection: Option<bb8::PooledConnection<'static, Manager<C>>>,
}

/// The answer of bb8.
type Got<C> = Result<bb8::PooledConnection<'static, Manager<C>>, bb8::RunError<ConnectError>>;

/// The result of one wait of a checkout.
enum Next<C: Backend> {
    Got(Got<C>),
    /// A connection handed over by another checkout.
    Handed(Lease<C>),
    /// It is time to ask bb8 again.
    Nothing,
}

impl<C: Backend> Lease<C> {
    /// Takes an idle connection that is fit for use, without an allocation.
    ///
    /// # Errors
    /// Returns the connection that needs a probe or a replacement first, or `None` if none is idle.
    pub(super) fn at_hand(
        pool: &Shared<Manager<C>>,
        cx: &mut Context<'_>,
    ) -> Result<Self, Option<Self>> {
        let own = &pool.policy;
        // Ask bb8 only if a connection is idle: it counts requests, and a waiting checkout asks again.
        if !own.policy.counter.has_idle() {
            return Err(None);
        }
        let Poll::Ready(Ok(connection)) = pin!(pool.pool.get_owned()).poll(cx) else {
            return Err(None);
        };
        let mut lease = own
            .handoff
            .offer(None, Self::taken(connection))
            .ok_or(None)?;
        match lease.need(&own.policy) {
            Need::Nothing if own.opener.hooks().on_checkout.is_none() => {
                lease.entry().lent = true;
                Ok(lease)
            }
            _ => Err(Some(lease)),
        }
    }

    /// Checks out a connection that is fit for use: young enough, and either known to be alive or just
    /// probed. Starts with `first` if given.
    pub(super) async fn checkout(
        pool: Arc<Shared<Manager<C>>>,
        checkout: Checkout,
        mut first: Option<Self>,
    ) -> Result<Self, PoolError> {
        let own = &pool.policy;
        let mut hung = false;
        loop {
            let mut lease = match first.take() {
                Some(lease) => lease,
                None => {
                    let taking = Self::take(&pool.pool, own, checkout);
                    during(Phase::Connecting, taking).await?
                }
            };
            let fit = match lease.need(&own.policy) {
                Need::Nothing => Some(lease),
                Need::Replace(reason) => {
                    lease.retire(reason);
                    None
                }
                // One ping has timed out: do not ping other old connections one after the other.
                Need::Ping if hung => {
                    lease.retire(CloseReason::PingFailed);
                    None
                }
                need => {
                    // Probe in a separate task. If the checkout is cancelled, the probe still finds
                    // out whether the connection is fit, and SQLite's probe must not be cancelled on
                    // a current-thread runtime. If the runtime has shut down, the task is dropped at
                    // once together with the connection.
                    lease.entry().probing = true;
                    let ping = matches!(need, Need::Ping);
                    let probed = Self::probed(lease, Arc::clone(own), ping);
                    let probing = own.policy.runtime().spawn(probed);
                    if !checkout.waits() {
                        continue;
                    }
                    match during(Phase::Pinging, probing).await {
                        Ok(Probed::Fit(lease)) => Some(lease),
                        Ok(Probed::Hung) => {
                            hung = true;
                            None
                        }
                        Ok(Probed::Unfit) | Err(_) => None,
                    }
                }
            };
            // If the connection is closed, try the next.
            let Some(lease) = fit else { continue };
            match lease.prepared(own, checkout.waits()).await {
                Ok(lease) => return Ok(lease),
                Err(Unprepared::Lost) => {}
                Err(Unprepared::Failed(error)) => return Err(error),
            }
        }
    }

    /// Takes an idle connection, or waits for one that is returned or opened.
    ///
    /// # Errors
    /// Returns why no connection can be expected.
    async fn take(
        pool: &bb8::Pool<Manager<C>>,
        own: &Arc<OwnShared<C>>,
        checkout: Checkout,
    ) -> Result<Self, PoolError> {
        let (mut waits, mut place) = (None, None);
        loop {
            let since = own.policy.connect_errors.failures();
            let mut get = pin!(pool.get_owned());
            let first = poll_fn(|cx| Poll::Ready(get.as_mut().poll(cx))).await;
            let next = match first {
                Poll::Ready(got) => Next::Got(got),
                Poll::Pending => {
                    let (asked, began) =
                        *waits.get_or_insert_with(|| (checkout.asked(), Instant::now()));
                    let place = place.get_or_insert_with(|| own.handoff.join());
                    // Box the waiting future: it is larger than all the rest, which is moved and
                    // allocated for each checkout.
                    Box::pin(Self::next(get, own, since, asked, began, place)).await?
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
            // A checkout that has waited for longer goes first.
            if let Some(lease) = own.handoff.offer(place.as_ref(), lease) {
                return Ok(lease);
            }
        }
    }

    /// Waits for the first of: a connection from bb8, one from the hand-off queue, a failure, or the
    /// time to ask again.
    async fn next(
        get: Pin<&mut impl Future<Output = Got<C>>>,
        own: &Arc<OwnShared<C>>,
        since: u64,
        asked: Instant,
        began: Instant,
        place: &mut HandoffEntry<'_, Self>,
    ) -> Result<Next<C>, PoolError> {
        let policy = &own.policy;
        let mut ticket = policy.connect_errors.ticket(since);
        // The ticket may be younger than the failure that a close delivers to all.
        if policy.is_closed() {
            return Err(policy.closed_error());
        }
        let mut failed = pin!(ticket.failed());
        let mut give_up = pin!(own.breaker.give_up(asked));
        let until = match policy.limiter.any_open() {
            true => began + PATIENCE,
            false => asked + PATIENCE,
        };
        let mut refused = pin!(policy.limiter.login_refused(began, until));
        let give_up = select(give_up.as_mut(), refused.as_mut());
        let failed = select(failed.as_mut(), give_up);
        let mut handed = pin!(place.handed());
        let got = select(get, handed.as_mut());
        // Limit the wait: this checkout's attempt may have served another, whose own attempt failed.
        let got = match timeout(REDIAL, select(got, failed)).await {
            Err(_) => {
                own.dial_if_none_runs();
                return Ok(Next::Nothing);
            }
            Ok(Either::Left((got, _))) => got,
            Ok(Either::Right(_)) if policy.is_closed() => return Err(policy.closed_error()),
            Ok(Either::Right((failure, got))) => {
                let error = match failure {
                    Either::Left((error, _)) => error,
                    Either::Right((error, _)) => error.factor_first().0,
                };
                if !own.others_may_come(&error, began) {
                    return Err(PoolError::ConnectFailed(error));
                }
                // Wait for a returned connection; if none arrives soon, connect again.
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
        Self {
            connection: Some(connection),
        }
    }

    pub(super) fn entry(&mut self) -> &mut Entry<C> {
        self.connection.as_deref_mut().expect(HELD)
    }

    /// Wraps a connection taken out only for inspection. It still counts as idle and is put back
    /// unchanged.
    pub(super) fn looked_at(mut connection: bb8::PooledConnection<'static, Manager<C>>) -> Self {
        connection.untouched = true;
        Self {
            connection: Some(connection),
        }
    }

    pub(super) fn last_used(&self) -> Instant {
        self.read().last_used
    }

    fn read(&self) -> &Entry<C> {
        self.connection.as_deref().expect(HELD)
    }

    /// Takes the connection out of the pool.
    pub(crate) fn detach(&mut self) -> C {
        self.entry().detach()
    }

    /// Closes the connection instead of putting it back.
    pub(super) fn retire(mut self, reason: CloseReason) {
        self.entry().retired = Some(reason);
    }
}

impl<C: Backend> Deref for Lease<C> {
    type Target = C;

    fn deref(&self) -> &C {
        self.read().connection()
    }
}

impl<C: Backend> DerefMut for Lease<C> {
    fn deref_mut(&mut self) -> &mut C {
        let entry = self.entry();
        entry.state.queries.borrowed_exclusively();
        entry.connection_mut()
    }
}

impl<C: Backend> PooledGuard for Lease<C> {
    fn facts(&self) -> Option<Arc<dyn ConnectionFacts>> {
        Some(Arc::clone(&self.read().state) as Arc<dyn ConnectionFacts>)
    }

    fn since(&self) -> Option<Instant> {
        Some(self.read().last_used)
    }

    fn comes_back(&mut self, at: Instant) {
        // An outer guard may have had the connection cleaned already.
        if let Some(entry) = self.connection.as_deref_mut() {
            entry.last_used = at;
        }
    }

    fn clean(&mut self, permit: &mut dyn FnMut() -> Box<dyn Send>) {
        let Some(entry) = self.connection.as_deref_mut() else {
            return;
        };
        if !std::mem::take(&mut entry.lent) {
            return;
        }
        let abandons_query = entry.abandons_query();
        if !abandons_query && !entry.needs_cleaning() {
            return;
        }
        let mut lease = Self {
            connection: self.connection.take(),
        };
        if abandons_query {
            return lease.cancel(CloseReason::Broken, permit());
        }
        let entry = lease.entry();
        entry.probing = true;
        let own = Arc::clone(&entry.own);
        let runtime = own.policy.runtime().clone();
        // If the runtime has shut down, the task is dropped at once together with the connection.
        runtime.spawn(lease.cleaned(own, permit()));
    }
}

impl<C: Backend> Drop for Lease<C> {
    fn drop(&mut self) {
        // Usually the layers above have done both.
        if self.connection.as_deref().is_some_and(|entry| entry.lent) {
            self.comes_back(Instant::now());
            self.clean(&mut || Box::new(()));
        }
    }
}

impl<C: Backend> fmt::Debug for Lease<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease")
            .field(&self.connection.as_deref())
            .finish()
    }
}
