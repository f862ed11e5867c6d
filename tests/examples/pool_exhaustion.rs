//! Thirty requests that each hold a connection, on a pool of three plus five.

use http::StatusCode;
use serde_json::{Value, json};

use crate::app::App;
use crate::databases::{Database, mariadb, postgres, sqlite};
use crate::support::waiting::soon;

#[tokio::test]
async fn the_reports_show_an_exhausted_pool_on_sqlite() {
    the_reports_show_an_exhausted_pool(sqlite()).await;
}

#[tokio::test]
async fn the_reports_show_an_exhausted_pool_on_postgres() {
    the_reports_show_an_exhausted_pool(postgres("exhausted")).await;
}

#[tokio::test]
async fn the_reports_show_an_exhausted_pool_on_mariadb() {
    the_reports_show_an_exhausted_pool(mariadb("exhausted")).await;
}

async fn the_reports_show_an_exhausted_pool(database: Database) {
    let app = App::quiet(&[
        ("DATABASE_URL", &database.url),
        ("DB_POOL_SIZE", "3"),
        ("DB_MAX_OVERFLOW", "5"),
    ]);
    // The requests are still running when the test ends.
    for _ in 0..30 {
        app.begin("/slow?ms=30000");
    }
    let full = |status: Value| status["checked_out"] == 8 && status["pending"] == 22;
    let status = app
        .until("status", |answer| full(answer.json()))
        .await
        .json();
    assert_eq!(
        (&status["overflow"], &status["idle"]),
        (&json!(5), &json!(0))
    );

    for report in ["status", "health", "connections", "optimize", "healthcheck"] {
        let answer = soon(report, app.ask(report)).await;
        assert_eq!(answer.status, StatusCode::OK, "{report}: {}", answer.text());
    }

    let health = app.report("health").await;
    assert_eq!(health["utilization_pct"], 100.0);
    let warning = health["warnings"][0].as_str().unwrap_or_default();
    for part in [
        "all 8 connections",
        "22 requests are waiting",
        "examples/quickstart/trouble.rs:",
    ] {
        assert!(warning.contains(part), "{part} in {warning:?}");
    }
    let connections = app.report("connections").await;
    let sessions = connections["sessions"].as_array().expect("a list");
    assert_eq!(sessions.len(), 8, "{connections}");
    assert!(
        sessions.iter().all(|session| !session["holder"].is_null()),
        "{connections}"
    );
    // Busy is not down.
    assert_eq!(app.report("healthcheck").await, json!({ "status": "ok" }));
}
