//! A database that is down before the quickstart starts, comes up, and goes down again.

use http::StatusCode;

use crate::app::{App, assert_is_retriable};
use crate::support::mariadb::{self, MariaDb};
use crate::support::postgres::{self, Postgres, Stop};
use crate::support::waiting::found;

/// A server that can be stopped.
trait Server {
    fn url(&self) -> String;
    fn stop(&mut self);
    fn start_again(&mut self);
}

impl Server for Postgres {
    fn url(&self) -> String {
        Postgres::url(self)
    }

    fn stop(&mut self) {
        Postgres::stop(self, Stop::Fast);
    }

    fn start_again(&mut self) {
        Postgres::start_again(self);
    }
}

impl Server for MariaDb {
    fn url(&self) -> String {
        MariaDb::url(self)
    }

    fn stop(&mut self) {
        MariaDb::stop(self);
    }

    fn start_again(&mut self) {
        MariaDb::start_again(self);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quickstart_survives_outages_of_postgres() {
    the_quickstart_survives_outages(Postgres::start(postgres::Options::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quickstart_survives_outages_of_mariadb() {
    the_quickstart_survives_outages(MariaDb::start(mariadb::Options::new())).await;
}

async fn the_quickstart_survives_outages(mut server: impl Server) {
    server.stop();
    let app = App::quiet(&[("DATABASE_URL", &server.url())]);
    is_down(&app).await;

    server.start_again();
    is_up(&app).await;

    // Requests in flight when the server stops.
    let (query, transaction) = (
        app.begin("/query?ms=30000"),
        app.begin("/transaction?ms=2000"),
    );
    app.until("connections", |answer| {
        let report = answer.json();
        report["active_count"] == 1 && report["idle_in_transaction"] == 1
    })
    .await;
    server.stop();
    assert_is_retriable(&query.await.expect("no panic"));
    assert_is_retriable(&transaction.await.expect("no panic"));
    is_down(&app).await;

    server.start_again();
    is_up(&app).await;
}

async fn is_down(app: &App) {
    assert_is_retriable(&app.get("/users").await);
    let down = app
        .until("healthcheck", |answer| answer.status == 503)
        .await
        .json();
    let reason = down["reason"].as_str().unwrap_or_default();
    assert!(
        reason.contains("can't be reached: connection refused"),
        "{down}"
    );
    assert!(!reason.contains(crate::support::PASSWORD), "{down}");

    // The server's last answer is cached for a second.
    let health = app
        .until("health", |answer| answer.status == 503)
        .await
        .json();
    assert_eq!(health["database"]["reachable"], false);
    assert_eq!(health["reason"], down["reason"]);
    let connections = app
        .until("connections", |answer| answer.json()["error"].is_string())
        .await;
    assert_eq!(connections.status, StatusCode::OK);
    assert_eq!(connections.json()["scope"], "pool_view");
    for report in ["status", "optimize"] {
        app.report(report).await;
    }
}

async fn is_up(app: &App) {
    // For a moment after a failure poolscope returns the same error without a new attempt.
    let users = found("users", async || {
        let answer = app.get("/users").await;
        if answer.status == StatusCode::OK {
            return Ok(answer);
        }
        assert_is_retriable(&answer);
        Err(format!("{}\n{}", answer.text(), app.example.output()))
    });
    let users = users.await;
    assert_eq!(users.json().as_array().map(Vec::len), Some(12));
    app.until("healthcheck", |answer| answer.status == 200)
        .await;
    let health = app
        .until("health", |answer| {
            answer.json()["database"]["reachable"] == true
        })
        .await;
    assert_eq!(
        health.json()["database"]["last_connect_error"],
        serde_json::Value::Null
    );
}
