//! What bb8 calls to open a connection and to judge one that comes back.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, timeout};

use super::care::{Care, OnConnect};
use super::entry::Entry;
use crate::backend::{Backend, ConnectError, ConnectErrorKind, Dial, from_diesel};
use crate::lifecycle::CloseReason;
use crate::query::QueryWatch;

/// After a failed dial the same answer is given for this long, so that an outage is not dialled
/// by every checkout.
const HOLD_OFF: Duration = Duration::from_millis(200);

/// Opens, probes and closes the connections of a [`Pool`](crate::Pool).
pub struct Manager<C> {
    pub(super) dial: Arc<dyn Dial<C>>,
    on_connect: Option<OnConnect<C>>,
    care: Arc<Care>,
}

impl<C: Backend> Manager<C> {
    pub(crate) fn new(
        dial: Arc<dyn Dial<C>>,
        on_connect: Option<OnConnect<C>>,
        care: Arc<Care>,
    ) -> Self {
        Self {
            dial,
            on_connect,
            care,
        }
    }

    async fn open(&self) -> Result<Entry<C>, ConnectError> {
        let dialed = self.dial.dial().await?;
        let mut connection = dialed.connection;
        if let Some(set_up) = &self.on_connect {
            set_up(&mut connection).await.map_err(|error| {
                from_diesel(diesel_async::pooled_connection::PoolError::QueryError(
                    error,
                ))
            })?;
        }
        let settings = &self.care.settings;
        let wired = C::SEES_TRANSACTIONS
            && dialed
                .session
                .as_ref()
                .is_some_and(|session| session.transaction().is_some());
        let watch = QueryWatch::new(settings.raw_transactions && !wired, settings.echo);
        let queries = watch.state();
        connection.set_instrumentation(watch);
        Ok(Entry::new(connection, dialed.session, queries, &self.care))
    }

    /// Opens one under the connect timeout. A panic in the app's set-up is an error like another:
    /// it would take bb8's place for the connection with it.
    async fn open_in_time(&self) -> Result<Entry<C>, ConnectError> {
        let limit = self.care.settings.connect_timeout;
        match timeout(limit, AssertUnwindSafe(self.open()).catch_unwind()).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(_)) => Err(ConnectError::new(
                ConnectErrorKind::Other,
                "setting up the connection panicked",
                None,
            )),
            Err(_) => Err(ConnectError::new(
                ConnectErrorKind::TimedOut,
                format!("no connection within {limit:?}"),
                None,
            )),
        }
    }

    fn held_off(&self) -> Option<ConnectError> {
        let last = self
            .care
            .last_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        last.as_ref()
            .filter(|(at, _)| at.elapsed() < HOLD_OFF)
            .map(|(_, error)| error.clone())
    }
}

impl<C: Backend> bb8::ManageConnection for Manager<C> {
    type Connection = Entry<C>;
    type Error = ConnectError;

    /// An error returned here comes back by bb8's error sink, [`Dials`](super::dials::Dials).
    async fn connect(&self) -> Result<Entry<C>, ConnectError> {
        if self.care.is_closed() {
            return Err(ConnectError::new(
                ConnectErrorKind::Other,
                "the pool is closed",
                None,
            ));
        }
        self.care.dials.begun();
        if let Some(error) = self.held_off() {
            return Err(error);
        }
        let start = Instant::now();
        match self.open_in_time().await {
            Ok(entry) => {
                *self
                    .care
                    .last_failure
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = None;
                self.care.dials.succeeded();
                self.care.tell(|observer| observer.opened(start.elapsed()));
                Ok(entry)
            }
            Err(error) => {
                let mut last = self
                    .care
                    .last_failure
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                *last = Some((Instant::now(), error.clone()));
                drop(last);
                self.care.tell(|observer| observer.connect_failed(&error));
                Err(error)
            }
        }
    }

    /// Never asked: [`PoolService`](super::PoolService) probes by itself, where it can close a
    /// connection whose probe hangs. bb8 would put the same connection back.
    async fn is_valid(&self, entry: &mut Entry<C>) -> Result<(), ConnectError> {
        self.dial.ping(&mut entry.connection).await
    }

    /// bb8 asks at each check-in, outside its lock.
    fn has_broken(&self, entry: &mut Entry<C>) -> bool {
        let reason = entry.judge(&self.care).or_else(|| {
            entry.idle = self.care.counter.idle_within(self.care.settings.pool_size);
            entry.idle.is_none().then_some(CloseReason::Overflow)
        });
        match reason {
            None => {
                entry.last_used = Instant::now();
                false
            }
            Some(reason) => {
                entry.closing(reason);
                true
            }
        }
    }
}

impl<C> fmt::Debug for Manager<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager")
            .field("care", &self.care)
            .finish_non_exhaustive()
    }
}
