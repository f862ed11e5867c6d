//! The quickstart as a user runs it, with valid, invalid and no variables.

use std::time::{Duration, Instant};

use http::StatusCode;

use crate::receiver::{Answer, Mute, Receiver};
use crate::support::http as client;
use crate::support::process::Example;
use crate::support::waiting::PATIENCE;

/// The quickstart without its own traffic.
pub struct App {
    pub example: Example,
    url: String,
}

pub fn start(environment: &[(&str, &str)]) -> App {
    let quiet = [("PORT", "0"), ("QUICKSTART_TRAFFIC", "off")];
    let example = Example::start("quickstart", &[environment, &quiet].concat());
    let line = example.wait_for("listening on ");
    let (_, url) = line.split_once("listening on ").expect("the address");
    App {
        url: url.to_owned(),
        example,
    }
}

impl App {
    pub fn url_of(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quickstart_ends_in_time_if_the_receiver_hangs() {
    let receiver = Mute::start();
    for protocol in ["http/protobuf", "grpc"] {
        let mut app = start(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.url()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000"),
        ]);
        let start = Instant::now();
        for _ in 0..100 {
            assert_eq!(
                client::get(&app.url_of("/users")).await.status,
                StatusCode::OK
            );
        }
        assert!(app.example.terminate().success());
        // The export timeout is an hour: shutdown did not wait for it.
        assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
        let said = app
            .example
            .wait_for("telemetry could not be sent before the end: ");
        for items in ["span", "data point", "log record"] {
            assert!(said.contains(items), "{said}");
        }
        // The drain came first.
        let output = app.example.output();
        let at = |text: &str| output.find(text).expect("a log line");
        assert!(at("drained") < at("could not be sent"), "{output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_endpoint_nothing_is_exported() {
    for environment in [
        &[][..],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")],
        &[("OTEL_TRACES_EXPORTER", "otlp")],
    ] {
        let mut app = start(environment);
        assert_eq!(telemetry_threads(&app.example), Vec::<String>::new());
        assert!(app.example.terminate().success());
        app.example.wait_for("INFO quickstart::server: drained");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn disabled_signals_are_not_exported() {
    let receiver = Receiver::start(Answer::Late(Duration::ZERO));
    let url = receiver.url();
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", &*url);
    let none = [
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_LOGS_EXPORTER", "none"),
    ];
    for off in [&[("OTEL_SDK_DISABLED", "true")][..], &none] {
        let mut app = start(&[&[endpoint], off].concat());
        client::get(&app.url_of("/users")).await;
        assert_eq!(telemetry_threads(&app.example), Vec::<String>::new());
        assert!(app.example.terminate().success());
    }
    let mut app = start(&[&[endpoint], &none[1..]].concat());
    client::get(&app.url_of("/users")).await;
    assert_eq!(telemetry_threads(&app.example).len(), 2);
    assert!(app.example.terminate().success());
    let requests = receiver.requests();
    let paths = requests.iter().map(|request| request.uri().path());
    assert!(paths.clone().count() > 0);
    assert!(paths.clone().all(|path| path == "/v1/traces"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_endpoint_is_ignored_and_its_warning_hides_secrets() {
    let own = "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT";
    let variables = [
        ("QUICKSTART_TRAFFIC", "off"),
        ("PORT", "0"),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "http://me:hush-hush-4711@localhost:4318",
        ),
        (own, "localhost:4318"),
    ];
    let example = Example::start("quickstart", &variables);
    for expected in [
        "OTEL_EXPORTER_OTLP_ENDPOINT=\"http://***\": expected a URL such as",
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=\"localhost:4318\": expected a URL such as",
        "listening on http://",
    ] {
        example.wait_for(expected);
    }
    let output = example.output();
    assert!(!output.contains("hush-hush"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_header_warning_hides_its_value() {
    let receiver = Receiver::start(Answer::Late(Duration::ZERO));
    let headers = "authorization=hush-hush-4711,hush-hush-4711";
    let mut app = start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.url()),
        ("OTEL_EXPORTER_OTLP_HEADERS", headers),
    ]);
    let said = app.example.wait_for("OTEL_EXPORTER_OTLP_HEADERS=");
    assert!(said.contains("pair 2 is not sent"), "{said}");
    assert!(app.example.terminate().success());
    assert!(!app.example.output().contains("hush-hush"));
}

/// Returns the names of the exporting threads. The system keeps the first 15 characters.
fn telemetry_threads(example: &Example) -> Vec<String> {
    let tasks = format!("/proc/{}/task", example.id());
    let tasks = std::fs::read_dir(tasks).expect("a running process");
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names
        .filter(|name| name.starts_with("OpenTelemetry") || name.starts_with("poolscope-otlp"))
        .collect()
}
