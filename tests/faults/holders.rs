//! Who holds a connection, or waits for one, comes to a bad end.

use std::time::Duration;

use diesel::result::Error;
use diesel_async::{AsyncConnection, AsyncPgConnection};
use poolscope::PoolError;
use poolscope::backend::AsyncSqliteConnection;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::databases::{Tested, on_each_database};
use crate::lost::{at_rest, nothing_is_lost, within_patience};
use crate::support::waiting::PATIENCE;

on_each_database!(tasks_panic_while_they_hold);

/// Idle, after a query, and within a transaction, with others waiting.
async fn tasks_panic_while_they_hold<C: Tested>(name: &str) {
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
                    0 => panic!("a holder panics, as this test means it to"),
                    1 => {
                        let work = conn.transaction::<(), Error, _>(async |conn| {
                            conn.run("INSERT INTO t VALUES (1)").await?;
                            panic!("a transaction panics, as this test means it to")
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
fn the_runtime_is_shut_down_while_some_wait() {
    shut_down::<AsyncPgConnection>("shut_down_pg");
    shut_down::<AsyncSqliteConnection>("shut_down_lite");
}

/// Those who wait are gone with it. Guards outlive it, and may be dropped outside of any runtime.
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
        // The first of them is being served: it pings.
        drop(all);
        (pool, held)
    });
    let asked = Instant::now();
    runtime.shutdown_timeout(PATIENCE);
    assert!(asked.elapsed() < PATIENCE, "a task blocks it");
    drop(held);

    let status = pool.status();
    assert_eq!((status.checked_out, status.pending), (0, 0), "{status:?}");
    assert_eq!(pool.as_service().get_ref().gate().admitted(), 0);
    // A pool ends with its runtime. Whoever still asks it in another gets an answer all the same.
    let another = Runtime::new().unwrap();
    another.block_on(async {
        let answer = pool.try_get();
        assert!(
            matches!(answer, Ok(_) | Err(PoolError::Rejected(_))),
            "{answer:?}"
        );
        drop(answer);
        at_rest(&pool).await;
    });
}
