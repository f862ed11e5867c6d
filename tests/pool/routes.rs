//! The monitoring routes, called as a server calls them.

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use poolscope::backend::AsyncSqliteConnection;
use poolscope::service::Stack;
use poolscope::{Monitor, Pool};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tower::{Service, ServiceExt};

use crate::databases::{Database, Tested, on_each_database};
use crate::monitor_client::{ROUTES, get, names, patient, send, strings, until};

type Sqlite = AsyncSqliteConnection;

const PREFIX: &str = "/api/v1/monitoring/pool";

on_each_database!(
    the_five_routes_have_the_documented_fields,
    counts_add_up_for_any_number_of_holders,
);

async fn the_five_routes_have_the_documented_fields<C: Tested>(name: &str) {
    let database = C::database(name);
    let pool = patient(database.pool::<C>())
        .pool_size(2)
        .max_overflow(1)
        .build()
        .unwrap();
    let _held = pool.get().await.unwrap();
    drop(pool.get().await.unwrap());
    // During a slow connect the pool may begin another one, and closes it if it is not needed.
    let open = async || pool.status().total_connections;
    until("no overflow", open, |open| *open == 2).await;
    let ask = async |report: &str| {
        let answer = get(pool.monitor(), report).await;
        assert_eq!(answer.status, StatusCode::OK, "{report}: {}", answer.text());
        assert_eq!(answer.header("content-type"), "application/json");
        answer.json()
    };
    let has = |report: &Value, fields: &[&str]| {
        for field in fields {
            assert!(names(report).contains(field), "{field} in {report}");
        }
    };

    let seeds_status = ["pool_size", "checked_out", "overflow", "total_connections"];
    let our_status = ["idle", "pending", "max_connections", "totals"];
    let status = ask("status").await;
    has(&status, &seeds_status);
    has(&status, &our_status);
    let mut said = serde_json::to_value(pool.status()).unwrap();
    said["uptime_seconds"] = status["uptime_seconds"].clone();
    assert_eq!(status, said, "the route and the method agree");

    let health = ask("health").await;
    has(&health, &seeds_status);
    has(&health, &our_status);
    let more = [
        "utilization_pct",
        "configuration",
        "warnings",
        "recommendations",
    ];
    has(&health, &more);
    assert_eq!(health["utilization_pct"], json!(33.3));
    assert_eq!(
        health["configuration"],
        json!({
            "pool_size": 2,
            "max_overflow": 1,
            "pool_timeout": 30.0,
            "pool_recycle": 3600.0,
            "pool_pre_ping": true,
        })
    );
    assert_eq!(health["database"]["reachable"], json!(true));
    assert_eq!(strings(&health["warnings"]), [""; 0]);
    assert_eq!(strings(&health["recommendations"]), [""; 0]);
    assert!(!names(&health).contains(&"reason"), "{health}");

    let connections = ask("connections").await;
    let counts = [
        "total_connections",
        "active_count",
        "idle_count",
        "idle_in_transaction",
        "longest_query_seconds",
        "longest_idle_seconds",
        "server_max_connections",
    ];
    has(&connections, &counts);
    assert_eq!(connections["total_connections"], json!(2));
    assert_eq!(connections["idle_in_transaction"], json!(0));
    assert_eq!(connections["error"], Value::Null);
    let has_server = C::database_name() != "sqlite";
    assert_eq!(connections["server_max_connections"].is_u64(), has_server);

    let optimize = ask("optimize").await;
    let recommended = ["recommended_pool_size", "recommended_max_overflow"];
    has(&optimize, &recommended);
    has(
        &optimize,
        &["current_settings", "recommendations", "evidence"],
    );
    assert_eq!(optimize["current_settings"], health["configuration"]);
    assert_eq!(
        optimize["current_usage"],
        json!({
            "total_connections": 2,
            "active_connections": 1,
            "idle_connections": 1,
            "pool_utilization_pct": 33.3,
        })
    );
    // Two checkouts are not enough data.
    for field in recommended {
        assert_eq!(optimize[field], Value::Null);
    }
    let advice = strings(&optimize["recommendations"]);
    assert!(
        advice[0].starts_with("Not enough data: 1 checkouts completed"),
        "{advice:?}"
    );

    assert_eq!(ask("healthcheck").await, json!({ "status": "ok" }));
}

async fn counts_add_up_for_any_number_of_holders<C: Tested>(name: &str) {
    let database = C::database(name);
    let pool = database
        .pool::<C>()
        .pool_size(2)
        .max_overflow(2)
        .build()
        .unwrap();
    let mut held = Vec::new();
    for n in [0, 1, 2, 3, 4, 3, 2, 1, 0] {
        held.truncate(n);
        while held.len() < n {
            held.push(pool.get().await.unwrap());
        }
        let status = get(pool.monitor(), "status").await.json();
        let of = |field: &str| status[field].as_u64().unwrap();
        let (open, size) = (of("total_connections"), of("pool_size"));
        assert_eq!(of("checked_out"), n as u64);
        assert_eq!(of("checked_out") + of("idle"), open);
        assert_eq!(of("overflow"), open.saturating_sub(size));
        assert_eq!((of("max_connections"), of("pending")), (4, 0));
        let health = get(pool.monitor(), "health").await.json();
        assert_eq!(health["utilization_pct"], json!(n as f64 * 25.0));
    }
    let open = async || pool.status().total_connections;
    until("no overflow", open, |open| *open == 2).await;
}

fn lite(name: &str) -> (Database, Pool<Sqlite>) {
    let database = Sqlite::database(name);
    let pool = database
        .pool::<Sqlite>()
        .pool_size(1)
        .max_overflow(0)
        .build()
        .unwrap();
    (database, pool)
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let (_database, pool) = lite("head");
    for report in ROUTES.into_iter().chain(["nothing"]) {
        let full = get(pool.monitor(), report).await;
        let head = send(pool.monitor(), Method::HEAD, report).await;
        assert_eq!(head.status, full.status, "{report}");
        assert_eq!(head.header("content-type"), full.header("content-type"));
        assert!(head.body.is_empty() && !full.body.is_empty(), "{report}");
        assert_eq!(full.header("content-length"), full.body.len().to_string());
        let length: usize = head.header("content-length").parse().unwrap();
        // Times and ages may have gained a digit.
        assert!(length.abs_diff(full.body.len()) < 60, "{report}: {length}");
        assert_eq!(head.header("cache-control"), "no-store");
    }
}

#[tokio::test]
async fn no_answer_may_be_cached() {
    let (_database, pool) = lite("no_store");
    for report in ROUTES.into_iter().chain(["", "nothing"]) {
        let answer = get(pool.monitor(), report).await;
        assert_eq!(answer.header("cache-control"), "no-store", "{report}");
    }
}

#[tokio::test]
async fn other_methods_get_a_405_that_lists_the_allowed_ones() {
    let (_database, pool) = lite("methods");
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        for report in ROUTES {
            let answer = send(pool.monitor(), method.clone(), report).await;
            assert_eq!(
                answer.status,
                StatusCode::METHOD_NOT_ALLOWED,
                "{method} {report}"
            );
            assert_eq!(answer.header("allow"), "GET, HEAD");
            assert_eq!(answer.header("content-type"), "application/problem+json");
            assert_eq!(answer.json()["status"], json!(405));
        }
    }
}

#[tokio::test]
async fn an_unknown_path_is_a_problem_that_lists_the_reports() {
    let (_database, pool) = lite("paths");
    for path in [
        "nothing",
        "status/more",
        "Status",
        "%73tatus",
        "..",
        "health.json",
    ] {
        let answer = get(pool.monitor(), path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        let problem = answer.json();
        assert_eq!(problem["type"], json!("about:blank"));
        assert_eq!(problem["title"], json!("Not Found"));
        assert_eq!(problem["status"], json!(404));
        for report in ROUTES {
            assert!(
                problem["detail"].as_str().unwrap().contains(report),
                "{problem}"
            );
        }
    }
}

#[tokio::test]
async fn the_prefix_may_stay_on_the_path() {
    let (_database, pool) = lite("prefixes");
    let found = async |monitor: Monitor<_>, path: &str| {
        let answer = get(monitor, path).await;
        (answer.status == StatusCode::OK).then(|| answer.json()["pool_size"].clone())
    };
    let one = Some(json!(1));
    for path in [
        "/status",
        "/status/",
        "/status?pretty=1",
        "/api/v1/monitoring/pool/status",
    ] {
        assert_eq!(found(pool.monitor(), path).await, one, "{path}");
    }
    for prefix in ["/internal/db", "/internal/db/"] {
        let monitor = pool.monitor().prefix(prefix);
        assert_eq!(found(monitor.clone(), "/internal/db/status").await, one);
        assert_eq!(found(monitor.clone(), "/status").await, one);
        let usual = "/api/v1/monitoring/pool/status";
        assert_eq!(
            found(monitor, usual).await,
            None,
            "the default prefix no longer matches"
        );
    }
}

#[tokio::test]
async fn the_monitor_can_be_nested_in_an_axum_router() {
    let (_database, pool) = lite("nested");
    let app = axum::Router::new()
        .route("/", axum::routing::get(async || "the app"))
        .nest_service("/api/v1/monitoring/pool", pool.monitor())
        .nest_service("/replica/pool", pool.monitor());
    let ask = async |method: Method, path: &str| {
        let request = Request::builder().method(method).uri(path);
        let request = request.body(axum::body::Body::empty()).unwrap();
        let answer = app.clone().oneshot(request).await.unwrap();
        let (head, body) = answer.into_parts();
        (head, body.collect().await.unwrap().to_bytes())
    };
    for report in ROUTES {
        for prefix in ["/api/v1/monitoring/pool", "/replica/pool"] {
            let path = format!("{prefix}/{report}");
            let (head, body) = ask(Method::GET, &path).await;
            assert_eq!(head.status, StatusCode::OK, "{path}");
            assert!(serde_json::from_slice::<Value>(&body).unwrap().is_object());
            let (head, body) = ask(Method::HEAD, &path).await;
            assert_eq!((head.status, body.len()), (StatusCode::OK, 0), "{path}");
            assert!(head.headers.contains_key("content-length"), "{path}");
            let (head, _) = ask(Method::POST, &path).await;
            assert_eq!(head.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
            assert_eq!(head.headers["allow"], "GET, HEAD");
        }
    }
    let (head, body) = ask(Method::GET, "/api/v1/monitoring/pool/nothing").await;
    assert_eq!(head.status, StatusCode::NOT_FOUND);
    assert_eq!(head.headers["content-type"], "application/problem+json");
    assert!(!body.is_empty());
    assert_eq!(&ask(Method::GET, "/").await.1[..], b"the app");
}

/// The bounds that a server requires of a service; compiled and never run.
#[test]
fn the_monitor_is_a_service_for_any_body() {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    fn serves<S, B>()
    where
        S: Service<Request<B>, Response = http::Response<Full<Bytes>>, Error = Infallible>,
        S::Future: Send + 'static,
    {
    }
    type Ours = Monitor<Stack<Sqlite>>;
    shared::<Ours>();
    shared::<Monitor<Stack<diesel_async::AsyncPgConnection>>>();
    serves::<Ours, ()>();
    serves::<Ours, axum::body::Body>();
    serves::<Ours, Full<Bytes>>();
    serves::<Ours, hyper::body::Incoming>();
    // The body need not be `Send`, or a body at all: it is dropped unread.
    serves::<Ours, Rc<str>>();
}

#[tokio::test]
async fn a_body_that_is_not_send_is_dropped_unread() {
    let (_database, pool) = lite("any_body");
    let body = Rc::new(());
    let request = Request::get("/status").body(Rc::clone(&body)).unwrap();
    let future = pool.monitor().call(request);
    assert_eq!(Rc::strong_count(&body), 1);
    // Runs on another thread, which the body could not move to.
    let answer = tokio::spawn(future).await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

/// Hostile input: no path, method or header causes a panic or a 5xx, and a path that does not name a report
/// exactly (apart from a slash at the end) gets none.
#[test]
fn hostile_requests_get_a_report_or_a_refusal() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let _runtime = runtime.enter();
    let (_database, pool) = lite("hostile");
    let pool = Arc::new(pool);

    let piece = prop_oneof![
        prop::sample::select(&ROUTES[..]).prop_map(str::to_owned),
        prop::sample::select(vec![PREFIX, &PREFIX[1..]]).prop_map(str::to_owned),
        prop::sample::select(&["..", ".", "%2e%2e", "%00", "//", "\\", ";", "", "%", "*"][..])
            .prop_map(str::to_owned),
        "[!-~]{0,12}",
    ];
    let path = (
        prop::collection::vec(piece, 0..5),
        prop::option::of("[!-~]{0,20}"),
    );
    let path = path.prop_map(|(pieces, query)| {
        let query = query.map_or_else(String::new, |query| format!("?{query}"));
        format!("/{}{query}", pieces.join("/"))
    });
    let method = prop_oneof![
        3 => Just("GET".to_owned()),
        1 => Just("HEAD".to_owned()),
        2 => "[A-Z!#$%&'*+.^_`|~-]{1,20}",
    ];
    let header = ("[a-zA-Z-]{1,20}", prop::collection::vec(any::<u8>(), 0..60));
    let headers = prop::collection::vec(header, 0..10);

    let mut runner = TestRunner::new(Config::with_cases(400));
    let outcome = runner.run(&(path, method, headers), |(path, method, headers)| {
        let mut request = match Request::builder().method(&*method).uri(&path).body(()) {
            Ok(request) => request,
            // HTTP cannot carry it either.
            Err(_) => return Ok(()),
        };
        for (name, value) in headers {
            if let (Ok(name), Ok(value)) =
                (HeaderName::try_from(name), HeaderValue::from_bytes(&value))
            {
                request.headers_mut().append(name, value);
            }
        }
        let reads = matches!(&*method, "GET" | "HEAD");
        let asked = request.uri().path().to_owned();
        // The one report with parameters rejects unknown ones.
        let refused = asked.trim_end_matches('/').ends_with("/optimize")
            && request
                .uri()
                .query()
                .is_some_and(|query| !query.trim_matches('&').is_empty());
        let name = asked.strip_prefix(PREFIX).unwrap_or(&asked);
        let report = |route: &&str| name == format!("/{route}") || name == format!("/{route}/");
        // The list of the reports is at the path of the mount.
        let named = matches!(name, "" | "/") || ROUTES.iter().any(report);
        let answer = runtime.block_on(pool.monitor().oneshot(request)).unwrap();
        let status = answer.status();
        prop_assert!(
            matches!(status.as_u16(), 200 | 400 | 404 | 405),
            "{} {}: {}",
            method,
            path,
            status
        );
        prop_assert_eq!(
            status
                == if refused {
                    StatusCode::BAD_REQUEST
                } else {
                    StatusCode::OK
                },
            reads && named,
            "{} {}: {}",
            method,
            path,
            status
        );
        prop_assert_eq!(&answer.headers()["cache-control"], "no-store");
        let body = runtime
            .block_on(answer.into_body().collect())
            .unwrap()
            .to_bytes();
        prop_assert_eq!(body.is_empty(), method == "HEAD");
        Ok(())
    });
    outcome.unwrap();
}
