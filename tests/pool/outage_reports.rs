//! Monitoring routes while the database is gone, comes back, or answers only the pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use diesel_async::{AsyncMysqlConnection, AsyncPgConnection};
use http::StatusCode;
use poolscope::{Pool, Settings};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::connections_report::Served;
use crate::databases::{Database, Tested};
use crate::monitor_client::{ROUTES, get, names, until};
use crate::support::PASSWORD;
use crate::support::http::Response;
use crate::support::mariadb::{self, MariaDb};
use crate::support::postgres::{self, Postgres, Stop};
use crate::support::waiting::{NO_OLD_ANSWER, soon};

/// A separate server that a test may stop and freeze.
pub trait OwnServer {
    type Connection: Served;
    fn start() -> Self;
    fn url(&self) -> String;
    fn stop(&mut self);
    fn start_again(&mut self);
    fn pause(&mut self);
    fn resume(&mut self);
}

macro_rules! own_server {
    ($server:ty, $connection:ty, $start:expr, $stop:expr) => {
        impl OwnServer for $server {
            type Connection = $connection;

            fn start() -> Self {
                $start
            }

            fn url(&self) -> String {
                <$server>::url(self)
            }

            fn stop(&mut self) {
                $stop(self);
            }

            fn start_again(&mut self) {
                <$server>::start_again(self);
            }

            fn pause(&mut self) {
                <$server>::pause(self);
            }

            fn resume(&mut self) {
                <$server>::resume(self);
            }
        }
    };
}

own_server!(
    Postgres,
    AsyncPgConnection,
    Postgres::start(postgres::Options::new()),
    |server: &mut Postgres| server.stop(Stop::Fast)
);
own_server!(
    MariaDb,
    AsyncMysqlConnection,
    MariaDb::start(mariadb::Options::new()),
    MariaDb::stop
);

macro_rules! on_each_own_server {
    ($($test:ident),+ $(,)?) => { $(
        mod $test {
            #[tokio::test(flavor = "multi_thread")]
            async fn postgres() {
                super::$test::<super::Postgres>().await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn mariadb() {
                super::$test::<super::MariaDb>().await;
            }
        }
    )+ };
}

on_each_own_server!(
    a_stopped_server_is_reported_and_a_restarted_one_is_found,
    a_frozen_server_is_reported_in_time,
);

/// Every route answers within 0.8 s, whatever the state of the server.
async fn ask<C: Tested>(pool: &Pool<C>, route: &str) -> Response {
    soon(route, get(pool.monitor(), route)).await
}

/// Asserts that healthcheck and health report the pool as down, and that health keeps its whole body.
async fn assert_down<C: Tested>(pool: &Pool<C>) -> Value {
    let check = until(
        "down",
        async || ask(pool, "healthcheck").await,
        |answer| answer.status == StatusCode::SERVICE_UNAVAILABLE,
    )
    .await
    .json();
    assert_eq!(check["status"], json!("unavailable"));
    let reason = check["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("the database can't be reached: "),
        "{reason}"
    );
    assert!(!reason.contains(PASSWORD), "{reason}");

    sleep(NO_OLD_ANSWER).await;
    let check = ask(pool, "healthcheck").await;
    assert_eq!(check.status, StatusCode::SERVICE_UNAVAILABLE);

    let health = ask(pool, "health").await;
    assert_eq!(
        health.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "{}",
        health.text()
    );
    assert!(!health.text().contains(PASSWORD));
    let health = health.json();
    assert!(health["reason"].is_string());
    assert_eq!(health["database"]["reachable"], json!(false));
    assert!(health["database"]["error"].is_string());
    for kept in [
        "pool_size",
        "checked_out",
        "configuration",
        "warnings",
        "windows",
    ] {
        assert!(names(&health).contains(&kept), "{kept} in {health:#}");
    }
    for route in ["status", "connections", "optimize"] {
        let answer = ask(pool, route).await;
        assert_eq!(answer.status, StatusCode::OK, "{route}: {}", answer.text());
    }
    // `connections` shows the pool's own_server view instead of the server's, and says so.
    let connections = ask(pool, "connections").await.json();
    assert_eq!(connections["scope"], json!("pool_view"));
    assert!(connections["error"].is_string(), "{connections:#}");
    health
}

async fn assert_up<C: Tested>(pool: &Pool<C>) {
    let ok = |answer: &Response| answer.status == StatusCode::OK;
    for route in ROUTES {
        let answer = until("up", async || ask(pool, route).await, ok).await;
        assert!(!names(&answer.json()).contains(&"reason"));
    }
    assert_eq!(
        get(pool.monitor(), "healthcheck").await.json(),
        json!({ "status": "ok" })
    );
}

async fn a_stopped_server_is_reported_and_a_restarted_one_is_found<S: OwnServer>() {
    let mut server = S::start();
    server.stop();
    // An app starts without its database.
    let pool = Database::at(&server.url())
        .pool::<S::Connection>()
        .build()
        .unwrap();
    assert_down(&pool).await;
    server.start_again();
    assert_up(&pool).await;

    let mut held = pool.get().await.unwrap();
    assert_eq!(held.select(1).await.unwrap(), 1);
    drop(held);
    server.stop();
    assert_down(&pool).await;
    assert!(pool.get().await.is_err());
    let health = assert_down(&pool).await;
    assert!(
        health["database"]["last_connect_error"].is_string(),
        "{health:#}"
    );
    assert!(health["totals"]["connect_failures"].as_u64() > Some(0));

    server.start_again();
    assert_up(&pool).await;
    assert_eq!(pool.get().await.unwrap().select(2).await.unwrap(), 2);
    let health = get(pool.monitor(), "health").await.json();
    assert_eq!(health["database"]["last_connect_error"], Value::Null);
}

async fn a_frozen_server_is_reported_in_time<S: OwnServer>() {
    let mut server = S::start();
    let pool = Database::at(&server.url())
        .pool::<S::Connection>()
        .build()
        .unwrap();
    drop(pool.get().await.unwrap());
    assert_up(&pool).await;
    server.pause();
    assert_down(&pool).await;
    server.resume();
    assert_up(&pool).await;
}

/// The monitoring connection finds no slot on a full server; the pool's own_server connections still serve.
#[tokio::test(flavor = "multi_thread")]
async fn a_monitoring_connection_without_a_slot_is_no_outage() {
    let server = Postgres::start(postgres::Options::new().max_connections(10));
    let pool = Database::at(&server.url())
        .pool::<AsyncPgConnection>()
        .build()
        .unwrap();
    drop((pool.get().await.unwrap(), pool.get().await.unwrap()));
    let mut others = Vec::new();
    for _ in 0..8 {
        others.push(AsyncPgConnection::other_client(&server.url()).await);
    }
    let check = ask(&pool, "healthcheck").await;
    assert_eq!(check.status, StatusCode::OK, "{}", check.text());
    let health = ask(&pool, "health").await;
    assert_eq!(health.status, StatusCode::OK, "{}", health.text());
    let health = health.json();
    assert_eq!(health["database"]["reachable"], json!(false));
    let error = health["database"]["error"].as_str().unwrap();
    assert!(error.contains("too many clients"), "{error}");
    assert_eq!(pool.get().await.unwrap().select(7).await.unwrap(), 7);
}

/// The password was changed under a running app: new sessions are refused, open ones continue.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_monitoring_connection_is_no_outage() {
    let server = Postgres::start(postgres::Options::new());
    let url = server.create_user("app");
    let pool = Pool::<AsyncPgConnection>::builder(Settings::new(url))
        .build()
        .unwrap();
    drop(pool.get().await.unwrap());
    server.psql("ALTER ROLE app PASSWORD 'another'");

    let enough = Arc::new(AtomicBool::new(false));
    let at_work = {
        let (pool, enough) = (pool.clone(), Arc::clone(&enough));
        tokio::spawn(async move {
            while !enough.load(Ordering::Relaxed) {
                assert_eq!(pool.get().await.unwrap().select(1).await.unwrap(), 1);
                sleep(Duration::from_millis(100)).await;
            }
        })
    };
    // For more than two seconds, because the monitoring connection retries every second.
    for _ in 0..25 {
        for route in ["healthcheck", "health"] {
            let answer = ask(&pool, route).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        }
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(
        get(pool.monitor(), "health").await.json()["database"]["reachable"],
        json!(false)
    );

    // Also without checkouts, once these and the monitoring connection's answer are more than a second old: open
    // connections would still serve, and an idle pool taken out of service would never come back.
    enough.store(true, Ordering::Relaxed);
    at_work.await.unwrap();
    sleep(Duration::from_millis(1500)).await;
    for route in ["healthcheck", "health"] {
        let answer = ask(&pool, route).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }
    assert_eq!(pool.get().await.unwrap().select(1).await.unwrap(), 1);
}

/// The reason is reported at once and does not contain the password.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_reported_as_the_reason() {
    async fn refused<C: Tested>(url: String, words: &str) {
        let pool = Database::at(&url).pool::<C>().build().unwrap();
        let health = assert_down(&pool).await;
        let error = health["database"]["error"].as_str().unwrap();
        assert!(error.contains(words), "{error}");
        for route in ROUTES {
            assert!(
                !get(pool.monitor(), route)
                    .await
                    .text()
                    .contains("wr0ng-w0rd")
            );
        }
    }
    let url = postgres::shared().url_with_password("wr0ng-w0rd");
    refused::<AsyncPgConnection>(url, "password authentication failed").await;
    let url = mariadb::shared().url_with_password("wr0ng-w0rd");
    refused::<AsyncMysqlConnection>(url, "Access denied").await;
}
