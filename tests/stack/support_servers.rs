//! The servers of `support` return the telemetry that was sent to them.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::collector::{self, Collector};
use crate::support::http;
use crate::support::jaeger::Jaeger;
use crate::support::otlp::Kind;
use crate::support::prometheus::{self, Prometheus};

const TRACE: &str = "0102030405060708090a0b0c0d0e0f10";

#[tokio::test]
async fn telemetry_sent_to_the_collector_can_be_read_back() {
    let Some(jaeger) = Jaeger::start() else {
        return;
    };
    let options = collector::Options::new().jaeger(jaeger.grpc_port());
    let Some(mut collector) = Collector::start(options) else {
        return;
    };
    let scrape = prometheus::Options::new();
    let scrape = scrape.scrape("collector", &collector.prometheus_target(), "/metrics");
    let Some(prometheus) = Prometheus::start(&scrape) else {
        return;
    };

    send(&collector, "traces", traces()).await;
    send(&collector, "metrics", metrics()).await;
    send(&collector, "logs", logs()).await;

    let spans = collector.spans_when(|spans| spans.len() == 2).await;
    let [request, query] = &spans[..] else {
        panic!("{spans:?}");
    };
    assert_eq!(request.resource["service.name"], "shop");
    assert_eq!((request.kind, request.is_root()), (2, true));
    assert_eq!(request.attributes["http.response.status_code"], 200);
    assert_eq!(query.parent_id, request.span_id);
    assert_eq!((query.status, query.seconds()), (2, 0.5));
    assert_eq!(query.events[0].0, "slow");

    let points = collector.metrics_when(|points| points.len() == 2).await;
    assert_eq!(points[0].name, "db.client.connection.count");
    assert_eq!(
        (points[0].kind, points[0].single()),
        (Kind::UpDownCounter, 7.0)
    );
    assert_eq!((points[1].kind, points[1].count()), (Kind::Histogram, 3));

    let logs = collector.logs_when(|logs| logs.len() == 1).await;
    assert_eq!((&*logs[0].body, &*logs[0].trace_id), ("hello", TRACE));

    let trace = jaeger.trace_when("shop", |trace| trace.spans.len() == 2);
    let trace = trace.await;
    assert_eq!(trace.id, TRACE);
    let root = trace.root().expect("a root");
    assert_eq!(root.name, "GET /users");
    assert_eq!(root.tags["span.kind"], "server");
    assert_eq!(trace.children_of(root)[0].name, "SELECT users");

    prometheus.scraped().await;
    let used = r#"db_client_connection_count{db_client_connection_state="used"}"#;
    let used = prometheus
        .query_when(used, |samples| !samples.is_empty())
        .await;
    assert_eq!(used[0].value, 7.0);
    assert_eq!(used[0].labels["exported_job"], "shop");

    // Received data outlives the collector.
    collector.stop();
    assert_eq!(collector.spans().len(), 2);
    collector.start_again();
    send(&collector, "traces", traces()).await;
    collector.spans_when(|spans| spans.len() == 4).await;
}

async fn send(collector: &Collector, signal: &str, body: Value) {
    let url = format!("{}/v1/{signal}", collector.http_endpoint());
    let answer = http::post_json(&url, &body).await;
    assert!(answer.status.is_success(), "{}", answer.text());
}

fn resource() -> Value {
    json!({ "attributes": [text("service.name", "shop")] })
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// Jaeger's search covers the last hour or two only.
fn nanoseconds_since_1970() -> u128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_nanos()
}

fn traces() -> Value {
    let start = nanoseconds_since_1970();
    let request = json!({
        "traceId": TRACE, "spanId": "0000000000000001", "name": "GET /users", "kind": 2,
        "startTimeUnixNano": start.to_string(),
        "endTimeUnixNano": (start + 1_000_000_000).to_string(),
        "attributes": [{ "key": "http.response.status_code", "value": { "intValue": "200" } }],
    });
    let query = json!({
        "traceId": TRACE, "spanId": "0000000000000002", "parentSpanId": "0000000000000001",
        "name": "SELECT users", "kind": 3,
        "startTimeUnixNano": start.to_string(),
        "endTimeUnixNano": (start + 500_000_000).to_string(),
        "events": [{ "timeUnixNano": start.to_string(), "name": "slow" }],
        "status": { "code": 2, "message": "23505" },
    });
    let spans = json!([{ "scope": { "name": "test" }, "spans": [request, query] }]);
    json!({ "resourceSpans": [{ "resource": resource(), "scopeSpans": spans }] })
}

fn metrics() -> Value {
    let now = nanoseconds_since_1970().to_string();
    let count = json!({
        "name": "db.client.connection.count", "unit": "{connection}",
        "sum": { "aggregationTemporality": 2, "dataPoints": [{
            "attributes": [text("db.client.connection.state", "used")],
            "timeUnixNano": now, "asInt": "7",
        }] },
    });
    let wait = json!({
        "name": "db.client.connection.wait_time", "unit": "s",
        "histogram": { "aggregationTemporality": 2, "dataPoints": [{
            "timeUnixNano": now, "count": "3", "sum": 0.25,
            "explicitBounds": [0.1], "bucketCounts": ["2", "1"],
        }] },
    });
    let metrics = json!([{ "scope": { "name": "test" }, "metrics": [count, wait] }]);
    json!({ "resourceMetrics": [{ "resource": resource(), "scopeMetrics": metrics }] })
}

fn logs() -> Value {
    let record = json!({
        "timeUnixNano": "1700000000000000000", "severityText": "INFO",
        "body": { "stringValue": "hello" }, "traceId": TRACE, "spanId": "0000000000000001",
    });
    let logs = json!([{ "scope": { "name": "test" }, "logRecords": [record] }]);
    json!({ "resourceLogs": [{ "resource": resource(), "scopeLogs": logs }] })
}
