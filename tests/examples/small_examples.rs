//! The small examples, each of which shows one thing.

use http::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::app::App;
use crate::support::process::Example;

#[tokio::test]
async fn axum_app_labels_its_checkouts() {
    let mut app = App::start("axum_app", &[]);
    assert_eq!(app.get("/notes").await.json()[1]["text"], "feed the cat");
    assert_eq!(app.get("/notes/count").await.json(), 2);
    assert_eq!(app.get("/nothing").await.status, StatusCode::NOT_FOUND);
    the_five_routes_answer(&app).await;
    assert_eq!(app.report("status").await["totals"]["checkouts"], 3);
    stops(&mut app);
}

#[tokio::test]
async fn hyper_app_serves_the_routes_without_a_framework() {
    let mut app = App::start("hyper_app", &[]);
    assert_eq!(app.get("/answer").await.text(), "42\n");
    assert_eq!(app.get("/nothing").await.status, StatusCode::NOT_FOUND);
    assert_eq!(app.ask("nothing").await.status, StatusCode::NOT_FOUND);
    the_five_routes_answer(&app).await;
    stops(&mut app);
}

#[tokio::test]
async fn existing_pool_is_observed_unchanged() {
    let mut app = App::start("existing_pool", &[]);
    assert_eq!(app.get("/answer").await.json(), 42);
    the_five_routes_answer(&app).await;
    let status = app.report("status").await;
    assert_eq!(
        (&status["pool"], &status["totals"]["checkouts"]),
        (&json!("answers"), &json!(1))
    );
    assert_eq!(
        (&status["pool_size"], &status["overflow"]),
        (&json!(5), &json!(0))
    );
    stops(&mut app);
}

#[test]
fn from_code_prints_the_four_reports() {
    let mut example = Example::start("from_code", &[]);
    assert!(example.wait().success());
    // The last line may arrive after the process has ended.
    while !example.output().ends_with("\n}\n") {
        std::thread::yield_now();
    }
    let reports: Value = serde_json::from_str(&example.output()).expect("JSON");
    assert_eq!(reports["status"]["pool"], "reports");
    assert_eq!(reports["health"]["checked_out"], 1);
    assert_eq!(
        reports["connections"]["sessions"][0]["holder"]["label"],
        "meanwhile"
    );
    let windows = &reports["optimize"]["evidence"]["windows"];
    assert_eq!(windows["last_5m"]["samples"], 10);
}

async fn the_five_routes_answer(app: &App) {
    assert_eq!(app.report("status").await["state"], "open");
    assert_eq!(app.report("health").await["database"]["reachable"], true);
    assert_eq!(app.report("connections").await["total_connections"], 1);
    assert_eq!(
        app.report("optimize").await["recommended_pool_size"],
        Value::Null
    );
    assert_eq!(app.report("healthcheck").await, json!({ "status": "ok" }));
}

fn stops(app: &mut App) {
    app.example.signal(Signal::INT);
    assert!(app.example.wait().success(), "{}", app.example.output());
}
