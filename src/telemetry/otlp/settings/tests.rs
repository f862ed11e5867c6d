use super::*;

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const COLLECTOR: (&str, &str) = (ENDPOINT, "http://collector:4318");

fn read(variables: &[(&str, &str)]) -> Settings {
    Settings::read(&|name| {
        let found = variables.iter().find(|(other, _)| *other == name);
        found.map(|(_, value)| OsString::from(value))
    })
}

fn uris(variables: &[(&str, &str)]) -> [Option<String>; 3] {
    let exports = read(variables).exports;
    exports.map(|to| to.map(|to| to.uri.to_string()))
}

#[test]
fn exports_are_off_without_an_endpoint_or_if_disabled() {
    let bad = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "no URL");
    for off in [
        &[(ENDPOINT, " "), ("OTEL_TRACES_SAMPLER", "xray")][..],
        &[("OTEL_TRACES_EXPORTER", "otlp"), (PROTOCOL, "grpc")],
        &[
            COLLECTOR,
            bad,
            ("OTEL_SDK_DISABLED", "TRUE"),
            (PROTOCOL, "?"),
        ],
    ] {
        let settings = read(off);
        assert!(
            !settings.is_on() && settings.warnings.is_empty(),
            "{settings:?}"
        );
    }
    let none = [COLLECTOR, bad, ("OTEL_TRACES_EXPORTER", "none")];
    let [traces, metrics, logs] = uris(&none);
    assert!(traces.is_none() && metrics.is_some() && logs.is_some());
}

#[test]
fn endpoints_get_the_path_of_their_signal() {
    for (endpoint, before) in [
        ("http://collector:4318/", "http://collector:4318"),
        ("http://collector/otlp", "http://collector/otlp"),
        (" HTTP://[::1]:4318/otlp/ ", "http://[::1]:4318/otlp"),
    ] {
        let expected = Signal::ALL.map(|signal| Some(format!("{before}{}", signal.path())));
        assert_eq!(uris(&[(ENDPOINT, endpoint)]), expected, "{endpoint}");
    }
    let own = (
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "http://jaeger/?key=hush",
    );
    let settings = read(&[own]);
    let [traces, metrics, _] = settings.exports.each_ref();
    assert!(metrics.is_none());
    let traces = traces.as_ref().unwrap();
    assert_eq!(traces.uri.to_string(), "http://jaeger/?key=hush");
    assert_eq!(traces.shown(), "http://jaeger/");
    assert!(!format!("{settings:?}").contains("hush"));
    // gRPC may leave out the scheme.
    let insecure = ("OTEL_EXPORTER_OTLP_INSECURE", "true");
    let grpc = [(ENDPOINT, "collector:4317"), (PROTOCOL, "grpc"), insecure];
    let [traces, ..] = read(&grpc).exports;
    assert_eq!(traces.unwrap().shown(), "http://collector:4317");
}

const OFF: &str = "; the signals that it is for are not exported";

/// The one warning, because of which nothing is exported.
fn off(variables: &[(&str, &str)]) -> String {
    let settings = read(variables);
    assert!(!settings.is_on(), "{settings:?}");
    let [warning] = &settings.warnings[..] else {
        panic!("{settings:?}")
    };
    let warning = warning.to_string();
    assert!(warning.ends_with(OFF), "{warning}");
    warning
}

/// None of these endpoints can be used, and no warning shows a secret.
#[test]
fn an_invalid_endpoint_turns_its_signals_off() {
    for (endpoint, said) in [
        ("collector:4318", "begins with http:// or https://"),
        (
            "http://me:hush@collector:4318",
            "go into OTEL_EXPORTER_OTLP_HEADERS",
        ),
        ("ftp://me:hush@collector", "begins with http://"),
        ("me:hush@collector", "begins with http://"),
        ("://collector?key=hush", "expected a URL"),
        ("https://collector:99999", "1 to 65535"),
        ("http://collector:0", "1 to 65535"),
    ] {
        let warning = off(&[(ENDPOINT, endpoint)]);
        assert!(warning.starts_with(&format!("{ENDPOINT}=")));
        assert!(
            warning.contains(said) && !warning.contains("hush"),
            "{warning}"
        );
    }
    let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "no URL");
    let [traces, metrics, logs] = uris(&[COLLECTOR, own]);
    assert!(traces.is_none() && metrics.is_some() && logs.is_some());
}

#[test]
fn tls_settings_are_checked() {
    let https = (ENDPOINT, "https://otlp.example.com");
    if !cfg!(feature = "tls") {
        let error = off(&[https]);
        assert!(
            error.contains("enable poolscope's feature `tls`"),
            "{error}"
        );
        return;
    }
    for encrypted in [
        &[https][..],
        &[(ENDPOINT, "collector:4317"), (PROTOCOL, "grpc")],
    ] {
        let [traces, ..] = read(encrypted).exports;
        assert!(traces.unwrap().tls.is_some());
    }
    for (variable, expected) in [
        ("CERTIFICATE", "expected a PEM file with certificates"),
        (
            "CLIENT_KEY",
            "expected both a CLIENT_CERTIFICATE and a CLIENT_KEY",
        ),
    ] {
        let variable = format!("OTEL_EXPORTER_OTLP_{variable}");
        let error = off(&[https, (&*variable, "/nowhere.pem")]);
        let expected = format!("{variable}=\"/nowhere.pem\": {expected}");
        assert!(error.contains(&expected), "{error}");
    }
}

#[test]
fn a_signals_own_variables_come_first() {
    let settings = read(&[
        COLLECTOR,
        (PROTOCOL, "grpc"),
        ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "HTTP/protobuf"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2000"),
        ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "500"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "1500"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1000"),
    ]);
    let [traces, metrics, logs] = settings.exports.map(Option::unwrap);
    assert_eq!(
        (traces.protocol, logs.protocol),
        (Protocol::Grpc, Protocol::Http)
    );
    let milliseconds = [
        traces.timeout,
        metrics.timeout,
        logs.timeout,
        metrics.interval,
    ];
    assert_eq!(
        milliseconds.map(|time| time.as_millis()),
        [1500, 2000, 500, 1000]
    );
    // The default batch of 512 is reduced to the queue.
    assert_eq!((traces.queue, traces.batch), (100, 100));
    assert_eq!((logs.queue, logs.batch), (2048, 512));
}

#[test]
fn known_propagators_are_used() {
    let of = |value, more: &[_]| {
        let settings = read(&[&[("OTEL_PROPAGATORS", value)], more].concat());
        let propagators = settings.propagators?;
        let fields: Vec<_> = propagators.fields().map(str::to_owned).collect();
        Some(["traceparent", "baggage"].map(|field| fields.iter().any(|other| other == field)))
    };
    assert_eq!(of("tracecontext", &[]), Some([true, false]));
    assert_eq!(of("baggage, tracecontext,b3", &[]), Some([true, true]));
    assert_eq!(of("none", &[COLLECTOR]), Some([false, false]));
    for usual in ["", "b3,xray"] {
        assert_eq!(of(usual, &[COLLECTOR]), Some([true, true]));
        assert_eq!(of(usual, &[]), None);
    }
}

#[test]
fn invalid_numbers_and_lists_are_ignored() {
    for (variable, value, expected) in [
        ("OTEL_LOGS_EXPORTER", "None,console", "otlp or none"),
        (
            "OTEL_BSP_MAX_QUEUE_SIZE",
            "0",
            "a whole number from 1 to 1000000",
        ),
        (
            "OTEL_SPAN_EVENT_COUNT_LIMIT",
            "-1",
            "a whole number from 0 to 4294967295",
        ),
        ("OTEL_TRACES_SAMPLER_ARG", "25%", "a number from 0 to 1"),
    ] {
        let ratio = ("OTEL_TRACES_SAMPLER", "traceidratio");
        let settings = read(&[COLLECTOR, ratio, (variable, value)]);
        let warning = settings.warnings[0].to_string();
        assert!(warning.starts_with(&format!("{variable}={value:?}: expected {expected}")));
        assert_eq!(settings.warnings.len(), 1);
        assert_eq!(
            settings.exports[2].is_none(),
            variable == "OTEL_LOGS_EXPORTER"
        );
    }
}

#[test]
fn headers_are_never_shown() {
    for headers in ["authorization: hush", "a b=hush", "a=1,b=hush%0a"] {
        let headers = ("OTEL_EXPORTER_OTLP_HEADERS", headers);
        let warnings = read(&[COLLECTOR, headers]).warnings;
        assert_eq!(warnings[0].value(), Some("(not shown)"));
        assert!(!format!("{warnings:?}").contains("hush"));
    }
}
