//! What the service of a pool of ours shares with its manager: how a connection is opened.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, OnceLock, Weak};

use futures_util::future::{Either, select};
use tokio::time::Instant;

use super::care::Care;
use super::counter::Place;
use super::entry::Entry;
use super::lease::Lease;
use super::line::Line;
use super::manager::Manager;
use super::opener::Opener;
use super::outage::{Outage, Verdict};
use super::prober;
use super::service::Shared;
use crate::backend::{Backend, ConnectError, Dialed};
use crate::lifecycle::{CloseReason, Lifecycle};
use crate::query::QueryWatch;

#[doc(hidden)]
pub struct OwnCare<C: Backend> {
    pub(crate) care: Arc<Care>,
    pub(super) opener: Opener<C>,
    pub(super) outage: Outage<Dialed<C>>,
    /// Those let in that have no connection yet.
    pub(super) line: Line<Lease<C>>,
    /// Set once, when the pool is made. Weak, for the pool holds this.
    pool: OnceLock<Weak<Shared<Manager<C>>>>,
}

impl<C: Backend> OwnCare<C> {
    pub(super) fn new(opener: Opener<C>, care: Arc<Care>) -> Self {
        Self {
            care,
            opener,
            outage: Outage::new(),
            line: Line::new(),
            pool: OnceLock::new(),
        }
    }

    pub(super) fn belongs_to(&self, pool: Weak<Shared<Manager<C>>>) {
        let _ = self.pool.set(pool);
    }

    /// The pool, while somebody has it and it is not closed.
    pub(super) fn pool(&self) -> Option<Arc<Shared<Manager<C>>>> {
        let pool = self.pool.get().and_then(Weak::upgrade);
        pool.filter(|_| !self.care.is_closed())
    }

    /// Opens one more connection, if there may be one.
    pub(super) async fn connect(self: &Arc<Self>) -> Result<Box<Entry<C>>, ConnectError> {
        if self.care.is_closed() {
            return Err(ConnectError::pool_closed());
        }
        // What the keepalive looks at comes back at once.
        let place = self.care.place().filter(|_| !self.care.is_gathered());
        let Some(place) = place else {
            return Err(ConnectError::no_room());
        };
        let dialed = self.opened().await?;
        let mut entry = self.entry(dialed, place);
        // Made smaller meanwhile.
        if entry.is_one_too_many(&self.care) {
            entry.closing(CloseReason::Resize);
            return Err(ConnectError::no_room());
        }
        // Closed meanwhile: nobody would ever take it.
        if self.care.is_closed() {
            return Err(ConnectError::pool_closed());
        }
        Ok(entry)
    }

    /// Dials for somebody who waits though there is room and nobody dials. bb8 counts the dials that
    /// it has begun, and one that its runtime took along when it ended is never counted down: bb8
    /// would wait for it for ever.
    pub(super) fn dial_if_nobody_does(self: &Arc<Self>) {
        let counter = &self.care.counter;
        let (open, _) = counter.read();
        if counter.open_or_opening() > open || open >= self.care.limits.most() {
            return;
        }
        let own = Arc::clone(self);
        tokio::spawn(async move {
            match own.connect().await {
                Ok(entry) => drop(own.admit(entry)),
                Err(error) if error.is_unheard() => {}
                Err(error) => own.care.board.fail(error),
            }
        });
    }

    /// A connection of one's own dial; during an outage, that of a probe.
    async fn opened(self: &Arc<Self>) -> Result<Dialed<C>, ConnectError> {
        let outage = &self.outage;
        loop {
            match outage.verdict().await {
                Verdict::Up => {}
                Verdict::Opened(dialed) => return Ok(dialed),
                // Checkouts look at the outage themselves.
                Verdict::Failed(error) if error.is_absence() => return Err(error.unheard()),
                Verdict::Failed(error) => return Err(error),
            }
            let leave = self.care.dials.leave();
            let leave = match select(pin!(leave), pin!(outage.declared())).await {
                Either::Left((leave, _)) => leave?,
                Either::Right(_) => continue,
            };
            if outage.is_down() {
                continue;
            }
            let dial = self.dial();
            let opened = match select(pin!(dial), pin!(outage.hopeless_in_flight())).await {
                Either::Left((opened, _)) => opened,
                Either::Right((error, _)) => return Err(error.unheard()),
            };
            let began = leave.began;
            let is_absent = leave.ended(opened.as_ref().err());
            match &opened {
                Ok(_) => drop(outage.over(None)),
                Err(error) if is_absent => self.declare(began, error),
                Err(_) => {}
            }
            // The board's news come a moment later than the outage's: who asks in between would be
            // told of a dial that is older than the question.
            return opened.map_err(|error| match error.is_absence() && outage.is_down() {
                true => error.unheard(),
                false => error,
            });
        }
    }

    /// Whether a checkout does better to wait on, after a failed dial, than to fail. During an outage
    /// only as long as connections come back well.
    pub(super) fn others_may_come(&self, failure: &ConnectError) -> bool {
        let dials = &self.care.dials;
        if self.outage.is_down() {
            dials.any_open() && self.outage.shows_life()
        } else {
            dials.others_may_come(failure)
        }
    }

    /// Nobody is there: all that is open is suspect, and somebody has to watch for the return.
    fn declare(self: &Arc<Self>, began: Instant, cause: &ConnectError) {
        if let Some(number) = self.outage.declare(began, cause) {
            self.care.suspect_all();
            let probing = prober::run(Arc::clone(self), number);
            self.care.runtime().spawn(probing);
        }
    }

    /// Dials, and tells what comes of it.
    async fn dial(&self) -> Result<Dialed<C>, ConnectError> {
        self.dial_and_tell(|observer, error| observer.connect_failed(error))
            .await
    }

    /// The same in the background, during an outage.
    pub(super) async fn probe(&self) -> Result<Dialed<C>, ConnectError> {
        self.dial_and_tell(|observer, error| observer.still_down(error, self.outage.lasts()))
            .await
    }

    async fn dial_and_tell(
        &self,
        failed: impl FnOnce(&dyn Lifecycle, &ConnectError),
    ) -> Result<Dialed<C>, ConnectError> {
        let start = Instant::now();
        let opened = self.opener.open().await;
        self.care.tell(|observer| match &opened {
            Ok(_) => observer.opened(start.elapsed()),
            Err(error) => failed(observer, error),
        });
        opened
    }

    fn entry(&self, dialed: Dialed<C>, place: Place) -> Box<Entry<C>> {
        let settings = &self.care.settings;
        let mut connection = dialed.connection;
        let wired = dialed
            .session
            .as_ref()
            .is_some_and(|session| session.transaction().is_some());
        let watch = QueryWatch::new(
            Arc::clone(&settings.queries),
            dialed.session.as_ref(),
            settings.raw_transactions && !wired,
        );
        let queries = watch.state();
        connection.set_instrumentation(watch);
        Box::new(Entry::new(
            connection,
            dialed.session,
            queries,
            &self.care,
            place,
        ))
    }

    /// What a probe has opened goes to one who waits for a connection, or into the pool.
    pub(super) fn recovered(&self, dialed: Dialed<C>) {
        let Some(dialed) = self.outage.over(Some(dialed)) else {
            return;
        };
        match self.care.place() {
            Some(place) => {
                self.admit(self.entry(dialed, place));
            }
            None => {
                drop(dialed);
                self.care
                    .tell(|observer| observer.closed(CloseReason::Overflow));
            }
        }
    }

    /// Into the pool, if it has a place for it: true if it has.
    pub(super) fn admit(&self, mut entry: Box<Entry<C>>) -> bool {
        let Some(pool) = self.pool() else {
            return false;
        };
        // bb8 asks our manager, which finds it a place, or closes it and says why.
        entry.take();
        pool.pool.add(entry).is_ok()
    }
}

impl<C: Backend> fmt::Debug for OwnCare<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnCare")
            .field("care", &self.care)
            .field("outage", &self.outage)
            .finish_non_exhaustive()
    }
}
