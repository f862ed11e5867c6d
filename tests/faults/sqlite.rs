//! A file that cannot be written.

use std::time::Duration;

use diesel::result::Error;
use diesel_async::{AsyncConnection, SimpleAsyncConnection};
use poolscope::backend::AsyncSqliteConnection;
use poolscope::{Pool, Settings};
use tokio::time::Instant;

use crate::databases::{Database, Tested};
use crate::load::Load;
use crate::lost::nothing_is_lost;

type Lite = AsyncSqliteConnection;

async fn table(name: &str) -> Database {
    let database = Lite::database(name);
    let pool = database.pool::<Lite>().build().unwrap();
    let mut conn = pool.get().await.unwrap();
    conn.run("CREATE TABLE t (n INTEGER, wide BLOB)")
        .await
        .unwrap();
    drop(conn);
    assert!(pool.close(Duration::from_secs(30)).await);
    database
}

fn four(url: &str) -> Pool<Lite> {
    Pool::builder(Settings::new(url))
        .pool_size(4)
        .max_overflow(0)
        .build()
        .unwrap()
}

/// Reads succeed; writes fail, and keep their connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_file_fails_only_writes() {
    let database = table("read_only").await;
    let pool = four(&format!("{}?mode=ro", database.url));
    let load = Load::start(&pool, 8);
    let mut conn = pool.get().await.unwrap();
    for _ in 0..3 {
        let error = conn
            .run("INSERT INTO t VALUES (1, NULL)")
            .await
            .unwrap_err();
        assert!(error.to_string().contains("readonly"), "{error}");
        assert_eq!(conn.count("t").await.unwrap(), 0);
        let work = conn.transaction::<(), Error, _>(async |conn| {
            conn.run("INSERT INTO t VALUES (1, NULL)").await.map(drop)
        });
        work.await.unwrap_err();
    }
    drop(conn);
    load.is_served(100).await;
    pool.get().await.map(drop).unwrap();
    assert_eq!(pool.status().totals.connections_closed.broken, 0);
    stop(load).await;
    nothing_is_lost(&pool).await;
}

/// The same for a full disk, simulated by a limit on the file's pages: SQLite returns the same error
/// for both. SQLite itself rolls the transaction back.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_fails_only_writes() {
    let database = table("full").await;
    let pool = database
        .pool::<Lite>()
        .pool_size(4)
        .max_overflow(0)
        .on_connect(|conn| Box::pin(conn.batch_execute("PRAGMA max_page_count = 10")))
        .build()
        .unwrap();
    let wide = "INSERT INTO t VALUES (1, zeroblob(100000))";
    let load = Load::start(&pool, 8);
    for _ in 0..3 {
        let mut conn = pool.get().await.unwrap();
        let error = conn.run(wide).await.unwrap_err();
        assert!(error.to_string().contains("full"), "{error}");
        assert_eq!(conn.count("t").await.unwrap(), 0);
        let work = conn.transaction::<(), Error, _>(async |conn| {
            conn.run("INSERT INTO t VALUES (1, NULL)").await?;
            conn.run(wide).await.map(drop)
        });
        work.await.unwrap_err();
        drop(conn);
        let mut next = pool.get().await.unwrap();
        assert_eq!(next.count("t").await.unwrap(), 0);
    }
    // There is space again.
    let mut conn = pool.get().await.unwrap();
    conn.run("PRAGMA max_page_count = 1000").await.unwrap();
    conn.run(wide).await.unwrap();
    drop(conn);
    stop(load).await;
    nothing_is_lost(&pool).await;
}

/// `SQLITE_BUSY`: another connection holds the write lock. Writes wait for `busy_timeout`, fail, and
/// succeed once the lock is released; reads are not affected.
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_file_fails_only_writes() {
    let database = table("busy").await;
    let pool = four(&format!("{}?busy_timeout=200", database.url));
    let load = Load::start(&pool, 8);
    let mut other = pool.dedicated_connection().await.unwrap();
    other.batch_execute("BEGIN IMMEDIATE").await.unwrap();
    let mut conn = pool.get().await.unwrap();
    for _ in 0..3 {
        let asked = Instant::now();
        let error = conn
            .run("INSERT INTO t VALUES (1, NULL)")
            .await
            .unwrap_err();
        assert!(error.to_string().contains("locked"), "{error}");
        assert!(
            asked.elapsed() >= Duration::from_millis(150),
            "{:?}",
            asked.elapsed()
        );
        let work = conn.transaction::<(), Error, _>(async |conn| {
            conn.run("INSERT INTO t VALUES (1, NULL)").await.map(drop)
        });
        work.await.unwrap_err();
        assert_eq!(conn.count("t").await.unwrap(), 0);
    }
    load.is_served(100).await;
    other.batch_execute("COMMIT").await.unwrap();
    conn.run("INSERT INTO t VALUES (1, NULL)").await.unwrap();
    drop(conn);
    assert_eq!(pool.status().totals.connections_closed.broken, 0);
    stop(load).await;
    nothing_is_lost(&pool).await;
}

/// Waiting would not help: what the transaction has read is outdated.
#[tokio::test(flavor = "multi_thread")]
async fn a_deferred_transaction_that_writes_late_fails_at_once() {
    const TIMEOUT: Duration = Duration::from_secs(300);
    let database = table("deferred").await;
    let pool = four(&format!(
        "{}?busy_timeout={}",
        database.url,
        TIMEOUT.as_millis()
    ));
    let (mut one, mut other) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    let asked = Instant::now();
    let late = one.transaction::<(), Error, _>(async |one| {
        one.count("t").await?;
        other.run("INSERT INTO t VALUES (1, NULL)").await?;
        one.run("INSERT INTO t VALUES (2, NULL)").await.map(drop)
    });
    let error = late.await.unwrap_err();
    assert!(error.to_string().contains("locked"), "{error}");
    assert!(asked.elapsed() < TIMEOUT / 2);

    // An immediate transaction has the write lock from its start, so the other one waits.
    let (began, has_begun) = tokio::sync::oneshot::channel();
    let waiting = tokio::spawn(async move {
        has_begun.await.unwrap();
        let written = other.run("INSERT INTO t VALUES (3, NULL)").await;
        written.map(|_| other)
    });
    let immediate = one.immediate_transaction::<(), Error, _>(async |one| {
        one.count("t").await?;
        began.send(()).unwrap();
        one.run("INSERT INTO t VALUES (2, NULL)").await.map(drop)
    });
    immediate.await.unwrap();
    drop(waiting.await.unwrap().unwrap());
    assert_eq!(one.count("t").await.unwrap(), 3);
    drop(one);
    nothing_is_lost(&pool).await;
}

async fn stop(load: Load<Lite>) {
    let seen = load.outcomes();
    assert_eq!((seen.failed, seen.refusals()), (0, 0), "{seen:?}");
    load.stop().await;
}
