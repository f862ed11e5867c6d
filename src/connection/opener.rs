//! Opens one connection: connects and runs the app's set-up within a time limit.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use diesel::QueryResult;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::timeout;

use crate::backend::{Backend, ConnectError, ConnectErrorKind, Dial, Dialed, from_query};
use crate::query::SetUpInstrumentation;
use crate::settings::DatabaseUrl;

/// The app's set-up of each new connection.
pub(crate) type OnConnect<C> =
    Arc<dyn for<'a> Fn(&'a mut C) -> BoxFuture<'a, QueryResult<()>> + Send + Sync>;

/// Opens the pool's connections and dedicated connections.
pub(crate) struct Opener<C> {
    dial: Arc<dyn Dial<C>>,
    on_connect: Option<OnConnect<C>>,
    limit: Duration,
    /// Contains the secrets that are redacted from the driver's error messages.
    url: DatabaseUrl,
}

impl<C: Backend> Opener<C> {
    pub(crate) fn new(
        dial: Arc<dyn Dial<C>>,
        on_connect: Option<OnConnect<C>>,
        limit: Duration,
        url: DatabaseUrl,
    ) -> Self {
        Self {
            dial,
            on_connect,
            limit,
            url,
        }
    }

    pub(super) fn dial(&self) -> &Arc<dyn Dial<C>> {
        &self.dial
    }

    /// Opens one connection. A panic in the app's set-up becomes an error; otherwise bb8 would never
    /// count the connection attempt as finished.
    pub(super) async fn open(&self) -> Result<Dialed<C>, ConnectError> {
        self.open_and_watch(true).await
    }

    /// Opens one connection that the pool does not watch.
    pub(super) async fn open_dedicated(&self) -> Result<C, ConnectError> {
        let dialed = self.open_and_watch(false).await?;
        Ok(dialed.connection)
    }

    async fn open_and_watch(&self, watch: bool) -> Result<Dialed<C>, ConnectError> {
        let error = |kind, message: String| Err(ConnectError::new(kind, message, None));
        let set_up = AssertUnwindSafe(self.set_up(watch)).catch_unwind();
        match timeout(self.limit, set_up).await {
            Ok(Ok(opened)) => opened.map_err(|error| error.redacted(&self.url)),
            Ok(Err(_)) => error(
                ConnectErrorKind::Other,
                "setting up the connection panicked".to_owned(),
            ),
            Err(_) => error(
                ConnectErrorKind::TimedOut,
                format!("no connection within {:?}", self.limit),
            ),
        }
    }

    async fn set_up(&self, watch: bool) -> Result<Dialed<C>, ConnectError> {
        let mut dialed = self.dial.dial().await?;
        if let Some(set_up) = &self.on_connect {
            let (instrumentation, asked) = SetUpInstrumentation::new();
            if watch {
                dialed.connection.set_instrumentation(instrumentation);
            }
            set_up(&mut dialed.connection)
                .await
                .map_err(|error| from_query(&error))?;
            dialed.asked_read_only |= asked.load(Relaxed);
        }
        Ok(dialed)
    }
}

impl<C> Clone for Opener<C> {
    fn clone(&self) -> Self {
        Self {
            dial: Arc::clone(&self.dial),
            on_connect: self.on_connect.clone(),
            limit: self.limit,
            url: self.url.clone(),
        }
    }
}

impl<C> fmt::Debug for Opener<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}
