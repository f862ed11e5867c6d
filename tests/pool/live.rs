//! What the page shows: the snapshot at `live`, and what the server writes into the page.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::join_all;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use poolscope::backend::{AsyncSqliteConnection, Backend};
use poolscope::service::{Route, Source};
use poolscope::{Checkout, Monitor, Pool, RequestLayer, Settings};
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::{Layer, ServiceExt, service_fn};

use crate::databases::{Database, Tested};
use crate::monitor_client::{call, get, until};
use crate::support::ports;

type Sqlite = AsyncSqliteConnection;
type Postgres = diesel_async::AsyncPgConnection;

const TOKEN: &str = "mW9xJ4cQ7tRb2VzK";
/// The most that a page may have.
const MOST: usize = 60 * 1024;

fn lite(name: &str, change: impl FnOnce(&mut Settings)) -> (Database, Pool<Sqlite>) {
    let database = Sqlite::database(name);
    let builder = database.pool::<Sqlite>().pool_size(1).max_overflow(0);
    let pool = builder.settings(change).build().unwrap();
    (database, pool)
}

async fn live<S: Source + Clone>(monitor: Monitor<S>) -> Value {
    let answer = get(monitor, "live").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()
}

async fn page<S: Source + Clone>(monitor: Monitor<S>) -> String {
    let request = Request::get("/").header(ACCEPT, "text/html").body(());
    let answer = call(monitor, request.unwrap()).await;
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    assert!(answer.body.len() <= MOST, "{} bytes", answer.body.len());
    answer.text()
}

/// The value of a column of the hour in each sample.
fn column(live: &Value, name: &str) -> Vec<f64> {
    let values = live["hour"][name].as_array().unwrap();
    values
        .iter()
        .map(|value| value.as_f64().unwrap_or(f64::NAN))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_hundred_viewers_get_one_answer() {
    let (_database, pool) = lite("shared", |_| ());
    let monitor = pool.monitor();
    for path in ["live", "live?hour=1"] {
        let answers = (0..100).map(|_| get(monitor.clone(), path));
        let answers = join_all(answers).await;
        assert!(
            answers.iter().all(|it| it.body == answers[0].body),
            "{path}"
        );
        tokio::time::advance(Duration::from_secs(1)).await;
        let later = get(monitor.clone(), path).await;
        assert_ne!(later.json()["now"], answers[0].json()["now"], "{path}");
    }
}

#[tokio::test]
async fn a_viewer_without_source_lines_does_not_get_those_of_another() {
    let (_database, pool) = lite("shared_lines", |_| ());
    let _held = pool.get().await.unwrap();
    let monitor = pool.monitor();
    let caller = |live: &Value| live["places"][0]["caller"].clone();
    assert!(caller(&live(monitor.clone()).await).is_string());
    let hidden = monitor.clone().source_lines(false);
    assert!(caller(&live(hidden.clone()).await).is_null());
    assert!(!page(hidden).await.contains(file!()));
    assert!(page(monitor).await.contains(file!()));
}

#[tokio::test]
async fn a_healthy_pool_is_said_to_be_healthy_with_figures() {
    let (_database, pool) = lite("healthy", |_| ());
    let unused = live(pool.monitor()).await;
    assert_eq!(unused["verdict"]["severity"], "ok");
    let sentence =
        "Nothing is wrong: 0 of 1 connections are in use, and the last minute had no checkout.";
    assert_eq!(unused["verdict"]["sentence"], sentence);
    assert_eq!(unused["verdict"]["action"], Value::Null);
    assert_eq!(unused["warnings"], json!([]));
    assert_eq!(unused["database"], "sqlite");
    let html = page(pool.monitor()).await;
    assert!(
        html.contains(sentence) && html.contains("<title>"),
        "{html}"
    );

    drop(pool.get().await.unwrap());
    let (_other, fresh) = lite("healthy_used", |s| {
        s.thresholds.average_wait = Duration::from_secs(60)
    });
    drop(fresh.get().await.unwrap());
    let used = live(fresh.monitor()).await["verdict"]["sentence"].to_string();
    assert!(
        used.contains("Nothing is wrong: 0 of 1") && used.contains("95 %"),
        "{used}"
    );
}

#[tokio::test]
async fn the_snapshot_has_who_holds_and_who_waits() {
    let database = Postgres::database("lanes");
    let builder = database.pool::<Postgres>().pool_size(1).max_overflow(0);
    let pool = builder.build().unwrap();
    let mut held = pool
        .checkout(Checkout::new().label("nightly"))
        .await
        .unwrap();
    held.run("BEGIN").await.unwrap();
    let mut waiting = Box::pin(pool.get());
    assert!((&mut waiting).now_or_never().is_none());

    let seen = live(pool.monitor()).await;
    let counts = &seen["counts"];
    assert_eq!(
        (&counts["in_use"], &counts["pending"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(counts["idle_in_transaction"], 1);
    assert_eq!(
        (&counts["querying"], &counts["idle_in_hand"]),
        (&json!(0), &json!(0))
    );
    let hold = &seen["holds"][0];
    assert_eq!(hold["state"], "idle_in_transaction");
    assert_eq!(hold["query"], "BEGIN");
    assert_eq!(hold["to"], Value::Null);
    let place = &seen["places"][hold["place"].as_u64().unwrap() as usize];
    assert_eq!(place["label"], "nightly");
    assert!(place["caller"].as_str().unwrap().starts_with(file!()));
    let connection = &seen["connections"][0];
    assert_eq!(connection["id"], hold["connection"]);
    let pid = get(pool.monitor(), "connections").await.json()["sessions"][0]["process_id"].clone();
    assert_eq!(connection["pid"], pid);
    let waiter = &seen["waiters"][0];
    assert_eq!(waiter["phase"], "queued");
    let place = &seen["places"][waiter["place"].as_u64().unwrap() as usize];
    assert!(place["caller"].as_str().unwrap().starts_with(file!()));
    let (from, now) = (
        hold["from"].as_f64().unwrap(),
        seen["now"].as_f64().unwrap(),
    );
    assert!(connection["opened_at"].as_f64().unwrap() <= from && from <= now);

    // A hold is known again by its connection and its begin.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let again = live(pool.monitor()).await;
    assert_eq!(again["holds"][0]["from"], hold["from"]);
    held.run("ROLLBACK").await.unwrap();
    drop(held);
    drop(waiting.await.unwrap());
    // The hold that has ended stays for a while, with what it owes to the one that waited.
    let ended = until(
        "the holds that have ended",
        async || get(pool.monitor(), "live?hour=1").await.json(),
        |live| live["counts"]["in_use"] == 0 && live["holds"].as_array().unwrap().len() == 2,
    )
    .await;
    let holds = ended["holds"].as_array().unwrap();
    let first = holds.iter().find(|it| it["from"] == hold["from"]).unwrap();
    assert_eq!(first["connection"], hold["connection"]);
    assert!(first["to"].as_f64() > first["from"].as_f64(), "{first}");
    let blamed = &ended["blame"]["last_minute"][0];
    assert_eq!(blamed["place"], first["place"]);
    assert!(blamed["share"].as_f64() > Some(0.99), "{blamed}");
    let seconds = |value: &Value| value["blamed_seconds"].as_f64().unwrap();
    assert!(seconds(blamed) > 1.0, "{blamed}");
    assert!(
        (seconds(blamed) - seconds(first)).abs() < 1e-5,
        "{blamed} {first}"
    );
}

#[tokio::test]
async fn the_hour_has_what_the_connections_in_use_did() {
    let database = Postgres::database("hour");
    let builder = database.pool::<Postgres>().pool_size(4).max_overflow(0);
    let pool = builder.build().unwrap();
    let (stop, stopped) = watch::channel(());
    let _idle = pool.get().await.unwrap();
    let mut in_transaction = pool.get().await.unwrap();
    in_transaction.run("BEGIN").await.unwrap();
    let mut queries = pool.get().await.unwrap();
    let load = tokio::spawn(async move {
        while !stopped.has_changed().unwrap_or(true) {
            queries.run("SELECT pg_sleep(1)").await.unwrap();
        }
    });
    let near = |value: f64, expected: f64| (value - expected).abs() < 0.25;
    let seen = until(
        "a sample of the load alone",
        async || live(pool.monitor()).await,
        |live| {
            let of = |name| column(live, name).last().copied().unwrap_or(0.0);
            near(of("querying"), 1.0)
                && near(of("idle_in_hand"), 1.0)
                && near(of("idle_in_transaction"), 1.0)
        },
    )
    .await;
    drop(stop);
    load.await.unwrap();
    let sums = ["querying", "idle_in_hand", "idle_in_transaction"].map(|name| column(&seen, name));
    for (at, in_use) in column(&seen, "in_use").into_iter().enumerate() {
        let sum: f64 = sums.iter().map(|column| column[at]).sum();
        assert!(
            (sum - in_use).abs() < 0.01,
            "{sum} of {in_use} in sample {at}"
        );
    }
    assert_eq!(column(&seen, "pool_size").last(), Some(&4.0));
    let whole = get(pool.monitor(), "live?hour=1").await.json();
    assert_eq!(whole["hour"]["first_number"], 0);
    assert_eq!(whole["hour"]["step_seconds"], 5.0);
}

#[tokio::test]
async fn what_happens_to_the_pool_is_an_event() {
    let (_database, pool) = lite("events", |s| {
        s.pool_timeout = Duration::from_millis(50);
        s.leak_threshold = Some(Duration::from_millis(200));
    });
    let held = pool.get().await.unwrap();
    assert!(pool.get().await.is_err());
    assert!(pool.get().await.is_err());
    pool.resize(2, 1).unwrap();
    pool.suspend();
    pool.resume();
    let leak = |live: &Value| live["events"].to_string().contains("\"leak\"");
    let seen = until("a leak", async || live(pool.monitor()).await, leak).await;
    let events = seen["events"].as_array().unwrap();
    let text = |kind: &str| {
        let event = events.iter().find(|event| event["kind"] == kind);
        event.unwrap_or_else(|| panic!("{kind}: {events:?}"))["text"].to_string()
    };
    assert!(text("timeouts").contains("timed out"));
    assert!(text("resized").contains("2 connections, at most 3"));
    assert!(text("leak").contains(file!()) && text("leak").contains("0.2 s"));
    assert_eq!(text("suspended"), "\"pool suspended\"");
    assert_eq!(text("resumed"), "\"pool resumed\"");
    drop(held);
    pool.close(Duration::from_secs(30)).await;
    let closed = until(
        "closed",
        async || live(pool.monitor()).await,
        |live| live["counts"]["closed"] == true,
    );
    assert!(closed.await["events"].to_string().contains("pool closed"));
}

/// The snapshot and the page come at the first poll: they wait for nothing, whatever the pool or the
/// database does.
fn at_once<C: Backend>(pool: &Pool<C>) -> (Value, String) {
    let seen = live(pool.monitor()).now_or_never();
    let html = page(pool.monitor()).now_or_never();
    (seen.expect("no wait"), html.expect("no wait"))
}

#[tokio::test]
async fn the_page_opens_at_once_in_the_worst_moment() {
    let (_database, exhausted) = lite("exhausted", |_| ());
    let held = exhausted.get().await.unwrap();
    let mut waiting = Box::pin(exhausted.get());
    assert!((&mut waiting).now_or_never().is_none());
    let wrong = |(seen, html): (Value, String), severity: &str, text: &str| {
        let sentence = seen["verdict"]["sentence"].as_str().unwrap().to_owned();
        assert_eq!(seen["verdict"]["severity"], severity, "{sentence}");
        assert!(sentence.contains(text), "{text} in {sentence}");
        assert!(seen["verdict"]["action"].is_string());
        assert!(html.contains(text), "{text} in {html}");
    };
    // A wait is a burst before it is longer than the average may be.
    until(
        "a long wait",
        async || at_once(&exhausted),
        |(seen, _)| seen["verdict"]["severity"] == "critical",
    )
    .await;
    wrong(
        at_once(&exhausted),
        "critical",
        "All 1 connections are in use",
    );
    wrong(at_once(&exhausted), "critical", file!());

    let mut closing = Box::pin(exhausted.close(Duration::from_secs(30)));
    assert!((&mut closing).now_or_never().is_none());
    until(
        "the next snapshot",
        async || at_once(&exhausted),
        |(seen, _)| seen["counts"]["closed"] == true,
    )
    .await;
    wrong(at_once(&exhausted), "critical", "The pool is draining");
    drop(held);
    assert!(closing.await);
    assert!(waiting.await.is_err());

    let url = format!("postgres://app@127.0.0.1:{}/shop", ports::free_port());
    let mut settings = Settings::new(url);
    settings.pool_timeout = Duration::from_millis(200);
    let dead = Pool::<Postgres>::builder(settings).build().unwrap();
    assert!(dead.get().await.is_err());
    wrong(at_once(&dead), "critical", "The database can");
    let events = at_once(&dead).0["events"].to_string();
    assert!(events.contains("outage_began"), "{events}");
}

#[tokio::test]
async fn no_text_of_the_app_is_markup() {
    const LABEL: &str = "<img src=x onerror=alert(1)>";
    let (_database, pool) = lite("hostile_page", |_| ());
    let work = service_fn(|_: Request<()>| async {
        let mut held = pool.checkout(Checkout::new().label(LABEL)).await.unwrap();
        let hostile = r#"CREATE TABLE "</td><script>alert(2)</script>" (n INTEGER)"#;
        held.run(hostile).await.unwrap();
        let html = page(pool.monitor()).await;
        for text in ["<img", "alert(2)</script>", "<b>/route", "\"><b>"] {
            assert!(!html.contains(text), "{text} in {html}");
        }
        assert!(
            html.contains("&lt;img src=x onerror=alert(1)&gt;"),
            "{html}"
        );
        assert!(html.contains("&lt;b&gt;/route"), "{html}");
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let route = Route::new("\"><b>/route'&amp;</b>");
    let request = Request::builder().extension(route).body(());
    let answer = RequestLayer::new().layer(work).oneshot(request.unwrap());
    drop(answer.await.unwrap());
}

#[tokio::test]
async fn a_token_hides_the_data_but_not_the_page() {
    let (_database, pool) = lite("token_page", |s| s.monitor_token = Some(TOKEN.into()));
    let _held = pool
        .checkout(Checkout::new().label("nightly"))
        .await
        .unwrap();
    let monitor = pool.monitor();
    let html = page(monitor.clone()).await;
    assert!(html.contains("This page needs the monitor's token."));
    for text in ["nightly", file!(), "token_page"] {
        assert!(!html.contains(text), "{text} in {html}");
    }
    let refused = get(monitor.clone(), "live").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let request = Request::get("/live").header(AUTHORIZATION, format!("Bearer {TOKEN}"));
    let seen = call(monitor.clone(), request.body(()).unwrap()).await;
    assert_eq!(seen.status, StatusCode::OK);
    assert!(seen.text().contains("nightly"));
    // The configuration does not show the token itself.
    assert!(!seen.text().contains(TOKEN));
    let denied = get(pool.monitor().authorize(|_| false), "live").await;
    assert_eq!(denied.status, StatusCode::UNAUTHORIZED);
    let only = get(pool.monitor().only_healthcheck(), "live").await;
    assert_eq!(only.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_snapshot_lists_the_settings_in_force() {
    let (_database, pool) = lite("settings_in_force", |_| ());
    pool.resize(3, 2).unwrap();
    let seen = live(pool.monitor()).await;
    let settings = seen["configuration"].as_array().unwrap();
    let find = |name: &str| {
        let found = settings.iter().find(|setting| setting["name"] == name);
        found.unwrap_or_else(|| panic!("{name}: {settings:?}"))
    };
    let size = find("DB_POOL_SIZE");
    assert_eq!(
        (&size["value"], &size["is_default"]),
        (&json!("3"), &json!(false))
    );
    assert_eq!(find("DB_MAX_OVERFLOW")["value"], "2");
    let timeout = find("DB_POOL_TIMEOUT");
    assert_eq!(
        (&timeout["value"], &timeout["is_default"]),
        (&json!("30s"), &json!(true))
    );
}

#[tokio::test]
async fn the_page_of_a_pool_links_to_those_of_the_other_pools() {
    let (_first, orders) = lite("orders", |s| s.name = Some("linked-orders".into()));
    let (_second, reports) = lite("reports", |s| s.name = Some("linked-reports".into()));
    let path = async |monitor: Monitor<_>, name: &str| {
        let seen = live(monitor).await;
        let pools = seen["pools"].as_array().unwrap();
        let found = pools.iter().find(|pool| pool["name"] == name);
        found.map(|pool| pool["path"].clone())
    };
    assert_eq!(
        path(orders.monitor(), "linked-reports").await,
        Some(Value::Null)
    );
    let app = axum::Router::new().nest_service("/internal/reports", reports.monitor());
    let request = Request::get("/internal/reports/status").body(axum::body::Body::empty());
    assert_eq!(
        app.oneshot(request.unwrap()).await.unwrap().status(),
        StatusCode::OK
    );
    let expected = Some(json!("/internal/reports/"));
    assert_eq!(path(orders.monitor(), "linked-reports").await, expected);
    assert_eq!(
        path(reports.monitor(), "linked-reports").await,
        None,
        "itself"
    );
    get(orders.monitor().prefix("/db"), "db/live").await;
    let expected = Some(json!("/db/"));
    assert_eq!(path(reports.monitor(), "linked-orders").await, expected);
    drop(reports);
    assert_eq!(
        path(orders.monitor().source_lines(false), "linked-reports").await,
        None
    );
}
