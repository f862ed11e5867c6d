//! Checkouts are served in order, and a dropped future leaves nothing behind.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use poolscope::backend::AsyncSqliteConnection;
use poolscope::report::Status;
use poolscope::{Checkout, Pool, PoolError};
use tower::ServiceExt;

use crate::databases::{Tested, on_each_database};
use crate::support::waiting::{found, until};

async fn pool(name: &str, size: u32) -> (crate::databases::Database, Pool<AsyncSqliteConnection>) {
    let database = AsyncSqliteConnection::database(name);
    let pool = database
        .pool()
        .pool_size(size)
        .max_overflow(0)
        .build()
        .unwrap();
    drop(pool.get().await.unwrap());
    (database, pool)
}

#[tokio::test(flavor = "multi_thread")]
async fn waiters_are_served_in_their_order() {
    let (_database, pool) = pool("order", 1).await;
    let held = pool.get().await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for n in 0..50 {
        let mut get = Box::pin(pool.get());
        // Polled once here, which fixes the order.
        assert!(get.as_mut().now_or_never().is_none());
        let order = Arc::clone(&order);
        tasks.push(tokio::spawn(async move {
            let conn = get.await.unwrap();
            order.lock().unwrap().push(n);
            drop(conn);
        }));
    }
    assert_eq!(pool.status().pending, 50);
    // A newcomer does not overtake, however often it tries.
    assert!(matches!(pool.try_get(), Err(PoolError::Rejected(_))));
    drop(held);
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), (0..50).collect::<Vec<_>>());
    assert_eq!(pool.status().pending, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canceled_waiter_gives_its_place_to_the_next() {
    let (_database, pool) = pool("goes_away", 1).await;
    let held = pool.get().await.unwrap();
    let mut first = Box::pin(pool.get());
    let mut second = Box::pin(pool.get());
    assert!(first.as_mut().now_or_never().is_none());
    assert!(second.as_mut().now_or_never().is_none());
    drop(first);
    drop(held);
    drop(second.await.unwrap());
    let status = pool.status();
    assert_eq!(
        (status.checked_out, status.pending, status.totals.canceled),
        (0, 0, 1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_future_that_was_never_polled_requests_nothing() {
    let (_database, pool) = pool("never_polled", 1).await;
    let before = pool.status().totals;
    drop(pool.get());
    assert_eq!(pool.status().totals, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pool_is_a_tower_service() {
    let (_database, pool) = pool("tower", 1).await;
    let held = pool
        .clone()
        .oneshot(Checkout::new().label("by hand"))
        .await
        .unwrap();
    let health = pool.health().await;
    assert_eq!(health.longest_holders[0].label, Some("by hand"));
    drop(held);
    // A pool that is made ready and never called keeps nothing.
    let mut ready = pool.clone();
    let _ = ready.ready().await.unwrap();
    assert!(pool.try_get().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn try_get_does_not_wait() {
    let database = AsyncSqliteConnection::database("no_wait");
    let pool = database
        .pool::<AsyncSqliteConnection>()
        .pool_size(1)
        .max_overflow(0)
        .build()
        .unwrap();
    // No connection is open yet; the attempt begins to open one.
    assert!(matches!(pool.try_get(), Err(PoolError::Rejected(_))));
    let get = async || pool.try_get().map_err(|error| error.to_string());
    let conn = found("a connection", get).await;
    let error = pool.try_get().unwrap_err();
    assert_eq!(
        error.to_string(),
        "checkout rejected: no connection is idle, and the caller asked not to wait"
    );
    drop(conn);
    assert!(pool.try_get().is_ok());
}

/// A reproducible sequence: splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

on_each_database!(ten_thousand_checkouts_with_cancellations_lose_nothing);

async fn ten_thousand_checkouts_with_cancellations_lose_nothing<C: Tested>(name: &str) {
    let database = C::database(name);
    let pool = database
        .pool::<C>()
        .pool_size(3)
        .max_overflow(3)
        .build()
        .unwrap();
    let tasks: Vec<_> = (0..20)
        .map(|seed| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let mut random = Random(seed);
                for _ in 0..500 {
                    let patience = Duration::from_micros(random.next() % 3000);
                    let Ok(conn) = tokio::time::timeout(patience, pool.get()).await else {
                        continue;
                    };
                    let mut conn = conn.unwrap();
                    match random.next() % 8 {
                        0 => assert_eq!(conn.select(7).await.unwrap(), 7),
                        // SQLite queries cannot be interrupted, so this waits.
                        1 => drop(tokio::time::timeout(Duration::ZERO, conn.select(8)).await),
                        2 => tokio::task::yield_now().await,
                        _ => {}
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    // A connect or a probe continues when its caller has gone, and ends by itself.
    let at_rest = |status: &Status| {
        let closed = status.totals.connections_closed;
        let closed =
            closed.overflow + closed.broken + closed.recycle + closed.ping_failed + closed.shutdown;
        let open = u64::from(status.total_connections);
        (status.checked_out, status.pending) == (0, 0)
            && status.idle == status.total_connections
            && status.totals.connections_opened - closed == open
    };
    let status = until("at rest", async || pool.status(), at_rest).await;
    assert!(status.total_connections <= 6, "{status:?}");
    assert_eq!(
        status.totals.checkouts + status.totals.canceled,
        10_000,
        "{:?}",
        status.totals
    );
    assert_eq!((status.totals.timeouts, status.totals.errors), (0, 0));
    // And every connection can still be checked out.
    let held = futures_util::future::try_join_all((0..6).map(|_| pool.get()))
        .await
        .unwrap();
    assert_eq!(pool.status().checked_out, 6);
    drop(held);
}
