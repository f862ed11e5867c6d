//! Timeouts of the server: one ends the session, the other only the statement.

use diesel::result::Error;
use diesel_async::{AsyncConnection, SimpleAsyncConnection};
use futures_util::future::join_all;
use poolscope::{Pool, PooledConnection};
use tokio::task::yield_now;

use crate::databases::{Database, Tested};
use crate::lost::{nothing_is_lost, within_patience};
use crate::servers::{Faulty, on_each_server};

on_each_server!(
    an_idle_transaction_timeout_ends_the_session,
    a_statement_timeout_keeps_the_connection,
);

/// A pool of four whose sessions have this setting.
fn pool<S: Faulty>(name: &str, setting: &'static str) -> Pool<S::Connection> {
    Database::at(&S::shared().create_database(name))
        .pool::<S::Connection>()
        .pool_size(4)
        .max_overflow(0)
        .on_connect(move |conn| Box::pin(conn.batch_execute(setting)))
        .build()
        .unwrap()
}

fn of<C: Tested>(postgres: &'static str, mariadb: &'static str) -> &'static str {
    match C::database_name() {
        "postgres" => postgres,
        _ => mariadb,
    }
}

/// `idle_in_transaction_session_timeout` rolls the transaction back and ends the session. The next query
/// in it fails; others are not affected.
async fn an_idle_transaction_timeout_ends_the_session<S: Faulty>(name: &str) {
    let setting = of::<S::Connection>(
        "SET idle_in_transaction_session_timeout = '300ms'",
        "SET SESSION idle_transaction_timeout = 1",
    );
    let pool = pool::<S>(name, setting);
    let mut other = pool.get().await.unwrap();
    other.run("CREATE TABLE t (n INTEGER)").await.unwrap();
    let mut conn = pool.get().await.unwrap();
    let session = session(&mut *conn).await;
    let left_alone = conn.transaction::<i32, Error, _>(async |conn| {
        conn.run("INSERT INTO t VALUES (1)").await?;
        while sessions(&mut other, session).await > 0 {
            yield_now().await;
        }
        conn.select(1).await
    });
    within_patience("the query in the transaction", left_alone)
        .await
        .unwrap_err();
    drop(conn);
    assert_eq!(pool.status().totals.connections_closed.broken, 1);
    let mut next = pool.get().await.unwrap();
    assert_eq!(next.count("t").await.unwrap(), 0);
    // The other session was idle for as long, outside a transaction.
    assert_eq!(other.select(7).await.unwrap(), 7);
    drop((next, other));
    nothing_is_lost(&pool).await;
}

async fn session<C: Tested>(conn: &mut C) -> i32 {
    let query = of::<C>(
        "SELECT pg_backend_pid() AS n",
        "SELECT CAST(CONNECTION_ID() AS INTEGER) AS n",
    );
    conn.number(query).await.unwrap()
}

async fn sessions<C: Tested>(conn: &mut PooledConnection<C>, id: i32) -> i32 {
    let (table, column) = match C::database_name() {
        "postgres" => ("pg_stat_activity", "pid"),
        _ => ("information_schema.PROCESSLIST", "ID"),
    };
    conn.count(&format!("{table} WHERE {column} = {id}"))
        .await
        .unwrap()
}

/// `statement_timeout`: the query fails, and its connection remains usable.
async fn a_statement_timeout_keeps_the_connection<S: Faulty>(name: &str) {
    let setting = of::<S::Connection>(
        "SET statement_timeout = '200ms'",
        "SET SESSION max_statement_time = 0.2",
    );
    let slow = of::<S::Connection>("SELECT 1 AS n, pg_sleep(60)", "SELECT SLEEP(60) AS n");
    let pool = pool::<S>(name, setting);
    let users = (0..8).map(|n| {
        let pool = pool.clone();
        async move {
            let mut conn = pool.get().await.unwrap();
            conn.number(slow).await.unwrap_err();
            // On the same connection, at once.
            assert_eq!(conn.select(n).await.unwrap(), n);
        }
    });
    within_patience("all users", join_all(users)).await;
    let totals = pool.status().totals;
    assert_eq!(totals.connections_closed.broken, 0, "{totals:?}");
    assert!(totals.connections_opened <= 4, "{totals:?}");
    nothing_is_lost(&pool).await;
}
