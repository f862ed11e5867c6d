//! The network between the pool and its server is down, silent or slow.

use std::time::Duration;

use diesel_async::AsyncPgConnection;
use futures_util::FutureExt;
use poolscope::Pool;
use tokio::time::sleep;

use crate::databases::{Database, Tested};
use crate::load::Load;
use crate::lost::nothing_is_lost;
use crate::monitor_client::until;
use crate::outages::{is_refused, is_served_again};
use crate::servers::{Faulty, on_each_server};
use crate::support::Tls;
use crate::support::postgres::{self, Postgres};
use crate::support::proxy::Proxy;
use crate::support::waiting::{NO_OLD_ANSWER, PATIENCE};

on_each_server!(
    refused_connections_fail_checkouts_at_once,
    reset_connections_cost_one_query_each,
    a_silent_network_times_out_and_then_fails_at_once,
    a_slow_network_fails_nothing,
    an_idle_pool_is_healthy_on_a_slow_network,
    dropping_a_query_on_a_slow_network_loses_nothing,
);

/// A proxy before the shared server, and the URL of a new database by way of it.
pub async fn proxied<S: Faulty>(name: &str) -> (Proxy, String) {
    let server = S::shared();
    let url = tokio::task::block_in_place(|| server.create_database(name));
    let proxy = Proxy::to(server.port()).await;
    // On loopback, mysql_async would switch to the server's Unix socket.
    let direct = match S::Connection::database_name() {
        "mariadb" => "?prefer_socket=false",
        _ => "",
    };
    let url = server.url_by(&url, proxy.port());
    (proxy, format!("{url}{direct}"))
}

/// A pool whose server is behind a proxy. Only where a timeout is the fault, it is short: a dial may take
/// seconds on a busy machine.
async fn behind_a_proxy<S: Faulty>(
    name: &str,
    connect_timeout: Duration,
) -> (Proxy, Pool<S::Connection>) {
    let (proxy, url) = proxied::<S>(name).await;
    let pool = Database::at(&url)
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

/// Another continent, and nobody uses the pool: it is ready as soon as its connections are open, and stays
/// so. To open the monitoring connection takes longer than a report waits.
async fn an_idle_pool_is_healthy_on_a_slow_network<S: Faulty>(name: &str) {
    let (proxy, url) = proxied::<S>(name).await;
    is_ready_without_traffic::<S::Connection>(proxy, &url, Duration::from_millis(200)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_pool_is_healthy_on_a_slow_network_with_tls() {
    let server = postgres::Options::new().tls(Tls::Require);
    let server = tokio::task::block_in_place(|| Postgres::start(server));
    let proxy = Proxy::to(server.port()).await;
    let url = server.url_by(&server.url(), proxy.port());
    let url = format!("{url}?sslmode=require");
    is_ready_without_traffic::<AsyncPgConnection>(proxy, &url, Duration::from_millis(100)).await;
}

async fn is_ready_without_traffic<C: Tested>(mut proxy: Proxy, url: &str, each_way: Duration) {
    proxy.delay(each_way);
    let pool = Database::at(url)
        .pool::<C>()
        .pool_size(10)
        .max_overflow(0)
        .connect_timeout(PATIENCE)
        .warm_up(PATIENCE)
        .build()
        .unwrap();
    until("idle", async || pool.status().idle, |&idle| idle == 10).await;

    // At once, and whenever it is asked, while the monitoring connection is being opened.
    let is_ready = async || {
        let check = pool.healthcheck().await;
        assert!(check.is_ok(), "{check:?}");
    };
    is_ready().await;
    let health = until(
        "the answer of the database",
        async || {
            is_ready().await;
            let health = pool.health().await;
            assert!(health.can_serve(), "{health:#?}");
            health
        },
        |health| health.database.server_max_connections.is_some(),
    )
    .await;
    assert!(health.database.reachable, "{health:#?}");
    assert_eq!(health.database.error, None);

    // An answer that takes longer than a healthcheck waits is an answer.
    proxy.delay(Duration::from_millis(450));
    for _ in 0..6 {
        is_ready().await;
        sleep(NO_OLD_ANSWER).await;
    }

    // None at all is none.
    proxy.pause();
    let is_ok = async || pool.healthcheck().await.is_ok();
    until("unavailable", is_ok, |&ok| !ok).await;
    proxy.pass().await;
    until("available", is_ok, |&ok| ok).await;
}

/// To end it on the server takes a connection of its own, which takes as long as any other.
async fn dropping_a_query_on_a_slow_network_loses_nothing<S: Faulty>(name: &str) {
    let (mut proxy, pool) = behind_a_proxy::<S>(name, PATIENCE).await;
    let mut conn = pool.get().await.unwrap();
    let is_postgres = S::Connection::database_name() == "postgres";
    let (query, running) = match is_postgres {
        true => (
            "SELECT pg_sleep(3000)",
            "SELECT count(*)::int AS n FROM pg_stat_activity \
             WHERE datname = current_database() AND query LIKE '%sleep(3000)' AND state = 'active'",
        ),
        false => (
            "SELECT sleep(3000)",
            "SELECT CAST(count(*) AS SIGNED) AS n FROM information_schema.PROCESSLIST \
             WHERE DB = database() AND INFO LIKE '%sleep(3000)'",
        ),
    };
    let mut other = pool.dedicated_connection().await.unwrap();
    let mut query = Box::pin(conn.run(query));
    until(
        "runs",
        async || {
            assert!(query.as_mut().now_or_never().is_none());
            other.number(running).await.unwrap()
        },
        |&n| n == 1,
    )
    .await;
    proxy.delay(Duration::from_millis(700));
    drop(query);
    drop(conn);
    until(
        "is ended",
        async || other.number(running).await.unwrap(),
        |&n| n == 0,
    )
    .await;
    proxy.pass().await;
    nothing_is_lost(&pool).await;
}
