//! Ten thousand concurrent waiters.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use poolscope::backend::AsyncSqliteConnection;
use poolscope::{Pool, PoolError};
use tokio::time::Instant;

use crate::databases::{Database, Tested};
use crate::lost::{nothing_is_lost, within_patience};

const MANY: usize = 10_000;

type Lite = AsyncSqliteConnection;

fn one(name: &str, timeout: Duration) -> (Database, Pool<Lite>) {
    let database = Lite::database(name);
    let pool = database
        .pool()
        .pool_size(1)
        .max_overflow(0)
        .pool_timeout(timeout)
        .build()
        .unwrap();
    (database, pool)
}

/// The resident memory of this process, in bytes.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_waiters_are_served_in_order() {
    let (_database, pool) = one("waiters_served", Duration::from_secs(600));
    let held = pool.get().await.unwrap();
    let before = resident();
    let mut waiting: Vec<_> = (0..MANY).map(|_| Box::pin(pool.get())).collect();
    for get in &mut waiting {
        assert!(get.as_mut().now_or_never().is_none());
    }
    assert_eq!(pool.status().pending as usize, MANY);
    // A benchmark measures the goal of 1 KiB each; other tests share this process.
    let grown = resident().saturating_sub(before);
    assert!(grown < 100 << 20, "{} KiB", grown >> 10);

    let order = Arc::new(Mutex::new(Vec::new()));
    let tasks: Vec<_> = waiting
        .into_iter()
        .enumerate()
        .map(|(n, get)| {
            let order = Arc::clone(&order);
            tokio::spawn(async move {
                let conn = get.await.unwrap();
                order.lock().unwrap().push(n);
                drop(conn);
            })
        })
        .collect();
    drop(held);
    for task in tasks {
        within_patience("its turn", task).await.unwrap();
    }
    assert!(order.lock().unwrap().iter().copied().eq(0..MANY));
    assert_eq!(pool.status().totals.checkouts as usize, MANY + 1);
    assert_eq!(pool.status().totals.connections_opened, 1);
    nothing_is_lost(&pool).await;
}

/// Each waiter is refused when its own timeout ends, and no earlier.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_waiters_time_out() {
    const TIMEOUT: Duration = Duration::from_secs(5);
    let (_database, pool) = one("waiters_refused", TIMEOUT);
    let held = pool.get().await.unwrap();
    let waiting: Vec<_> = (0..MANY)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let asked = Instant::now();
                let error = pool.get().await.unwrap_err();
                assert!(error.is_timeout(), "{error}");
                asked.elapsed()
            })
        })
        .collect();
    for task in waiting {
        let waited = within_patience("the end of a wait", task).await.unwrap();
        assert!(waited >= TIMEOUT, "{waited:?}");
    }
    drop(held);
    assert_eq!(pool.status().totals.timeouts as usize, MANY);
    nothing_is_lost(&pool).await;
}

/// Half of them are dropped; the others are served in order.
#[tokio::test(flavor = "multi_thread")]
async fn dropping_every_other_waiter_keeps_the_order() {
    let (_database, pool) = one("waiters_gone", Duration::from_secs(600));
    let held = pool.get().await.unwrap();
    let mut waiting: Vec<_> = (0..MANY).map(|_| Box::pin(pool.get())).collect();
    for get in &mut waiting {
        assert!(get.as_mut().now_or_never().is_none());
    }
    let mut n = 0;
    waiting.retain(|_| {
        n += 1;
        n % 2 == 0
    });
    assert_eq!(pool.status().pending as usize, MANY / 2);
    drop(held);
    for get in waiting {
        drop(within_patience("its turn", get).await.unwrap());
    }
    let totals = pool.status().totals;
    assert_eq!(totals.canceled as usize, MANY / 2);
    nothing_is_lost(&pool).await;
}

/// All are refused at once when the pool is closed.
#[tokio::test(flavor = "multi_thread")]
async fn closing_the_pool_refuses_ten_thousand_waiters() {
    let (_database, pool) = one("waiters_closed", Duration::from_secs(600));
    let held = pool.get().await.unwrap();
    let mut waiting: Vec<_> = (0..MANY).map(|_| Box::pin(pool.get())).collect();
    for get in &mut waiting {
        assert!(get.as_mut().now_or_never().is_none());
    }
    let closing = pool.clone();
    let closing = tokio::spawn(async move { closing.close(Duration::from_secs(600)).await });
    for get in waiting {
        let answer = within_patience("the refusal", get).await;
        assert!(matches!(answer, Err(PoolError::Closed)), "{answer:?}");
    }
    drop(held);
    assert!(within_patience("the close", closing).await.unwrap());
    let status = pool.status();
    assert_eq!(
        (status.checked_out, status.pending, status.total_connections),
        (0, 0, 0)
    );
    assert_eq!(pool.as_service().get_ref().gate().admitted(), 0);
}
