//! The quickstart, and a real collector that it finds by the standard variables alone.

use crate::quickstart::start;
use crate::support::collector::{Collector, Options};
use crate::support::http;
use crate::support::otlp::{Attributes, Number};
use crate::support::waiting::until;

#[tokio::test(flavor = "multi_thread")]
async fn everything_arrives_over_http() {
    let Some(collector) = Collector::start(Options::new()) else {
        return;
    };
    let endpoint = collector.http_endpoint();
    // Without a protocol, it is this one.
    arrives(&collector, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_arrives_over_grpc() {
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
async fn each_signal_goes_where_its_own_variables_say() {
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

/// Nothing but the end sends the metrics: a minute is their usual interval.
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
        .expect("it was waited for");
    // Bound instruments, which the SDK has only with a feature that `otlp` turns on.
    let Number::Histogram { count, .. } = &waits.value else {
        panic!("{waits:?}");
    };
    assert!(*count >= 3, "{waits:?}");
    // The SDK's metrics about itself are left out.
    let strangers: Vec<_> = metrics
        .iter()
        .filter(|point| point.scope != "poolscope")
        .collect();
    assert!(strangers.is_empty(), "{strangers:?}");

    let logs = collector
        .logs_when(|logs| logs.iter().any(|log| log.body == "drained"))
        .await;
    let drained = logs
        .iter()
        .find(|log| log.body == "drained")
        .expect("it is there");
    is_of_the_shop(&drained.resource);
    assert_eq!(drained.severity, "INFO");
    // Neither HTTP nor gRPC nor OpenTelemetry tell of the exports in the exports.
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
async fn a_collector_that_comes_later_gets_what_is_made_then() {
    let Some(mut collector) = Collector::start(Options::new()) else {
        return;
    };
    collector.stop();
    let endpoint = collector.grpc_endpoint();
    let mut app = start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        // A signal works again when something of it is exported, and the app may have nothing more to log.
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
    until("exported again", output, |output| output.contains(&again)).await;
    assert!(app.example.terminate().success());
    collector.spans_when(|spans| !spans.is_empty()).await;
    let output = app.example.output();
    assert_eq!(
        output.matches("telemetry can't be exported").count(),
        1,
        "{output}"
    );
}
