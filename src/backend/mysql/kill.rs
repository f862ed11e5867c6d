//! Ends a query on the server, over one other connection for all sessions of a pool.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::BoxFuture;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Opts};
use tokio::sync::Mutex;

use super::{explain, with_credentials};
use crate::backend::{ConnectError, CredentialsProvider, Session};
use crate::settings::DatabaseUrl;

/// `ER_NO_SUCH_THREAD`.
const NO_SUCH_THREAD: u16 = 1094;

/// The id of a connection on the server, and what is needed to end its query.
#[derive(Clone)]
pub(super) struct Thread {
    pub(super) id: u32,
    pub(super) opts: Opts,
    pub(super) url: DatabaseUrl,
    pub(super) credentials: Option<CredentialsProvider>,
    pub(super) killer: Arc<Killer>,
}

/// The one connection of a pool that sends `KILL`. It stays open while other queries wait for it.
#[derive(Default)]
pub(super) struct Killer {
    connection: Mutex<Option<Conn>>,
    /// The number of queries to be ended.
    waiting: AtomicU32,
}

/// Counts among [`Killer::waiting`] until dropped. The last one closes the connection.
struct Waiting(Arc<Killer>);

impl Waiting {
    fn new(killer: &Arc<Killer>) -> Self {
        killer.waiting.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(killer))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.0.waiting.fetch_sub(1, Ordering::AcqRel) == 1
            && let Ok(mut connection) = self.0.connection.try_lock()
        {
            // The driver says goodbye in the background.
            drop(connection.take());
        }
    }
}

impl Thread {
    /// Ends the session's query. Returns false if the server does not have the session.
    ///
    /// Not `KILL`: it closes the socket at once, also if the session goes on because the statement does not
    /// listen.
    async fn kill(self) -> Result<bool, ConnectError> {
        // Dropped after the lock.
        let _waiting = Waiting::new(&self.killer);
        let mut slot = self.killer.connection.lock().await;
        let kept = slot.take().filter(|kept| self.is_same_server(kept));
        let mut connection = match kept {
            Some(kept) => kept,
            None => self.log_in().await?,
        };
        let answer = connection
            .query_drop(format!("KILL QUERY {}", self.id))
            .await;
        let existed = match answer {
            Ok(()) => true,
            Err(Error::Server(error)) if error.code == NO_SUCH_THREAD => false,
            Err(error) => return Err(explain(&error, &self.url)),
        };
        *slot = Some(connection);
        Ok(existed)
    }

    /// Returns whether a connection leads to the server of this session.
    fn is_same_server(&self, other: &Conn) -> bool {
        let opts = other.opts();
        opts.resolved_ips() == self.opts.resolved_ips() && opts.socket() == self.opts.socket()
    }

    async fn log_in(&self) -> Result<Conn, ConnectError> {
        let credentials = match &self.credentials {
            None => None,
            Some(provider) => Some(provider.ask().await?),
        };
        let opts = with_credentials(&self.opts, credentials.as_ref());
        Conn::new(opts).await.map_err(|error| {
            let error = explain(&error, &self.url);
            match &credentials {
                Some(credentials) => error.without(credentials.password()),
                None => error,
            }
        })
    }
}

impl Session for Thread {
    fn process_id(&self) -> Option<u64> {
        Some(u64::from(self.id))
    }

    fn cancel(&self) -> Option<BoxFuture<'static, Result<bool, ConnectError>>> {
        Some(Box::pin(self.clone().kill()))
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Thread").field(&self.id).finish()
    }
}
