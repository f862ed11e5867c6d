//! Pings connections that have been idle for long, because firewalls drop silent connections.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::admin::take_idle;
use super::lease::Lease;
use super::manager::Manager;
use super::own_pool::OwnShared;
use super::service::Shared;
use crate::backend::Backend;

/// The minimum pause between two rounds, however short the keepalive interval is.
const REST: Duration = Duration::from_millis(10);

/// Runs the keepalive until the pool is dropped or closed.
pub(super) async fn run<C: Backend>(own: Arc<OwnShared<C>>, idle: Duration) {
    let mut next = Instant::now() + idle;
    loop {
        sleep_until(next.max(Instant::now() + REST)).await;
        let Some(pool) = own.pool() else { return };
        let pool = Arc::downgrade(&pool);
        next = round(&own, &pool, idle).await;
    }
}

/// Pings all due connections, one after the other. Returns when the next one is due.
async fn round<C: Backend>(
    own: &Arc<OwnShared<C>>,
    pool: &Weak<Shared<Manager<C>>>,
    idle: Duration,
) -> Instant {
    loop {
        let Some(pool) = pool.upgrade() else {
            return Instant::now() + idle;
        };
        // Waiting checkouts need the idle connections, and during an outage every ping would fail.
        if own.policy.waiting() > 0 || own.breaker.is_down() {
            return Instant::now() + REST.max(idle / 10);
        }
        match oldest(own, &pool.pool, idle) {
            Err(next) => return next,
            // Returned as the one used last, or closed.
            Ok(lease) => drop(Lease::probed(lease, Arc::clone(own), true).await),
        }
    }
}

/// Takes the connection that has been idle for longest, if it is due.
///
/// bb8 hands out the one used last first, so this takes all of them out, for some microseconds, and
/// puts all but one back unchanged.
///
/// # Errors
/// Returns the instant at which the next connection is due, if none is due yet.
fn oldest<C: Backend>(
    own: &OwnShared<C>,
    pool: &bb8::Pool<Manager<C>>,
    idle: Duration,
) -> Result<Lease<C>, Instant> {
    let _gathering = own.policy.gather();
    let mut all = Vec::new();
    while let Some(connection) = take_idle(pool) {
        all.push(Lease::looked_at(connection));
    }
    let now = Instant::now();
    let oldest = all
        .iter()
        .enumerate()
        .min_by_key(|(_, lease)| lease.last_used())
        .map(|(index, lease)| (index, lease.last_used() + idle));
    let due = match oldest {
        Some((index, due)) if due <= now => Ok(all.remove(index)),
        Some((_, due)) => Err(due),
        None => Err(now + idle),
    };
    // Put the one used last back last, so that it is the first again.
    while let Some(lease) = all.pop() {
        drop(lease);
    }
    due
}
