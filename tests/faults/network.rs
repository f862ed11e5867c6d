//! The network between the pool and its server is down, silent or slow.

use std::time::Duration;

use poolscope::Pool;

use crate::databases::{Database, Tested};
use crate::load::Load;
use crate::lost::nothing_is_lost;
use crate::monitor_client::until;
use crate::outages::{is_refused, is_served_again};
use crate::servers::{Faulty, on_each_server};
use crate::support::proxy::Proxy;
use crate::support::waiting::PATIENCE;

on_each_server!(
    refused_connections_fail_checkouts_at_once,
    reset_connections_cost_one_query_each,
    a_silent_network_times_out_and_then_fails_at_once,
    a_slow_network_fails_nothing,
);

/// A pool behind a proxy to its server. Timeouts are long unless the test is about them, because connecting
/// may take seconds on a busy machine.
async fn behind_a_proxy<S: Faulty>(
    name: &str,
    connect_timeout: Duration,
) -> (Proxy, Pool<S::Connection>) {
    let server = S::shared();
    let url = tokio::task::block_in_place(|| server.create_database(name));
    let proxy = Proxy::to(server.port()).await;
    // On loopback, mysql_async would switch to the server's Unix socket.
    let direct = match S::Connection::database_name() {
        "mariadb" => "?prefer_socket=false",
        _ => "",
    };
    let url = server.url_by(&url, proxy.port());
    let pool = Database::at(&format!("{url}{direct}"))
        .pool::<S::Connection>()
        .pool_size(4)
        .max_overflow(4)
        .settings(|settings| {
            settings.connect_timeout = connect_timeout;
            settings.pre_ping_timeout = Duration::from_secs(1);
        })
        .build()
        .unwrap();
    (proxy, pool)
}

async fn refused_connections_fail_checkouts_at_once<S: Faulty>(name: &str) {
    let (mut proxy, pool) = behind_a_proxy::<S>(name, PATIENCE).await;
    let load = Load::start(&pool, 32);
    for _ in 0..2 {
        load.is_served(200).await;
        proxy.refuse().await;
        is_refused(&load, &["unreachable"]).await;
        proxy.pass().await;
        is_served_again(&load).await;
    }
    load.end().await;
    nothing_is_lost(&pool).await;
}

/// As by a firewall that has lost its connection table: no checkout fails, and each connection costs
/// at most one query.
async fn reset_connections_cost_one_query_each<S: Faulty>(name: &str) {
    let (proxy, pool) = behind_a_proxy::<S>(name, PATIENCE).await;
    let load = Load::start(&pool, 32);
    for _ in 0..3 {
        // A reset would fail an attempt to connect, so none may be in progress.
        until(
            "all open",
            async || pool.status().total_connections,
            |&n| n == 8,
        )
        .await;
        load.is_served(200).await;
        proxy.reset();
        load.is_served(200).await;
    }
    let seen = load.end().await;
    assert!(seen.failed <= 3 * 8, "{seen:?}");
    assert_eq!(seen.refusals(), 0, "{seen:?}");
    nothing_is_lost(&pool).await;
}

/// Nothing reports that the network is down. A query hangs until its caller gives up. Checkouts detect
/// it by the timeouts of ping and connect, and fail at once from then on.
async fn a_silent_network_times_out_and_then_fails_at_once<S: Faulty>(name: &str) {
    let (mut proxy, pool) = behind_a_proxy::<S>(name, Duration::from_secs(3)).await;
    let load = Load::impatient(&pool, 32, Duration::from_secs(1));
    load.is_served(200).await;
    let since = load.since_now();
    proxy.pause();
    is_refused(&load, &["timed_out"]).await;
    let seen = since.outcomes();
    assert!(seen.given_up > 0, "{seen:?}");
    let check = pool.healthcheck().await;
    assert!(!check.is_ok());

    proxy.pass().await;
    is_served_again(&load).await;
    load.end().await;
    nothing_is_lost(&pool).await;
}

/// Everything is slow, and nothing fails.
async fn a_slow_network_fails_nothing<S: Faulty>(name: &str) {
    let (mut proxy, pool) = behind_a_proxy::<S>(name, PATIENCE).await;
    proxy.delay(Duration::from_millis(20));
    let load = Load::start(&pool, 16);
    load.is_served(100).await;
    proxy.pass().await;
    load.is_served(100).await;
    proxy.delay(Duration::from_millis(50));
    load.is_served(50).await;
    let seen = load.end().await;
    assert_eq!(
        (seen.failed, seen.given_up, seen.refusals()),
        (0, 0, 0),
        "{seen:?}"
    );
    nothing_is_lost(&pool).await;
}
