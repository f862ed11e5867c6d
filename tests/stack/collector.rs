//! The repository's otel-collector.yaml, run by a collector.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;
use serde_json::json;

use crate::app::App;
use crate::expressions::{ALL, of_dashboard};
use crate::repository_files;
use crate::support::answers::answers;
use crate::support::folder::Folder;
use crate::support::jaeger::Jaeger;
use crate::support::ports::free_port;
use crate::support::programs;
use crate::support::prometheus::{self, Prometheus};
use crate::support::server::{Server, output_of};

const CONFIG: &str = "otel-collector.yaml";

#[test]
fn the_collector_accepts_its_configuration() {
    let Some(otelcol) = programs::find_or_skip("otelcol") else {
        return;
    };
    let mut validate = Command::new(otelcol);
    validate.arg("validate").arg("--config");
    validate.arg(repository_files::path(CONFIG));
    output_of(&mut validate).unwrap_or_else(|error| panic!("{error}"));
}

/// Limiting comes first, and batching last.
#[test]
fn every_pipeline_is_limited_and_batched() {
    let config = repository_files::yaml(CONFIG);
    let pipelines = config["service"]["pipelines"].as_object();
    let pipelines = pipelines.expect("pipelines");
    assert_eq!(pipelines.len(), 3);
    for (name, pipeline) in pipelines {
        let processors = json!(["memory_limiter", "batch"]);
        assert_eq!(pipeline["processors"], processors, "{name}");
    }
}

/// Two replicas of a service: the dashboard shows each of them and their sum.
#[tokio::test]
async fn replicas_can_be_shown_separately_and_together() {
    let Some(jaeger) = Jaeger::start() else {
        return;
    };
    let Some(stack) = Stack::start(&jaeger) else {
        return;
    };
    let Some(prometheus) = Prometheus::start(&stack.scrapes()) else {
        return;
    };
    let replica = |size: &str| {
        App::quiet(&[
            ("DB_POOL_SIZE", size),
            ("DB_MAX_OVERFLOW", "0"),
            ("OTEL_SERVICE_NAME", "shop"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &stack.endpoint()),
            ("OTEL_METRIC_EXPORT_INTERVAL", "1000"),
        ])
    };
    let (small, large) = (replica("3"), replica("5"));
    assert!(small.get("/users").await.status.is_success());
    assert!(large.get("/users").await.status.is_success());

    let trace = jaeger.trace_when("shop", |trace| trace.spans.len() > 1);
    let trace = trace.await;
    let names: Vec<_> = trace.spans.iter().map(|span| &span.name).collect();
    assert!(
        names.iter().any(|name| *name == "pool.checkout"),
        "{names:?}"
    );

    let both = most_connections(ALL);
    let both = prometheus.query_when(&both, |samples| {
        samples.first().is_some_and(|s| s.value == 8.0)
    });
    assert_eq!(both.await.len(), 1);
    let instances = prometheus
        .query(r#"db_client_connection_max{job="shop"}"#)
        .await;
    let instances: BTreeSet<_> = instances
        .iter()
        .map(|sample| sample.labels["instance"].clone())
        .collect();
    assert_eq!(instances.len(), 2, "each replica is an instance");
    let mut sizes = Vec::new();
    for instance in &instances {
        sizes.push(prometheus.query(&most_connections(instance)).await[0].value);
    }
    sizes.sort_by(f64::total_cmp);
    assert_eq!(sizes, [3.0, 5.0]);
}

/// The dashboard's own expression.
fn most_connections(instance: &str) -> String {
    let mut expressions = of_dashboard("shop", instance).into_iter();
    let most = expressions.find(|expression| expression.of == "Checked out C");
    most.expect("it is there").text
}

/// A collector with the stack's configuration, except for the addresses.
struct Stack {
    _server: Server,
    otlp: u16,
    metrics: u16,
    telemetry: u16,
}

impl Stack {
    fn start(jaeger: &Jaeger) -> Option<Self> {
        let otelcol = programs::find_or_skip("otelcol")?;
        let [grpc, otlp, metrics, health, telemetry] = std::array::from_fn(|_| free_port());
        let mut arguments: Vec<OsString> = vec![
            format!("OTLP_GRPC_ENDPOINT=127.0.0.1:{grpc}").into(),
            format!("OTLP_HTTP_ENDPOINT=127.0.0.1:{otlp}").into(),
            format!("JAEGER_ENDPOINT=127.0.0.1:{}", jaeger.grpc_port()).into(),
            format!("PROMETHEUS_ENDPOINT=127.0.0.1:{metrics}").into(),
            format!("HEALTH_ENDPOINT=127.0.0.1:{health}").into(),
            "TELEMETRY_HOST=127.0.0.1".into(),
            format!("TELEMETRY_PORT={telemetry}").into(),
            otelcol.into(),
            "--config".into(),
        ];
        arguments.push(repository_files::path(CONFIG).into());
        let folder = Folder::new("collector", None, "TERM");
        let command = (PathBuf::from("env"), arguments);
        let mut server = Server::new("the collector", folder, Signal::TERM, command);
        server.start(|_| answers(health, "/"));
        let log = server.log();
        assert!(!log.contains("deprecated"), "{log}");
        Some(Stack {
            _server: server,
            otlp,
            metrics,
            telemetry,
        })
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.otlp)
    }

    /// The stack's scrape jobs.
    fn scrapes(&self) -> prometheus::Options {
        let config = repository_files::text("examples/stack/prometheus/prometheus.yml");
        let (_, jobs) = config.split_once("scrape_configs:\n").expect("jobs");
        let jobs = jobs
            .replace("collector:8889", &format!("127.0.0.1:{}", self.metrics))
            .replace("collector:8888", &format!("127.0.0.1:{}", self.telemetry));
        prometheus::Options::new().scrape_config(&jobs)
    }
}
