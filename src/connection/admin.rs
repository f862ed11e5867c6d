//! Administration of poolscope's own pool: create, resize, warm up, close.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use super::keepalive;
use super::manager::Manager;
use super::policy::ConnectionPolicy;
use super::service::PoolService;
use super::warm_up::{WarmUp, warm_up};
use crate::backend::{Backend, ConnectError};
use crate::record::pool_events::CloseReason;
use crate::settings::Settings;

/// How many times, one millisecond apart, a close waits for a running check-in to reach bb8. A
/// check-in that takes longer has lost its thread.
const TRIES: u32 = 100;

impl<C: Backend> PoolService<Manager<C>> {
    /// Creates the service over a bb8 pool that only hands out connections and takes them back: bb8
    /// does no probing, reaping or retries and has no `min_idle`. bb8 connects on demand. The manager
    /// enforces the connection limit, because bb8's own limit cannot change at run time.
    pub(crate) fn new(manager: Manager<C>, policy: &Arc<ConnectionPolicy>) -> Self {
        let own = Arc::clone(&manager.own);
        let pool = bb8::Pool::builder()
            .max_size(Settings::MAX_CONNECTIONS)
            .test_on_check_out(false)
            .max_lifetime(None)
            .idle_timeout(None)
            .retry_connection(false)
            .error_sink(Box::new(policy.limiter.sink()))
            // The gate enforces the deadline, so bb8's must never expire first.
            .connection_timeout(Duration::from_secs(30 * 24 * 3600))
            // LIFO: connections that the load no longer needs age and can be recycled.
            .queue_strategy(bb8::QueueStrategy::Lifo)
            .build_unchecked(manager);
        let service = Self::over(pool, Arc::clone(&own));
        own.belongs_to(Arc::downgrade(&service.shared));
        if let Some(idle) = policy.settings.keepalive {
            policy.runtime().spawn(keepalive::run(own, idle));
        }
        service
    }

    /// Changes size and overflow. Surplus idle connections close now, surplus connections in use close
    /// when they are returned. No connection is taken from its holder.
    pub(crate) fn resize(&self, size: u32, overflow: u32) {
        let policy = &self.shared.policy.policy;
        let _runtime = policy.runtime().enter();
        let (open, _) = policy.counter.read();
        policy.limits.set(size, overflow, open);
        policy.notify(|observer| observer.resized());
        let too_many = || {
            let counts = policy.counts();
            counts.idle > counts.pool_size
                || (counts.idle > 0 && counts.open > counts.max_connections())
        };
        while too_many() && self.close_one_idle(CloseReason::Resize) {}
    }

    /// Replaces every open connection: idle ones close now, those in use when they are returned.
    pub(crate) fn invalidate(&self) {
        let policy = &self.shared.policy.policy;
        let _runtime = policy.runtime().enter();
        policy.replace_all();
        for _ in 0..policy.counts().idle {
            self.close_one_idle(CloseReason::Invalidated);
        }
    }

    /// Opens connections until `pool_size` are open or the deadline has passed.
    pub(crate) fn warm_up(&self, deadline: Duration) -> impl Future<Output = WarmUp> + use<C> {
        let own = Arc::clone(&self.shared.policy);
        async move {
            let (size, _) = own.policy.limits.read();
            warm_up(&own, size, deadline).await
        }
    }

    /// Closes idle connections, and rejects the checkouts that wait for one to be opened. Connections in
    /// use close when they are returned.
    pub(crate) fn start_close(&self) {
        let policy = &self.shared.policy.policy;
        let _runtime = policy.runtime().enter();
        policy.close();
        policy.connect_errors.fail_all(&ConnectError::pool_closed());
        while self.close_one_idle(CloseReason::Shutdown) {}
    }

    /// Returns a function that closes the pool because its runtime has ended. It does not keep the pool alive.
    pub(crate) fn close_after_runtime(&self) -> impl FnOnce() + Send + use<C> {
        let pool = Arc::downgrade(&self.shared);
        move || {
            if let Some(shared) = pool.upgrade() {
                shared.policy.policy.runtime_ended();
                Self { shared }.start_close();
            }
        }
    }

    /// Closes the monitoring connection, and the pool's connections that were returned meanwhile.
    pub(crate) async fn finish_close(&self) {
        self.shared.monitor.close().await;
        // bb8 cannot empty a pool, so take the connections one by one; the closed manager opens no
        // more. A connection that is being returned counts as idle a moment before bb8 has it.
        for _ in 0..TRIES {
            while self.close_one_idle(CloseReason::Shutdown) {}
            if self.shared.policy.policy.counts().idle == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn close_one_idle(&self, reason: CloseReason) -> bool {
        close_one_idle(&self.shared.pool, reason)
    }
}

/// Closes one idle connection. Returns false if bb8 has none.
pub(super) fn close_one_idle<C: Backend>(
    pool: &bb8::Pool<Manager<C>>,
    reason: CloseReason,
) -> bool {
    let Some(mut entry) = take_idle(pool) else {
        return false;
    };
    entry.take();
    entry.retired = Some(reason);
    true
}

/// Takes an idle connection, if bb8 has one. Checks first, because otherwise bb8 would open one.
pub(super) fn take_idle<C: Backend>(
    pool: &bb8::Pool<Manager<C>>,
) -> Option<bb8::PooledConnection<'static, Manager<C>>> {
    if pool.state().idle_connections == 0 {
        return None;
    }
    pool.get_owned().now_or_never()?.ok()
}
