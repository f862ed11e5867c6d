//! Opens one connection: connects and runs the app's set-up within a time limit.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::timeout;

use super::hooks::Hooks;
use crate::backend::{Backend, ConnectError, ConnectErrorKind, Dial, Dialed, from_query};
use crate::query::SetUpInstrumentation;
use crate::settings::DatabaseUrl;

/// Returns how long a backend may take if a connection attempt may take `limit`: a little less, so
/// that its error comes first. It names each address and why it failed.
pub(crate) fn limit_of_backend(limit: Duration) -> Duration {
    limit - (limit / 100).min(Duration::from_millis(50))
}

/// Opens the pool's connections and dedicated connections.
pub(crate) struct Opener<C> {
    dial: Arc<dyn Dial<C>>,
    hooks: Hooks<C>,
    limit: Duration,
    /// Contains the secrets that are redacted from the driver's error messages.
    url: DatabaseUrl,
}

impl<C: Backend> Opener<C> {
    pub(crate) fn new(
        dial: Arc<dyn Dial<C>>,
        hooks: Hooks<C>,
        limit: Duration,
        url: DatabaseUrl,
    ) -> Self {
        Self {
            dial,
            hooks,
            limit,
            url,
        }
    }

    pub(super) fn dial(&self) -> &Arc<dyn Dial<C>> {
        &self.dial
    }

    pub(super) fn hooks(&self) -> &Hooks<C> {
        &self.hooks
    }

    /// Removes the secrets of the database URL from an error.
    pub(super) fn redacted(&self, error: ConnectError) -> ConnectError {
        error.redacted(&self.url)
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
        let set_up = AssertUnwindSafe(self.set_up(watch)).catch_unwind();
        match timeout(self.limit, set_up).await {
            Ok(Ok(opened)) => opened.map_err(|error| self.redacted(error)),
            Ok(Err(_)) => {
                let why = "setting up the connection panicked";
                Err(ConnectError::new(ConnectErrorKind::Other, why, None))
            }
            Err(_) => Err(ConnectError::no_connection_within(self.limit)),
        }
    }

    async fn set_up(&self, watch: bool) -> Result<Dialed<C>, ConnectError> {
        let mut dialed = self.dial.dial().await?;
        if let Some(set_up) = &self.hooks.on_connect {
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
            hooks: self.hooks.clone(),
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
