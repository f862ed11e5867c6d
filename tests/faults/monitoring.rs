//! Many concurrent requests to the monitoring routes while the pool is exhausted.

use diesel_async::AsyncPgConnection;
use futures_util::FutureExt;
use futures_util::future::{join_all, try_join_all};
use http::StatusCode;
use serde_json::json;

use crate::databases::Tested;
use crate::load::Load;
use crate::lost::{nothing_is_lost, within_patience};
use crate::monitor_client::get;
use crate::support::waiting::soon;

const ROUTES: [&str; 6] = [
    "status",
    "health",
    "connections",
    "optimize",
    "healthcheck",
    "metrics",
];

type Pool = poolscope::Pool<AsyncPgConnection>;

/// Requests all routes at once, repeatedly.
async fn hammer(pool: &Pool, rounds: usize, callers: usize, looks: impl Fn(&str, &str) + Copy) {
    let callers = (0..callers).map(|_| {
        let pool = pool.clone();
        async move {
            for _ in 0..rounds {
                let answers = ROUTES.map(|route| {
                    let monitor = pool.monitor();
                    async move { (route, soon(route, get(monitor, route)).await) }
                });
                for (route, answer) in join_all(answers).await {
                    assert_eq!(answer.status, StatusCode::OK, "{route}: {}", answer.text());
                    looks(route, &answer.text());
                }
            }
        }
    });
    within_patience("all responses", join_all(callers)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_routes_respond_while_the_pool_is_exhausted() {
    let database = AsyncPgConnection::database("hammered");
    let pool = database
        .pool::<AsyncPgConnection>()
        .pool_size(2)
        .max_overflow(2)
        .build()
        .unwrap();

    // Nothing changes, so every response is known.
    let held = try_join_all((0..4).map(|_| pool.get())).await.unwrap();
    let mut waiting: Vec<_> = (0..20).map(|_| Box::pin(pool.get())).collect();
    for get in &mut waiting {
        assert!(get.as_mut().now_or_never().is_none());
    }
    hammer(&pool, 10, 16, |route, answer| match route {
        "metrics" => assert!(
            answer.contains("db_client_connection_pending_requests"),
            "{answer}"
        ),
        "healthcheck" => {}
        _ => {
            let answer: serde_json::Value = serde_json::from_str(answer).unwrap();
            if route == "status" {
                assert_eq!(answer["checked_out"], json!(4), "{answer}");
                assert_eq!(answer["pending"], json!(20), "{answer}");
                assert_eq!(answer["total_connections"], json!(4), "{answer}");
            }
            if route == "connections" {
                assert_eq!(answer["total_connections"], json!(4), "{answer}");
            }
        }
    })
    .await;
    assert_eq!(pool.status().pending, 20);
    drop(held);
    // Each waiter gets the connection that the one before returned.
    for get in waiting {
        drop(within_patience("the next checkout", get).await.unwrap());
    }

    // Everything changes: 32 tasks use 4 connections.
    let load = Load::start(&pool, 32);
    load.is_served(100).await;
    hammer(&pool, 10, 16, |_, answer| assert!(!answer.is_empty())).await;
    load.is_served(100).await;
    let seen = load.end().await;
    assert_eq!((seen.failed, seen.refusals()), (0, 0), "{seen:?}");
    // The routes have their own connection, and use none of the pool's.
    let totals = pool.status().totals;
    assert_eq!(totals.checkouts, 24 + seen.served, "{totals:?}");
    nothing_is_lost(&pool).await;
}
