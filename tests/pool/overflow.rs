//! `pool_size`, `max_overflow`, `pool_recycle` and `pool_timeout`, with SQLAlchemy's meaning.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::try_join_all;
use poolscope::PoolError;
use tokio::sync::Semaphore;

use crate::databases::{Tested, on_each_database};
use crate::support::waiting::until;

on_each_database!(
    overflow_connections_close_at_check_in,
    connections_opened_for_dropped_checkouts_are_closed,
    the_timeout_bounds_the_whole_acquisition,
    an_old_connection_is_replaced_at_its_next_checkout,
);

async fn overflow_connections_close_at_check_in<C: Tested>(name: &str) {
    let database = C::database(name);
    let pool = database
        .pool::<C>()
        .pool_size(2)
        .max_overflow(3)
        .build()
        .unwrap();
    let mut held = try_join_all((0..5).map(|_| pool.get())).await.unwrap();
    for (n, conn) in (0..).zip(&mut held) {
        assert_eq!(conn.select(n).await.unwrap(), n);
    }
    let status = pool.status();
    assert_eq!(
        (
            status.checked_out,
            status.idle,
            status.total_connections,
            status.overflow
        ),
        (5, 0, 5, 3)
    );

    held.truncate(2);
    let status = pool.status();
    assert_eq!(
        (
            status.checked_out,
            status.idle,
            status.total_connections,
            status.overflow
        ),
        (2, 2, 4, 2)
    );
    held.clear();
    let status = pool.status();
    assert_eq!(
        (
            status.checked_out,
            status.idle,
            status.total_connections,
            status.overflow
        ),
        (0, 2, 2, 0)
    );
    assert_eq!(status.totals.connections_closed.overflow, 3);
    assert_eq!(
        (status.totals.checkouts, status.totals.connections_opened),
        (5, 5)
    );
}

async fn connections_opened_for_dropped_checkouts_are_closed<C: Tested>(name: &str) {
    let database = C::database(name);
    let (set_up, connecting) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let (waits, begins) = (Arc::clone(&set_up), Arc::clone(&connecting));
    let pool = database
        .pool::<C>()
        .pool_size(1)
        .max_overflow(3)
        .max_connecting(4)
        .on_connect(move |_| {
            let waits = Arc::clone(&waits);
            begins.fetch_add(1, Relaxed);
            Box::pin(async move {
                let _ = waits.acquire().await.map(|permit| permit.forget());
                Ok(())
            })
        })
        .build()
        .unwrap();
    let mut checkouts: Vec<_> = (0..4).map(|_| Box::pin(pool.get())).collect();
    for checkout in &mut checkouts {
        assert!(checkout.as_mut().now_or_never().is_none());
    }
    until(
        "four connections are opened",
        async || connecting.load(Relaxed),
        |begun| *begun == 4,
    )
    .await;
    drop(checkouts);
    set_up.add_permits(4);
    until(
        "one connection is left",
        async || {
            let status = pool.status();
            let (opened, closed) = (
                status.totals.connections_opened,
                status.totals.connections_closed.overflow,
            );
            (opened, closed, status.total_connections)
        },
        |counts| *counts == (4, 3, 1),
    )
    .await;
}

async fn the_timeout_bounds_the_whole_acquisition<C: Tested>(name: &str) {
    let database = C::database(name);
    let pool = database
        .pool::<C>()
        .pool_size(1)
        .max_overflow(0)
        .pool_timeout(Duration::from_millis(50))
        .build()
        .unwrap();
    // A slow machine may take longer to connect; a later attempt finds the connection.
    let held = loop {
        if let Ok(held) = pool.get().await {
            break held;
        }
    };
    let error = pool.get().await.unwrap_err();
    let PoolError::TimedOut(timeout) = &error else {
        panic!("{error}")
    };
    assert!(timeout.waited() >= Duration::from_millis(50));
    let scene = timeout.scene().unwrap();
    assert_eq!(
        (scene.checked_out, scene.pool_size, scene.max_overflow),
        (1, 1, 0)
    );
    let holder = scene.longest_holder.unwrap();
    assert!(holder.caller.file().ends_with("overflow.rs"), "{error}");
    drop(held);
    assert!(pool.get().await.is_ok());
    assert_eq!(pool.status().pending, 0);
}

async fn an_old_connection_is_replaced_at_its_next_checkout<C: Tested>(name: &str) {
    let database = C::database(name);
    let pool = database
        .pool::<C>()
        .pool_size(1)
        .max_overflow(0)
        .pool_recycle(Duration::from_millis(20))
        .build()
        .unwrap();
    drop(pool.get().await.unwrap());
    // Wait until the maximum age has passed.
    tokio::time::sleep(Duration::from_millis(30)).await;
    drop(pool.get().await.unwrap());
    let totals = pool.status().totals;
    assert_eq!(
        (totals.connections_closed.recycle, totals.connections_opened),
        (1, 2)
    );
}
