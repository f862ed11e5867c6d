//! The effects of the variables, as the receiver sees them.

use std::time::Duration;

use http::StatusCode;

use crate::app::{ENDPOINT, HERE, produce, telemetry};
use crate::receiver::{Answer, Receiver};
use crate::support::child;

#[test]
fn headers_and_paths_come_from_the_variables() {
    child::body(async {
        let receiver = Receiver::at(child::port(), Answer::Status(StatusCode::OK));
        let telemetry = telemetry();
        assert!(!format!("{telemetry:?}").contains("hush-hush"));
        produce(&telemetry, 1);
        assert!(telemetry.shutdown(Duration::from_secs(60)).await.is_none());
        let requests = receiver.requests();
        assert_eq!(requests.len(), 2);
        for request in &requests {
            let header = |name: &str| {
                let value = request.headers().get(name);
                value.map(|value| value.to_str().expect("text").to_owned())
            };
            let protobuf = Some("application/x-protobuf".to_owned());
            assert_eq!(header("content-type"), protobuf);
            assert_eq!(header("content-encoding").as_deref(), Some("gzip"));
            let (team, authorization) = match request.uri().path() {
                "/otlp/v1/traces" => ("shop", Some("Bearer hush-hush-4711")),
                "/otlp/v1/logs" => ("logs", None),
                other => panic!("{other}"),
            };
            assert_eq!(header("x-team").as_deref(), Some(team));
            assert_eq!(header("authorization").as_deref(), authorization);
        }
    });
    let headers = "authorization=Bearer%20hush-hush-4711, x-team = shop";
    let variables = [
        (ENDPOINT, "http://127.0.0.1:{port}/otlp/"),
        ("OTEL_EXPORTER_OTLP_HEADERS", headers),
        ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "x-team=logs"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_METRICS_EXPORTER", "none"),
    ];
    child::run(
        "variables::headers_and_paths_come_from_the_variables",
        &variables,
    );
}

/// `install` and `start` log them, because an app that calls `start` may have no subscriber before.
#[test]
fn unknown_values_are_ignored_with_a_warning() {
    child::body(async {
        let receiver = Receiver::at(child::port(), Answer::Status(StatusCode::OK));
        let builder = poolscope::Telemetry::from_env().expect("no error");
        let telemetry = match std::env::var_os("INSTALL") {
            Some(_) => builder.install(),
            None => builder.start(),
        };
        let telemetry = telemetry.expect("no error");
        produce(&telemetry, 1);
        let unsent = telemetry.shutdown(Duration::from_secs(60)).await;
        assert!(unsent.is_none(), "{unsent}");
        assert!(!receiver.requests().is_empty());
    });
    let name = "variables::unknown_values_are_ignored_with_a_warning";
    for (variable, value) in [
        ("OTEL_PROPAGATORS", "tracecontext,baggage,b3"),
        ("OTEL_PROPAGATORS", "xray"),
        ("OTEL_TRACES_SAMPLER", "parentbased_jaeger_remote"),
        ("OTEL_TRACES_SAMPLER", "xray"),
        ("OTEL_METRICS_EXPORTER", "prometheus"),
        ("OTEL_TRACES_EXPORTER", "otlp,console"),
        ("OTEL_LOGS_EXPORTER", "console"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "sum"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "10s"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team"),
        ("OTEL_SDK_DISABLED", "1"),
        ("RUST_LOG", "app[request"),
    ] {
        for more in [None, Some(("INSTALL", ""))] {
            let variables: Vec<_> = [HERE, (variable, value)].into_iter().chain(more).collect();
            let printed = child::run(name, &variables);
            let warning = format!("ignored: {variable}={value:?}: expected ");
            assert_eq!(printed.matches(&warning).count(), 1, "{warning}\n{printed}");
        }
    }
}

/// Without an endpoint, or if disabled, variables that only an export needs are not read.
#[test]
fn any_value_is_accepted_if_nothing_is_exported() {
    child::body(async {
        let telemetry = telemetry();
        assert!(!telemetry.is_exporting());
        produce(&telemetry, 1);
        assert!(telemetry.shutdown(Duration::from_secs(60)).await.is_none());
    });
    let name = "variables::any_value_is_accepted_if_nothing_is_exported";
    let foreign = [
        ("OTEL_TRACES_SAMPLER", "parentbased_jaeger_remote"),
        ("OTEL_TRACES_EXPORTER", "otlp,console"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "10s"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem"),
    ];
    let off = [("OTEL_SDK_DISABLED", "true"), (ENDPOINT, "no URL")];
    for variables in [&foreign[..], &[&foreign[..], &off].concat()] {
        let printed = child::run(name, variables);
        assert!(!printed.contains("ignored"), "{printed}");
    }
}
