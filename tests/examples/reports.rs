//! The quickstart's reports under its own traffic.

use serde_json::{Value, json};

use crate::app::App;
use crate::databases::{Database, mariadb, postgres, sqlite};

#[tokio::test]
async fn the_reports_are_right_on_sqlite() {
    the_reports_are_right(sqlite()).await;
}

#[tokio::test]
async fn the_reports_are_right_on_postgres() {
    the_reports_are_right(postgres("reports")).await;
}

#[tokio::test]
async fn the_reports_are_right_on_mariadb() {
    the_reports_are_right(mariadb("reports")).await;
}

async fn the_reports_are_right(database: Database) {
    let app = App::start(
        "quickstart",
        &[
            ("DATABASE_URL", &database.url),
            // Enough on any machine.
            ("DB_POOL_CONNECT_TIMEOUT", "60"),
        ],
    );
    assert_eq!(app.get("/users").await.json()[0]["name"], "Ada");
    let trouble = app.get("/n-plus-one").await.json();
    assert_eq!(trouble, json!({ "users": 12, "orders": 24, "queries": 13 }));

    let count = |status: &Value| status["totals"]["checkouts"].as_u64().unwrap_or_default();
    let status = app
        .until("status", |answer| count(&answer.json()) >= 12)
        .await
        .json();
    assert_eq!(status["state"], "open");
    assert_eq!(
        (&status["pool_size"], &status["max_connections"]),
        (&json!(10), &json!(30))
    );
    assert_eq!(
        number(&status, "checked_out") + number(&status, "idle"),
        number(&status, "total_connections")
    );
    assert_eq!(
        (&status["overflow"], &status["pending"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(status["totals"]["timeouts"], 0);
    assert_eq!(
        status["totals"]["connections_opened"],
        status["total_connections"]
    );

    let health = app.report("health").await;
    // The route exists to cause this warning. No other is expected, except for those of a slow machine.
    let all = health["warnings"].as_array().unwrap();
    let warnings: Vec<_> = all
        .iter()
        .filter_map(Value::as_str)
        .filter(|warning| !warning.starts_with("slow checkouts: "))
        .collect();
    let [warning] = warnings[..] else {
        panic!("{warnings:?}")
    };
    let names_its_line = "N+1: /n-plus-one at examples/quickstart/trouble.rs:";
    assert!(warning.starts_with(names_its_line), "{warning}");
    assert_eq!(
        health["n_plus_one"][0]["statement"],
        "SELECT quickstart_orders"
    );
    assert_eq!(
        health["recommendations"].as_array().map(Vec::len),
        Some(all.len())
    );
    assert_eq!(health["database"]["reachable"], true);
    assert_eq!(health["configuration"]["pool_timeout"], 30.0);
    let minute = &health["windows"]["last_1m"];
    assert!(minute["held"]["count"].as_u64() >= Some(10), "{minute}");
    assert!(minute["held"]["max_ms"].as_f64() >= Some(10.0), "{minute}");

    let connections = app.report("connections").await;
    assert_eq!(connections["error"], Value::Null);
    assert_eq!(
        number(&connections, "total_connections"),
        number(&app.report("status").await, "total_connections")
    );
    if database.server {
        assert_eq!(connections["scope"], "pool");
        assert!(
            connections["monitoring_process_id"].is_u64(),
            "{connections}"
        );
        assert!(
            number(&connections, "server_max_connections") >= 100,
            "{connections}"
        );
        assert_eq!(connections["other_connections"], 0);
    } else {
        assert_eq!(connections["scope"], "pool_view");
    }

    let optimize = app.report("optimize").await;
    assert_eq!(optimize["current_settings"]["pool_size"], 10);
    let hour = &optimize["evidence"]["windows"]["last_1h"];
    assert!(number(hour, "samples") >= 10, "{optimize}");
    assert!(optimize["recommendations"][0].is_string(), "{optimize}");

    assert_eq!(app.report("healthcheck").await, json!({ "status": "ok" }));
}

fn number(report: &Value, field: &str) -> u64 {
    report[field]
        .as_u64()
        .unwrap_or_else(|| panic!("{field} in {report}"))
}
