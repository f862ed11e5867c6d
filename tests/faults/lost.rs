//! Checks that a pool has lost nothing.

use futures_util::future::try_join_all;
use poolscope::report::Status;
use poolscope::{Pool, PoolError, PooledConnection};

use crate::databases::Tested;
pub use crate::support::waiting::within_patience;
use crate::support::waiting::{found, until};

/// Checks a pool after a fault, when all its connections are returned: every counter is zero, every
/// open connection is idle, the pool can serve, and exactly its maximum of connections can be checked
/// out at once.
///
/// # Panics
/// If this does not hold after a while; cancelled work ends by itself.
pub async fn nothing_is_lost<C: Tested>(pool: &Pool<C>) {
    at_rest(pool).await;
    let mut held = all_at_once(pool).await;
    for (n, conn) in (0..).zip(&mut held) {
        assert_eq!(conn.select(n).await.unwrap(), n);
    }
    drop(held);
    at_rest(pool).await;
    assert!(pool.status().total_connections <= pool.settings().pool_size);
    let healthy = async || pool.healthcheck().await;
    until("healthy", healthy, |check| check.is_ok()).await;
}

/// Checks out the maximum of connections. One more must fail.
async fn all_at_once<C: Tested>(pool: &Pool<C>) -> Vec<PooledConnection<C>> {
    let all = pool.settings().max_connections();
    let held = within_patience("all at once", try_join_all((0..all).map(|_| pool.get()))).await;
    let held = held.unwrap_or_else(|error| panic!("{error}: {:?}", pool.status()));
    let status = pool.status();
    assert_eq!(
        (status.checked_out, status.idle, admitted(pool)),
        (all, 0, all),
        "{status:?}"
    );
    let one_more = pool.try_get();
    assert!(
        matches!(one_more, Err(PoolError::Rejected(_))),
        "{status:?}"
    );
    held
}

/// Waits until there are no holders and no waiters, by every count.
pub async fn at_rest<C: Tested>(pool: &Pool<C>) {
    let look = async || {
        let at_rest = is_at_rest(pool).await;
        at_rest.map_err(|what| format!("{what}: {:?}", pool.status()))
    };
    found("the pool is at rest", look).await;
}

async fn is_at_rest<C: Tested>(pool: &Pool<C>) -> Result<(), String> {
    let (status, state) = (pool.status(), pool.state());
    let open = i64::from(status.total_connections);
    let balance = balance(&status);
    for (what, is, expected) in [
        ("checked out", i64::from(status.checked_out), 0),
        ("pending", i64::from(status.pending), 0),
        ("permits", i64::from(admitted(pool)), 0),
        ("opened and not closed", balance, open),
        ("idle", i64::from(status.idle), open),
        ("open, by bb8", i64::from(state.connections), open),
        ("idle, by bb8", i64::from(state.idle_connections), open),
    ] {
        if is != expected {
            return Err(format!("{what}: {is} instead of {expected}"));
        }
    }
    let holders = pool.health().await.longest_holders;
    match holders.is_empty() {
        true => Ok(()),
        false => Err(format!("held by {holders:?}")),
    }
}

fn admitted<C: Tested>(pool: &Pool<C>) -> u32 {
    pool.as_service().get_ref().gate().admitted()
}

fn balance(status: &Status) -> i64 {
    let closed = serde_json::to_value(status.totals.connections_closed).unwrap();
    let closed = closed.as_object().expect("reasons").values();
    let closed: u64 = closed.map(|count| count.as_u64().expect("a count")).sum();
    status.totals.connections_opened as i64 - closed as i64
}
