//! What is done to a pool of ours as a whole: made, resized, warmed up, closed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use super::care::Care;
use super::keepalive;
use super::manager::Manager;
use super::service::PoolService;
use super::warm_up::{WarmUp, warm_up};
use crate::backend::Backend;
use crate::lifecycle::CloseReason;
use crate::settings::Settings;

/// A check-in that takes longer than this many milliseconds to reach bb8 has lost its thread.
const TRIES: u32 = 100;

impl<C: Backend> PoolService<Manager<C>> {
    /// Over a bb8 pool that only hands connections out and takes them back: no probing, no reaper,
    /// no `min_idle`, no retries of its own. It dials when asked; the manager sees to it that there
    /// are never more than there may be, for bb8's own limit can't be changed.
    pub(crate) fn new(manager: Manager<C>, care: &Arc<Care>) -> Self {
        let own = Arc::clone(&manager.own);
        let pool = bb8::Pool::builder()
            .max_size(Settings::MAX_CONNECTIONS)
            .test_on_check_out(false)
            .max_lifetime(None)
            .idle_timeout(None)
            .retry_connection(false)
            .error_sink(Box::new(care.dials.sink()))
            // The gate's deadline rules; bb8's is out of its way.
            .connection_timeout(Duration::from_secs(30 * 24 * 3600))
            // The warmest first: what load no longer needs ages and can be recycled.
            .queue_strategy(bb8::QueueStrategy::Lifo)
            .build_unchecked(manager);
        let service = Self::over(pool, Arc::clone(&own));
        own.belongs_to(Arc::downgrade(&service.shared));
        if let Some(idle) = care.settings.keepalive {
            care.runtime().spawn(keepalive::run(own, idle));
        }
        service
    }

    /// Changes how many connections stay open, and how many more there may be. What is idle beyond
    /// that closes now, what is in use when it comes back; nothing is taken from anybody.
    pub(crate) fn resize(&self, size: u32, overflow: u32) {
        let care = &self.shared.care.care;
        let _runtime = care.runtime().enter();
        let (open, _) = care.counter.read();
        care.limits.set(size, overflow, open);
        care.tell(|observer| observer.resized());
        let too_many = || {
            let counts = care.counts();
            counts.idle > counts.pool_size
                || (counts.idle > 0 && counts.open > counts.max_connections())
        };
        while too_many() && self.close_one_idle(CloseReason::Resize) {}
    }

    /// Has every connection that is open now pinged before its next use, however fresh it is.
    pub(crate) fn invalidate(&self) {
        self.shared.care.care.suspect_all();
    }

    /// Opens connections until `pool_size` are open, or the deadline is over.
    pub(crate) fn warm_up(&self, deadline: Duration) -> impl Future<Output = WarmUp> + use<C> {
        let own = Arc::clone(&self.shared.care);
        async move {
            let (size, _) = own.care.limits.read();
            warm_up(&own, size, deadline).await
        }
    }

    /// Closes what is idle; what is in use closes when it comes back.
    pub(crate) async fn close(&self) {
        self.shared.care.care.close();
        self.shared.lane.close().await;
        // bb8 has no way to empty a pool, and with the manager closed it opens none meanwhile. A
        // connection on its way back is counted as idle a moment before bb8 has it.
        for _ in 0..TRIES {
            while self.close_one_idle(CloseReason::Shutdown) {}
            if self.shared.care.care.counts().idle == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// False when bb8 has none.
    fn close_one_idle(&self, reason: CloseReason) -> bool {
        let Some(mut entry) = take_idle(&self.shared.pool) else {
            return false;
        };
        entry.take();
        entry.retired = Some(reason);
        true
    }
}

/// An idle connection, if bb8 has one. Asked for one that it has not, it would open it.
pub(super) fn take_idle<C: Backend>(
    pool: &bb8::Pool<Manager<C>>,
) -> Option<bb8::PooledConnection<'static, Manager<C>>> {
    if pool.state().idle_connections == 0 {
        return None;
    }
    pool.get_owned().now_or_never()?.ok()
}
