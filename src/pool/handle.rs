//! The pool as an app holds it.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tower_service::Service;

use super::builder::PoolBuilder;
use super::stack::Stack;
use crate::admit::Admitted;
use crate::advice::{Optimization, WhatIf, WhatIfError};
use crate::backend::Backend;
use crate::checkout::Checkout;
use crate::connection::{Lease, WarmUp};
use crate::error::PoolError;
use crate::monitor::Monitor;
use crate::observe::{Observe, Observed, ResponseFuture};
use crate::report::{Connections, Health, Healthcheck, Status};
use crate::settings::{Settings, SettingsError};

/// A connection out of a [`Pool`]: derefs to the diesel connection, and goes back when dropped.
pub type PooledConnection<C> = Observed<Admitted<Lease<C>>>;

/// A pool of diesel-async connections that is seen through: [`Observe`] over [`Stack`], with a
/// name on it. Cheap to clone; all clones are one pool.
///
/// ```
/// # #[cfg(feature = "sqlite")] mod doc {
/// use diesel_async::RunQueryDsl;
/// use poolscope::{AsyncSqliteConnection, Pool, Settings};
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
    observed: Observe<Stack<C>>,
}

/// The future of a checkout.
type Taking<C> = ResponseFuture<<Stack<C> as Service<Checkout>>::Future>;

impl<C: Backend> Pool<C> {
    #[cfg(test)]
    pub(crate) fn recorder(&self) -> &crate::observe::recorder::Recorder {
        &self.observed.recorder
    }

    /// Builds a pool by these settings.
    pub fn builder(settings: Settings) -> PoolBuilder<C> {
        PoolBuilder::new(settings)
    }

    /// A pool by the environment: `DATABASE_URL`, `DB_POOL_SIZE`, …; see [`Settings::from_env`].
    ///
    /// # Errors
    /// Every bad setting, in one error. An absent database is none.
    pub async fn from_env() -> Result<Self, SettingsError> {
        Self::builder(Settings::from_env()?).build()
    }

    pub(super) fn over(observed: Observe<Stack<C>>) -> Self {
        Self { observed }
    }

    /// A connection, in turn: first come, first served. Dropping the future gives up the place.
    ///
    /// # Errors
    /// [`PoolError`] says why there was none, for how long, and who held them.
    #[track_caller]
    pub fn get(&self) -> impl Future<Output = Result<PooledConnection<C>, PoolError>> + use<C> {
        self.take(Checkout::new())
    }

    /// As [`get`](Self::get), whose connection is owned already; for those who come from bb8.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    #[track_caller]
    pub fn get_owned(
        &self,
    ) -> impl Future<Output = Result<PooledConnection<C>, PoolError>> + use<C> {
        self.take(Checkout::new())
    }

    /// A connection for a checkout with a label, or on behalf of another source line.
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

    /// A connection that is idle and fresh right now; never waits.
    ///
    /// When there is none but there may be one more, opening it begins in the background.
    ///
    /// # Errors
    /// [`PoolError::Rejected`] when none is at hand, [`PoolError::Closed`] after [`close`](Self::close).
    ///
    /// # Panics
    /// Outside of a runtime, when the one that the pool was built in has been shut down.
    #[track_caller]
    pub fn try_get(&self) -> Result<PooledConnection<C>, PoolError> {
        // The caller's runtime if there is one: the pool's own may be over by now.
        let outside = Handle::try_current().is_err();
        let _runtime = outside.then(|| self.service().care().care.runtime().enter());
        let checkout = Checkout::new().without_waiting();
        match self.take(checkout).now_or_never() {
            Some(answer) => answer,
            None => unreachable!("a checkout that does not wait is answered at its first poll"),
        }
    }

    /// Opens a connection that is not the pool's: not counted, not limited, closed by dropping it.
    /// For `LISTEN`, migrations, and other work that should not use up the pool.
    ///
    /// # Errors
    /// [`PoolError::ConnectFailed`] with the cause.
    pub async fn dedicated_connection(&self) -> Result<C, PoolError> {
        self.service()
            .dedicated()
            .await
            .map_err(PoolError::ConnectFailed)
    }

    /// Changes the size at run time. More connections serve those who wait at once; of fewer, idle
    /// ones are closed now and those in use when they come back, with
    /// [`CloseReason::Resize`](crate::CloseReason::Resize). Nobody's connection is taken away.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] mod doc {
    /// # use poolscope::{AsyncSqliteConnection, Pool, Settings};
    /// # #[tokio::main] pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?; let url = format!("sqlite://{}/app.db", folder.path().display());
    /// let pool = Pool::<AsyncSqliteConnection>::builder(Settings::new(url)).pool_size(3).build()?;
    /// pool.resize(5, 10)?;
    /// assert_eq!(pool.status().max_connections, 15);
    ///
    /// let error = pool.resize(0, 10).unwrap_err();
    /// assert!(error.to_string().contains("pool_size"));
    /// # Ok(()) }
    /// # } #[cfg(feature = "sqlite")] fn main() { doc::main().unwrap() } #[cfg(not(feature = "sqlite"))] fn main() {}
    /// ```
    ///
    /// # Errors
    /// A size that could not be a setting; nothing is changed then.
    pub fn resize(&self, pool_size: u32, max_overflow: u32) -> Result<(), SettingsError> {
        let mut wanted = self.settings().clone();
        (wanted.pool_size, wanted.max_overflow) = (pool_size, max_overflow);
        wanted.validate()?;
        self.observed.get_ref().resize(pool_size, max_overflow);
        tracing::info!(target: "poolscope", pool = self.name(), pool_size, max_overflow, "the pool is resized");
        Ok(())
    }

    /// Hands out no more connections until [`resume`](Self::resume): for a failover, or maintenance
    /// of the database. Those in use stay in use; those who ask wait, up to the pool's timeout, or
    /// fail at once with [`PoolError::Suspended`] where `DB_POOL_FAIL_WHEN_SUSPENDED` says so.
    /// Meanwhile `health` and `healthcheck` answer 503.
    pub fn suspend(&self) {
        self.observed.get_ref().gate().suspend();
        tracing::info!(target: "poolscope", pool = self.name(), "the pool is suspended");
    }

    /// Ends a [`suspend`](Self::suspend): who waits is served in turn. Every connection that is open
    /// is pinged before its next use, for the server may be another one.
    pub fn resume(&self) {
        self.service().invalidate();
        self.observed.get_ref().gate().resume();
        tracing::info!(target: "poolscope", pool = self.name(), "the pool is resumed");
    }

    /// Opens connections until `pool_size` are open, and waits for it up to `deadline`, never longer.
    /// A database that is not there is tried again until then.
    ///
    /// Dropping the future stops nothing: what has begun goes on in the background, until the same
    /// deadline. The setting `warm_up` does this when the pool is built, and tells in the log what
    /// came of it.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] mod doc {
    /// # use poolscope::{AsyncSqliteConnection, Pool, Settings};
    /// # use std::time::Duration;
    /// # #[tokio::main] pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?; let url = format!("sqlite://{}/app.db", folder.path().display());
    /// let pool = Pool::<AsyncSqliteConnection>::builder(Settings::new(url)).pool_size(3).build()?;
    /// let warm_up = pool.warm_up(Duration::from_secs(10)).await;
    /// assert!(warm_up.is_complete(), "{warm_up:?}");
    /// assert_eq!(pool.status().idle, 3);
    /// # Ok(()) }
    /// # } #[cfg(feature = "sqlite")] fn main() { doc::main().unwrap() } #[cfg(not(feature = "sqlite"))] fn main() {}
    /// ```
    pub async fn warm_up(&self, deadline: Duration) -> WarmUp {
        self.service().warm_up(deadline).await
    }

    /// The same without waiting for it. Nobody who waits for its end keeps the pool alive.
    pub(super) fn warm_up_in_background(&self, deadline: Duration) {
        let name = Arc::<str>::from(self.name());
        let warm_up = self.service().warm_up(deadline);
        let runtime = self.service().care().care.runtime();
        runtime.spawn(async move {
            let WarmUp {
                opened,
                failed,
                error,
                took,
                ..
            } = warm_up.await;
            let took_ms = took.as_millis() as u64;
            if failed == 0 {
                tracing::info!(target: "poolscope", pool = &*name, opened, took_ms, "pool warmed up");
            } else {
                let error = error.map(tracing::field::display);
                tracing::warn!(target: "poolscope", pool = &*name, opened, failed, took_ms, error,
                    "pool not warmed up: connections are opened when they are needed");
            }
        });
    }

    /// Stops handing out connections, waits up to `deadline` for those in use to come back, and
    /// closes them. From the first moment on, `healthcheck` answers 503. True if all came back;
    /// those that did not close when they do.
    pub async fn close(&self, deadline: Duration) -> bool {
        let stack = self.observed.get_ref();
        stack.admit.gate().close();
        let all_back = timeout(deadline, stack.admit.gate().drained())
            .await
            .is_ok();
        stack.admit.get_ref().close().await;
        all_back
    }

    /// The pool's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.observed.name()
    }

    /// The settings it was built by.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.observed.get_ref().built.settings
    }

    /// bb8's own view, for those who come from there: open and idle connections. Its statistics
    /// count what bb8 was asked for; [`status`](Self::status) counts what the app asked for.
    #[must_use]
    pub fn state(&self) -> bb8::State {
        self.service().get_ref().state()
    }

    /// The pool at this instant; no I/O. As `GET status`.
    #[must_use]
    pub fn status(&self) -> Status {
        self.observed.status()
    }

    /// The pool's health, with warnings and recommendations. As `GET health`.
    pub async fn health(&self) -> Health {
        self.observed.health().await
    }

    /// The server's view of this pool's sessions. As `GET connections`.
    pub async fn connections(&self) -> Connections {
        self.observed.connections().await
    }

    /// Which size the measured load needs, and why. As `GET optimize`.
    pub async fn optimize(&self) -> Optimization {
        self.observed.optimize().await
    }

    /// The same for other circumstances than those that were measured. As `GET optimize?rate=1.5`
    /// and its other parameters.
    ///
    /// # Errors
    /// What is asked for is out of bounds.
    pub async fn optimize_for(&self, what_if: &WhatIf) -> Result<Optimization, WhatIfError> {
        self.observed.optimize_for(what_if).await
    }

    /// Whether the pool can serve, within 800 ms. As `GET healthcheck`.
    pub async fn healthcheck(&self) -> Healthcheck {
        self.observed.healthcheck().await
    }

    /// The monitoring routes as a tower service.
    #[must_use]
    pub fn monitor(&self) -> Monitor<Stack<C>> {
        self.observed.monitor()
    }

    /// The observed stack that this pool is.
    #[must_use]
    pub fn as_service(&self) -> &Observe<Stack<C>> {
        &self.observed
    }

    fn service(&self) -> &crate::connection::PoolService<crate::connection::Manager<C>> {
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
