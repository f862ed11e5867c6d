//! Setting up, taking and dedicating connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig};
use futures_util::FutureExt;
use poolscope::backend::AsyncSqliteConnection;
use poolscope::{Pool, PooledConnection, Settings};

use crate::databases::{Tested, on_each_database};

on_each_database!(
    each_new_connection_is_set_up,
    a_failed_set_up_is_the_cause_of_the_error,
    a_set_up_that_panics_is_a_connect_error,
    a_custom_manager_opens_the_connections,
    a_dedicated_connection_does_not_count,
    a_taken_connection_leaves_the_pool,
    a_test_transaction_lasts_across_checkouts,
    statements_are_echoed_without_their_binds,
);

async fn each_new_connection_is_set_up<C: Tested>(name: &str) {
    let database = C::database(name);
    let opened = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&opened);
    let pool = database
        .pool::<C>()
        .pool_size(2)
        .on_connect(move |conn| {
            count.fetch_add(1, Ordering::Relaxed);
            Box::pin(conn.batch_execute("SELECT 1"))
        })
        .build()
        .unwrap();
    let held = (pool.get().await.unwrap(), pool.get().await.unwrap());
    assert_eq!(opened.load(Ordering::Relaxed), 2);
    drop(held);
    drop(pool.get().await.unwrap());
    assert_eq!(opened.load(Ordering::Relaxed), 2);
}

async fn a_failed_set_up_is_the_cause_of_the_error<C: Tested>(name: &str) {
    let database = C::database(name);
    let pool = database
        .pool::<C>()
        .on_connect(|conn| Box::pin(conn.batch_execute("SELECT * FROM not_there")))
        .build()
        .unwrap();
    let error = pool.get().await.unwrap_err();
    assert!(error.to_string().contains("not_there"), "{error}");
}

async fn a_set_up_that_panics_is_a_connect_error<C: Tested>(name: &str) {
    let database = C::database(name);
    let pool = database
        .pool::<C>()
        .pool_size(1)
        .max_overflow(0)
        .on_connect(|_| Box::pin(async { panic!("a set-up panics, as this test means it to") }))
        .build()
        .unwrap();
    for _ in 0..3 {
        let error = pool.get().await.unwrap_err();
        assert!(error.to_string().contains("panicked"), "{error}");
    }
}

async fn a_custom_manager_opens_the_connections<C: Tested>(name: &str)
where
    AsyncDieselConnectionManager<C>:
        bb8::ManageConnection<Connection = C, Error = diesel_async::pooled_connection::PoolError>,
{
    let database = C::database(name);
    let set_up = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&set_up);
    let mut config = ManagerConfig::<C>::default();
    config.custom_setup = Box::new(move |url| {
        count.fetch_add(1, Ordering::Relaxed);
        C::establish(url).boxed()
    });
    let pool = database
        .pool::<C>()
        .manager_config(config)
        .pre_ping_bypass(Duration::ZERO)
        .build()
        .unwrap();
    for n in 0..3 {
        assert_eq!(pool.get().await.unwrap().select(n).await.unwrap(), n);
    }
    assert_eq!(set_up.load(Ordering::Relaxed), 1);
    // Without a wire, a raw BEGIN is recognised by its first word.
    pool.get().await.unwrap().run("BEGIN").await.unwrap();
    assert_eq!(pool.status().totals.connections_closed.broken, 1);
}

async fn a_dedicated_connection_does_not_count<C: Tested>(name: &str) {
    let database = C::database(name);
    let pool = database
        .pool::<C>()
        .pool_size(1)
        .max_overflow(0)
        .build()
        .unwrap();
    let held = pool.get().await.unwrap();
    let mut own = pool.dedicated_connection().await.unwrap();
    assert_eq!(own.select(9).await.unwrap(), 9);
    assert_eq!(
        (pool.status().total_connections, pool.state().connections),
        (1, 1)
    );
    drop(held);
}

async fn a_taken_connection_leaves_the_pool<C: Tested>(name: &str) {
    let database = C::database(name);
    let pool = database.pool::<C>().max_size(1).build().unwrap();
    let mut mine = PooledConnection::take(pool.get().await.unwrap());
    let status = pool.status();
    assert_eq!((status.checked_out, status.total_connections), (0, 0));
    assert_eq!(status.totals.connections_closed.taken, 1);

    // The pool has its slot back. The taken connection works while a new one is opened in its place.
    let mut conn = pool.get().await.unwrap();
    assert_eq!(conn.select(1).await.unwrap(), 1);
    assert_eq!(mine.select(2).await.unwrap(), 2);
    assert_eq!(pool.status().total_connections, 1);

    // It outlives the pool.
    drop(conn);
    assert!(pool.close(Duration::from_secs(60)).await);
    drop(pool);
    assert_eq!(mine.select(3).await.unwrap(), 3);
}

/// The idiom of diesel's guide: a pool of one connection inside an endless test transaction.
async fn a_test_transaction_lasts_across_checkouts<C: Tested>(name: &str) {
    let database = C::database(name);
    let mut outside = database.pool::<C>().build().unwrap().get().await.unwrap();
    outside.run("CREATE TABLE kept (n INT)").await.unwrap();

    let pool = database
        .pool::<C>()
        .max_size(1)
        .pre_ping_bypass(Duration::ZERO)
        .on_connect(|conn| Box::pin(conn.begin_test_transaction()))
        .build()
        .unwrap();
    let mut conn = pool.get().await.unwrap();
    conn.run("INSERT INTO kept VALUES (1)").await.unwrap();
    drop(conn);
    let mut conn = pool.get().await.unwrap();
    assert_eq!(conn.count("kept").await.unwrap(), 1);
    assert_eq!(pool.status().totals.connections_closed.broken, 0);

    // Its changes are rolled back.
    drop(conn);
    pool.close(Duration::from_secs(60)).await;
    assert_eq!(outside.count("kept").await.unwrap(), 0);
}

async fn statements_are_echoed_without_their_binds<C: Tested>(name: &str) {
    let database = C::database(name);
    let log = crate::log_capture::capture();
    let pool = database.pool::<C>().echo(true).build().unwrap();
    let mut conn = pool.get().await.unwrap();
    conn.select_bound(name).await.unwrap();
    let echoed = log.lines_with("poolscope::echo");
    assert!(
        echoed
            .iter()
            .any(|line| line.contains("AS word") && line.contains("took_ms")),
        "{echoed:?}"
    );
    assert!(!echoed.concat().contains("bind-of-"), "{echoed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_in_memory_database_is_not_recycled() {
    let pool = Pool::<AsyncSqliteConnection>::builder(Settings::new(":memory:"))
        .pool_size(1)
        .max_overflow(0)
        .pool_recycle(Duration::from_millis(1))
        .build()
        .unwrap();
    pool.get()
        .await
        .unwrap()
        .run("CREATE TABLE t (n INTEGER)")
        .await
        .unwrap();
    // Wait until the maximum age has passed.
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(pool.get().await.unwrap().count("t").await.unwrap(), 0);
}
