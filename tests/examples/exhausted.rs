//! Thirty requests that hold a connection, on a pool of three and five.

use http::StatusCode;
use serde_json::{Value, json};

use crate::app::App;
use crate::databases::{Database, mariadb, postgres, sqlite};
use crate::support::waiting::soon;

#[tokio::test]
async fn an_exhausted_pool_shows_itself_on_sqlite() {
    an_exhausted_pool_shows_itself(sqlite()).await;
}

#[tokio::test]
async fn an_exhausted_pool_shows_itself_on_postgres() {
    an_exhausted_pool_shows_itself(postgres("exhausted")).await;
}

#[tokio::test]
async fn an_exhausted_pool_shows_itself_on_mariadb() {
    an_exhausted_pool_shows_itself(mariadb("exhausted")).await;
}

async fn an_exhausted_pool_shows_itself(database: Database) {
    let app = App::quiet(&[
        ("DATABASE_URL", &database.url),
        ("DB_POOL_SIZE", "3"),
        ("DB_MAX_OVERFLOW", "5"),
    ]);
    // They are left alone at the end.
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
