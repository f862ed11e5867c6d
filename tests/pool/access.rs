//! Access to the monitoring routes: tokens, the app's own check, hidden details.

use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{Method, Request, StatusCode};
use poolscope::backend::AsyncSqliteConnection;
use poolscope::service::Source;
use poolscope::{Checkout, Monitor, Pool, RequestLayer, Settings};
use serde_json::json;
use tower::{Layer, ServiceExt, service_fn};

use crate::databases::{Database, Tested};
use crate::monitor_client::{ROUTES, call, get, names, patient, send};
use crate::support::http::Response;
use crate::support::ports;

type Sqlite = AsyncSqliteConnection;

const TOKEN: &str = "mW9xJ4cQ7tRb2VzK";

fn lite(name: &str, change: impl FnOnce(&mut Settings)) -> (Database, Pool<Sqlite>) {
    let database = Sqlite::database(name);
    let builder = patient(database.pool::<Sqlite>())
        .pool_size(1)
        .max_overflow(0)
        .settings(change);
    let pool = builder.build().unwrap();
    (database, pool)
}

/// A pool without a database. Its reasons name the host.
fn unreachable(
    change: impl FnOnce(&mut Settings),
) -> (String, Pool<diesel_async::AsyncPgConnection>) {
    let place = format!("127.0.0.1:{}", ports::free_port());
    let url = format!("postgres://app:secret@{place}/shop");
    let builder = Pool::builder(Settings::new(url)).settings(change);
    (place, builder.build().unwrap())
}

async fn with_token<S: Source + Clone>(monitor: &Monitor<S>, path: &str) -> Response {
    let request = Request::get(format!("/{path}"))
        .header(AUTHORIZATION, format!("Bearer {TOKEN}"))
        .body(());
    call(monitor.clone(), request.unwrap()).await
}

fn is_problem(answer: &Response, status: StatusCode) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.header("cache-control"), "no-store");
    let problem = answer.json();
    assert_eq!(names(&problem), ["detail", "status", "title", "type"]);
    assert_eq!(problem["status"], json!(status.as_u16()));
}

#[tokio::test]
async fn a_token_protects_every_route_but_healthcheck() {
    let (_database, by_settings) = lite("token_settings", |s| s.monitor_token = Some(TOKEN.into()));
    let (_other, by_code) = lite("token_code", |_| ());
    let by_code = by_code.monitor().bearer_token(TOKEN).unwrap();
    for monitor in [by_settings.monitor(), by_code] {
        // Unknown paths are protected too.
        for path in ROUTES.into_iter().chain(["metrics", "nothing", ""]) {
            let (refused, let_in) = (get(monitor.clone(), path).await, with_token(&monitor, path));
            let expected = match path {
                "nothing" => StatusCode::NOT_FOUND,
                _ => StatusCode::OK,
            };
            assert_eq!(let_in.await.status, expected, "{path}");
            if path == "healthcheck" {
                assert_eq!(refused.json(), json!({ "status": "ok" }));
                continue;
            }
            is_problem(&refused, StatusCode::UNAUTHORIZED);
            assert_eq!(refused.header("www-authenticate"), "Bearer");
            let head = send(monitor.clone(), Method::HEAD, path).await;
            assert_eq!(
                (head.status, head.body.len()),
                (StatusCode::UNAUTHORIZED, 0)
            );
            let post = send(monitor.clone(), Method::POST, path).await;
            is_problem(&post, StatusCode::UNAUTHORIZED);
        }
    }
    // Calls from code need no token.
    assert!(by_settings.health().await.can_serve());
    assert_eq!(by_settings.status().total_connections, 0);
}

#[tokio::test]
async fn an_invalid_token_is_an_error_and_not_open_access() {
    let (_database, pool) = lite("weak_tokens", |_| ());
    for token in [
        "",
        " ",
        "short",
        "with a space inside it",
        "sechzehn-zeichen-ä",
    ] {
        let error = pool.monitor().bearer_token(token).unwrap_err().to_string();
        assert!(
            error.contains("monitor_token=\"***\": expected 16 to 256"),
            "{error}"
        );
        assert!(token.trim().is_empty() || !error.contains(token), "{error}");
        let mut settings = Settings::new("sqlite://app.db");
        settings.monitor_token = Some(token.into());
        assert!(pool.monitor().settings(&settings).is_err());
        assert!(Pool::<Sqlite>::builder(settings).build().is_err());
    }
    // An empty variable counts as not set.
    let settings = Settings::from_lookup("", |name| match name {
        "DATABASE_URL" => Some("sqlite://app.db".into()),
        "DB_POOL_MONITOR_TOKEN" => Some("  ".into()),
        _ => None,
    });
    assert_eq!(settings.unwrap().monitor_token, None);
}

#[tokio::test]
async fn the_apps_own_check_decides_about_access() {
    let (_database, pool) = lite("own_check", |_| ());
    let monitor = pool
        .monitor()
        .authorize(|request| request.headers.contains_key("x-operator"));
    is_problem(&get(monitor.clone(), "health").await, StatusCode::FORBIDDEN);
    let answer = get(monitor.clone(), "healthcheck").await;
    assert_eq!(answer.json(), json!({ "status": "ok" }));
    let operator = Request::get("/health").header("x-operator", "1").body(());
    let answer = call(monitor, operator.unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn only_healthcheck_answers_when_the_routes_are_limited_to_it() {
    let (_database, by_settings) = lite("only_settings", |s| s.monitor_only_healthcheck = true);
    let (_other, by_code) = lite("only_code", |_| ());
    for monitor in [by_settings.monitor(), by_code.monitor().only_healthcheck()] {
        for path in ROUTES.into_iter().chain(["metrics", "nothing", ""]) {
            let answer = get(monitor.clone(), path).await;
            if path == "healthcheck" {
                assert_eq!(answer.json(), json!({ "status": "ok" }));
                continue;
            }
            is_problem(&answer, StatusCode::NOT_FOUND);
            assert!(!answer.text().contains("connections"), "{}", answer.text());
        }
        let post = send(monitor, Method::POST, "healthcheck").await;
        is_problem(&post, StatusCode::METHOD_NOT_ALLOWED);
    }
}

#[tokio::test]
async fn unauthorized_callers_get_a_reason_without_internals() {
    let short = json!({ "status": "unavailable", "reason": "the database can't be reached" });
    let (place, pool) = unreachable(|_| ());
    let open = get(pool.monitor(), "healthcheck").await;
    assert_eq!(open.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(open.text().contains(&place), "{}", open.text());

    let locked = pool.monitor().bearer_token(TOKEN).unwrap();
    for monitor in [
        locked.clone(),
        pool.monitor().authorize(|_| false),
        pool.monitor().only_healthcheck(),
        locked.clone().only_healthcheck(),
    ] {
        let answer = get(monitor, "healthcheck").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.json(), short);
    }
    for monitor in [locked.clone(), locked.only_healthcheck()] {
        let answer = with_token(&monitor, "healthcheck").await;
        assert!(answer.text().contains(&place), "{}", answer.text());
    }
    assert!(pool.healthcheck().await.reason.unwrap().contains(&place));
}

#[tokio::test]
async fn source_lines_are_hidden_when_the_setting_is_off() {
    let (_database, pool) = lite("source_lines", |settings| {
        settings.monitor_source_lines = false;
        settings.leak_threshold = Some(Duration::from_millis(1));
    });
    // Two call sites of one label, one without a label, and one that holds.
    drop(
        pool.checkout(Checkout::new().label("report"))
            .await
            .unwrap(),
    );
    drop(
        pool.checkout(Checkout::new().label("report"))
            .await
            .unwrap(),
    );
    drop(pool.get().await.unwrap());
    let held = pool
        .checkout(Checkout::new().label("nightly"))
        .await
        .unwrap();
    let mut waiting = Box::pin(pool.get());
    assert!(futures_util::FutureExt::now_or_never(&mut waiting).is_none());
    // Wait until the leak threshold has passed.
    tokio::time::sleep(Duration::from_millis(5)).await;

    let hidden = pool.monitor();
    for path in ROUTES.into_iter().chain(["metrics"]) {
        let text = get(hidden.clone(), path).await.text();
        assert!(!text.contains(".rs"), "{path}: {text}");
    }
    let health = get(hidden.clone(), "health").await.json();
    let holder = &health["longest_holders"][0];
    assert_eq!(
        (&holder["caller"], &holder["label"]),
        (&json!("_HIDDEN"), &json!("nightly"))
    );
    let warnings = health["warnings"].to_string();
    assert!(
        warnings.contains("held longest by nightly for"),
        "{warnings}"
    );
    assert!(
        warnings.contains("DB_POOL_LEAK_THRESHOLD: nightly for"),
        "{warnings}"
    );
    let sessions = get(hidden.clone(), "connections").await.json();
    assert_eq!(
        sessions["sessions"][0]["holder"]["caller"],
        json!("_HIDDEN")
    );
    // Call sites that differ only in their line are one.
    let page = get(hidden, "metrics").await.text();
    let series: Vec<_> = page
        .lines()
        .filter(|line| line.starts_with("poolscope_use_checkouts_total{"))
        .collect();
    assert_eq!(series.len(), 2, "{series:?}");
    assert!(series[0].contains("poolscope_caller=\"_HIDDEN\"") && series[0].ends_with(" 1"));
    assert!(series[1].contains("poolscope_checkout_label=\"report\"") && series[1].ends_with(" 2"));

    // Calls from code see the lines, and so does a monitor that is set to show them.
    let file = file!();
    let shown = pool.monitor().source_lines(true);
    for path in ["health", "connections", "metrics"] {
        let text = get(shown.clone(), path).await.text();
        assert!(text.contains(file), "{path}: {text}");
    }
    assert!(
        pool.health().await.longest_holders[0]
            .caller
            .starts_with(file)
    );
    drop((held, waiting));
}

#[tokio::test]
async fn hidden_call_sites_still_differ_by_route() {
    let (_database, pool) = lite("hidden_routes", |s| s.monitor_source_lines = false);
    for route in ["/orders", "/users"] {
        let work = service_fn(|_: Request<()>| async {
            let mut conn = pool.get().await.unwrap();
            conn.select(1).await.unwrap();
            Ok::<_, std::convert::Infallible>(http::Response::new(http_body_util::Full::<
                bytes::Bytes,
            >::default()))
        });
        let request = Request::builder()
            .extension(poolscope::service::Route::new(route))
            .body(());
        let answer = RequestLayer::new().layer(work).oneshot(request.unwrap());
        drop(answer.await.unwrap());
    }
    let health = get(pool.monitor(), "health").await.json();
    let worst = health["hold_efficiency"]["worst"].as_array().unwrap();
    assert_eq!(worst.len(), 2, "{worst:?}");
    for place in worst {
        assert_eq!(place["caller"], json!("_HIDDEN"));
        assert!(place["route"].as_str().unwrap().starts_with('/'), "{place}");
    }
}

#[tokio::test]
async fn the_monitor_of_an_existing_pool_takes_access_from_given_settings() {
    use diesel_async::pooled_connection::{AsyncDieselConnectionManager, bb8};
    use poolscope::{ObserveLayer, PoolService};

    let database = Sqlite::database("existing_access");
    let file = database.url.trim_start_matches("sqlite://");
    let manager = AsyncDieselConnectionManager::<Sqlite>::new(file);
    let theirs = bb8::Pool::builder()
        .max_size(1)
        .build(manager)
        .await
        .unwrap();
    let orders = ObserveLayer::new("orders").layer(PoolService::from(theirs));
    assert_eq!(get(orders.monitor(), "status").await.status, StatusCode::OK);

    let mut settings = Settings::new("sqlite://app.db");
    settings.monitor_token = Some(TOKEN.into());
    settings.monitor_source_lines = false;
    let monitor = orders.monitor().settings(&settings).unwrap();
    is_problem(
        &get(monitor.clone(), "status").await,
        StatusCode::UNAUTHORIZED,
    );
    let _held = orders.get().await.unwrap();
    let health = with_token(&monitor, "health").await.json();
    assert_eq!(health["longest_holders"][0]["caller"], json!("_HIDDEN"));
    settings.monitor_only_healthcheck = true;
    let monitor = orders.monitor().settings(&settings).unwrap();
    is_problem(&get(monitor, "status").await, StatusCode::NOT_FOUND);
}
