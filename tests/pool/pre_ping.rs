//! Pinging and replacing connections.

use std::time::Duration;

use diesel_async::{AsyncMysqlConnection, AsyncPgConnection};
use futures_util::FutureExt;
use futures_util::future::{join_all, try_join_all};
use poolscope::{Pool, Settings};

use crate::databases::Tested;
use crate::support::postgres::Postgres;
use crate::support::waiting::until;
use crate::support::{mariadb, postgres};

/// Kills every session of a database except the one that runs the statement.
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

/// Callers see no error, however long the connections were idle.
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

/// On Postgres the wire sees the socket close, so no ping is needed at any age.
#[tokio::test(flavor = "multi_thread")]
async fn a_closed_socket_is_noticed_without_a_ping() {
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
    // Once the close has arrived at the socket, no caller sees an error.
    while pool.get().await.unwrap().select(2).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline);
    }
    // `invalidated` if the server's farewell was read before the end of the connection.
    let closed = async || pool.status().totals.connections_closed;
    until("it is closed", closed, |closed| {
        closed.broken + closed.invalidated == 1
    })
    .await;
}

/// One failure makes all other connections suspect, even those just used.
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
    // The first query fails: MySQL has no wire that notices the close.
    assert!(held[0].select(1).await.is_err());
    drop(held);
    for n in 0..3 {
        assert_eq!(pool.get().await.unwrap().select(n).await.unwrap(), n);
    }
    let closed = pool.status().totals.connections_closed;
    assert_eq!((closed.broken, closed.ping_failed), (1, 2));
}

/// A probe that hangs costs its own timeout and the connection.
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
        // A slow machine may need longer than the connect timeout.
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

/// A connection whose checkout is dropped during the probe is not handed out before the probe has ended.
/// Here it never succeeds.
#[tokio::test(flavor = "multi_thread")]
async fn a_probe_decides_although_its_checkout_was_dropped() {
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
