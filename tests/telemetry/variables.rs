//! What reaches the receiver of what the variables say.

use std::time::Duration;

use http::StatusCode;

use crate::alone::alone;
use crate::app::{produce, telemetry};
use crate::receiver::{Answer, Receiver};

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_paths() {
    let _alone = alone().await;
    let receiver = Receiver::start(Answer::Status(StatusCode::OK));
    let telemetry = telemetry(&[
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            &format!("{}/otlp/", receiver.url()),
        ),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization=Bearer%20hush-hush-4711, x-team = shop",
        ),
        ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "x-team=logs"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_METRICS_EXPORTER", "none"),
    ]);
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
        assert_eq!(
            header("content-type").as_deref(),
            Some("application/x-protobuf")
        );
        assert_eq!(header("content-encoding").as_deref(), Some("gzip"));
        let (team, authorization) = match request.uri().path() {
            "/otlp/v1/traces" => ("shop", Some("Bearer hush-hush-4711")),
            "/otlp/v1/logs" => ("logs", None),
            other => panic!("{other}"),
        };
        assert_eq!(header("x-team").as_deref(), Some(team));
        assert_eq!(header("authorization").as_deref(), authorization);
    }
}
