//! `close`: stops checkouts, waits for connections in use, closes them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::FutureExt;
use poolscope::PoolError;
use tokio::sync::Semaphore;

use crate::connections_report::exactly;
use crate::databases::{Tested, on_each_database};
use crate::support::waiting::until;

const LONG: Duration = Duration::from_secs(30);

on_each_database!(
    closing_waits_for_connections_in_use,
    closing_does_not_wait_beyond_its_deadline,
    concurrent_closes_all_succeed,
    a_close_that_is_dropped_continues,
    a_checkout_that_connects_fails_when_the_pool_closes,
);

async fn closing_waits_for_connections_in_use<C: Tested>(name: &str) {
    let database = C::database(name);
    let pool = database
        .pool::<C>()
        .pool_size(2)
        .max_overflow(0)
        .build()
        .unwrap();
    let mut held = pool.get().await.unwrap();
    drop(pool.get().await.unwrap());
    let other = pool.get().await.unwrap();
    let mut waiting = Box::pin(pool.get());
    assert!(waiting.as_mut().now_or_never().is_none());

    let mut closing = Box::pin(pool.close(LONG));
    assert!(closing.as_mut().now_or_never().is_none());
    assert!(matches!(waiting.await, Err(PoolError::Closed)));
    assert!(matches!(pool.get().await, Err(PoolError::Closed)));
    let check = pool.healthcheck().await;
    assert!(check.reason.unwrap().contains("draining"));
    // Connections in use go on working.
    assert_eq!(held.select(4).await.unwrap(), 4);
    drop((held, other));
    assert!(closing.await);
    let status = pool.status();
    assert_eq!(
        (
            status.total_connections,
            status.totals.connections_closed.shutdown
        ),
        (0, 2)
    );
    assert!(pool.healthcheck().await.reason.unwrap().contains("closed"));
}

async fn closing_does_not_wait_beyond_its_deadline<C: Tested>(name: &str) {
    let database = C::database(name);
    let pool = exactly(1, database.pool::<C>());
    let held = pool.get().await.unwrap();
    assert!(!pool.close(Duration::from_millis(10)).await);
    assert_eq!(pool.status().total_connections, 1);
    drop(held);
    assert_eq!(pool.status().total_connections, 0);
}

async fn concurrent_closes_all_succeed<C: Tested>(name: &str) {
    let database = C::database(name);
    let pool = database
        .pool::<C>()
        .pool_size(2)
        .max_overflow(2)
        .build()
        .unwrap();
    let users: Vec<_> = (0..8)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                loop {
                    match pool.get().await {
                        Ok(mut conn) => assert_eq!(conn.select(1).await.unwrap(), 1),
                        Err(PoolError::Closed) => return,
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    while pool.status().totals.checkouts < 20 {
        tokio::task::yield_now().await;
    }
    let closed = tokio::join!(pool.close(LONG), pool.close(LONG), pool.close(LONG));
    assert_eq!(closed, (true, true, true));
    for user in users {
        user.await.unwrap();
    }
    let status = pool.status();
    assert_eq!(
        (status.checked_out, status.total_connections, status.pending),
        (0, 0, 0)
    );
}

async fn a_close_that_is_dropped_continues<C: Tested>(name: &str) {
    let database = C::database(name);
    let pool = exactly(2, database.pool::<C>());
    let held = pool.get().await.unwrap();
    drop(pool.get().await.unwrap());
    assert!(pool.close(LONG).now_or_never().is_none());
    until(
        "the idle connection is closed",
        async || pool.status().total_connections,
        |open| *open == 1,
    )
    .await;
    drop(held);
    until(
        "the other one is closed",
        async || pool.status().total_connections,
        |open| *open == 0,
    )
    .await;
    assert!(pool.close(LONG).await);
}

async fn a_checkout_that_connects_fails_when_the_pool_closes<C: Tested>(name: &str) {
    let database = C::database(name);
    let (set_up, connecting) = (
        Arc::new(Semaphore::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let (waits, begins) = (Arc::clone(&set_up), Arc::clone(&connecting));
    let pool = database
        .pool::<C>()
        .pool_size(1)
        .on_connect(move |_| {
            let waits = Arc::clone(&waits);
            begins.store(true, Relaxed);
            Box::pin(async move {
                let _ = waits.acquire().await;
                Ok(())
            })
        })
        .build()
        .unwrap();
    let checkout = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get().await.map(drop) }
    });
    until(
        "the checkout connects",
        async || connecting.load(Relaxed),
        |begun| *begun,
    )
    .await;
    assert!(pool.close(LONG).await);
    assert!(matches!(checkout.await.unwrap(), Err(PoolError::Closed)));
    set_up.add_permits(1);
    until(
        "the connection is closed",
        async || pool.status().total_connections,
        |open| *open == 0,
    )
    .await;
}
