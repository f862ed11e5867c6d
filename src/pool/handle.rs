//! [`Pool`], the handle that an app uses.

use std::fmt;
use std::future::Future;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tower_service::Service;

use super::builder::PoolBuilder;
use super::pooled_connection::PooledConnection;
use super::stack::Stack;
use crate::advice::{Optimization, WhatIf, WhatIfError};
use crate::backend::Backend;
use crate::checkout::Checkout;
use crate::error::PoolError;
use crate::monitor::Monitor;
use crate::observe::{Observe, ResponseFuture};
use crate::report::{Connections, Health, Healthcheck, Status};
use crate::settings::{Settings, SettingsError};

/// An observed pool of diesel-async connections: [`Observe`] over [`Stack`]. Cheap to clone; all
/// clones share one pool.
///
/// ```
/// # #[cfg(feature = "sqlite")] mod doc {
/// use diesel_async::RunQueryDsl;
/// use poolscope::{Pool, Settings};
/// use poolscope::backend::AsyncSqliteConnection;
///
/// # #[tokio::main] pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?; let url = format!("sqlite://{}/app.db", folder.path().display());
/// let pool = Pool::<AsyncSqliteConnection>::builder(Settings::new(url)).pool_size(2).build()?;
///
/// let mut conn = pool.get().await?;
/// diesel::sql_query("SELECT 1").execute(&mut conn).await?;
/// assert_eq!(pool.status().checked_out, 1);
///
/// drop(conn);
/// assert_eq!(pool.status().idle, 1);
/// # Ok(()) }
/// # } #[cfg(feature = "sqlite")] fn main() { doc::main().unwrap() } #[cfg(not(feature = "sqlite"))] fn main() {}
/// ```
pub struct Pool<C: Backend> {
    pub(super) observed: Observe<Stack<C>>,
}

/// The future of a checkout.
type Taking<C> = ResponseFuture<<Stack<C> as Service<Checkout>>::Future>;

impl<C: Backend> Pool<C> {
    #[cfg(test)]
    pub(crate) fn recorder(&self) -> &crate::record::recorder::Recorder {
        &self.observed.recorder
    }

    /// Returns a builder that starts from these settings.
    pub fn builder(settings: Settings) -> PoolBuilder<C> {
        PoolBuilder::new(settings)
    }

    /// Builds a pool from the environment variables `DATABASE_URL`, `DB_POOL_SIZE` and so on; see
    /// [`Settings::from_env`]. It does not connect.
    ///
    /// For a setting that has no variable, use `Pool::builder(Settings::from_env()?)`.
    ///
    /// # Errors
    /// Returns one error that lists every invalid setting. A database that is down is not an error.
    ///
    /// # Panics
    /// Panics if called outside a tokio runtime and the settings are valid.
    pub fn from_env() -> Result<Self, SettingsError> {
        Self::from_env_prefixed("")
    }

    /// Builds a pool for another database of the app, from variables with a prefix.
    ///
    /// With `REPORTS_` these are `REPORTS_DATABASE_URL`, `REPORTS_DB_POOL_SIZE` and so on; see
    /// [`Settings::from_env_prefixed`]. Set `REPORTS_DB_POOL_NAME`, so that telemetry distinguishes the pools.
    ///
    /// ```no_run
    /// # #[cfg(feature = "postgres")] mod doc {
    /// use diesel_async::AsyncPgConnection;
    /// use poolscope::Pool;
    ///
    /// # #[tokio::main] pub async fn main() -> Result<(), poolscope::settings::SettingsError> {
    /// let orders = Pool::<AsyncPgConnection>::from_env()?;
    /// let reports = Pool::<AsyncPgConnection>::from_env_prefixed("REPORTS_")?;
    /// # drop((orders, reports)); Ok(()) }
    /// # } fn main() {}
    /// ```
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env). The names in the error have the prefix.
    ///
    /// # Panics
    /// As [`from_env`](Self::from_env).
    pub fn from_env_prefixed(prefix: &str) -> Result<Self, SettingsError> {
        PoolBuilder::from_env_prefixed(prefix)?.build()
    }

    pub(super) fn over(observed: Observe<Stack<C>>) -> Self {
        Self { observed }
    }

    /// Checks out a connection, first come, first served. Dropping the future leaves the queue.
    ///
    /// # Errors
    /// Returns a [`PoolError`] with the cause, the time waited and the holders of the connections.
    #[track_caller]
    pub fn get(&self) -> impl Future<Output = Result<PooledConnection<C>, PoolError>> + use<C> {
        self.take(Checkout::new())
    }

    /// Checks out a connection like [`get`](Self::get), whose connections are owned too. Exists for
    /// apps that migrate from bb8.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    #[track_caller]
    pub fn get_owned(
        &self,
    ) -> impl Future<Output = Result<PooledConnection<C>, PoolError>> + use<C> {
        self.take(Checkout::new())
    }

    /// Checks out a connection with a label, or on behalf of another source line.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn checkout(
        &self,
        checkout: Checkout,
    ) -> impl Future<Output = Result<PooledConnection<C>, PoolError>> + use<C> {
        self.take(checkout)
    }

    fn take(&self, checkout: Checkout) -> Taking<C> {
        let taking = self.observed.get_ref().take(checkout);
        self.observed.observed(checkout, taking)
    }

    /// Checks out an idle connection that needs no ping, without waiting.
    ///
    /// If there is none and the pool's limit permits one more, starts to open it in the background.
    ///
    /// # Errors
    /// Returns [`PoolError::Rejected`] if no such connection is available, and
    /// [`PoolError::Closed`] after [`close`](Self::close).
    ///
    /// # Panics
    /// Panics if called outside a runtime after the runtime that the pool was built in has shut down.
    #[track_caller]
    pub fn try_get(&self) -> Result<PooledConnection<C>, PoolError> {
        // Prefer the caller's runtime: the pool's own may have shut down.
        let outside = Handle::try_current().is_err();
        let _runtime = outside.then(|| self.service().policy().policy.runtime().enter());
        let checkout = Checkout::new().without_waiting();
        match self.take(checkout).now_or_never() {
            Some(answer) => answer,
            None => unreachable!("a checkout that does not wait is answered at its first poll"),
        }
    }

    /// Opens a connection outside the pool. It is neither counted nor limited, and dropping it closes
    /// it. Use it for `LISTEN`, migrations and other work that should not use up the pool.
    ///
    /// # Errors
    /// Returns [`PoolError::ConnectFailed`] with the cause.
    pub async fn dedicated_connection(&self) -> Result<C, PoolError> {
        self.service()
            .dedicated()
            .await
            .map_err(PoolError::ConnectFailed)
    }

    /// Returns the pool's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.observed.name()
    }

    /// Returns the settings that the pool was built with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.observed.get_ref().built.settings
    }

    /// Returns bb8's own view of open and idle connections, for apps that migrate from bb8. Its
    /// statistics count requests to bb8; [`status`](Self::status) counts the app's checkouts.
    #[must_use]
    pub fn state(&self) -> bb8::State {
        self.service().get_ref().state()
    }

    /// Returns the pool's state at this instant, without I/O. The same as `GET status`.
    #[must_use]
    pub fn status(&self) -> Status {
        self.observed.status()
    }

    /// Returns the pool's health with warnings and recommendations. The same as `GET health`.
    pub async fn health(&self) -> Health {
        self.observed.health().await
    }

    /// Returns the server's view of this pool's sessions. The same as `GET connections`.
    pub async fn connections(&self) -> Connections {
        self.observed.connections().await
    }

    /// Returns the pool size that the measured load needs, and why. The same as `GET optimize`.
    pub async fn optimize(&self) -> Optimization {
        self.observed.optimize().await
    }

    /// Returns the pool size that a hypothetical load needs. The same as `GET optimize?rate=1.5` and
    /// its other parameters.
    ///
    /// # Errors
    /// Returns an error if a parameter is out of range.
    pub async fn optimize_for(&self, what_if: &WhatIf) -> Result<Optimization, WhatIfError> {
        self.observed.optimize_for(what_if).await
    }

    /// Checks whether the pool can serve requests. Answers within 800 ms. The same as
    /// `GET healthcheck`.
    pub async fn healthcheck(&self) -> Healthcheck {
        self.observed.healthcheck().await
    }

    /// Returns the monitoring routes as a tower service.
    #[must_use]
    pub fn monitor(&self) -> Monitor<Stack<C>> {
        self.observed.monitor()
    }

    /// Returns the observed stack inside this pool.
    #[must_use]
    pub fn as_service(&self) -> &Observe<Stack<C>> {
        &self.observed
    }

    pub(super) fn service(&self) -> &crate::connection::PoolService<crate::connection::Manager<C>> {
        self.observed.get_ref().admit.get_ref()
    }
}

impl<C: Backend> Service<Checkout> for Pool<C> {
    type Response = PooledConnection<C>;
    type Error = PoolError;
    type Future = Taking<C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PoolError>> {
        self.observed.poll_ready(cx)
    }

    fn call(&mut self, checkout: Checkout) -> Self::Future {
        self.observed.call(checkout)
    }
}

impl<C: Backend> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Self {
            observed: self.observed.clone(),
        }
    }
}

impl<C: Backend> fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("status", &self.status())
            .finish()
    }
}
