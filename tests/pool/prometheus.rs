//! The page of metrics: content negotiation, and agreement with the pool's other outputs.

use std::convert::Infallible;
use std::io::Write;
use std::process::{Command, Stdio};

use bytes::Bytes;
use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, bb8};
use http::header::ACCEPT;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use poolscope::backend::AsyncSqliteConnection as Sqlite;
use poolscope::service::Route;
use poolscope::{Checkout, ObserveLayer, Pool, PoolService, RequestLayer};
use serde_json::json;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

use crate::databases::{Tested, on_each_database};
use crate::in_memory_exporters::{Kind, Meters, Reading};
use crate::monitor_client::{PATIENCE, call, get};
use crate::support::http::Response;
use crate::support::postgres;
use crate::support::programs;

use self::page::{COUNT, Labels, POOL, Page};

mod consistency;
mod page;
mod scraped;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The `Accept` header of Prometheus 2.42.
const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
/// A label that tries to inject lines.
const LABEL: &str = "a \\ b \" c\\\"} 1\n# EOF\n\r\0é";
const ROUTE: &str = "/orders/{id}/\\\"\n";
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

on_each_database!(
    names_match_a_collectors_translation_of_otlp,
    promtool_accepts_the_page,
);

async fn ask<C: Tested>(pool: &Pool<C>, method: Method, route: &str, accept: &str) -> Response {
    let request = Request::builder().method(method).uri(format!("/{route}"));
    let request = request.header(ACCEPT, accept).body(()).unwrap();
    call(pool.monitor(), request).await
}

async fn page<C: Tested>(pool: &Pool<C>) -> Page {
    let answer = get(pool.monitor(), "metrics").await;
    assert_eq!(answer.status, StatusCode::OK);
    Page::read(&answer.text())
}

/// Checkouts with and without a label, a query that succeeds, one that fails, and a request
/// that repeats a query.
async fn use_a_little<C: Tested>(pool: &Pool<C>) {
    let mut held = pool.get().await.unwrap();
    held.select(1).await.unwrap();
    held.run("SELECT nothing FROM nowhere").await.unwrap_err();
    drop(held);
    // An empty label counts as none.
    let here = Checkout::new();
    for checkout in [here, here.label(""), here.label(LABEL)] {
        drop(pool.checkout(checkout).await.unwrap());
    }
    let again_and_again = service_fn(|_: Request<()>| async {
        let mut held = pool.get().await.unwrap();
        for _ in 0..12 {
            held.select(1).await.unwrap();
        }
        Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::new())))
    });
    let mut request = Request::new(());
    request.extensions_mut().insert(Route::new(ROUTE));
    let service = RequestLayer::new().layer(again_and_again);
    let answer = service.oneshot(request).await.unwrap();
    answer.into_body().collect().await.unwrap();
}

#[tokio::test]
async fn health_is_metrics_for_scrapers_and_json_for_others() {
    let database = Sqlite::database("to_whom");
    let pool = database.pool::<Sqlite>().build().unwrap();
    let kind = async |route: &str, accept: &str| {
        let full = ask(&pool, Method::GET, route, accept).await;
        let head = ask(&pool, Method::HEAD, route, accept).await;
        assert_eq!(head.status, full.status, "{route} {accept}");
        assert!(head.body.is_empty() && !full.body.is_empty());
        assert_eq!(full.header("content-length"), full.body.len().to_string());
        assert_eq!(head.header("content-type"), full.header("content-type"));
        for answer in [&full, &head] {
            assert_eq!(answer.header("vary"), "Accept", "{route} {accept}");
            assert_eq!(answer.header("cache-control"), "no-store");
        }
        (full.status.as_u16(), full.header("content-type").to_owned())
    };
    for (accept, of_health, of_metrics) in [
        (PROMETHEUS, OPENMETRICS, OPENMETRICS),
        ("application/openmetrics-text", OPENMETRICS, OPENMETRICS),
        ("text/plain;version=0.0.4", TEXT, TEXT),
        (
            "application/json;q=0.1,text/plain;version=0.0.4;q=0.2",
            TEXT,
            TEXT,
        ),
        (
            "application/json,application/openmetrics-text",
            "application/json",
            OPENMETRICS,
        ),
        ("application/openmetrics-text;q=0", "application/json", TEXT),
        (
            "application/openmetrics-text;q=a lot",
            "application/json",
            TEXT,
        ),
        (BROWSER, "application/json", TEXT),
        ("*/*", "application/json", TEXT),
        ("text/plain", "application/json", TEXT),
        ("application/json", "application/json", TEXT),
        ("image/png", "application/json", TEXT),
        ("", "application/json", TEXT),
    ] {
        assert_eq!(
            kind("health", accept).await,
            (200, of_health.to_owned()),
            "{accept}"
        );
        assert_eq!(
            kind("metrics", accept).await,
            (200, of_metrics.to_owned()),
            "{accept}"
        );
        // Routes with one format do not vary by `Accept`.
        let check = ask(&pool, Method::GET, "healthcheck", accept).await;
        assert_eq!((check.status, check.header("vary")), (StatusCode::OK, ""));
    }
    let unsaid = get(pool.monitor(), "health").await;
    assert_eq!(unsaid.header("content-type"), "application/json");
    assert_eq!(unsaid.header("vary"), "Accept");

    // Now the pool cannot serve.
    assert_eq!(page(&pool).await.count("poolscope_pool_serving", &[]), 1);
    pool.close(PATIENCE).await;
    assert_eq!(
        kind("health", "*/*").await,
        (503, "application/json".to_owned())
    );
    assert_eq!(
        kind("health", PROMETHEUS).await,
        (200, OPENMETRICS.to_owned())
    );
    assert_eq!(kind("metrics", "*/*").await, (200, TEXT.to_owned()));
    let page = page(&pool).await;
    assert_eq!(page.count("poolscope_pool_serving", &[]), 0);
    // Nothing has reported the database as unreachable.
    assert_eq!(page.count("poolscope_pool_database_reachable", &[]), 1);
}

/// Repeats the translation independently: a collector must produce the same names.
async fn names_match_a_collectors_translation_of_otlp<C: Tested>(name: &str) {
    let (database, meters) = (C::database(name), Meters::new());
    let builder = database.pool::<C>().name("orders").pool_size(2);
    let builder = builder
        .request_metrics(true)
        .meter_provider(meters.provider.clone());
    let pool = builder.build().unwrap();
    use_a_little(&pool).await;
    // The two readings are not simultaneous, so the pool is idle.
    let page = page(&pool).await;
    let mut exported = Page::default();
    for (name, instrument) in meters.read() {
        let mut series = name.replace('.', "_");
        if instrument.unit == "s" {
            series.push_str("_seconds");
        }
        let (suffix, kind) = match instrument.kind {
            Kind::Counter => ("_total", "counter"),
            Kind::UpDownCounter | Kind::Gauge => ("", "gauge"),
            Kind::Histogram => ("", "histogram"),
        };
        series.push_str(suffix);
        exported.types.insert(series.clone(), kind.to_owned());
        for (attributes, reading) in instrument.points {
            let attributes = attributes.into_iter();
            let labels: Labels = attributes
                .map(|(name, value)| (name.replace('.', "_"), value))
                .collect();
            match reading {
                Reading::Number(number) => {
                    let key = (series.clone(), labels);
                    exported.series.insert(key, number as f64);
                }
                Reading::Histogram { count, .. } => {
                    let key = (format!("{series}_count"), labels);
                    exported.series.insert(key, count as f64);
                }
            }
        }
    }
    let mut expected = page.clone();
    // promtool would take this name for part of a histogram.
    expected.types.insert(COUNT.to_owned(), "gauge".to_owned());
    assert_eq!(expected.types, exported.types);
    expected
        .series
        .retain(|(name, _), _| !name.ends_with("_bucket") && !name.ends_with("_sum"));
    // The test exporter supports integers only.
    expected
        .series
        .values_mut()
        .for_each(|value| *value = value.trunc());
    assert_eq!(expected.series, exported.series);

    let waits = "db_client_connection_wait_time_seconds_count";
    assert_eq!(page.count(waits, &[]), 5);
    let route = [("http_route", ROUTE)];
    assert_eq!(page.count("poolscope_request_n_plus_one_total", &route), 1);
    let queries = [("http_request_method", "GET"), route[0]];
    assert_eq!(page.count("poolscope_request_queries_count", &queries), 1);
    assert_eq!(page.count("poolscope_request_queries_sum", &queries), 12);
    let labelled = page
        .series
        .keys()
        .find_map(|(_, of)| of.get("poolscope_checkout_label"));
    assert_eq!(labelled.unwrap(), LABEL);
    let failed = page
        .series
        .keys()
        .any(|(_, labels)| labels.contains_key("error_type"));
    assert!(failed, "{page:#?}");
}

async fn promtool_accepts_the_page<C: Tested>(name: &str) {
    let Some(promtool) = programs::find_or_skip("promtool") else {
        return;
    };
    let database = C::database(name);
    let pool = database.pool::<C>().build().unwrap();
    use_a_little(&pool).await;
    let page = get(pool.monitor(), "metrics").await.text();
    let mut check = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // More than the pipe's buffer, so promtool reads at once.
    check
        .stdin
        .take()
        .unwrap()
        .write_all(page.as_bytes())
        .unwrap();
    let said = check.wait_with_output().unwrap();
    let said_text = [said.stdout, said.stderr].concat();
    let said_text = String::from_utf8_lossy(&said_text);
    assert!(
        said.status.success() && said_text.is_empty(),
        "{said_text}\n{page}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_existing_pool_has_a_page() {
    let url = postgres::shared().create_database("not_ours_page");
    let theirs: bb8::Pool<AsyncPgConnection> = bb8::Pool::builder()
        .max_size(2)
        .build(AsyncDieselConnectionManager::new(url))
        .await
        .unwrap();
    let observe = ObserveLayer::new("theirs");
    let pool = ServiceBuilder::new()
        .layer(observe)
        .service(PoolService::from(theirs));
    let mut held = pool.get().await.unwrap();
    held.select(1).await.unwrap();
    let answer = get(pool.monitor(), "metrics").await;
    let page = Page::read(&answer.text());
    page.assert_adds_up();
    assert!(
        page.series
            .keys()
            .all(|(_, labels)| labels[POOL] == "theirs")
    );
    assert_eq!(page.count("db_client_connection_max", &[]), 2);
    assert_eq!(
        page.count(COUNT, &[("db_client_connection_state", "used")]),
        1
    );
    // Such a pool does not expose its connect failures.
    assert!(
        !page
            .types
            .contains_key("poolscope_connection_open_failures_total")
    );
    let health = get(pool.monitor(), "health").await.json();
    assert_eq!(health["checked_out"], json!(1));
}
