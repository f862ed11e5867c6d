//! A real Prometheus reads the pages, also when the pool cannot serve.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::middleware::map_request;
use diesel_async::AsyncPgConnection;
use http::header::ACCEPT;
use http::{HeaderValue, Request, StatusCode};
use poolscope::Pool;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::page::POOL;
use super::{LABEL, page, use_a_little};
use crate::databases::Database;
use crate::monitor_client::{get, until};
use crate::support::postgres::{self, Postgres, Stop};
use crate::support::prometheus::{Options, Prometheus, Sample};
use crate::support::waiting::soon;

type Pg = AsyncPgConnection;

const JOBS: [&str; 3] = ["metrics", "health", "text"];

/// Serves the routes, and under `/text` for scrapers that read only the text format.
async fn serve(pool: &Pool<Pg>) -> SocketAddr {
    let only_text = map_request(async |mut request: Request<axum::body::Body>| {
        let text = HeaderValue::from_static("text/plain;version=0.0.4");
        request.headers_mut().insert(ACCEPT, text);
        request
    });
    let text = Router::new().nest_service("/pool", pool.monitor());
    let app = Router::new()
        .nest_service("/api/v1/monitoring/pool", pool.monitor())
        .nest("/text", text.layer(only_text));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_scraped_in_every_state_of_the_pool() {
    let mut server = Postgres::start(postgres::Options::new());
    let pool = Database::at(&server.url())
        .pool::<Pg>()
        .pool_size(1)
        .max_overflow(0)
        .pool_timeout(Duration::from_secs(5))
        .request_metrics(true)
        .build()
        .unwrap();
    let address = serve(&pool).await.to_string();
    let options = Options::new()
        .scrape("metrics", &address, "/api/v1/monitoring/pool/metrics")
        // The original Python system's scrape config.
        .scrape("health", &address, "/api/v1/monitoring/pool/health")
        .scrape("text", &address, "/text/pool/metrics");
    let Some(prometheus) = Prometheus::start(&options) else {
        return;
    };
    use_a_little(&pool).await;
    prometheus.scraped().await;
    // A series exists only if the last scrape succeeded: an unreadable page has none.
    let all_say = async |expression: &str| {
        let all = |samples: &[Sample]| samples.len() == JOBS.len();
        prometheus.query_when(expression, all).await
    };
    let serving = async |serving: u8| {
        all_say(&format!(
            "up == 1 and on(job) poolscope_pool_serving == {serving}"
        ))
        .await;
    };
    serving(1).await;
    // The series that is recorded last.
    all_say("poolscope_request_queries_sum == 12").await;
    let labelled = all_say("poolscope_use_checkouts_total{poolscope_checkout_label!=''}").await;
    assert_same_everywhere(&prometheus, &labelled).await;

    // All connections are in use, checkouts wait, and no connection comes back.
    let held = pool.get().await.unwrap();
    let mut waiting = JoinSet::new();
    for _ in 0..4 {
        let pool = pool.clone();
        waiting.spawn(async move {
            loop {
                assert!(pool.get().await.is_err());
            }
        });
    }
    json_is(&pool, StatusCode::SERVICE_UNAVAILABLE).await;
    serving(0).await;
    all_say("db_client_connection_timeouts_total > 0").await;
    all_say("db_client_connection_count{db_client_connection_state='used'} == 1").await;
    all_say("poolscope_pool_database_reachable == 1").await;

    // Then the database goes down, which the stalled pool has not noticed.
    server.stop(Stop::Immediate);
    all_say("poolscope_pool_database_reachable == 0").await;
    waiting.shutdown().await;
    drop(held);
    json_is(&pool, StatusCode::SERVICE_UNAVAILABLE).await;
    serving(0).await;

    server.start_again();
    json_is(&pool, StatusCode::OK).await;
    serving(1).await;

    // For example a duplicate series.
    assert!(
        !prometheus.log().contains("Error on ingesting"),
        "{}",
        prometheus.log()
    );
}

async fn json_is(pool: &Pool<Pg>, status: StatusCode) {
    let health = async || get(pool.monitor(), "health").await;
    until("so", health, |answer| answer.status == status).await;
}

/// Every page has the same series, and the labels arrive unchanged.
async fn assert_same_everywhere(prometheus: &Prometheus, labelled: &[Sample]) {
    for sample in labelled {
        assert_eq!(sample.labels["poolscope_checkout_label"], LABEL);
    }
    let mut pages = BTreeMap::new();
    for job in JOBS {
        let series = prometheus
            .query(&format!("{{job={job:?}, {POOL}!=''}}"))
            .await;
        let series = series.into_iter().map(|Sample { mut labels, value }| {
            assert_eq!(labels[POOL], "default");
            labels.retain(|label, _| label != "job");
            if let Some(bound) = labels.get_mut("le") {
                // 1.0 in OpenMetrics, 1 in the text format.
                *bound = bound.parse::<f64>().unwrap().to_string();
            }
            (labels, value.to_bits())
        });
        pages.insert(job, series.collect::<BTreeMap<_, _>>());
    }
    assert!(pages["metrics"].len() > 60, "{:#?}", pages["metrics"]);
    assert_eq!(pages["metrics"], pages["text"]);
    assert_eq!(pages["metrics"], pages["health"]);
}

/// A scraper cancels a page that hangs, and then it gets no metrics.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_frozen_server_is_answered_in_time() {
    let mut server = Postgres::start(postgres::Options::new());
    let database = Database::at(&server.url());
    let pool = database.pool::<Pg>().build().unwrap();
    drop(pool.get().await.unwrap());
    assert_eq!(page(&pool).await.count("poolscope_pool_serving", &[]), 1);
    server.pause();
    let gauges = async || {
        let page = soon("metrics", page(&pool)).await;
        ["serving", "database_reachable"]
            .map(|gauge| page.count(&format!("poolscope_pool_{gauge}"), &[]))
    };
    // Each page is answered in time. The monitoring connection has a little longer until it has failed.
    until("the metrics report it", gauges, |gauges| *gauges == [0, 0]).await;
    server.resume();
}
