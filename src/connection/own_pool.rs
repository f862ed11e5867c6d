//! [`OwnShared`]: the state that poolscope's own pool shares between service and manager, and how it
//! opens connections.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::time::{Instant, sleep};

use super::admin::close_one_idle;
use super::circuit_breaker::{CircuitBreaker, Verdict};
use super::connection_counter::Place;
use super::entry::Entry;
use super::handoff::Handoff;
use super::lease::Lease;
use super::manager::Manager;
use super::opener::Opener;
use super::policy::ConnectionPolicy;
use super::prober;
use super::service::Shared;
use crate::backend::{Backend, ConnectError, Dialed};
use crate::query::QueryInstrumentation;
use crate::record::pool_events::{CloseReason, PoolEvents};

/// How long a connection beyond `pool_size` stays open for the next checkout, if its own was dropped.
const SURPLUS: Duration = Duration::from_millis(100);

#[doc(hidden)]
pub struct OwnShared<C: Backend> {
    pub(crate) policy: Arc<ConnectionPolicy>,
    pub(super) opener: Opener<C>,
    pub(super) breaker: CircuitBreaker<Dialed<C>>,
    /// The admitted checkouts that have no connection yet.
    pub(super) handoff: Handoff<Lease<C>>,
    /// Set once, when the pool is created. Weak, because the pool holds this.
    pool: OnceLock<Weak<Shared<Manager<C>>>>,
}

impl<C: Backend> OwnShared<C> {
    pub(super) fn new(opener: Opener<C>, policy: Arc<ConnectionPolicy>) -> Self {
        Self {
            policy,
            opener,
            breaker: CircuitBreaker::new(),
            handoff: Handoff::new(),
            pool: OnceLock::new(),
        }
    }

    pub(super) fn belongs_to(&self, pool: Weak<Shared<Manager<C>>>) {
        let _ = self.pool.set(pool);
    }

    /// Returns the pool, unless it was dropped or closed.
    pub(super) fn pool(&self) -> Option<Arc<Shared<Manager<C>>>> {
        let pool = self.pool.get().and_then(Weak::upgrade);
        pool.filter(|_| !self.policy.is_closed())
    }

    /// Opens one more connection, unless the pool is at its limit or closed.
    pub(super) async fn connect(self: &Arc<Self>) -> Result<Box<Entry<C>>, ConnectError> {
        if self.policy.is_closed() {
            return Err(ConnectError::pool_closed());
        }
        // Connections that the keepalive inspects are put back at once.
        let place = self.policy.place().filter(|_| !self.policy.is_gathered());
        let Some(place) = place else {
            return Err(ConnectError::no_room());
        };
        let era = self.policy.era();
        let dialed = self.opened().await?;
        let mut entry = self.entry(dialed, place, era);
        // The pool has shrunk meanwhile.
        if entry.is_one_too_many(&self.policy) {
            entry.closing(CloseReason::Resize);
            return Err(ConnectError::no_room());
        }
        // The pool was closed meanwhile, so no checkout would take the connection.
        if self.policy.is_closed() {
            entry.closing(CloseReason::Shutdown);
            return Err(ConnectError::pool_closed());
        }
        if self.handoff.is_empty() {
            self.close_surplus_soon();
        }
        Ok(entry)
    }

    /// Closes idle connections beyond `pool_size`, in a moment, when bb8 has them. They were opened for
    /// checkouts that were dropped; otherwise a connection beyond `pool_size` closes when it is returned.
    fn close_surplus_soon(self: &Arc<Self>) {
        let counts = self.policy.counts();
        if counts.open <= counts.pool_size {
            return;
        }
        let own = Arc::clone(self);
        self.policy.runtime().spawn(async move {
            sleep(SURPLUS).await;
            let Some(pool) = own.pool() else { return };
            let surplus = || {
                let counts = own.policy.counts();
                counts.idle > 0 && counts.open > counts.pool_size && own.handoff.is_empty()
            };
            while surplus() && close_one_idle(&pool.pool, CloseReason::Overflow) {}
        });
    }

    /// Connects for a waiting checkout if the limit permits and no attempt is running. bb8 counts the
    /// attempts that it has begun. An attempt that ended with its runtime is never counted down, and
    /// bb8 would wait for it forever.
    pub(super) fn dial_if_none_runs(self: &Arc<Self>) {
        let counter = &self.policy.counter;
        let (open, _) = counter.read();
        if counter.open_or_opening() > open || open >= self.policy.limits.most() {
            return;
        }
        let own = Arc::clone(self);
        tokio::spawn(async move {
            match own.connect().await {
                Ok(entry) => drop(own.admit(entry)),
                Err(error) if error.is_unheard() => {}
                Err(error) => own.policy.connect_errors.fail(error),
            }
        });
    }

    /// Connects. During an outage, waits for a connection that a probe has opened.
    async fn opened(self: &Arc<Self>) -> Result<Dialed<C>, ConnectError> {
        let breaker = &self.breaker;
        loop {
            match breaker.verdict().await {
                Verdict::Up => {}
                Verdict::Opened(dialed) => return Ok(dialed),
                // Checkouts watch the outage themselves.
                Verdict::Failed(error) if error.is_absence() => return Err(error.unheard()),
                Verdict::Failed(error) => return Err(error),
            }
            let permit = self.policy.limiter.permit();
            let permit = match select(pin!(permit), pin!(breaker.declared())).await {
                Either::Left((permit, _)) => permit?,
                Either::Right(_) => continue,
            };
            if breaker.is_down() {
                continue;
            }
            let dial = self.dial();
            let opened = match select(pin!(dial), pin!(breaker.hopeless_in_flight())).await {
                Either::Left((opened, _)) => opened,
                Either::Right((error, _)) => return Err(error.unheard()),
            };
            let began = permit.began;
            let is_absent = permit.ended(opened.as_ref().err());
            match &opened {
                Ok(_) => drop(breaker.over(None)),
                Err(error) if is_absent => self.declare(began, error),
                Err(_) => {}
            }
            // The connect-error delivery is slower than the outage's notification: a checkout that
            // asks in between would get the failure of an attempt older than itself.
            return opened.map_err(|error| match error.is_absence() && breaker.is_down() {
                true => error.unheard(),
                false => error,
            });
        }
    }

    /// Returns whether a checkout that has waited since `began` should keep waiting after a failed
    /// connection attempt. During an outage, only while healthy connections are returned.
    pub(super) fn others_may_come(&self, failure: &ConnectError, began: Instant) -> bool {
        let limiter = &self.policy.limiter;
        if self.breaker.is_down() {
            limiter.any_open() && self.breaker.shows_life()
        } else {
            limiter.others_may_come(failure, began)
        }
    }

    /// Declares an outage: marks all open connections as suspect and starts the prober.
    fn declare(self: &Arc<Self>, began: Instant, cause: &ConnectError) {
        if let Some(number) = self.breaker.declare(began, cause) {
            self.policy.suspect_all();
            let probing = prober::run(Arc::clone(self), number);
            self.policy.runtime().spawn(probing);
        }
    }

    /// Connects and reports the result to the observer.
    async fn dial(&self) -> Result<Dialed<C>, ConnectError> {
        self.dial_and_report(|observer, error| observer.connect_failed(error))
            .await
    }

    /// Connects in the background during an outage and reports the result to the observer.
    pub(super) async fn probe(&self) -> Result<Dialed<C>, ConnectError> {
        self.policy.limiter.login_due().await;
        self.dial_and_report(|observer, error| observer.still_down(error, self.breaker.lasts()))
            .await
    }

    async fn dial_and_report(
        &self,
        failed: impl FnOnce(&dyn PoolEvents, &ConnectError),
    ) -> Result<Dialed<C>, ConnectError> {
        let start = Instant::now();
        let opened = self.opener.open(self.may_log_in_twice()).await;
        self.policy.notify(|observer| match &opened {
            Ok(_) => observer.opened(start.elapsed()),
            Err(error) => failed(observer, error),
        });
        opened
    }

    /// Returns whether newer credentials are tried at once: only if the last login was accepted, so that
    /// at most one login a second fails.
    fn may_log_in_twice(&self) -> bool {
        !self.policy.limiter.is_refusing()
    }

    /// Opens a connection that is not the pool's: the monitoring connection.
    pub(super) async fn open_outside(&self) -> Result<C, ConnectError> {
        let permit = self.policy.limiter.permit_outside().await?;
        let opened = self.opener.open_dedicated(self.may_log_in_twice()).await;
        permit.ended_outside(opened.as_ref().err());
        opened
    }

    fn entry(self: &Arc<Self>, mut dialed: Dialed<C>, place: Place, era: u64) -> Box<Entry<C>> {
        let settings = &self.policy.settings;
        let wired = dialed
            .session
            .as_ref()
            .is_some_and(|session| session.readings().transaction.is_some());
        let watch = QueryInstrumentation::new(
            Arc::clone(&settings.queries),
            dialed.session.as_ref(),
            settings.raw_transactions && !wired,
        );
        let queries = Arc::clone(&watch.state);
        dialed.connection.set_instrumentation(watch);
        Box::new(Entry::new(dialed, queries, self, place, era))
    }

    /// Ends the outage. The probe's connection goes to a waiting request or into the pool.
    pub(super) fn recovered(self: &Arc<Self>, dialed: Dialed<C>) {
        let Some(dialed) = self.breaker.over(Some(dialed)) else {
            return;
        };
        match self.policy.place() {
            Some(place) => {
                self.admit(self.entry(dialed, place, self.policy.era()));
            }
            None => {
                drop(dialed);
                self.policy
                    .notify(|observer| observer.closed(CloseReason::Overflow));
            }
        }
    }

    /// Adds a connection to the pool. Returns false if the pool was dropped or closed, or does
    /// not keep the connection.
    pub(super) fn admit(&self, mut entry: Box<Entry<C>>) -> bool {
        let Some(pool) = self.pool() else {
            return false;
        };
        // bb8 asks the manager, which keeps the connection, or closes it and reports why.
        entry.take();
        pool.pool.add(entry).is_ok()
    }
}

impl<C: Backend> fmt::Debug for OwnShared<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnShared")
            .field("policy", &self.policy)
            .field("outage", &self.breaker)
            .finish_non_exhaustive()
    }
}
