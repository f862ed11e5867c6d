//! Pinging, replacing and setting up connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig};
use diesel_async::{AsyncMysqlConnection, AsyncPgConnection};
use futures_util::FutureExt;
use futures_util::future::{join_all, try_join_all};
use poolscope::backend::AsyncSqliteConnection;
use poolscope::{Pool, PooledConnection, Settings};

use crate::databases::{Tested, on_each_database};
use crate::support::postgres::Postgres;
use crate::support::waiting::until;
use crate::support::{mariadb, postgres};

/// Kills every session of a database but the one that does it.
async fn kill_sessions<C: Tested>(database: &str) {
    match C::database_name() {
        "postgres" => {
            postgres::shared().psql(&format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}' AND pid <> pg_backend_pid()"
            ));
        }
        "mariadb" => {
            let ids = mariadb::shared().sql(&format!(
                "SELECT ID FROM information_schema.PROCESSLIST WHERE DB = '{database}'"
            ));
            for id in ids.split_whitespace() {
                mariadb::shared().sql(&format!("KILL {id}"));
            }
        }
        other => unreachable!("{other} has no sessions"),
    }
}

/// The callers see no error, whatever the connections have idled.
async fn dead_connections_are_replaced<C: Tested>(name: &str) {
    let database = C::database(name);
    let pool = database
        .pool::<C>()
        .pool_size(4)
        .max_overflow(0)
        .pre_ping_bypass(Duration::ZERO)
        .build()
        .unwrap();
    drop(try_join_all((0..4).map(|_| pool.get())).await.unwrap());
    kill_sessions::<C>(name).await;
    let answers = join_all((0..4).map(|n| {
        let pool = pool.clone();
        async move { pool.get().await.unwrap().select(n).await.unwrap() }
    }))
    .await;
    assert_eq!(answers, [0, 1, 2, 3]);
    assert_eq!(pool.status().totals.errors, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_connections_are_replaced_on_postgres() {
    dead_connections_are_replaced::<AsyncPgConnection>("dead_pg").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_connections_are_replaced_on_mariadb() {
    dead_connections_are_replaced::<AsyncMysqlConnection>("dead_my").await;
}

/// On Postgres the wire sees the socket close: no ping is needed, at any age.
#[tokio::test(flavor = "multi_thread")]
async fn a_closed_socket_is_known_without_a_ping() {
    let database = AsyncPgConnection::database("closed_socket");
    let pool = database
        .pool::<AsyncPgConnection>()
        .pool_size(1)
        .pool_pre_ping(false)
        .build()
        .unwrap();
    assert_eq!(pool.get().await.unwrap().select(1).await.unwrap(), 1);
    kill_sessions::<AsyncPgConnection>("closed_socket").await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    // The news travels by the socket; once it is there, no caller sees an error any more.
    while pool.get().await.unwrap().select(2).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline);
    }
    assert_eq!(pool.status().totals.connections_closed.broken, 1);
}

/// One failure makes all other connections suspect, however fresh they are.
#[tokio::test(flavor = "multi_thread")]
async fn one_dead_connection_makes_the_others_suspect() {
    let database = AsyncMysqlConnection::database("suspect");
    let pool = database
        .pool::<AsyncMysqlConnection>()
        .pool_size(3)
        .max_overflow(0)
        .pre_ping_bypass(Duration::from_secs(3600))
        .build()
        .unwrap();
    let mut held = try_join_all((0..3).map(|_| pool.get())).await.unwrap();
    kill_sessions::<AsyncMysqlConnection>("suspect").await;
    // The first finds out the hard way; MySQL has no wire that could tell.
    assert!(held[0].select(1).await.is_err());
    drop(held);
    for n in 0..3 {
        assert_eq!(pool.get().await.unwrap().select(n).await.unwrap(), n);
    }
    let closed = pool.status().totals.connections_closed;
    assert_eq!((closed.broken, closed.ping_failed), (1, 2));
}

/// A probe that hangs costs its own timeout, and the connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_ping_that_hangs_destroys_its_connection() {
    let mut server = Postgres::start(postgres::Options::new());
    let pool = Pool::<AsyncPgConnection>::builder(Settings::new(server.url()))
        .pool_size(1)
        .max_overflow(0)
        .pre_ping_bypass(Duration::ZERO)
        .settings(|settings| {
            settings.pre_ping_timeout = Duration::from_millis(100);
            settings.connect_timeout = Duration::from_millis(300);
        })
        .build()
        .unwrap();
    loop {
        // A slow machine may need more than the connect timeout.
        if pool.get().await.is_ok() {
            break;
        }
    }
    server.pause();
    let error = pool.get().await.unwrap_err();
    assert_eq!(error.error_type(), "timed_out", "{error}");
    let status = pool.status();
    assert_eq!(
        (
            status.totals.connections_closed.ping_failed,
            status.total_connections
        ),
        (1, 0)
    );
    server.resume();
    while pool.get().await.is_err() {}
}

/// Dropped while it is probed, a connection is not handed out before the probe has ended, which
/// here it never does well.
#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_is_not_waited_for_still_decides() {
    let mut server = Postgres::start(postgres::Options::new());
    let pool = Pool::<AsyncPgConnection>::builder(Settings::new(server.url()))
        .pool_size(1)
        .max_overflow(0)
        .pre_ping_bypass(Duration::ZERO)
        .settings(|settings| settings.pre_ping_timeout = Duration::from_millis(200))
        .build()
        .unwrap();
    drop(pool.get().await.unwrap());
    server.pause();
    let mut get = Box::pin(pool.get());
    assert!(get.as_mut().now_or_never().is_none());
    drop(get);
    let status = async || pool.status();
    until("the probe has failed", status, |status| {
        status.totals.connections_closed.ping_failed > 0
    })
    .await;
    assert_eq!(pool.status().total_connections, 0);
    server.resume();
    assert_eq!(pool.get().await.unwrap().select(1).await.unwrap(), 1);
}

on_each_database!(
    each_connection_is_set_up,
    a_set_up_that_fails_is_the_cause,
    a_set_up_that_panics_is_an_error_like_another,
    an_own_manager_opens_the_connections,
    a_dedicated_connection_is_not_the_pools,
    a_connection_that_is_taken_leaves_the_pool,
    a_test_transaction_lasts_from_checkout_to_checkout,
    statements_are_echoed_without_their_binds,
);

async fn each_connection_is_set_up<C: Tested>(name: &str) {
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

async fn a_set_up_that_fails_is_the_cause<C: Tested>(name: &str) {
    let database = C::database(name);
    let pool = database
        .pool::<C>()
        .on_connect(|conn| Box::pin(conn.batch_execute("SELECT * FROM not_there")))
        .build()
        .unwrap();
    let error = pool.get().await.unwrap_err();
    assert!(error.to_string().contains("not_there"), "{error}");
}

async fn a_set_up_that_panics_is_an_error_like_another<C: Tested>(name: &str) {
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

async fn an_own_manager_opens_the_connections<C: Tested>(name: &str)
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
    // Without a wire a raw BEGIN is seen by its first word.
    pool.get().await.unwrap().run("BEGIN").await.unwrap();
    assert_eq!(pool.status().totals.connections_closed.broken, 1);
}

async fn a_dedicated_connection_is_not_the_pools<C: Tested>(name: &str) {
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

async fn a_connection_that_is_taken_leaves_the_pool<C: Tested>(name: &str) {
    let database = C::database(name);
    let pool = database.pool::<C>().max_size(1).build().unwrap();
    let mut mine = PooledConnection::take(pool.get().await.unwrap());
    let status = pool.status();
    assert_eq!((status.checked_out, status.total_connections), (0, 0));
    assert_eq!(status.totals.connections_closed.taken, 1);

    // The pool has its place again, and the connection works beside the one that is opened for it.
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

/// The idiom of diesel's guide: a pool of one connection that is inside a transaction for ever.
async fn a_test_transaction_lasts_from_checkout_to_checkout<C: Tested>(name: &str) {
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

    // Nothing of it stays.
    drop(conn);
    pool.close(Duration::from_secs(60)).await;
    assert_eq!(outside.count("kept").await.unwrap(), 0);
}

async fn statements_are_echoed_without_their_binds<C: Tested>(name: &str) {
    let database = C::database(name);
    let log = crate::log::capture();
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
async fn an_in_memory_database_is_not_recycled_away() {
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
    // Past the age at which another is recycled.
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(pool.get().await.unwrap().count("t").await.unwrap(), 0);
}
