//! Every value is read, not accumulated: no value drifts, and pages are consistent with each other.

use futures_util::FutureExt;
use futures_util::future::join_all;
use poolscope::Checkout;
use tokio::task::yield_now;

use super::page;
use super::page::COUNT;
use crate::databases::{Tested, on_each_database};
use crate::monitor_client::until;

on_each_database!(
    no_value_drifts_when_checkouts_are_canceled,
    every_page_adds_up_and_continues_the_last,
);

/// Checkouts are dropped after each number of steps, with and without contention.
async fn no_value_drifts_when_checkouts_are_canceled<C: Tested>(name: &str) {
    let database = C::database(name);
    let builder = database.pool::<C>().pool_size(2).max_overflow(1);
    let pool = builder.build().unwrap();
    let cancelled = |steps: usize| {
        let pool = pool.clone();
        tokio::spawn(async move {
            let mut asking = Box::pin(pool.get());
            for _ in 0..steps {
                if let Some(got) = asking.as_mut().now_or_never() {
                    return drop(got.unwrap());
                }
                yield_now().await;
            }
        })
    };
    for ended in join_all((0..300).map(|n| cancelled(n % 30))).await {
        ended.unwrap();
    }
    let held = pool.get().await.unwrap();
    let read = async || (pool.status(), page(&pool).await, pool.status());
    // Connections that canceled checkouts began to open may still arrive.
    let (status, page, _) = until("quiet", read, |(before, _, after)| {
        (
            before.total_connections,
            before.idle,
            before.totals.connections_opened,
        ) == (
            after.total_connections,
            after.idle,
            after.totals.connections_opened,
        ) && before.pending == 0
            && before.checked_out == 1
    })
    .await;
    let count = |name: &str| page.count(name, &[]);
    let state = |state| page.count(COUNT, &[("db_client_connection_state", state)]);
    assert_eq!((state("used"), state("idle")), (1, status.idle.into()));
    assert_eq!(count("db_client_connection_max"), 3);
    assert_eq!(count("db_client_connection_pending_requests"), 0);
    assert_eq!(count("poolscope_wait_longest_seconds"), 0);
    assert!(status.totals.canceled > 0);
    let opened = count("poolscope_connection_opened_total");
    assert_eq!(opened, status.totals.connections_opened);
    let canceled = [("poolscope_checkout_outcome", "canceled")];
    assert_eq!(
        page.count("poolscope_checkouts_failed_total", &canceled),
        status.totals.canceled
    );
    assert_eq!(
        count("db_client_connection_wait_time_seconds_count"),
        status.totals.checkouts
    );
    let used = count("db_client_connection_use_time_seconds_count");
    assert_eq!(used, status.totals.checkouts - 1, "one is out");
    drop(held);
}

async fn every_page_adds_up_and_continues_the_last<C: Tested>(name: &str) {
    let database = C::database(name);
    let pool = database.pool::<C>().pool_size(3).build().unwrap();
    let work = |label: &'static str| {
        let pool = pool.clone();
        tokio::spawn(async move {
            for n in 0..100 {
                let mut held = pool.checkout(Checkout::new().label(label)).await.unwrap();
                assert_eq!(held.select(n).await.unwrap(), n);
            }
        })
    };
    let workers = ["a", "b", "c", "d", "e", "f"].map(work);
    let mut before = page(&pool).await;
    loop {
        let ended = workers.iter().all(tokio::task::JoinHandle::is_finished);
        let now = page(&pool).await;
        now.assert_adds_up();
        now.assert_follows(&before);
        before = now;
        if ended {
            break;
        }
    }
    for worker in workers {
        worker.await.unwrap();
    }
    for counted in [
        "db_client_connection_use_time_seconds_count",
        "db_client_connection_wait_time_seconds_count",
    ] {
        assert_eq!(before.count(counted, &[]), 600);
    }
}
