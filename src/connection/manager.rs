//! What bb8 calls to open a connection and to judge one that comes back.

use std::fmt;
use std::sync::Arc;

use tokio::time::Instant;

use super::care::Care;
use super::counter::Idle;
use super::entry::Entry;
use super::opener::Opener;
use crate::backend::{Backend, ConnectError};
use crate::lifecycle::CloseReason;
use crate::query::QueryWatch;

/// Opens, probes and closes the connections of a [`Pool`](crate::Pool).
pub struct Manager<C> {
    pub(super) opener: Opener<C>,
    care: Arc<Care>,
}

impl<C: Backend> Manager<C> {
    pub(crate) fn new(opener: Opener<C>, care: Arc<Care>) -> Self {
        Self { opener, care }
    }

    async fn open(&self) -> Result<Entry<C>, ConnectError> {
        let dialed = self.opener.open().await?;
        let mut connection = dialed.connection;
        let settings = &self.care.settings;
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
        Ok(Entry::new(connection, dialed.session, queries, &self.care))
    }

    /// A place among the idle ones: `pool_size` of them, and one for each request that waits, for
    /// several may come back before the first of those is served.
    fn keep(&self) -> Option<Idle> {
        let (care, size) = (&self.care, self.care.settings.pool_size);
        care.counter.idle_within(size).or_else(|| {
            care.counter
                .idle_within(size.saturating_add(care.waiting()))
        })
    }
}

impl<C: Backend> bb8::ManageConnection for Manager<C> {
    /// Boxed: bb8 moves it about some dozen times a checkout.
    type Connection = Box<Entry<C>>;
    type Error = ConnectError;

    // An error returned here comes back by bb8's error sink, and goes on to the board.
    async fn connect(&self) -> Result<Box<Entry<C>>, ConnectError> {
        if self.care.is_closed() {
            return Err(ConnectError::pool_closed());
        }
        let opened = self
            .care
            .dials
            .dial(async {
                let start = Instant::now();
                let opened = self.open().await;
                self.care.tell(|observer| match &opened {
                    Ok(_) => observer.opened(start.elapsed()),
                    Err(error) => observer.connect_failed(error),
                });
                opened
            })
            .await?;
        // Closed meanwhile: nobody would ever take it.
        if self.care.is_closed() {
            return Err(ConnectError::pool_closed());
        }
        Ok(Box::new(opened))
    }

    /// Never asked: [`PoolService`](super::PoolService) probes by itself, where it can close a
    /// connection whose probe hangs. bb8 would put the same connection back.
    async fn is_valid(&self, entry: &mut Box<Entry<C>>) -> Result<(), ConnectError> {
        self.opener.dial().ping(&mut entry.connection).await
    }

    /// bb8 asks at each check-in, outside its lock.
    fn has_broken(&self, entry: &mut Box<Entry<C>>) -> bool {
        let reason = entry.judge(&self.care).or_else(|| {
            entry.idle = self.keep();
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
