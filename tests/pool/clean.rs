//! A connection is handed out again only when it is clean.

use std::time::Duration;

use diesel::result::Error;
use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::pooled_connection::bb8::Pool as Bb8Pool;
use diesel_async::{
    AsyncConnection, AsyncMysqlConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection,
};
use poolscope::{AsyncSqliteConnection, Pool};
use tokio::time::timeout;

use crate::databases::{SelectAfter, Tested, on_each_database};

/// Long enough to be cut off, short enough to wait for where it can't be.
fn slow_query<C: Tested>() -> &'static str {
    match C::database_name() {
        "postgres" => "SELECT 111 AS n, pg_sleep(3)",
        "mariadb" => "SELECT SLEEP(3) + 111 AS n",
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
    a_dropped_query_is_never_handed_on,
    a_raw_begin_is_never_handed_on,
    a_dropped_transaction_is_never_handed_on,
    a_clean_connection_stays,
    a_holder_that_panics_costs_its_connection_and_nothing_else,
);

async fn a_dropped_query_is_never_handed_on<C: Tested>(name: &str) {
    let (_database, pool) = one::<C>(name);
    let mut conn = pool.get().await.unwrap();
    assert_eq!(conn.select(1).await.unwrap(), 1);
    let cut = timeout(Duration::from_millis(100), conn.run(slow_query::<C>())).await;
    // SQLite's query is waited for while its future is dropped: there is no way to stop it.
    assert!(cut.is_err());
    drop(conn);
    let mut next = pool.get().await.unwrap();
    assert_eq!(next.select(222).await.unwrap(), 222);
}

async fn a_raw_begin_is_never_handed_on<C: Tested>(name: &str) {
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

async fn a_dropped_transaction_is_never_handed_on<C: Tested>(name: &str) {
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

async fn a_clean_connection_stays<C: Tested>(name: &str) {
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

async fn a_holder_that_panics_costs_its_connection_and_nothing_else<C: Tested>(name: &str) {
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

/// What the rule is for: without it, on MariaDB, the next borrower reads somebody else's row.
#[tokio::test(flavor = "multi_thread")]
async fn diesel_asyncs_own_pool_hands_on_another_querys_rows() {
    let database = AsyncMysqlConnection::database("own_pool_leaks");
    let manager = AsyncDieselConnectionManager::<AsyncMysqlConnection>::new(database.url.as_str());
    let pool = Bb8Pool::builder()
        .max_size(1)
        .test_on_check_out(false)
        .build(manager)
        .await
        .unwrap();
    let mut conn = pool.get().await.unwrap();
    assert_eq!(conn.select(1).await.unwrap(), 1);
    assert!(
        timeout(Duration::from_millis(100), conn.select_after(111, 1))
            .await
            .is_err()
    );
    drop(conn);
    let mut next = pool.get().await.unwrap();
    let read = next.select_after(222, 0).await;
    assert!(
        !matches!(read, Ok(222)),
        "diesel-async has mended this: the rule may go; read {read:?}"
    );
}

/// The same without the rule on Postgres: an open transaction is handed on.
#[tokio::test(flavor = "multi_thread")]
async fn diesel_asyncs_own_pool_hands_on_a_raw_begin() {
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

/// What stays unseen, as the docs say: a transaction that no statement's first word opens.
#[tokio::test(flavor = "multi_thread")]
async fn autocommit_off_stays_unseen_on_mysql() {
    let (_database, pool) = one::<AsyncMysqlConnection>("autocommit");
    let mut conn = pool.get().await.unwrap();
    conn.run("SET autocommit=0").await.unwrap();
    drop(conn);
    assert_eq!(pool.status().totals.connections_closed.broken, 0);
}

/// The switch for those who never send raw transactions and want the last few nanoseconds.
#[tokio::test(flavor = "multi_thread")]
async fn looking_for_raw_transactions_can_be_turned_off() {
    let database = AsyncSqliteConnection::database("not_looking");
    let pool = database
        .pool::<AsyncSqliteConnection>()
        .pool_size(1)
        .settings(|settings| settings.raw_transactions = false)
        .build()
        .unwrap();
    pool.get().await.unwrap().run("BEGIN").await.unwrap();
    assert_eq!(pool.status().totals.connections_closed.broken, 0);
}

/// A stream that is dropped after its first row leaves the server at work; the next borrower gets
/// an answer to its own question, after a ping.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_stream_is_pinged_before_the_next_use() {
    use futures_util::StreamExt;
    let (_database, pool) = one::<AsyncPgConnection>("dropped_stream");
    let mut conn = pool.get().await.unwrap();
    let query =
        diesel::dsl::sql::<diesel::sql_types::Integer>("SELECT * FROM generate_series(1, 2000000)");
    let mut rows = query.load_stream::<i32>(&mut conn).await.unwrap();
    assert_eq!(rows.next().await.unwrap().unwrap(), 1);
    drop(rows);
    drop(conn);
    assert_eq!(pool.get().await.unwrap().select(5).await.unwrap(), 5);
}
