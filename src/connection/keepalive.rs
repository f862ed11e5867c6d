//! Pings what has been idle for long, for firewalls that drop what is silent.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::lease::Lease;
use super::manager::Manager;
use super::own::OwnCare;
use super::service::Shared;
use super::steering::take_idle;
use crate::backend::Backend;

/// However short the keepalive is.
const REST: Duration = Duration::from_millis(10);

/// Until nobody has the pool any more.
pub(super) async fn run<C: Backend>(own: Arc<OwnCare<C>>, idle: Duration) {
    let mut next = Instant::now() + idle;
    loop {
        sleep_until(next.max(Instant::now() + REST)).await;
        let Some(pool) = own.pool() else { return };
        let pool = Arc::downgrade(&pool);
        next = round(&own, &pool, idle).await;
    }
}

/// Pings all that is due, one after the other, and tells when the next will be.
async fn round<C: Backend>(
    own: &Arc<OwnCare<C>>,
    pool: &Weak<Shared<Manager<C>>>,
    idle: Duration,
) -> Instant {
    loop {
        let Some(pool) = pool.upgrade() else {
            return Instant::now() + idle;
        };
        // What is idle is for those who wait; and what is pinged during an outage would only fail.
        if own.care.waiting() > 0 || own.outage.is_down() {
            return Instant::now() + REST.max(idle / 10);
        }
        match oldest(own, &pool.pool, idle) {
            Err(next) => return next,
            // Back as the one used last, or closed.
            Ok(lease) => drop(Lease::probed(lease, Arc::clone(own)).await),
        }
    }
}

/// The connection that has been idle for longest, if that is long enough; else when it will be.
///
/// bb8 gives the one used last first, so all are taken out, for some microseconds, and all but one
/// put back as they were.
fn oldest<C: Backend>(
    own: &OwnCare<C>,
    pool: &bb8::Pool<Manager<C>>,
    idle: Duration,
) -> Result<Lease<C>, Instant> {
    let _gathering = own.care.gather();
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
    // The one used last goes back last, to be the first again.
    while let Some(lease) = all.pop() {
        drop(lease);
    }
    due
}
