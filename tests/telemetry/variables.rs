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

/// Values that are legal elsewhere, or nowhere, and what is used instead: the end of the warning, which is
/// empty for a value that is taken as it is.
const FOREIGN: &[(&str, &str, &str)] = &[
    (
        "OTEL_PROPAGATORS",
        "tracecontext,baggage,b3",
        "tracecontext,baggage is used",
    ),
    ("OTEL_PROPAGATORS", "xray", "tracecontext,baggage is used"),
    (
        "OTEL_PROPAGATORS",
        "b3multi,jaeger,ottrace",
        "tracecontext,baggage is used",
    ),
    ("OTEL_PROPAGATORS", "none", ""),
    (
        "OTEL_TRACES_SAMPLER",
        "parentbased_jaeger_remote",
        "parentbased_always_on is used",
    ),
    (
        "OTEL_TRACES_SAMPLER",
        "jaeger_remote",
        "parentbased_always_on is used",
    ),
    (
        "OTEL_TRACES_SAMPLER",
        "xray",
        "parentbased_always_on is used",
    ),
    (
        "OTEL_TRACES_SAMPLER",
        "Always_On",
        "parentbased_always_on is used",
    ),
    ("OTEL_METRICS_EXPORTER", "prometheus", "otlp is used"),
    ("OTEL_METRICS_EXPORTER", "prometheus,otlp", "otlp is used"),
    ("OTEL_METRICS_EXPORTER", "console", "otlp is used"),
    ("OTEL_TRACES_EXPORTER", "otlp,console", "otlp is used"),
    ("OTEL_TRACES_EXPORTER", "zipkin", "otlp is used"),
    ("OTEL_LOGS_EXPORTER", "console", "otlp is used"),
    ("OTEL_LOGS_EXPORTER", "otlp/stdout", "otlp is used"),
    (
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "http/json",
        "http/protobuf is used",
    ),
    (
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "http",
        "http/protobuf is used",
    ),
    (
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        "http/json",
        "http/protobuf is used",
    ),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "none is used"),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "10000 is used"),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "0", "10000 is used"),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "-1", "10000 is used"),
    ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "1e9", "10000 is used"),
    (
        "OTEL_EXPORTER_OTLP_HEADERS",
        "authorization: Bearer x",
        "pair 1 is not sent",
    ),
    ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,b", "pair 2 is not sent"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "a b=1", "pair 1 is not sent"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "a=%0a", "pair 1 is not sent"),
    (
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        "sum",
        "cumulative is used",
    ),
    (
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        "base2_exponential_bucket_histogram",
        "",
    ),
    ("OTEL_EXPORTER_OTLP_INSECURE", "yes", ""),
    ("OTEL_METRIC_EXPORT_INTERVAL", "10s", "60000 is used"),
    ("OTEL_METRIC_EXPORT_TIMEOUT", "forever", "30000 is used"),
    ("OTEL_METRICS_EXEMPLAR_FILTER", "trace_based", ""),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "2048 is used"),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "-5", "512 is used"),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "99999", ""),
    ("OTEL_BSP_SCHEDULE_DELAY", "5s", "5000 is used"),
    ("OTEL_BSP_EXPORT_TIMEOUT", "0", "30000 is used"),
    (
        "OTEL_BLRP_MAX_QUEUE_SIZE",
        "9999999999999999999999",
        "2048 is used",
    ),
    ("OTEL_BLRP_SCHEDULE_DELAY", "1.5", "1000 is used"),
    ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many", "128 is used"),
    ("OTEL_SPAN_EVENT_COUNT_LIMIT", "-1", "128 is used"),
    ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "x", ""),
    (
        "OTEL_RESOURCE_ATTRIBUTES",
        "team",
        "the other parts are left out",
    ),
    ("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod=%ZZ,=,a=b=c", ""),
    ("OTEL_SERVICE_NAME", "a\u{e9} b/c", ""),
    ("OTEL_SDK_DISABLED", "1", "false is used"),
    ("OTEL_CONFIG_FILE", "/nowhere/otel.yaml", ""),
    ("OTEL_LOG_LEVEL", "verbose", ""),
    ("RUST_LOG", "app[request", "info is used"),
];

/// `install` and `start` log them; an app that calls `start` has no subscriber yet.
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
        let requests = receiver.requests();
        for path in ["/v1/traces", "/v1/logs"] {
            let arrived = requests.iter().any(|request| request.uri().path() == path);
            assert!(arrived, "nothing at {path}");
        }
    });
    assert!(FOREIGN.len() >= 29);
    let name = "variables::unknown_values_are_ignored_with_a_warning";
    for (at, (variable, value, instead)) in FOREIGN.iter().enumerate() {
        let more = (at % 2 == 0).then_some(("INSTALL", ""));
        let variables: Vec<_> = [HERE, (*variable, *value)]
            .into_iter()
            .chain(more)
            .collect();
        let printed = child::run(name, &variables);
        let warnings: Vec<_> = printed
            .lines()
            .filter(|line| line.contains("ignored: "))
            .collect();
        if instead.is_empty() {
            assert!(warnings.is_empty(), "{printed}");
            continue;
        }
        let [warning] = &warnings[..] else {
            panic!("{variable}={value:?}: {printed}")
        };
        let shown = match variable.ends_with("HEADERS") {
            true => "(not shown)",
            false => value,
        };
        let start = format!("ignored: {variable}={shown:?}: expected ");
        assert!(
            warning.contains(&start) && warning.contains(instead),
            "{warning}"
        );
    }
}

/// Telemetry must not keep an app from starting, whatever the platform sets.
#[test]
fn an_endpoint_that_cannot_be_used_turns_the_export_off() {
    child::body(async {
        let builder = poolscope::Telemetry::from_env().expect("no error");
        let telemetry = match std::env::var_os("INSTALL") {
            Some(_) => builder.install(),
            None => builder.start(),
        };
        let telemetry = telemetry.expect("no error");
        assert!(!telemetry.is_exporting());
        produce(&telemetry, 1);
        assert!(telemetry.shutdown(Duration::from_secs(60)).await.is_none());
    });
    let name = "variables::an_endpoint_that_cannot_be_used_turns_the_export_off";
    let https = (ENDPOINT, "https://127.0.0.1:{port}");
    for (variables, expected) in [
        (&[(ENDPOINT, "no URL")][..], "a URL such as"),
        (&[(ENDPOINT, "collector:4318")], "a URL such as"),
        (&[(ENDPOINT, "unix:///run/collector.sock")], "a URL such as"),
        (&[(ENDPOINT, "http://collector:99999")], "a URL such as"),
        (
            &[https, ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem")],
            "a PEM file with certificates",
        ),
        (
            &[https, ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/nowhere/key.pem")],
            "both a CLIENT_CERTIFICATE and a CLIENT_KEY",
        ),
    ] {
        let (variable, value) = variables[variables.len() - 1];
        for install in [None, Some(("INSTALL", ""))] {
            let variables: Vec<_> = variables.iter().copied().chain(install).collect();
            let printed = child::run(name, &variables);
            let warnings: Vec<_> = printed
                .lines()
                .filter(|line| line.contains("ignored: "))
                .collect();
            let [warning] = &warnings[..] else {
                panic!("{variable}={value:?}: {printed}")
            };
            // What follows `://` may be a secret.
            let (shown, _) = value.split_once("://").unwrap_or((value, ""));
            for part in [
                &format!("ignored: {variable}=\"{shown}"),
                &format!(": expected {expected}"),
                "; the signals that it is for are not exported",
            ] {
                assert!(warning.contains(part), "{warning}");
            }
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
    let all: Vec<_> = FOREIGN
        .iter()
        .map(|(variable, value, _)| (*variable, *value))
        .collect();
    let all: Vec<_> = all
        .into_iter()
        .filter(|(name, _)| name.starts_with("OTEL_EXPORTER"))
        .collect();
    let disabled = [&all[..], &off].concat();
    for variables in [
        &foreign[..],
        &[&foreign[..], &off].concat(),
        &all,
        &disabled,
    ] {
        let printed = child::run(name, variables);
        assert!(!printed.contains("ignored"), "{printed}");
    }
}
