//! What bb8 calls to open a connection and to judge one that comes back.

use std::fmt;
use std::sync::Arc;

use tokio::time::Instant;

use super::care::Care;
use super::entry::Entry;
use super::opener::Opener;
use crate::backend::{Backend, ConnectError, ConnectErrorKind};
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
        let watch = QueryWatch::new(settings.raw_transactions && !wired, settings.echo);
        let queries = watch.state();
        connection.set_instrumentation(watch);
        Ok(Entry::new(connection, dialed.session, queries, &self.care))
    }
}

impl<C: Backend> bb8::ManageConnection for Manager<C> {
    type Connection = Entry<C>;
    type Error = ConnectError;

    // An error returned here comes back by bb8's error sink, and goes on to the board.
    async fn connect(&self) -> Result<Entry<C>, ConnectError> {
        if self.care.is_closed() {
            return Err(ConnectError::new(
                ConnectErrorKind::Other,
                "the pool is closed",
                None,
            ));
        }
        self.care
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
            .await
    }

    /// Never asked: [`PoolService`](super::PoolService) probes by itself, where it can close a
    /// connection whose probe hangs. bb8 would put the same connection back.
    async fn is_valid(&self, entry: &mut Entry<C>) -> Result<(), ConnectError> {
        self.opener.dial().ping(&mut entry.connection).await
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
