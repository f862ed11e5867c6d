//! What the variables come to, and what is wrong with them.

use super::*;
use crate::telemetry::destination::Protocol;

fn read(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    Settings::read(&|name| {
        let found = variables.iter().find(|(other, _)| *other == name);
        found.map(|(_, value)| OsString::from(value))
    })
}

fn good(variables: &[(&str, &str)]) -> Settings {
    read(variables).unwrap()
}

/// The message, without the name, the value and "expected".
fn wrong(variable: &str, value: &str) -> String {
    let error = read(&[(variable, value)]).unwrap_err().to_string();
    let start = format!("a setting is wrong: {variable}={value:?}: expected ");
    let rest = error.strip_prefix(&start);
    rest.unwrap_or_else(|| panic!("{error}")).to_owned()
}

fn uris(settings: &Settings) -> [Option<String>; 3] {
    let destinations = [
        settings.traces.as_ref().map(|(to, ..)| to),
        settings.metrics.as_ref().map(|(to, ..)| to),
        settings.logs.as_ref().map(|(to, _)| to),
    ];
    destinations.map(|to| to.map(|to| to.uri.to_string()))
}

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";

#[test]
fn without_an_endpoint_nothing_is_on() {
    assert!(!good(&[]).is_on());
    assert!(!good(&[(ENDPOINT, " ")]).is_on());
    assert!(!good(&[("OTEL_TRACES_EXPORTER", "otlp"), (PROTOCOL, "grpc")]).is_on());
}

#[test]
fn an_endpoint_gets_the_path_of_each_signal() {
    let expected = ["traces", "metrics", "logs"];
    for (endpoint, before) in [
        ("http://collector:4318", "http://collector:4318"),
        ("http://collector:4318/", "http://collector:4318"),
        ("http://collector/otlp", "http://collector/otlp"),
        ("HTTP://[::1]:4318/otlp/", "http://[::1]:4318/otlp"),
    ] {
        let expected = expected.map(|signal| Some(format!("{before}/v1/{signal}")));
        assert_eq!(uris(&good(&[(ENDPOINT, endpoint)])), expected, "{endpoint}");
    }
}

#[test]
fn a_signals_own_endpoint_is_taken_as_it_is() {
    let settings = good(&[
        (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "http://jaeger:4318/here?key=1",
        ),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://loki"),
    ]);
    let [traces, metrics, logs] = uris(&settings);
    assert_eq!(traces.as_deref(), Some("http://jaeger:4318/here?key=1"));
    assert_eq!(metrics, None);
    assert_eq!(logs.as_deref(), Some("http://loki/"));
    let (to, ..) = settings.traces.unwrap();
    assert_eq!(to.shown(), "http://jaeger:4318/here");
}

#[test]
fn grpc_may_leave_out_the_scheme() {
    let settings =
        |more: &[_]| good(&[&[(ENDPOINT, "collector:4317"), (PROTOCOL, "grpc")], more].concat());
    let insecure = settings(&[("OTEL_EXPORTER_OTLP_INSECURE", "true")]);
    let (to, ..) = insecure.traces.unwrap();
    assert_eq!(to.protocol, Protocol::Grpc);
    assert_eq!(to.shown(), "http://collector:4317");
    assert!(to.encryption.is_none());
    for port in ["99999", "9x/v1", "0"] {
        let error = read(&[(ENDPOINT, &format!("https://collector:{port}"))]);
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("a number from 1 to 65535") || port == "9x/v1",
            "{error}"
        );
    }
    assert!(wrong(ENDPOINT, "collector:4317").starts_with("a URL such as http://localhost:4318"));
}

#[cfg(feature = "tls")]
#[test]
fn https_is_encrypted_and_so_is_grpc_without_a_scheme() {
    let (to, ..) = good(&[(ENDPOINT, "https://otlp.example.com")])
        .traces
        .unwrap();
    assert!(to.encryption.is_some());
    let grpc = [(ENDPOINT, "collector:4317"), (PROTOCOL, "grpc")];
    let (to, ..) = good(&grpc).traces.unwrap();
    assert!(to.encryption.is_some());
    assert_eq!(to.shown(), "https://collector:4317");

    let error = read(&[
        (ENDPOINT, "https://otlp.example.com"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem"),
    ]);
    let error = error.unwrap_err().to_string();
    let expected =
        "OTEL_EXPORTER_OTLP_CERTIFICATE=\"/nowhere/ca.pem\": expected a PEM file with certificates";
    assert!(error.contains(expected), "{error}");
    let error = read(&[
        (ENDPOINT, "https://otlp.example.com"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/nowhere/key.pem"),
    ]);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("both a CLIENT_CERTIFICATE and a CLIENT_KEY"),
        "{error}"
    );
}

#[cfg(not(feature = "tls"))]
#[test]
fn https_needs_the_feature_tls() {
    let error = read(&[(ENDPOINT, "https://otlp.example.com")]);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("enable poolscope's feature `tls`"),
        "{error}"
    );
}

#[test]
fn a_signals_own_variables_come_first() {
    let settings = good(&[
        (ENDPOINT, "http://collector:4318"),
        (PROTOCOL, "grpc"),
        ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "HTTP/protobuf"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2000"),
        ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "500"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "none"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,b=2"),
        ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "c=3"),
    ]);
    let (traces, ..) = settings.traces.unwrap();
    let (logs, _) = settings.logs.unwrap();
    assert_eq!(
        (traces.protocol, logs.protocol),
        (Protocol::Grpc, Protocol::Http)
    );
    assert_eq!(
        (traces.timeout.as_millis(), logs.timeout.as_millis()),
        (2000, 500)
    );
    assert_eq!((traces.gzip, logs.gzip), (true, false));
    assert_eq!((traces.headers.len(), logs.headers.len()), (2, 1));
}

#[test]
fn queues_and_intervals() {
    let settings = good(&[
        (ENDPOINT, "http://collector:4318"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
        ("OTEL_BSP_SCHEDULE_DELAY", "7"),
        ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "5"),
        ("OTEL_BLRP_EXPORT_TIMEOUT", "9"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1000"),
    ]);
    let (_, spans, _) = settings.traces.unwrap();
    // The usual batch of 512 is made to fit.
    assert_eq!((spans.size, spans.batch), (100, 100));
    assert_eq!(spans.delay, Duration::from_millis(7));
    let (_, records) = settings.logs.unwrap();
    assert_eq!((records.size, records.batch), (2048, 5));
    assert_eq!(records.timeout, Duration::from_millis(9));
    assert_eq!(records.delay, Duration::from_secs(1));
    let (_, intervals, _) = settings.metrics.unwrap();
    assert_eq!(intervals.interval, Duration::from_secs(1));
    assert_eq!(intervals.timeout, Duration::from_secs(30));

    let error = read(&[
        ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "20"),
    ]);
    let error = error.unwrap_err().to_string();
    assert!(
        error.ends_with("expected at most OTEL_BSP_MAX_QUEUE_SIZE, which is 10"),
        "{error}"
    );
}

#[test]
fn samplers() {
    let sampler = |variables: &[_]| {
        let all = [&[(ENDPOINT, "http://collector:4318")], variables].concat();
        let (_, _, sampler) = good(&all).traces.unwrap();
        format!("{sampler:?}")
    };
    let name = "OTEL_TRACES_SAMPLER";
    let argument = "OTEL_TRACES_SAMPLER_ARG";
    assert_eq!(sampler(&[]), "ParentBased(AlwaysOn)");
    assert_eq!(sampler(&[(name, "always_off")]), "AlwaysOff");
    assert_eq!(
        sampler(&[(name, "traceidratio"), (argument, "0.25")]),
        "TraceIdRatioBased(0.25)"
    );
    assert_eq!(
        sampler(&[(name, "parentbased_traceidratio")]),
        "ParentBased(TraceIdRatioBased(1.0))"
    );
    // An argument that the sampler does not take is not looked at.
    assert_eq!(sampler(&[(name, "always_on"), (argument, "?")]), "AlwaysOn");
    let error = read(&[(name, "traceidratio"), (argument, "25%")]).unwrap_err();
    assert!(
        error.to_string().contains("expected a number from 0 to 1"),
        "{error}"
    );
}

#[test]
fn propagators() {
    let of = |value| {
        let found = good(&[("OTEL_PROPAGATORS", value)]).propagators;
        (found.trace_context, found.baggage, found.asked_for)
    };
    assert_eq!(of(""), (true, true, false));
    assert_eq!(of("tracecontext"), (true, false, true));
    assert_eq!(of("baggage, tracecontext"), (true, true, true));
    assert_eq!(of("none"), (false, false, false));
    assert!(wrong("OTEL_PROPAGATORS", "b3").contains("only the W3C's are built in"));
}

#[test]
fn the_resource_has_a_name_and_an_instance_in_any_case() {
    let resource = |variables: &[_]| {
        let resource = good(variables).resource;
        ["service.name", "service.instance.id", "team"].map(|key| {
            let value = resource.get(&opentelemetry::Key::from_static_str(key));
            value.map(|value| value.to_string())
        })
    };
    let [name, instance, team] = resource(&[]);
    assert!(name.is_some() && instance.is_some());
    assert_eq!(team, None);
    let attributes = (
        "OTEL_RESOURCE_ATTRIBUTES",
        "service.name=a,team=b%2Cc , service.instance.id=1",
    );
    let found = ["a", "1", "b,c"].map(|value| Some(value.to_owned()));
    assert_eq!(resource(&[attributes]), found);
    let [name, ..] = resource(&[attributes, ("OTEL_SERVICE_NAME", "shop")]);
    assert_eq!(name.as_deref(), Some("shop"));
    let error = read(&[("OTEL_RESOURCE_ATTRIBUTES", "team")]).unwrap_err();
    assert!(
        error.to_string().contains("pair 1 has no key or no ="),
        "{error}"
    );
}

#[test]
fn what_is_wrong_is_said_with_what_is_allowed() {
    assert_eq!(wrong("OTEL_SDK_DISABLED", "maybe"), "true or false");
    assert!(
        wrong("OTEL_TRACES_EXPORTER", "zipkin").starts_with("otlp or none; only OTLP is built in")
    );
    assert_eq!(wrong(PROTOCOL, "tcp"), "http/protobuf or grpc");
    assert_eq!(
        wrong("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        "gzip or none"
    );
    assert_eq!(
        wrong("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        "a whole number from 1 to 1000000"
    );
    assert!(
        wrong("OTEL_EXPORTER_OTLP_TIMEOUT", "0").starts_with("milliseconds, a whole number from 1")
    );
    assert!(wrong("OTEL_SPAN_EVENT_COUNT_LIMIT", "-1").starts_with("a whole number from 0"));
    assert!(
        wrong("RUST_LOG", "app[request").starts_with("directives"),
        "{}",
        wrong("RUST_LOG", "app[request")
    );
    assert_eq!(
        wrong("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "sum"),
        "cumulative, delta or lowmemory"
    );
}

#[test]
fn no_secret_is_shown() {
    for (variable, value) in [
        (ENDPOINT, "http://me:hush@collector:4318"),
        (ENDPOINT, "ftp://me:hush@collector"),
        (ENDPOINT, "me:hush@collector"),
        (ENDPOINT, "://collector?key=hush"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization: hush"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a b=hush"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=hush%0a"),
    ] {
        let error = read(&[(variable, value)]).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hush"), "{error}");
    }
    let settings = good(&[
        (ENDPOINT, "http://collector:4318/?key=hush"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hush"),
    ]);
    let shown = format!("{settings:?}");
    assert!(
        !shown.contains("hush") && shown.contains("authorization"),
        "{shown}"
    );
}

#[cfg(unix)]
#[test]
fn what_is_not_text_is_said() {
    use std::os::unix::ffi::OsStringExt;
    let error = Settings::read(&|name| (name == PROTOCOL).then(|| OsString::from_vec(vec![0xff])));
    assert_eq!(
        error.unwrap_err().to_string(),
        "a setting is wrong: OTEL_EXPORTER_OTLP_PROTOCOL is not UTF-8: expected text"
    );
}

#[test]
fn switched_off_it_is_still_checked() {
    let endpoint = (ENDPOINT, "http://collector:4318");
    assert!(!good(&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")]).is_on());
    assert!(good(&[endpoint, ("OTEL_SDK_DISABLED", "false")]).is_on());
    let off = [
        endpoint,
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_METRICS_EXPORTER", "none"),
    ];
    let settings = good(&off);
    assert!(settings.traces.is_none() && settings.metrics.is_none() && settings.logs.is_some());
    assert!(read(&[endpoint, ("OTEL_SDK_DISABLED", "true"), (PROTOCOL, "?")]).is_err());
}
