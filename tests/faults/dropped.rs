//! Drops futures after each of their polls, at once and a moment later, on each database. The next
//! borrower gets a clean connection.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use diesel::result::Error;
use diesel::sql_types::Integer;
use diesel::{QueryResult, QueryableByName, sql_query};
use diesel_async::{AsyncConnection, AsyncMysqlConnection, AsyncPgConnection, RunQueryDsl};
use futures_util::StreamExt;
use poolscope::backend::AsyncSqliteConnection;
use poolscope::{Pool, PoolBuilder};
use tokio::time::sleep;

use crate::databases::{Tested, on_each_database};
use crate::lost::{nothing_is_lost, within_patience};
use crate::monitor_client::until;

on_each_database!(
    dropping_a_connecting_checkout_loses_nothing,
    dropping_a_pinging_checkout_loses_nothing,
    dropping_a_queued_checkout_loses_nothing,
    dropping_a_query_loses_nothing,
    dropping_a_transaction_loses_nothing,
);

/// Reads rows one by one.
trait Rows: Tested {
    /// Reads 2000 rows, wide enough to arrive in many pieces; returns how many arrived.
    fn rows(&mut self) -> impl Future<Output = QueryResult<usize>> + Send;
}

#[derive(QueryableByName)]
struct Row {
    #[allow(dead_code, reason = "only the row's arrival matters")]
    #[diesel(sql_type = Integer)]
    n: i32,
}

macro_rules! rows {
    ($connection:ty, $query:expr) => {
        impl Rows for $connection {
            async fn rows(&mut self) -> QueryResult<usize> {
                let mut rows = sql_query($query).load_stream::<Row>(self).await?;
                let mut count = 0;
                while let Some(row) = rows.next().await {
                    row?;
                    count += 1;
                }
                Ok(count)
            }
        }
    };
}

rows!(
    AsyncPgConnection,
    "SELECT n, repeat('x', 200) AS wide FROM generate_series(1, 2000) n"
);
rows!(
    AsyncMysqlConnection,
    "SELECT CAST(seq AS INTEGER) AS n, repeat('x', 200) AS wide FROM seq_1_to_2000"
);
rows!(
    AsyncSqliteConnection,
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 2000) \
     SELECT n, hex(zeroblob(100)) AS wide FROM c"
);

/// The delays between a poll and the drop: with the second, the response has arrived already.
const DELAYS: [Duration; 2] = [Duration::ZERO, Duration::from_millis(2)];

/// Polls a future up to `polls` times, then drops it. Returns whether it finished first.
async fn poll_and_drop<F: Future>(future: F, polls: usize, delay: Duration) -> bool {
    let mut future = pin!(future);
    let mut polled = 0;
    let done = poll_fn(|cx| {
        if polled == polls {
            return Poll::Ready(false);
        }
        polled += 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if polled == polls => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    });
    let done = done.await;
    if !done && !delay.is_zero() {
        sleep(delay).await;
    }
    done
}

/// Drops a future after each number of polls, until it finishes first. Skips some of the higher
/// numbers. Checks the pool each time.
async fn drop_after_each_poll<F: Future>(
    mut make: impl FnMut() -> F,
    mut look: impl AsyncFnMut(i32),
) {
    for delay in DELAYS {
        // On SQLite, a response may be ready before the first poll.
        let mut rounds = 0;
        while {
            let mut polls = 0;
            loop {
                let done = within_patience("progress", poll_and_drop(make(), polls, delay)).await;
                look(polls as i32).await;
                if done {
                    break;
                }
                polls += 1 + polls / 8;
            }
            polls <= 1
        } {
            rounds += 1;
            assert!(rounds < 50, "the future never waits");
        }
    }
}

fn small<C: Tested>(builder: PoolBuilder<C>) -> Pool<C> {
    builder.pool_size(1).max_overflow(0).build().unwrap()
}

/// The next borrower reads its own results.
async fn next_checkout_works<C: Tested>(pool: &Pool<C>, n: i32) {
    let mut next = within_patience("the next checkout", pool.get())
        .await
        .unwrap();
    assert_eq!(next.select(n).await.unwrap(), n);
    assert_eq!(next.select(n + 1).await.unwrap(), n + 1);
}

async fn dropping_a_connecting_checkout_loses_nothing<C: Tested>(name: &str) {
    let database = C::database(name);
    for delay in DELAYS {
        let mut waited = false;
        // A file may open before the first poll.
        for _ in 0..50 {
            for polls in 0.. {
                // A new pool has to connect.
                let pool = small(database.pool::<C>());
                let done =
                    within_patience("progress", poll_and_drop(pool.get(), polls, delay)).await;
                next_checkout_works(&pool, 1).await;
                nothing_is_lost(&pool).await;
                if done {
                    waited = polls > 1;
                    break;
                }
            }
            if waited {
                break;
            }
        }
        assert!(waited, "the checkout never waits");
    }
}

async fn dropping_a_pinging_checkout_loses_nothing<C: Tested>(name: &str) {
    let database = C::database(name);
    let pool = small(database.pool::<C>().pre_ping_bypass(Duration::ZERO));
    drop_after_each_poll(
        || pool.get(),
        async |polls| next_checkout_works(&pool, polls).await,
    )
    .await;
    nothing_is_lost(&pool).await;
}

async fn dropping_a_queued_checkout_loses_nothing<C: Tested>(name: &str) {
    let database = C::database(name);
    let pool = small(database.pool::<C>());
    drop_after_each_poll(
        || {
            let pool = pool.clone();
            async move {
                let held = pool.get().await.unwrap();
                let (first, second) = (pool.get(), pool.get());
                let released = async {
                    // The other checkouts queue first, and run in between.
                    tokio::task::yield_now().await;
                    drop(held);
                    tokio::task::yield_now().await;
                };
                tokio::join!(
                    async { drop(first.await.unwrap()) },
                    async { drop(second.await.unwrap()) },
                    released
                )
            }
        },
        async |polls| next_checkout_works(&pool, polls).await,
    )
    .await;
    nothing_is_lost(&pool).await;
}

async fn dropping_a_query_loses_nothing<C: Rows>(name: &str) {
    let database = C::database(name);
    let pool = small(database.pool::<C>());
    drop_after_each_poll(
        || {
            let pool = pool.clone();
            async move {
                let mut conn = pool.get().await.unwrap();
                assert_eq!(conn.rows().await.unwrap(), 2000);
            }
        },
        async |polls| next_checkout_works(&pool, polls).await,
    )
    .await;
    nothing_is_lost(&pool).await;
}

/// The transaction commits entirely or not at all, and the next borrower is in no transaction.
async fn dropping_a_transaction_loses_nothing<C: Rows>(name: &str) {
    let database = C::database(name);
    let pool = small(database.pool::<C>());
    let mut other = pool.dedicated_connection().await.unwrap();
    other.run("CREATE TABLE t (n INTEGER)").await.unwrap();
    drop_after_each_poll(
        || {
            let pool = pool.clone();
            async move {
                let mut conn = pool.get().await.unwrap();
                let work = conn.transaction::<(), Error, _>(async |conn| {
                    conn.run("INSERT INTO t VALUES (1)").await?;
                    conn.select(1).await?;
                    conn.run("INSERT INTO t VALUES (2)").await?;
                    Ok(())
                });
                work.await.unwrap();
            }
        },
        async |polls| {
            next_checkout_works(&pool, polls).await;
            let mut next = pool.get().await.unwrap();
            // A commit in flight may finish in between.
            let counts = async || {
                (
                    next.count("t").await.unwrap(),
                    other.count("t").await.unwrap(),
                )
            };
            let both = until("equal counts", counts, |(inside, outside)| {
                inside == outside
            })
            .await;
            assert_eq!(both.0 % 2, 0, "half of a transaction");
        },
    )
    .await;
    assert!(other.count("t").await.unwrap() >= 4);
    nothing_is_lost(&pool).await;
}
