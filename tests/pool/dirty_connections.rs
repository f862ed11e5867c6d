//! Connections that come back dirty: running queries, open transactions, panics.

use std::time::Duration;

use diesel::result::Error;
use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::pooled_connection::bb8::Pool as Bb8Pool;
use diesel_async::{
    AsyncConnection, AsyncMysqlConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection,
};
use poolscope::backend::AsyncSqliteConnection;
use poolscope::settings::ResetOnReturn;
use poolscope::{Pool, Settings};
use tokio::time::timeout;

use crate::databases::{SelectAfter, Tested, on_each_database};
use crate::support::mariadb;
use crate::support::postgres::{self, Postgres};
use crate::support::waiting::{PATIENCE, until, within_patience};

/// Runs far longer than a test waits. On SQLite, where the drop waits for it, it ends by itself.
fn slow_query<C: Tested>() -> &'static str {
    match C::database_name() {
        "postgres" => "SELECT 111 AS n, pg_sleep(3600)",
        // Unlike `SLEEP`, this never checks whether its client is still connected.
        "mariadb" => "SELECT BENCHMARK(1000000000000, 1) + 111 AS n",
        _ => {
            "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 3000000) \
              SELECT max(n) AS n FROM c"
        }
    }
}

fn one<C: Tested>(name: &str) -> (crate::databases::Database, Pool<C>) {
    let database = C::database(name);
    let pool = database
        .pool::<C>()
        .pool_size(1)
        .max_overflow(0)
        .build()
        .unwrap();
    (database, pool)
}

on_each_database!(
    a_connection_with_a_dropped_query_is_never_reused,
    a_connection_with_a_raw_begin_is_never_reused,
    a_connection_with_a_dropped_transaction_is_never_reused,
    a_clean_connection_stays_open,
    a_panicking_holder_costs_only_its_connection,
);

async fn a_connection_with_a_dropped_query_is_never_reused<C: Tested>(name: &str) {
    let (_database, pool) = one::<C>(name);
    let mut conn = pool.get().await.unwrap();
    assert_eq!(conn.select(1).await.unwrap(), 1);
    let cut = timeout(Duration::from_millis(100), conn.run(slow_query::<C>())).await;
    assert!(cut.is_err());
    drop(conn);
    let next = async { pool.get().await.unwrap().select(222).await };
    let answer = within_patience("the slow query is not waited for", next).await;
    assert_eq!(answer.unwrap(), 222);

    let closed = pool.status().totals.connections_closed.broken;
    let running = match C::database_name() {
        "postgres" => {
            "SELECT count(*) FROM pg_stat_activity \
             WHERE state = 'active' AND query LIKE 'SELECT 111 AS n, pg_sleep%'"
        }
        "mariadb" => {
            "SELECT count(*) FROM information_schema.PROCESSLIST \
             WHERE INFO LIKE 'SELECT BENCHMARK%'"
        }
        // SQLite's query cannot be stopped: dropping its future waits for it. The connection comes back
        // clean.
        _ => return assert_eq!(closed, 0),
    };
    assert_eq!(closed, 1);
    // No caller waits for the query, so the pool asks the server to stop it.
    let count = async || match C::database_name() {
        "postgres" => postgres::shared().psql(running),
        _ => mariadb::shared().sql(running),
    };
    until("it has stopped", count, |count| count == "0").await;
}

async fn a_connection_with_a_raw_begin_is_never_reused<C: Tested>(name: &str) {
    let (_database, pool) = one::<C>(name);
    let mut conn = pool.get().await.unwrap();
    conn.batch_execute("CREATE TABLE t (n INTEGER)")
        .await
        .unwrap();
    conn.run("BEGIN").await.unwrap();
    conn.run("INSERT INTO t VALUES (1)").await.unwrap();
    drop(conn);
    assert_eq!(pool.status().totals.connections_closed.broken, 1);
    let mut next = pool.get().await.unwrap();
    assert_eq!(next.count("t").await.unwrap(), 0);
}

async fn a_connection_with_a_dropped_transaction_is_never_reused<C: Tested>(name: &str) {
    let (_database, pool) = one::<C>(name);
    let mut conn = pool.get().await.unwrap();
    conn.batch_execute("CREATE TABLE t (n INTEGER)")
        .await
        .unwrap();
    let work = conn.transaction::<(), Error, _>(async |conn| {
        conn.run("INSERT INTO t VALUES (1)").await?;
        std::future::pending().await
    });
    assert!(timeout(Duration::from_millis(200), work).await.is_err());
    drop(conn);
    assert_eq!(pool.status().totals.connections_closed.broken, 1);
    let mut next = pool.get().await.unwrap();
    assert_eq!(next.count("t").await.unwrap(), 0);
}

async fn a_clean_connection_stays_open<C: Tested>(name: &str) {
    let (_database, pool) = one::<C>(name);
    for n in 0..5 {
        let mut conn = pool.get().await.unwrap();
        conn.transaction::<(), Error, _>(async |conn| conn.select(n).await.map(drop))
            .await
            .unwrap();
        conn.batch_execute("BEGIN").await.unwrap();
        conn.run("COMMIT").await.unwrap();
        assert!(conn.run("SELECT nonsense FROM nowhere").await.is_err());
        let rolled_back = conn
            .transaction::<(), Error, _>(async |_| Err(Error::RollbackTransaction))
            .await;
        assert!(rolled_back.is_err());
    }
    assert_eq!(pool.status().totals.connections_opened, 1);
}

async fn a_panicking_holder_costs_only_its_connection<C: Tested>(name: &str) {
    let (_database, pool) = one::<C>(name);
    let held = pool.get().await.unwrap();
    let task = tokio::spawn(async move {
        let _held = held;
        panic!("a holder panics, as this test means it to");
    });
    assert!(task.await.unwrap_err().is_panic());
    let status = pool.status();
    assert_eq!(
        (status.checked_out, status.total_connections, status.pending),
        (0, 0, 0)
    );
    assert_eq!(pool.get().await.unwrap().select(3).await.unwrap(), 3);
}

/// Why the check exists: without it, on MariaDB, the next borrower reads another query's row.
#[tokio::test(flavor = "multi_thread")]
async fn diesel_asyncs_own_pool_returns_another_querys_rows() {
    let database = AsyncMysqlConnection::database("own_pool_leaks");
    let manager = AsyncDieselConnectionManager::<AsyncMysqlConnection>::new(database.url.as_str());
    let pool = Bb8Pool::builder()
        .max_size(1)
        .test_on_check_out(false)
        .build(manager)
        .await
        .unwrap();
    let mut conn = pool.get().await.unwrap();
    assert_eq!(conn.select_after(1, 0).await, Ok(1));
    assert!(
        timeout(Duration::from_millis(100), conn.select_after(111, 1))
            .await
            .is_err()
    );
    drop(conn);
    let mut next = pool.get().await.unwrap();
    // If this fails, diesel-async has fixed the problem, and the check can go.
    assert_eq!(next.select_after(222, 0).await, Ok(111));
}

/// The same on Postgres: without the check the next borrower gets an open transaction.
#[tokio::test(flavor = "multi_thread")]
async fn diesel_asyncs_own_pool_reuses_a_connection_with_a_raw_begin() {
    let database = AsyncPgConnection::database("own_pool_begin");
    let manager = AsyncDieselConnectionManager::<AsyncPgConnection>::new(database.url.as_str());
    let pool = Bb8Pool::builder().max_size(1).build(manager).await.unwrap();
    pool.get()
        .await
        .unwrap()
        .run("CREATE TABLE t (n INTEGER)")
        .await
        .unwrap();
    pool.get().await.unwrap().run("BEGIN").await.unwrap();
    pool.get()
        .await
        .unwrap()
        .run("INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    pool.get().await.unwrap().run("ROLLBACK").await.unwrap();
    assert_eq!(pool.get().await.unwrap().count("t").await.unwrap(), 0);
}

/// The documented limit: a transaction that no statement's first word opens is not noticed if the server
/// does not report it. The next borrower is inside it.
async fn is_not_noticed<C: Tested>(name: &str, opens: &str, ends: &str) {
    let database = C::database(name);
    // The first two are noticed where sessions are reset.
    let pool = database
        .pool::<C>()
        .pool_size(1)
        .max_overflow(0)
        .reset_on_return(ResetOnReturn::Never)
        .build()
        .unwrap();
    let mut conn = pool.get().await.unwrap();
    conn.batch_execute("CREATE TABLE t (n INTEGER)")
        .await
        .unwrap();
    if C::database_name() == "mariadb" {
        conn.batch_execute("CREATE PROCEDURE opens() START TRANSACTION")
            .await
            .unwrap();
    }
    let mut other = pool.dedicated_connection().await.unwrap();
    conn.batch_execute(opens).await.unwrap();
    conn.run("INSERT INTO t VALUES (1)").await.unwrap();
    drop(conn);
    assert_eq!(pool.status().totals.connections_closed.broken, 0);

    let mut next = pool.get().await.unwrap();
    assert_eq!(next.count("t").await.unwrap(), 1);
    assert_eq!(other.count("t").await.unwrap(), 0);
    next.batch_execute(ends).await.unwrap();
    assert_eq!(other.count("t").await.unwrap(), 1);
    assert_eq!(pool.status().totals.connections_opened, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn autocommit_off_is_not_noticed_on_mysql() {
    is_not_noticed::<AsyncMysqlConnection>("autocommit", "SET autocommit=0", "COMMIT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_procedure_that_opens_a_transaction_is_not_noticed_on_mysql() {
    is_not_noticed::<AsyncMysqlConnection>("a_procedure", "CALL opens()", "COMMIT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_xa_transaction_is_not_noticed_on_mysql() {
    let ends = "XA END 'a'; XA COMMIT 'a' ONE PHASE";
    is_not_noticed::<AsyncMysqlConnection>("xa", "XA START 'a'", ends).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_savepoint_outside_a_transaction_is_not_noticed_on_sqlite() {
    is_not_noticed::<AsyncSqliteConnection>("savepoint", "SAVEPOINT a", "RELEASE a").await;
}

/// Apps that never send raw transactions can turn the detection off and save a few nanoseconds.
#[tokio::test(flavor = "multi_thread")]
async fn raw_transaction_detection_can_be_turned_off() {
    let database = AsyncSqliteConnection::database("not_looking");
    let pool = database
        .pool::<AsyncSqliteConnection>()
        .pool_size(1)
        .raw_transactions(false)
        .build()
        .unwrap();
    pool.get().await.unwrap().run("BEGIN").await.unwrap();
    assert_eq!(pool.status().totals.connections_closed.broken, 0);
}

/// A stream that is dropped after its first row leaves the server busy. The next borrower gets the
/// connection once the server is done, without a ping, and reads its own answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_stream_is_drained_before_the_next_use() {
    use futures_util::StreamExt;
    let server = Postgres::start(postgres::Options::new().config("log_statement = all"));
    let pings = || server.log().matches("statement: SELECT 1\n").count();
    let pool = Pool::<AsyncPgConnection>::builder(Settings::new(server.url()))
        .pool_size(1)
        .max_overflow(0)
        .pool_pre_ping(false)
        .settings(|settings| settings.pre_ping_timeout = PATIENCE)
        .build()
        .unwrap();
    assert_eq!(pool.get().await.unwrap().select(1).await.unwrap(), 1);
    let mut conn = pool.get().await.unwrap();
    // More rows than the server buffers, and a pause of a second before the last.
    let query = diesel::dsl::sql::<diesel::sql_types::Integer>(
        "SELECT n FROM generate_series(1, 100000) n WHERE n < 100000 OR pg_sleep(1) IS NOT NULL",
    );
    let before = pings();
    let mut rows = query.load_stream::<i32>(&mut conn).await.unwrap();
    assert_eq!(rows.next().await.unwrap().unwrap(), 1);
    drop(rows);
    drop(conn);
    let mut conn = pool.get().await.unwrap();
    let others = "SELECT state FROM pg_stat_activity \
                  WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    assert_eq!(server.psql(others), "idle");
    assert_eq!(conn.select(5).await.unwrap(), 5);
    assert_eq!(pings() - before, 0, "{}", server.log());
    assert_eq!(pool.status().totals.connections_opened, 1);
}
