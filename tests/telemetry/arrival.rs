//! The quickstart exports to a real collector, configured by the standard variables only.

use crate::quickstart::start;
use crate::support::collector::{Collector, Options};
use crate::support::http;
use crate::support::otlp::{Attributes, Number};
use crate::support::waiting::until;

#[tokio::test(flavor = "multi_thread")]
async fn all_signals_arrive_over_http() {
    let Some(collector) = Collector::start(Options::new()) else {
        return;
    };
    let endpoint = collector.http_endpoint();
    // The default protocol.
    arrives(&collector, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_signals_arrive_over_grpc() {
    let Some(collector) = Collector::start(Options::new()) else {
        return;
    };
    let endpoint = collector.grpc_endpoint();
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
    ];
    arrives(&collector, &variables).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_signal_uses_its_own_variables() {
    let (Some(one), Some(other)) = (
        Collector::start(Options::new()),
        Collector::start(Options::new()),
    ) else {
        return;
    };
    let (traces, logs) = (
        format!("{}/v1/traces", one.http_endpoint()),
        other.grpc_endpoint(),
    );
    let mut app = start(&[
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &traces),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", &logs),
        ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "grpc"),
    ]);
    http::get(&app.url_of("/users")).await;
    assert!(app.example.terminate().success());
    one.spans_when(|spans| spans.iter().any(|span| span.name == "pool.checkout"))
        .await;
    other
        .logs_when(|logs| logs.iter().any(|log| log.body == "drained"))
        .await;
    assert!(one.logs().is_empty() && one.metrics().is_empty());
    assert!(other.spans().is_empty() && other.metrics().is_empty());
}

/// Only the shutdown sends the metrics: the default interval is a minute.
async fn arrives(collector: &Collector, variables: &[(&str, &str)]) {
    let identity = [
        ("OTEL_SERVICE_NAME", "shop"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "service.instance.id=pod%2D7,deployment.environment.name=on%20trial",
        ),
    ];
    let mut app = start(&[variables, &identity].concat());
    for _ in 0..3 {
        http::get(&app.url_of("/users")).await;
    }
    assert!(app.example.terminate().success());

    let checkouts = |name: &str| name == "pool.checkout";
    let spans = collector
        .spans_when(|spans| spans.iter().filter(|span| checkouts(&span.name)).count() >= 3)
        .await;
    let span = spans
        .iter()
        .find(|span| checkouts(&span.name))
        .expect("three");
    is_of_the_shop(&span.resource);
    assert_eq!(span.scope, "poolscope");

    let metrics = collector
        .metrics_when(|points| {
            points
                .iter()
                .any(|point| point.name == "db.client.connection.wait_time")
        })
        .await;
    for point in metrics.iter().filter(|point| point.scope == "poolscope") {
        is_of_the_shop(&point.resource);
    }
    let waits = metrics
        .iter()
        .find(|point| point.name == "db.client.connection.wait_time")
        .expect("the metric arrived");
    // Bound instruments need a feature of the SDK, which `otlp` enables.
    let Number::Histogram { count, .. } = &waits.value else {
        panic!("{waits:?}");
    };
    assert!(*count >= 3, "{waits:?}");
    // The SDK's metrics about itself are excluded.
    let foreign: Vec<_> = metrics
        .iter()
        .filter(|point| point.scope != "poolscope")
        .collect();
    assert!(foreign.is_empty(), "{foreign:?}");

    let logs = collector
        .logs_when(|logs| logs.iter().any(|log| log.body == "drained"))
        .await;
    let drained = logs
        .iter()
        .find(|log| log.body == "drained")
        .expect("an arrived record");
    is_of_the_shop(&drained.resource);
    assert_eq!(drained.severity, "INFO");
    // HTTP, gRPC and OpenTelemetry do not log the exports in the exports.
    let of_exports = ["opentelemetry", "hyper", "h2", "tonic", "tower"];
    let loops = |scope: &str| of_exports.iter().any(|name| scope.starts_with(name));
    assert!(!logs.iter().any(|log| loops(&log.scope)), "{logs:?}");
    assert!(!spans.iter().any(|span| loops(&span.scope)), "{spans:?}");
    assert!(
        !app.example.output().contains("could not be sent"),
        "{}",
        app.example.output()
    );
}

fn is_of_the_shop(resource: &Attributes) {
    let expected = [
        ("service.name", "shop"),
        ("service.instance.id", "pod-7"),
        ("deployment.environment.name", "on trial"),
        ("telemetry.sdk.language", "rust"),
    ];
    for (key, value) in expected {
        assert_eq!(resource[key], value, "{resource:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn export_resumes_when_the_collector_starts() {
    let Some(mut collector) = Collector::start(Options::new()) else {
        return;
    };
    collector.stop();
    let endpoint = collector.grpc_endpoint();
    let mut app = start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        // A signal resumes when it exports something, and the app may have nothing more to log.
        ("OTEL_LOGS_EXPORTER", "none"),
    ]);
    http::get(&app.url_of("/users")).await;
    let failed = app.example.wait_for("telemetry can't be exported to ");
    assert!(failed.contains("connection refused"), "{failed}");
    collector.start_again();
    let again = format!("telemetry is exported to {endpoint} again; lost meanwhile: ");
    let output = async || {
        http::get(&app.url_of("/users")).await;
        app.example.output()
    };
    until("export resumes", output, |output| output.contains(&again)).await;
    assert!(app.example.terminate().success());
    collector.spans_when(|spans| !spans.is_empty()).await;
    let output = app.example.output();
    assert_eq!(
        output.matches("telemetry can't be exported").count(),
        1,
        "{output}"
    );
}
