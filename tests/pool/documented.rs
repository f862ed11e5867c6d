//! Compares the tables of the telemetry guide with what is emitted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use diesel_async::{AsyncConnection, AsyncPgConnection};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use opentelemetry::trace::SpanKind;
use poolscope::{Checkout, Pool, RequestLayer};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::databases::Tested;
use crate::in_memory_exporters::{Kind, Meters, Spans, attribute};
use crate::monitor_client;

type Pg = AsyncPgConnection;

const GUIDE: &str = include_str!("../../docs/telemetry.md");
const POOL: &str = "db.client.connection.pool.name";
/// It appears after minutes only, and has a test of its own.
const TAKES_MINUTES: &str = "poolscope.advice.error";

/// The rows of the first table of a section, each a list of cells.
fn table(section: &str) -> Vec<Vec<&'static str>> {
    let start = GUIDE
        .find(&format!("\n## {section}\n"))
        .unwrap_or_else(|| panic!("## {section}"));
    let rows = GUIDE[start..]
        .lines()
        .skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// The words between backticks.
fn quoted(cell: &str) -> BTreeSet<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// Causes every metric and span, including the errors.
async fn everything(pool: Pool<Pg>, layer: RequestLayer) {
    let work = service_fn(move |_: Request<()>| {
        let pool = pool.clone();
        async move {
            let mut conn = pool
                .checkout(Checkout::new().label("report"))
                .await
                .unwrap();
            for n in 0..12 {
                conn.select_bound(&n.to_string()).await.unwrap();
            }
            conn.transaction(async |conn| conn.run("SELECT 1 AS n").await)
                .await
                .unwrap();
            let failed =
                conn.transaction(async |conn| conn.run("SELECT nothing FROM nowhere").await);
            failed.await.unwrap_err();
            // The violation is found at COMMIT.
            conn.run("CREATE TABLE t (n INTEGER UNIQUE DEFERRABLE INITIALLY DEFERRED)")
                .await
                .unwrap();
            let late =
                conn.transaction(async |conn| conn.run("INSERT INTO t VALUES (1), (1)").await);
            late.await.unwrap_err();
            // One checkout times out, and one is rejected because the queue is full.
            let (waiting, shed) = tokio::join!(pool.get(), pool.get());
            assert!(waiting.is_err_and(|error| error.is_timeout()));
            assert!(shed.is_err_and(|error| error.error_type() == "shed"));
            let mut answer = Response::new(Full::new(Bytes::new()));
            *answer.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let mut service = layer.layer(work);
    let request = Request::builder()
        .method("PURGE")
        .uri("http://shop.example:8080/orders/7?secret=1")
        .header("host", "shop.example:8080")
        .header("user-agent", "curl/8.0")
        .extension(poolscope::service::Route::new("/orders/{id}"))
        .body(())
        .unwrap();
    let answer = service.ready().await.unwrap().call(request).await.unwrap();
    answer.into_body().collect().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guide_lists_exactly_the_metrics_and_spans() {
    let (meters, spans) = (Meters::new(), Spans::new());
    let database = Pg::database("documented");
    let pool: Pool<Pg> = database
        .pool()
        .pool_size(1)
        .max_overflow(0)
        .name("orders")
        .pre_ping_bypass(Duration::ZERO)
        .request_metrics(true)
        .settings(|settings| settings.max_pending = Some(1))
        .pool_timeout(Duration::from_secs(2))
        .meter_provider(meters.provider.clone())
        .tracer_provider(spans.provider.clone())
        .build()
        .unwrap();
    let layer = RequestLayer::new().tracer_provider(spans.provider.clone());
    everything(pool.clone(), layer).await;
    // On another thread a ping may end before its checkout waits for it.
    let pinged = || {
        let checkouts = spans.checkouts();
        let mut checkouts = checkouts.iter();
        checkouts.any(|span| !attribute(span, "poolscope.checkout.pinging_time").is_empty())
    };
    while !pinged() {
        drop(pool.get().await.unwrap());
    }
    // A pool without a database: its failure is a metric too.
    let page = monitor_client::get(pool.monitor(), "metrics").await;
    let page = String::from_utf8(page.body.to_vec()).unwrap();

    check_metrics(&meters, &page);
    check_spans(&spans);
}

fn check_metrics(meters: &Meters, page: &str) {
    let mut emitted = meters.read();
    for row in table("Metrics") {
        let [name, instrument, attributes, _, prometheus] = row[..] else {
            panic!("{row:?}")
        };
        let name = name.trim_matches('`');
        if name == TAKES_MINUTES {
            continue;
        }
        let is = emitted.remove(name);
        let is = is.unwrap_or_else(|| panic!("{name} is in the guide and not emitted"));
        let kind = match is.kind {
            Kind::UpDownCounter => "up-down counter",
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let unit = if is.unit.is_empty() { "" } else { ", " };
        assert_eq!(instrument, format!("{kind}{unit}{}", is.unit), "{name}");
        let mut seen: BTreeSet<_> = is
            .points
            .iter()
            .flat_map(|(of, _)| of.keys().cloned())
            .collect();
        assert!(seen.remove(POOL), "{name} lacks the pool's name");
        assert_eq!(seen, quoted(attributes), "{name}");
        let prometheus = prometheus.trim_matches('`');
        let typed = format!("\n# TYPE {prometheus} ");
        assert!(
            page.contains(&typed),
            "{name} is not {prometheus} on the page"
        );
    }
    assert!(emitted.is_empty(), "not in the guide: {:?}", emitted.keys());
}

fn check_spans(spans: &Spans) {
    let mut seen = BTreeMap::<&str, BTreeSet<String>>::new();
    for span in spans.named_like("") {
        let row = match (&*span.name, &span.span_kind) {
            ("pool.checkout", SpanKind::Internal) => "pool.checkout",
            ("transaction", SpanKind::Internal) => "transaction",
            (_, SpanKind::Client) => "{db.query.summary}",
            ("HTTP /orders/{id}", SpanKind::Server) => "{method} {route}",
            other => panic!("{other:?}"),
        };
        let attributes = span.attributes.iter().map(|of| of.key.to_string());
        seen.entry(row).or_default().extend(attributes);
    }
    let of_requests: BTreeSet<_> = GUIDE
        .lines()
        .filter_map(|line| line.strip_prefix("| `poolscope.request."))
        .filter_map(|line| line.split_once("` | requests |"))
        .map(|(name, _)| format!("poolscope.request.{name}"))
        .collect();
    assert_eq!(of_requests.len(), 5, "{of_requests:?}");
    for row in table("Spans") {
        let [name, kind, _, attributes] = row[..] else {
            panic!("{row:?}")
        };
        let name = name.trim_matches('`');
        let emitted = seen
            .remove(name)
            .unwrap_or_else(|| panic!("{name} is not emitted"));
        let mut documented = quoted(attributes);
        if kind == "SERVER" {
            documented.extend(of_requests.clone());
        }
        assert_eq!(emitted, documented, "{name}");
    }
    assert!(seen.is_empty(), "not in the guide: {seen:?}");
}
