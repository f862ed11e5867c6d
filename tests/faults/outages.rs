//! The server dies, restarts, or ends every session.

use poolscope::{Pool, PoolError};

use crate::databases::{Database, Tested};
use crate::load::Load;
use crate::lost::nothing_is_lost;
use crate::servers::{Faulty, on_each_server};
use crate::support::waiting::{SOON, soon};

on_each_server!(
    checkouts_recover_after_a_server_kill,
    checkouts_recover_after_a_server_restart,
    ended_sessions_cost_one_query_each,
);

/// Four connections and four of overflow.
pub fn pool<C: Tested>(url: &str) -> Pool<C> {
    let builder = Database::at(url).pool::<C>().pool_size(4).max_overflow(4);
    builder.build().unwrap()
}

/// Waits until checkouts are refused for one of these reasons, and checks that they then fail at once.
pub async fn is_refused<C: Tested>(load: &Load<C>, kinds: &[&str]) {
    let since = load.since_now();
    since.until("refused", |seen| seen.refusals() > 0).await;
    // The promise is half a second at most while the database is known to be down.
    let ask = soon("a checkout during an outage", load.ask());
    let error = ask.await.expect_err("the database is down");
    assert!(matches!(error, PoolError::ConnectFailed(_)), "{error}");
    let seen = since.outcomes();
    assert!(
        seen.refused.keys().all(|kind| kinds.contains(kind)),
        "{seen:?}"
    );
    assert!(seen.slowest_refusal < SOON, "{seen:?}");
}

/// Call it when the database is back.
pub async fn is_served_again<C: Tested>(load: &Load<C>) {
    let first = load.is_served(100).await;
    // The promise is one second from the database's return to the first success.
    assert!(first < SOON, "{first:?}");
}

async fn checkouts_recover_after_a_server_kill<S: Faulty>(_: &str) {
    let mut server = S::start();
    let pool = pool::<S::Connection>(&server.url());
    let load = Load::start(&pool, 32);
    load.is_served(200).await;
    server.kill();
    is_refused(&load, &["unreachable"]).await;
    server.start_again();
    is_served_again(&load).await;
    let seen = load.end().await;
    // Each open connection has cost at most one query.
    assert!(seen.failed <= 8, "{seen:?}");
    nothing_is_lost(&pool).await;
}

async fn checkouts_recover_after_a_server_restart<S: Faulty>(_: &str) {
    let mut server = S::start();
    let pool = pool::<S::Connection>(&server.url());
    let load = Load::start(&pool, 32);
    for _ in 0..2 {
        load.is_served(200).await;
        server.stop();
        is_refused(&load, &["unreachable", "starting"]).await;
        server.start_again();
        is_served_again(&load).await;
    }
    load.end().await;
    nothing_is_lost(&pool).await;
}

/// No checkout fails, and each session costs at most its running query.
async fn ended_sessions_cost_one_query_each<S: Faulty>(name: &str) {
    let pool = pool::<S::Connection>(&S::shared().create_database(name));
    let load = Load::start(&pool, 32);
    let mut ended = 0;
    for _ in 0..3 {
        load.is_served(200).await;
        ended += tokio::task::block_in_place(|| S::shared().end_sessions(name));
    }
    load.is_served(200).await;
    let seen = load.end().await;
    assert!(ended > 3, "{ended}");
    assert!(seen.failed <= ended, "{ended} ended: {seen:?}");
    assert_eq!(seen.refusals(), 0, "{seen:?}");
    nothing_is_lost(&pool).await;
}
