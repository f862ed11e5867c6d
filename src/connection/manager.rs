//! [`Manager`], which bb8 calls to open a connection and to assess a returned one.

use std::fmt;
use std::sync::Arc;

use super::entry::Entry;
use super::opener::Opener;
use super::own_pool::OwnShared;
use super::policy::ConnectionPolicy;
use crate::backend::{Backend, ConnectError};

/// Opens, probes and closes the connections of a [`Pool`](crate::Pool).
pub struct Manager<C: Backend> {
    pub(super) own: Arc<OwnShared<C>>,
}

impl<C: Backend> Manager<C> {
    pub(crate) fn new(opener: Opener<C>, policy: Arc<ConnectionPolicy>) -> Self {
        let own = Arc::new(OwnShared::new(opener, policy));
        Self { own }
    }
}

impl<C: Backend> bb8::ManageConnection for Manager<C> {
    /// Boxed, because bb8 moves it about a dozen times per checkout.
    type Connection = Box<Entry<C>>;
    type Error = ConnectError;

    // bb8 passes an error returned here to its error sink, which delivers it to a waiting checkout.
    async fn connect(&self) -> Result<Box<Entry<C>>, ConnectError> {
        self.own.connect().await
    }

    /// Pings a connection. bb8 never calls this, because `test_on_check_out` is off:
    /// [`PoolService`](super::PoolService) probes instead and closes a connection whose probe hangs,
    /// whereas bb8 would put that connection back.
    async fn is_valid(&self, entry: &mut Box<Entry<C>>) -> Result<(), ConnectError> {
        self.own.opener.dial().ping(entry.connection_mut()).await
    }

    /// Decides whether a returned connection is closed. bb8 calls this at each check-in, outside its
    /// lock.
    fn has_broken(&self, entry: &mut Box<Entry<C>>) -> bool {
        let policy = &self.own.policy;
        let kept = match entry.judge(policy) {
            None => entry.keep(policy),
            Some(reason) => Err(reason),
        };
        match kept {
            Ok(()) if entry.untouched => {
                entry.untouched = false;
                false
            }
            Ok(()) => {
                entry.set_idle(true);
                if self.own.breaker.is_down() {
                    self.own.breaker.life();
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
