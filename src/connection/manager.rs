//! What bb8 calls to open a connection and to judge one that comes back.

use std::fmt;
use std::sync::Arc;

use tokio::time::Instant;

use super::care::Care;
use super::entry::Entry;
use super::opener::Opener;
use super::own::OwnCare;
use crate::backend::{Backend, ConnectError};

/// Opens, probes and closes the connections of a [`Pool`](crate::Pool).
pub struct Manager<C: Backend> {
    pub(super) own: Arc<OwnCare<C>>,
}

impl<C: Backend> Manager<C> {
    pub(crate) fn new(opener: Opener<C>, care: Arc<Care>) -> Self {
        let own = Arc::new(OwnCare::new(opener, care));
        Self { own }
    }
}

impl<C: Backend> bb8::ManageConnection for Manager<C> {
    /// Boxed: bb8 moves it about some dozen times a checkout.
    type Connection = Box<Entry<C>>;
    type Error = ConnectError;

    // An error returned here comes back by bb8's error sink, and goes on to the board.
    async fn connect(&self) -> Result<Box<Entry<C>>, ConnectError> {
        self.own.connect().await
    }

    /// Never asked: [`PoolService`](super::PoolService) probes by itself, where it can close a
    /// connection whose probe hangs. bb8 would put the same connection back.
    async fn is_valid(&self, entry: &mut Box<Entry<C>>) -> Result<(), ConnectError> {
        self.own.opener.dial().ping(&mut entry.connection).await
    }

    /// bb8 asks at each check-in, outside its lock.
    fn has_broken(&self, entry: &mut Box<Entry<C>>) -> bool {
        let care = &self.own.care;
        let kept = match entry.judge(care) {
            None => entry.keep(care),
            Some(reason) => Err(reason),
        };
        match kept {
            Ok(()) if entry.untouched => {
                entry.untouched = false;
                false
            }
            Ok(()) => {
                entry.last_used = entry.came_back.take().unwrap_or_else(Instant::now);
                if self.own.outage.is_down() {
                    self.own.outage.life();
                }
                false
            }
            Err(reason) => {
                entry.closing(reason);
                true
            }
        }
    }
}

impl<C: Backend> fmt::Debug for Manager<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager")
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}
