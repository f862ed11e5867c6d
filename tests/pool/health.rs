//! `health` and `healthcheck` of a pool that is busy, too large, stalled or closing.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::try_join_all;
use http::StatusCode;
use poolscope::backend::AsyncSqliteConnection;
use poolscope::{Checkout, Pool};
use serde_json::{Value, json};

use crate::connections_report::Served;
use crate::databases::{Database, Tested, on_each_database};
use crate::monitor_client::{ROUTES, get, names, patient, strings, until};
use crate::support::waiting::soon;
use crate::support::{mariadb, postgres};

type Sqlite = AsyncSqliteConnection;

on_each_database!(
    an_exhausted_pool_warns_and_stays_healthy,
    a_closing_pool_cannot_serve,
);

async fn an_exhausted_pool_warns_and_stays_healthy<C: Tested>(name: &str) {
    let database = C::database(name);
    let pool = database
        .pool::<C>()
        .pool_size(2)
        .max_overflow(1)
        .build()
        .unwrap();
    let (first, line) = (pool.get().await.unwrap(), line!());
    let report = Checkout::new().label("nightly-report");
    let held = [
        pool.checkout(report).await.unwrap(),
        pool.get().await.unwrap(),
    ];
    let waiters: Vec<_> = (0..20)
        .map(|_| {
            let turn = pool.get();
            tokio::spawn(async move { drop(turn.await.unwrap()) })
        })
        .collect();
    until("all wait", async || pool.status().pending, |&n| n == 20).await;

    for route in ROUTES {
        let answer = soon(route, get(pool.monitor(), route)).await;
        assert_eq!(
            answer.status,
            StatusCode::OK,
            "busy is not down: {}",
            answer.text()
        );
    }
    assert_eq!(pool.status().pending, 20, "no report stood in the queue");

    let health = get(pool.monitor(), "health").await.json();
    let warning = strings(&health["warnings"])[0];
    let holder = format!("{}:{line} for ", file!());
    for part in [
        "all 3 connections",
        "20 requests are waiting",
        &*holder,
        "(nightly-report) for ",
    ] {
        assert!(warning.contains(part), "{part} in {warning}");
    }
    assert_eq!(
        strings(&health["recommendations"]).len(),
        strings(&health["warnings"]).len()
    );
    assert_eq!(
        (&health["pending"], &health["utilization_pct"]),
        (&json!(20), &json!(100.0))
    );
    assert!(health["longest_wait_seconds"].as_f64() > Some(0.0));
    let holders = health["longest_holders"].as_array().unwrap();
    assert_eq!(holders.len(), 3);
    assert_eq!(holders[0]["caller"], json!(format!("{}:{line}", file!())));

    drop((first, held));
    for waiter in waiters {
        waiter.await.unwrap();
    }
    let health = pool.health().await;
    assert_eq!((health.status.pending, health.status.checked_out), (0, 0));
    assert!(
        !health.warnings.iter().any(|w| w.contains("exhausted")),
        "{:?}",
        health.warnings
    );
}

async fn a_closing_pool_cannot_serve<C: Tested>(name: &str) {
    let database = C::database(name);
    let pool = database.pool::<C>().build().unwrap();
    let held = pool.get().await.unwrap();
    assert!(!pool.close(Duration::from_millis(1)).await);
    let refused = async |state: &str, reason: &str| {
        let check = get(pool.monitor(), "healthcheck").await;
        assert_eq!(check.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(check.json()["status"], json!("unavailable"));
        assert!(
            check.json()["reason"].as_str().unwrap().contains(reason),
            "{}",
            check.text()
        );
        let health = get(pool.monitor(), "health").await;
        assert_eq!(health.status, StatusCode::SERVICE_UNAVAILABLE);
        let health = health.json();
        assert_eq!(health["reason"], check.json()["reason"]);
        assert_eq!(health["state"], json!(state));
        for kept in ["pool_size", "warnings", "configuration", "windows"] {
            assert!(names(&health).contains(&kept), "{kept} in {health:#}");
        }
        for route in ["status", "connections", "optimize"] {
            assert_eq!(
                get(pool.monitor(), route).await.status,
                StatusCode::OK,
                "{route}"
            );
        }
    };
    refused("draining", "draining").await;
    drop(held);
    refused("closed", "the pool is closed").await;
}

/// A pool of one SQLite connection, on a paused clock.
fn one(name: &str) -> (Database, Pool<Sqlite>) {
    let database = Sqlite::database(name);
    let builder = database.pool::<Sqlite>().pool_size(1).max_overflow(0);
    let pool = builder
        .pool_timeout(Duration::from_secs(1))
        .build()
        .unwrap();
    (database, pool)
}

fn has_warning(health: &Value, start: &str) -> bool {
    strings(&health["warnings"])
        .iter()
        .any(|warning| warning.starts_with(start))
}

#[tokio::test(start_paused = true)]
async fn a_stalled_pool_is_down() {
    let (_database, pool) = one("stalled");
    let held = pool.get().await.unwrap();
    let asking = |pool: Pool<Sqlite>| async move { while pool.get().await.is_err() {} };
    let waiters = [
        tokio::spawn(asking(pool.clone())),
        tokio::spawn(asking(pool.clone())),
    ];
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert!(
        pool.healthcheck().await.is_ok(),
        "it has not been a whole timeout yet"
    );
    tokio::time::sleep(Duration::from_millis(900)).await;

    let check = get(pool.monitor(), "healthcheck").await;
    assert_eq!(check.status, StatusCode::SERVICE_UNAVAILABLE);
    let reason = check.json()["reason"].as_str().unwrap().to_owned();
    assert!(
        reason.starts_with("stalled: all 1 connections are checked out"),
        "{reason}"
    );
    let health = get(pool.monitor(), "health").await;
    assert_eq!(health.status, StatusCode::SERVICE_UNAVAILABLE);
    let health = health.json();
    assert!(
        health["reason"].as_str().unwrap().starts_with("stalled"),
        "{health}"
    );
    assert!(
        has_warning(&health, "pool exhausted: all 1 connections"),
        "{health:#}"
    );

    drop(held);
    for waiter in waiters {
        waiter.await.unwrap();
    }
    assert!(pool.healthcheck().await.is_ok());
    assert_eq!(get(pool.monitor(), "health").await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_pool_without_waiters_is_not_stalled() {
    let (_database, pool) = one("long_hold");
    let _held = pool.get().await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(pool.healthcheck().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn timeouts_cause_a_warning_for_a_minute() {
    let (_database, pool) = one("warned_timeouts");
    let held = pool.get().await.unwrap();
    let timeout = async || assert!(pool.get().await.unwrap_err().is_timeout());
    let health = async || get(pool.monitor(), "health").await.json();
    timeout().await;
    assert!(
        !has_warning(&health().await, "connection timeouts"),
        "one timeout is allowed"
    );
    timeout().await;
    drop(held);
    let said = health().await;
    assert!(
        has_warning(&said, "connection timeouts: 2 in the last minute"),
        "{said:#}"
    );
    assert_eq!(said["timeouts_last_1m"], json!(2));
    assert_eq!(said["totals"]["timeouts"], json!(2));
    tokio::time::sleep(Duration::from_secs(70)).await;
    let said = health().await;
    assert!(!has_warning(&said, "connection timeouts"), "{said:#}");
    assert_eq!(said["totals"]["timeouts"], json!(2));
}

#[tokio::test(start_paused = true)]
async fn high_utilization_and_overflow_are_judged_over_a_minute() {
    let database = Sqlite::database("utilization");
    let builder = database.pool::<Sqlite>().pool_size(5).max_overflow(5);
    let pool = builder
        .settings(|settings| settings.leak_threshold = None)
        .build()
        .unwrap();
    let health = async || get(pool.monitor(), "health").await.json();
    let held = try_join_all((0..10).map(|_| pool.get())).await.unwrap();
    let said = health().await;
    assert_eq!(said["utilization_pct"], json!(100.0));
    assert_eq!(
        strings(&said["warnings"]),
        [""; 0],
        "an instant is no trend"
    );

    tokio::time::sleep(Duration::from_secs(30)).await;
    let said = health().await;
    assert!(
        has_warning(&said, "high pool utilization: 100.0 %"),
        "{said:#}"
    );
    assert!(has_warning(&said, "high overflow: 100.0 %"), "{said:#}");

    drop(held);
    tokio::time::sleep(Duration::from_secs(70)).await;
    let said = health().await;
    assert_eq!(strings(&said["warnings"]), [""; 0]);
    assert_eq!(said["windows"]["last_5m"]["peak_checked_out"], json!(10));
}

#[tokio::test(start_paused = true)]
async fn the_warning_of_slow_checkouts_has_their_average() {
    let (_database, pool) = one("slow_checkouts");
    let held = pool.get().await.unwrap();
    let mut next = Box::pin(pool.get());
    assert!(next.as_mut().now_or_never().is_none());
    tokio::time::advance(Duration::from_millis(400)).await;
    drop(held);
    drop(next.await.unwrap());
    let said = get(pool.monitor(), "health").await.json();
    assert!(has_warning(&said, "slow checkouts: 200"), "{said:#}");
    let wait = &said["windows"]["last_1m"]["wait"];
    assert_eq!(wait["count"], json!(2));
    assert!(wait["max_ms"].as_f64() >= Some(400.0), "{wait}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_held_too_long_is_a_possible_leak() {
    let (_database, pool) = one("leak");
    let (held, line) = (pool.get().await.unwrap(), line!());
    tokio::time::sleep(Duration::from_secs(61)).await;
    let said = get(pool.monitor(), "health").await.json();
    assert!(
        has_warning(&said, "possible connection leak: 1 held"),
        "{said:#}"
    );
    let warnings = strings(&said["warnings"]).join(" ");
    assert!(
        warnings.contains(&format!("{}:{line} for 61", file!())),
        "{warnings}"
    );
    assert_eq!(said["longest_holders"][0]["leak"], json!(true));
    drop(held);
    let said = get(pool.monitor(), "health").await.json();
    assert!(!has_warning(&said, "possible connection leak"), "{said:#}");
}

/// More connections than the server can still grant. The pool's own do not count, the monitoring connection does.
async fn what_the_server_can_grant<C: Served>(url: &str, can_grant: u32) {
    let database = Database::at(url);
    let pool = database
        .pool::<C>()
        .pool_size(can_grant - 1)
        .max_overflow(20)
        .build()
        .unwrap();
    let health = async || get(pool.monitor(), "health").await.json();
    let warning = |said: &Value| {
        let start = format!(
            "the pool may open {} connections, but the server can grant it only {can_grant} (max_connections 10",
            can_grant + 19
        );
        has_warning(said, &start)
    };
    // The session that created the user may not have ended yet.
    let said = until(
        "all others gone",
        async || health().await,
        |said| said["database"]["server_can_grant"] == json!(can_grant),
    )
    .await;
    assert_eq!(said["database"]["server_max_connections"], json!(10));
    assert!(warning(&said), "{said:#}");

    // The pool's own connections change nothing once the monitoring connection has looked again. The number is
    // fixed, because a slow connect could make the pool open another one.
    let warm_up = pool.warm_up(Duration::from_secs(60)).await;
    assert!(warm_up.is_complete(), "{warm_up:?}");
    let _held = try_join_all((1..can_grant).map(|_| pool.get()))
        .await
        .unwrap();
    let others = async || get(pool.monitor(), "connections").await.json();
    until("all seen", others, |r| {
        r["total_connections"] == json!(can_grant - 1)
    })
    .await;
    let said = health().await;
    assert_eq!(
        said["database"]["server_can_grant"],
        json!(can_grant),
        "{said:#}"
    );
    assert!(warning(&said), "{said:#}");

    // A connection of another client changes the result.
    let _other = C::other_client(url).await;
    until("the other client seen", health, |said| {
        said["database"]["server_can_grant"] == json!(can_grant - 1)
    })
    .await;
    let advice = get(pool.monitor(), "optimize").await.json();
    assert_eq!(advice["evidence"]["server_can_grant"], json!(can_grant - 1));

    let fits = Database::at(url);
    let fits = patient(fits.pool::<C>())
        .pool_size(1)
        .max_overflow(0)
        .name("fits")
        .build()
        .unwrap();
    // The monitoring connection is one more session on a server that is nearly full.
    drop(_held);
    drop(_other);
    assert!(pool.close(Duration::from_secs(30)).await);
    // The closed sessions may not have ended yet.
    until(
        "room, and nothing to warn of",
        async || get(fits.monitor(), "health").await.json(),
        |said| said["database"]["reachable"] == json!(true) && said["warnings"] == json!([]),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_larger_than_postgres_allows_causes_a_warning() {
    let server = postgres::Postgres::start(postgres::Options::new().max_connections(10));
    // Three are reserved for superusers, and one is the monitoring connection.
    what_the_server_can_grant::<diesel_async::AsyncPgConnection>(&server.url(), 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_larger_than_mariadb_allows_causes_a_warning() {
    let server = mariadb::MariaDb::start(mariadb::Options::new().max_connections(10));
    what_the_server_can_grant::<diesel_async::AsyncMysqlConnection>(&server.url(), 9).await;
}
