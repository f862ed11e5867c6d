//! Telemetry end to end: traces reach Jaeger, metrics Prometheus, logs the collector.
//!
//! The quickstart runs under load on Postgres and exports to a collector, which sends its traces to Jaeger
//! and its metrics to Prometheus. Prometheus also scrapes the app itself. The metrics of both ways are
//! compared with each other, and with the app's reports.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use serde_json::Value;

use crate::support::collector::{self, Collector};
use crate::support::http;
use crate::support::jaeger::{Jaeger, Span, Trace};
use crate::support::postgres;
use crate::support::process::Example;
use crate::support::prometheus::{self, Prometheus};
use crate::support::waiting::until;

const POOL: &str = "/api/v1/monitoring/pool";

struct App {
    example: Example,
    url: String,
}

impl App {
    fn start(collector: &Collector, database: &str) -> Self {
        let example = Example::start(
            "quickstart",
            &[
                ("PORT", "0"),
                ("QUICKSTART_TRAFFIC", "off"),
                ("DATABASE_URL", database),
                ("DB_POOL_SIZE", "3"),
                ("DB_MAX_OVERFLOW", "2"),
                // Longer than any wait here that is not meant to time out.
                ("DB_POOL_TIMEOUT", "5"),
                ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.http_endpoint()),
                ("OTEL_SERVICE_NAME", "shop"),
                ("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=shop-7"),
                ("OTEL_METRIC_EXPORT_INTERVAL", "500"),
                ("OTEL_BSP_SCHEDULE_DELAY", "100"),
                ("OTEL_BLRP_SCHEDULE_DELAY", "100"),
            ],
        );
        let line = example.wait_for("listening on ");
        let (_, url) = line
            .split_once("listening on ")
            .expect("the line was waited for");
        Self {
            url: url.to_owned(),
            example,
        }
    }

    fn target(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    async fn get(&self, path: &str) -> u16 {
        http::get(&format!("{}{path}", self.url))
            .await
            .status
            .as_u16()
    }

    async fn all(&self, path: &str, times: usize) -> Vec<u16> {
        join_all((0..times).map(|_| self.get(path))).await
    }

    async fn status(&self) -> Value {
        http::get(&format!("{}{POOL}/status", self.url))
            .await
            .json()
    }

    /// Causes every kind of telemetry, and leaves nothing in flight.
    async fn load(&self) {
        assert!(
            self.all("/users", 40)
                .await
                .iter()
                .all(|status| *status == 200)
        );
        assert_eq!(self.get("/users/1/orders").await, 200);
        for slow in [
            "/slow?ms=200",
            "/transaction?ms=100",
            "/query?ms=50",
            "/n-plus-one",
        ] {
            assert!(
                self.all(slow, 8).await.iter().all(|status| *status == 200),
                "{slow}"
            );
        }
        // Five requests hold a connection for longer than the others may wait.
        let held = self.all("/slow?ms=9000", 7).await;
        assert_eq!(
            held.iter().filter(|status| **status == 503).count(),
            2,
            "{held:?}"
        );
        assert_eq!(self.get("/users/none/orders").await, 400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quickstarts_telemetry_arrives() {
    let Some(jaeger) = Jaeger::start() else {
        return;
    };
    let Some(collector) = Collector::start(collector::Options::new().jaeger(jaeger.grpc_port()))
    else {
        return;
    };
    let database = postgres::shared().create_database("proof");
    let mut app = App::start(&collector, &database);
    let scrape = prometheus::Options::new()
        .scrape("app", app.target(), &format!("{POOL}/metrics"))
        .scrape("seed", app.target(), &format!("{POOL}/health"))
        .scrape("collector", &collector.prometheus_target(), "/metrics");
    let Some(prometheus) = Prometheus::start(&scrape) else {
        return;
    };
    app.load().await;

    one_trace_shows_the_request_the_wait_and_the_queries(&jaeger).await;
    a_repeated_statement_and_a_transaction_have_spans(&jaeger).await;
    every_metric_arrives_both_ways(&app, &prometheus).await;
    logs_belong_to_their_traces(&collector, &jaeger).await;

    assert!(
        app.example.terminate().success(),
        "{}",
        app.example.output()
    );
    // SIGTERM flushes the last telemetry.
    collector
        .logs_when(|logs| logs.iter().any(|log| log.body.contains("drained")))
        .await;
}

async fn one_trace_shows_the_request_the_wait_and_the_queries(jaeger: &Jaeger) {
    let name = "GET /users/{id}/orders";
    let whole = |trace: &Trace| {
        trace
            .root()
            .is_some_and(|root| root.name == name && root.tags["http.response.status_code"] == 200)
            && trace.spans.len() == 4
    };
    let trace = jaeger.trace_when("shop", whole).await;
    let root = trace.root().unwrap();
    let mut children: Vec<_> = trace
        .children_of(root)
        .iter()
        .map(|span| span.name.clone())
        .collect();
    children.sort();
    assert_eq!(
        children,
        [
            "SELECT quickstart_orders",
            "SELECT quickstart_users",
            "pool.checkout"
        ],
        "{}",
        trace.outline()
    );
    assert_eq!(root.tags["span.kind"], "server");
    assert_eq!(root.tags["http.route"], "/users/{id}/orders");
    assert_eq!(root.tags["http.request.method"], "GET");
    assert_eq!(root.tags["poolscope.request.checkouts"], 1);
    assert_eq!(root.tags["poolscope.request.queries"], 2);
    assert!(
        number(root, "poolscope.request.held_time") >= number(root, "poolscope.request.query_time")
    );
    assert_eq!(root.process["service.instance.id"], "shop-7");

    let checkout = trace.named("pool.checkout")[0];
    assert_eq!(checkout.tags["db.client.connection.pool.name"], "default");
    assert_eq!(
        checkout.tags["code.file.path"],
        "examples/quickstart/shop.rs"
    );
    let users = trace.named("SELECT quickstart_users")[0];
    assert_eq!(users.tags["span.kind"], "client");
    assert_eq!(users.tags["db.system.name"], "postgresql");
    assert_eq!(users.tags["db.namespace"], "proof");
    assert_eq!(users.tags["server.address"], "127.0.0.1");
    assert_eq!(users.tags["db.query.summary"], "SELECT quickstart_users");
    let text = users.tags["db.query.text"].as_str().unwrap();
    assert!(
        text.starts_with("SELECT \"quickstart_users\".\"id\"") && text.contains("$1"),
        "{text}"
    );
    // The wait comes before the query, and both are within the request.
    assert!(checkout.start + checkout.duration <= users.start + 1);
    for child in trace.children_of(root) {
        assert!(child.start >= root.start);
        assert!(
            child.start + child.duration <= root.start + root.duration + 1,
            "{}",
            child.name
        );
    }
}

async fn a_repeated_statement_and_a_transaction_have_spans(jaeger: &Jaeger) {
    let of = |name: &'static str| {
        move |trace: &Trace| {
            let done = |root: &Span| root.tags.contains_key("poolscope.request.queries");
            trace
                .root()
                .is_some_and(|root| root.name == name && done(root))
        }
    };
    let repeated = jaeger.trace_when("shop", of("GET /n-plus-one")).await;
    let queries = repeated.root().unwrap().tags["poolscope.request.queries"]
        .as_u64()
        .unwrap();
    assert!(queries > 10, "{}", repeated.outline());

    let ended = |trace: &Trace| of("GET /transaction")(trace) && trace.named("COMMIT").len() == 1;
    let transaction = jaeger.trace_when("shop", ended).await;
    let root = transaction.root().unwrap();
    let span = transaction.named("transaction")[0];
    assert_eq!(span.parent_id.as_deref(), Some(&*root.id));
    assert_eq!(span.tags["poolscope.transaction.outcome"], "committed");
    assert!(span.duration >= 100_000, "{}", transaction.outline());

    let refused = |trace: &Trace| {
        of("GET /slow")(trace)
            && trace
                .root()
                .is_some_and(|root| root.tags["http.response.status_code"] == 503)
    };
    let timed_out = jaeger.trace_when("shop", refused).await;
    let checkout = timed_out.named("pool.checkout")[0];
    assert_eq!(checkout.tags["error.type"], "timeout");
    assert!(checkout.duration >= 5_000_000, "{}", timed_out.outline());
}

fn number(span: &Span, attribute: &str) -> f64 {
    let value = &span.tags[attribute];
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{attribute}: {value}"))
}

/// Values by name and those labels that both ways have.
async fn series(prometheus: &Prometheus, job: &str) -> BTreeMap<String, f64> {
    let by = match job {
        // The collector passes on job and instance under other names.
        "collector" => r#"{job="collector", exported_job="shop"}"#.to_owned(),
        job => format!(r#"{{job="{job}"}}"#),
    };
    let ours = format!(
        r#"{{__name__=~"(db_client|poolscope)_.*", {}"#,
        by.trim_start_matches('{')
    );
    let dropped = |label: &str| {
        matches!(
            label,
            "job" | "instance" | "exported_job" | "exported_instance"
        ) || label.starts_with("otel_scope_")
    };
    let samples = prometheus.query(&ours).await;
    let mut series = BTreeMap::new();
    for sample in samples {
        let labels = sample.labels.iter().filter(|(label, _)| !dropped(label));
        // OpenMetrics writes 1.0, the text format 1.
        let labels = labels.map(|(label, value)| match &**label {
            "le" => format!("le={}", value.parse::<f64>().expect("a bound")),
            label => format!("{label}={value}"),
        });
        series.insert(labels.collect::<Vec<_>>().join(" "), sample.value);
    }
    series
}

/// The differences between two ways of the same metrics.
fn difference(ours: &BTreeMap<String, f64>, others: &BTreeMap<String, f64>) -> Vec<String> {
    let names: BTreeSet<_> = ours.keys().chain(others.keys()).collect();
    let values = |name: &String| (ours.get(name).copied(), others.get(name).copied());
    let differs = |pair: &(Option<f64>, Option<f64>)| match *pair {
        (Some(ours), Some(others)) => (ours - others).abs() > 1e-6 * ours.abs().max(1.0),
        _ => true,
    };
    let pairs = names.into_iter().map(|name| (name, values(name)));
    pairs
        .filter(|(_, pair)| differs(pair))
        .map(|(name, (ours, others))| format!("{name}: {ours:?} and {others:?}"))
        .collect()
}

async fn every_metric_arrives_both_ways(app: &App, prometheus: &Prometheus) {
    let status = app.status().await;
    let granted = status["totals"]["checkouts"].as_u64().unwrap();
    assert!(granted > 60, "{status}");
    // Nothing is in flight any more, so all later readings are equal.
    for job in ["app", "seed", "collector"] {
        // The last value to change: all connections have come back.
        let returned = format!(r#"db_client_connection_use_time_seconds_count{{job="{job}"}}"#);
        let all = |samples: &[prometheus::Sample]| {
            samples
                .first()
                .is_some_and(|sample| sample.value == granted as f64)
        };
        prometheus.query_when(&returned, all).await;
        let queries = format!(r#"sum(db_client_operation_duration_seconds_count{{job="{job}"}})"#);
        prometheus
            .query_when(&queries, |samples| !samples.is_empty())
            .await;
    }
    // Nothing changes any more, so the ways agree once everything has been exported and scraped.
    let differences = async || {
        let ours = series(prometheus, "app").await;
        assert!(ours.len() > 100, "{}", ours.len());
        [
            difference(&ours, &series(prometheus, "collector").await),
            difference(&ours, &series(prometheus, "seed").await),
        ]
        .concat()
    };
    until("they agree", differences, Vec::is_empty).await;

    let totals = &status["totals"];
    let expected = [
        (
            "db_client_connection_count{db_client_connection_state=\"used\"}",
            &status["checked_out"],
        ),
        (
            "db_client_connection_count{db_client_connection_state=\"idle\"}",
            &status["idle"],
        ),
        (
            "sum without(db_client_connection_state) (db_client_connection_count)",
            &status["total_connections"],
        ),
        ("db_client_connection_max", &status["max_connections"]),
        ("db_client_connection_idle_max", &status["pool_size"]),
        ("db_client_connection_pending_requests", &status["pending"]),
        ("db_client_connection_timeouts_total", &totals["timeouts"]),
        (
            "db_client_connection_wait_time_seconds_count",
            &totals["checkouts"],
        ),
        (
            "db_client_connection_use_time_seconds_count",
            &totals["checkouts"],
        ),
        (
            "db_client_connection_create_time_seconds_count",
            &totals["connections_opened"],
        ),
        (
            "clamp_min(sum without(db_client_connection_state) (db_client_connection_count) - db_client_connection_idle_max, 0)",
            &status["overflow"],
        ),
        (
            "poolscope_connection_opened_total",
            &totals["connections_opened"],
        ),
        (
            "poolscope_connection_open_failures_total",
            &totals["connect_failures"],
        ),
        (
            "poolscope_connection_closed_total{poolscope_connection_close_reason=\"overflow\"}",
            &totals["connections_closed"]["overflow"],
        ),
        (
            "poolscope_checkouts_failed_total{poolscope_checkout_outcome=\"canceled\"}",
            &totals["canceled"],
        ),
    ];
    for (expression, value) in expected {
        let wanted = value
            .as_f64()
            .unwrap_or_else(|| panic!("{expression}: {value}"));
        let samples = prometheus
            .query(&format!("{expression} and on(job) up{{job=\"app\"}}"))
            .await;
        assert_eq!(samples.len(), 1, "{expression}: {samples:?}");
        assert_eq!(samples[0].value, wanted, "{expression}");
    }
    for (expression, wanted) in [
        ("poolscope_pool_serving", 1.0),
        ("poolscope_pool_database_reachable", 1.0),
        ("poolscope_connection_idle_in_transaction", 0.0),
        ("poolscope_wait_longest_seconds", 0.0),
        ("poolscope_wait_target_seconds", 0.005),
        (
            "sum(poolscope_request_n_plus_one_total{http_route=\"/n-plus-one\"})",
            3.0 * 8.0,
        ),
        (
            "sum by(job) (poolscope_use_checkouts_total) - on(job) db_client_connection_wait_time_seconds_count",
            0.0,
        ),
    ] {
        let samples = prometheus.query(expression).await;
        let sum = samples
            .iter()
            .map(|sample| sample.value)
            .collect::<Vec<_>>();
        assert!(
            !sum.is_empty() && sum.iter().all(|value| *value == wanted),
            "{expression}: {sum:?}"
        );
    }
}

async fn logs_belong_to_their_traces(collector: &Collector, jaeger: &Jaeger) {
    let slow = "slow wait for a connection";
    let logs = collector
        .logs_when(|logs| logs.iter().any(|log| log.body.contains(slow)))
        .await;
    let log = logs.iter().find(|log| log.body.contains(slow)).unwrap();
    assert_eq!(log.trace_id.len(), 32, "{log:?}");
    // The spans of a trace arrive in several exports.
    let checkout = "pool.checkout";
    let trace = jaeger
        .trace_when("shop", |trace| {
            trace.id == log.trace_id && !trace.named(checkout).is_empty()
        })
        .await;
    assert_eq!(trace.named(checkout).len(), 1);
}
