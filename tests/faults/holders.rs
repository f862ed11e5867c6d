//! Tasks that hold a connection or wait for one end abnormally.

use std::time::Duration;

use diesel::result::Error;
use diesel_async::{AsyncConnection, AsyncMysqlConnection, AsyncPgConnection};
use futures_util::FutureExt;
use poolscope::PoolError;
use poolscope::backend::AsyncSqliteConnection;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::databases::{Tested, on_each_database};
use crate::lost::{at_rest, nothing_is_lost, within_patience};
use crate::support::waiting::{PATIENCE, soon};

on_each_database!(panicking_holders_release_their_connections);

/// Panics while idle, after a query, and within a transaction, while other checkouts wait.
async fn panicking_holders_release_their_connections<C: Tested>(name: &str) {
    let database = C::database(name);
    let pool = database
        .pool::<C>()
        .pool_size(2)
        .max_overflow(2)
        .build()
        .unwrap();
    let mut conn = pool.get().await.unwrap();
    conn.run("CREATE TABLE t (n INTEGER)").await.unwrap();
    drop(conn);
    let tasks: Vec<_> = (0..60)
        .map(|n| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let mut conn = pool.get().await.unwrap();
                assert_eq!(conn.select(n).await.unwrap(), n);
                match n % 4 {
                    0 => panic!("a deliberate panic"),
                    1 => {
                        let work = conn.transaction::<(), Error, _>(async |conn| {
                            conn.run("INSERT INTO t VALUES (1)").await?;
                            panic!("a deliberate panic in a transaction")
                        });
                        work.await.unwrap();
                    }
                    _ => {}
                }
            })
        })
        .collect();
    let mut panics = 0;
    for task in tasks {
        let ended = within_patience("a task's end", task).await;
        panics += u64::from(ended.is_err_and(|error| error.is_panic()));
    }
    assert_eq!(panics, 30);
    let totals = pool.status().totals;
    assert_eq!((totals.errors, totals.timeouts), (0, 0));
    assert_eq!(totals.connections_closed.broken, 30, "{totals:?}");
    assert_eq!(pool.get().await.unwrap().count("t").await.unwrap(), 0);
    nothing_is_lost(&pool).await;
}

#[test]
fn a_runtime_shutdown_ends_every_wait() {
    shut_down::<AsyncPgConnection>("shut_down_pg");
    shut_down::<AsyncSqliteConnection>("shut_down_lite");
}

/// Waiters end with the runtime. Guards outlive it, and may be dropped outside any runtime.
fn shut_down<C: Tested>(name: &str) {
    let database = C::database(name);
    let runtime = Runtime::new().unwrap();
    let (pool, held) = runtime.block_on(async {
        let pool = database
            .pool::<C>()
            .pool_size(2)
            .max_overflow(1)
            .pre_ping_bypass(Duration::ZERO)
            .build()
            .unwrap();
        let held = vec![pool.get().await.unwrap(), pool.get().await.unwrap()];
        let all = pool.get().await.unwrap();
        for _ in 0..100 {
            let pool = pool.clone();
            tokio::spawn(async move {
                let _held = pool.get().await;
                std::future::pending::<()>().await;
            });
        }
        while pool.status().pending < 100 {
            tokio::task::yield_now().await;
        }
        // The first waiter is being served: it pings.
        drop(all);
        (pool, held)
    });
    let asked = Instant::now();
    runtime.shutdown_timeout(PATIENCE);
    assert!(asked.elapsed() < PATIENCE, "a task blocks the shutdown");
    drop(held);

    let status = pool.status();
    assert_eq!((status.checked_out, status.pending), (0, 0), "{status:?}");
    assert_eq!(pool.as_service().get_ref().gate().admitted(), 0);
    // A pool ends with its runtime.
    let another = Runtime::new().unwrap();
    another.block_on(at_rest(&pool));
}

/// As in a `static` that several `#[tokio::test]`s use.
#[test]
fn a_pool_whose_runtime_has_ended_says_so() {
    runtime_ended::<AsyncPgConnection>("runtime_ended_pg");
    runtime_ended::<AsyncMysqlConnection>("runtime_ended_my");
    runtime_ended::<AsyncSqliteConnection>("runtime_ended_lite");
}

fn runtime_ended<C: Tested>(name: &str) {
    let database = C::database(name);
    let (first, second) = (Runtime::new().unwrap(), Runtime::new().unwrap());
    let pool = first.block_on(async {
        let builder = database.pool::<C>().pool_size(1).max_overflow(0);
        let pool = builder.build().unwrap();
        assert_eq!(pool.get().await.unwrap().select(1).await.unwrap(), 1);
        pool
    });
    // Another runtime may use it as long as its own is there.
    let held = second.block_on(async {
        let mut held = pool.get().await.unwrap();
        assert_eq!(held.select(2).await.unwrap(), 2);
        held
    });
    let waiting = second.spawn({
        let pool = pool.clone();
        async move { pool.get().await.map(drop) }
    });
    while pool.status().pending == 0 {
        std::thread::yield_now();
    }
    first.shutdown_timeout(PATIENCE);

    let ended = |answer: Result<(), PoolError>| {
        let error = answer.expect_err("the runtime has ended");
        assert!(matches!(error, PoolError::RuntimeEnded), "{error}");
        assert!(error.to_string().contains("build a pool in each runtime"));
    };
    second.block_on(async {
        ended(soon("the answer", waiting).await.unwrap());
        // At once: without another poll.
        ended(pool.get().now_or_never().expect("at once").map(drop));
        ended(pool.try_get().map(drop));
        drop(held);
        at_rest(&pool).await;
    });
    ended(pool.try_get().map(drop));
}
