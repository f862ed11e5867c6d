//! Futures that are dropped half-way: after each of their polls, at once and a moment later, on
//! each database. The next borrower gets a connection that is clean.

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
    a_checkout_is_dropped_while_it_connects,
    a_checkout_is_dropped_while_it_pings,
    a_checkout_is_dropped_while_it_queues,
    a_query_is_dropped_before_and_after_its_first_row,
    a_transaction_is_dropped,
);

/// Reads rows one by one.
trait Rows: Tested {
    /// 2000 rows, wide enough to come in many pieces; gives how many came.
    fn rows(&mut self) -> impl Future<Output = QueryResult<usize>> + Send;
}

#[derive(QueryableByName)]
struct Row {
    #[allow(dead_code, reason = "that it comes is enough")]
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

/// Whether the answer that an event brings is there already when the future is dropped.
const MOMENTS: [Duration; 2] = [Duration::ZERO, Duration::from_millis(2)];

/// Polls a future so many times and drops it; true if it was done before.
async fn cut<F: Future>(future: F, polls: usize, moment: Duration) -> bool {
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
    if !done && !moment.is_zero() {
        sleep(moment).await;
    }
    done
}

/// Drops a future after each number of polls, until it is done before; after many, some are
/// skipped. Looks at the pool each time.
async fn dropped_everywhere<F: Future>(
    mut make: impl FnMut() -> F,
    mut look: impl AsyncFnMut(i32),
) {
    for moment in MOMENTS {
        // On SQLite each answer may be there before it is asked for, now and then.
        let mut rounds = 0;
        while {
            let mut polls = 0;
            loop {
                let done = within_patience("it goes on", cut(make(), polls, moment)).await;
                look(polls as i32).await;
                if done {
                    break;
                }
                polls += 1 + polls / 8;
            }
            polls <= 1
        } {
            rounds += 1;
            assert!(rounds < 50, "it never has to wait");
        }
    }
}

fn small<C: Tested>(builder: PoolBuilder<C>) -> Pool<C> {
    builder.pool_size(1).max_overflow(0).build().unwrap()
}

/// The next borrower reads its own answers.
async fn the_next_is_fine<C: Tested>(pool: &Pool<C>, n: i32) {
    let mut next = within_patience("the next", pool.get()).await.unwrap();
    assert_eq!(next.select(n).await.unwrap(), n);
    assert_eq!(next.select(n + 1).await.unwrap(), n + 1);
}

async fn a_checkout_is_dropped_while_it_connects<C: Tested>(name: &str) {
    let database = C::database(name);
    for moment in MOMENTS {
        let mut waited = false;
        // A file may be open before it is asked for, now and then.
        for _ in 0..50 {
            for polls in 0.. {
                // A new pool has to connect.
                let pool = small(database.pool::<C>());
                let done = within_patience("it goes on", cut(pool.get(), polls, moment)).await;
                the_next_is_fine(&pool, 1).await;
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
        assert!(waited, "it never has to wait");
    }
}

async fn a_checkout_is_dropped_while_it_pings<C: Tested>(name: &str) {
    let database = C::database(name);
    let pool = small(database.pool::<C>().pre_ping_bypass(Duration::ZERO));
    dropped_everywhere(
        || pool.get(),
        async |polls| the_next_is_fine(&pool, polls).await,
    )
    .await;
    nothing_is_lost(&pool).await;
}

async fn a_checkout_is_dropped_while_it_queues<C: Tested>(name: &str) {
    let database = C::database(name);
    let pool = small(database.pool::<C>());
    dropped_everywhere(
        || {
            let pool = pool.clone();
            async move {
                let held = pool.get().await.unwrap();
                let (first, second) = (pool.get(), pool.get());
                let released = async {
                    // The others queue first, and get their turns in between.
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
        async |polls| the_next_is_fine(&pool, polls).await,
    )
    .await;
    nothing_is_lost(&pool).await;
}

async fn a_query_is_dropped_before_and_after_its_first_row<C: Rows>(name: &str) {
    let database = C::database(name);
    let pool = small(database.pool::<C>());
    dropped_everywhere(
        || {
            let pool = pool.clone();
            async move {
                let mut conn = pool.get().await.unwrap();
                assert_eq!(conn.rows().await.unwrap(), 2000);
            }
        },
        async |polls| the_next_is_fine(&pool, polls).await,
    )
    .await;
    nothing_is_lost(&pool).await;
}

/// It is either committed as a whole or not at all, and the next borrower is in none.
async fn a_transaction_is_dropped<C: Rows>(name: &str) {
    let database = C::database(name);
    let pool = small(database.pool::<C>());
    let mut other = pool.dedicated_connection().await.unwrap();
    other.run("CREATE TABLE t (n INTEGER)").await.unwrap();
    dropped_everywhere(
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
            the_next_is_fine(&pool, polls).await;
            let mut next = pool.get().await.unwrap();
            // Not at once: a commit that was under way may come to its end in between.
            let counts = async || {
                (
                    next.count("t").await.unwrap(),
                    other.count("t").await.unwrap(),
                )
            };
            let both = until("the same", counts, |(inside, outside)| inside == outside).await;
            assert_eq!(both.0 % 2, 0, "half of a transaction");
        },
    )
    .await;
    assert!(other.count("t").await.unwrap() >= 4);
    nothing_is_lost(&pool).await;
}
