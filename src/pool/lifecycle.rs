//! A pool from its start to its end: warm up, resize, suspend, resume, close.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::timeout;

use super::handle::Pool;
use crate::backend::Backend;
use crate::connection::WarmUp;
use crate::record::events::Event;
use crate::settings::SettingsError;

impl<C: Backend> Pool<C> {
    /// Changes the pool's size at run time. A larger pool serves waiting checkouts at once. A smaller
    /// pool closes surplus idle connections now and surplus connections in use when they are
    /// returned, with [`CloseReason::Resize`](crate::service::CloseReason::Resize). No connection is taken
    /// from its holder.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] mod doc {
    /// # use poolscope::{Pool, Settings};
    /// # use poolscope::backend::AsyncSqliteConnection;
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
    /// Returns an error if the size is not a valid setting. The pool is then unchanged.
    pub fn resize(&self, pool_size: u32, max_overflow: u32) -> Result<(), SettingsError> {
        let mut wanted = self.settings().clone();
        (wanted.pool_size, wanted.max_overflow) = (pool_size, max_overflow);
        wanted.validate()?;
        self.observed.get_ref().resize(pool_size, max_overflow);
        tracing::info!(target: "poolscope", pool = self.name(), pool_size, max_overflow, "pool resized");
        Ok(())
    }

    /// Stops handing out connections until [`resume`](Self::resume), for a failover or for maintenance
    /// of the database. Connections in use stay in use. New checkouts wait up to the pool's timeout,
    /// or fail at once with [`PoolError::Suspended`](crate::PoolError::Suspended) if `fail_when_suspended` is set. While
    /// the pool is suspended, `health` and `healthcheck` answer 503.
    pub fn suspend(&self) {
        self.observed.get_ref().gate().suspend();
        self.observed.recorder.availability_changed();
        tracing::info!(target: "poolscope", pool = self.name(), "pool suspended");
        self.observed.recorder.happened(Event::Suspended);
    }

    /// Ends a [`suspend`](Self::suspend) and serves waiting checkouts in order.
    ///
    /// Every connection that was opened before is replaced, with
    /// [`CloseReason::Invalidated`](crate::service::CloseReason::Invalidated): idle ones close now, those
    /// in use when they are returned. A pool is suspended so that its database can change, and a connection
    /// that outlives a failover answers every ping and yet may lead to the old primary. Opening a few
    /// connections costs less than that.
    pub fn resume(&self) {
        self.service().invalidate();
        self.observed.get_ref().gate().resume();
        self.observed.recorder.availability_changed();
        tracing::info!(target: "poolscope", pool = self.name(), "pool resumed");
        self.observed.recorder.happened(Event::Resumed);
    }

    /// Opens connections until `pool_size` are open, and waits for them up to `deadline`. An
    /// unreachable database is retried until then.
    ///
    /// Dropping the future does not stop the warm-up: it continues in the background until the same
    /// deadline. The setting `warm_up` warms the pool up when it is built, and logs the result.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] mod doc {
    /// # use poolscope::{Pool, Settings};
    /// # use poolscope::backend::AsyncSqliteConnection;
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

    /// Warms the pool up in a task that does not keep the pool alive, and logs the result.
    pub(super) fn warm_up_in_background(&self, deadline: Duration) {
        let name = Arc::<str>::from(self.name());
        let warm_up = self.service().warm_up(deadline);
        let runtime = self.service().policy().policy.runtime();
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
                    "pool not warmed up: connections are opened on demand");
            }
        });
    }

    /// Stops handing out connections, also to checkouts that wait, closes idle ones, and waits up to
    /// `deadline` for those in use to be returned and closed. `healthcheck` answers 503 as soon as the close
    /// begins. Returns true if all connections were returned in time; the others close when they are
    /// returned.
    ///
    /// Dropping the future does not stop the close: it continues in the background until the same
    /// deadline.
    pub async fn close(&self, deadline: Duration) -> bool {
        let stack = self.observed.get_ref();
        let (gate, service) = (Arc::clone(stack.gate()), stack.admit.get_ref().clone());
        gate.close();
        self.observed.recorder.availability_changed();
        service.start_close();
        self.observed.recorder.happened(Event::Closed);
        let runtime = service.policy().policy.runtime().clone();
        let closing = runtime.spawn(async move {
            let all_back = timeout(deadline, gate.drained()).await.is_ok();
            service.finish_close().await;
            all_back
        });
        // The task is dropped if the pool's runtime has ended. Its connections have ended with it.
        match closing.await {
            Ok(all_back) => all_back,
            Err(_) => stack.gate().drained().now_or_never().is_some(),
        }
    }
}
