//! Shutdown sends the remaining telemetry within the deadline, and reports the rest.

use std::time::{Duration, Instant};

use http::StatusCode;

use crate::app::{HERE, produce, telemetry};
use crate::log::Log;
use crate::receiver::{Answer, Receiver};
use crate::support::child;
use crate::support::waiting::soon;

/// Exports nothing before the shutdown.
const EXPORT_AT_SHUTDOWN: [(&str, &str); 5] = [
    HERE,
    ("OTEL_BSP_SCHEDULE_DELAY", "3600000"),
    ("OTEL_BLRP_SCHEDULE_DELAY", "3600000"),
    ("OTEL_METRIC_EXPORT_INTERVAL", "3600000"),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000"),
];

fn count_something() {
    let meter = opentelemetry::global::meter("test");
    meter.u64_counter("things").build().add(1, &[]);
}

async fn shutdown_with_a_hanging_receiver() {
    let log = Log::install();
    let _receiver = Receiver::at(child::port(), Answer::Never);
    let telemetry = telemetry();
    count_something();
    produce(&telemetry, 100);
    let start = Instant::now();
    let unsent = soon(
        "the shutdown",
        telemetry.shutdown(Duration::from_millis(500)),
    )
    .await;
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(400), "{took:?}");
    assert_eq!((unsent.spans, unsent.log_records), (100, 100), "{unsent}");
    assert_eq!(unsent.data_points, 1, "{unsent}");
    let reason = unsent.reason.as_deref().expect("a reason");
    assert_eq!(reason, "no answer until the app ended");
    let last = log.lines().pop().expect("a log line");
    assert!(
        last.ends_with("telemetry could not be sent before the end: 100 spans, 1 data point, 100 log records (no answer until the app ended)"),
        "{last}"
    );
    // A second shutdown has nothing to do.
    assert!(telemetry.shutdown(Duration::from_secs(60)).await.is_none());
}

#[test]
fn shutdown_keeps_its_deadline_on_one_thread() {
    child::body(async {
        shutdown_with_a_hanging_receiver().await;
    });
    child::run(
        "ending::shutdown_keeps_its_deadline_on_one_thread",
        &[&EXPORT_AT_SHUTDOWN[..], &[(child::ONE_THREAD, "")]].concat(),
    );
}

#[test]
fn shutdown_keeps_its_deadline_on_several_threads() {
    child::body(async {
        shutdown_with_a_hanging_receiver().await;
    });
    child::run(
        "ending::shutdown_keeps_its_deadline_on_several_threads",
        &EXPORT_AT_SHUTDOWN,
    );
}

#[test]
fn shutdown_sends_the_remaining_telemetry() {
    child::body(async {
        let log = Log::install();
        let receiver = Receiver::at(child::port(), Answer::Status(StatusCode::OK));
        let telemetry = telemetry();
        count_something();
        produce(&telemetry, 100);
        let other = tokio::spawn(async { "the runtime runs" });
        let unsent = telemetry.shutdown(Duration::from_secs(60)).await;
        assert!(unsent.is_none(), "{unsent}");
        assert_eq!(other.await.expect("no panic"), "the runtime runs");
        let exports = telemetry.exports().expect("exports");
        assert_eq!(exports.traces.exported, 100);
        assert_eq!(exports.logs.exported, 100);
        assert_eq!(exports.metrics.exported, 1);
        let mut paths: Vec<_> = receiver
            .requests()
            .iter()
            .map(|request| request.uri().path().to_owned())
            .collect();
        paths.sort();
        assert_eq!(paths, ["/v1/logs", "/v1/metrics", "/v1/traces"]);
        assert!(log.lines().is_empty(), "{:#?}", log.lines());
    });
    child::run(
        "ending::shutdown_sends_the_remaining_telemetry",
        &[&EXPORT_AT_SHUTDOWN[..], &[(child::ONE_THREAD, "")]].concat(),
    );
}

#[test]
fn telemetry_after_shutdown_is_counted_as_dropped() {
    child::body(async {
        let _receiver = Receiver::at(child::port(), Answer::Status(StatusCode::OK));
        let telemetry = telemetry();
        assert!(telemetry.shutdown(Duration::from_secs(60)).await.is_none());
        produce(&telemetry, 3);
        let exports = telemetry.exports().expect("exports");
        assert_eq!(exports.logs.dropped, 3);
    });
    child::run(
        "ending::telemetry_after_shutdown_is_counted_as_dropped",
        &EXPORT_AT_SHUTDOWN,
    );
}

#[test]
fn shutdown_sends_a_queue_longer_than_a_batch() {
    child::body(async {
        let _receiver = Receiver::at(child::port(), Answer::Late(Duration::from_millis(20)));
        let telemetry = telemetry();
        // Fewer than a batch of 512 remain unsent before the shutdown, and are not waited for.
        produce(&telemetry, 2_000);
        let unsent = telemetry.shutdown(Duration::from_secs(60)).await;
        assert!(unsent.is_none(), "{unsent}");
        let exports = telemetry.exports().expect("exports");
        assert_eq!(exports.traces.exported, 2_000);
        assert_eq!(exports.logs.exported, 2_000);
    });
    child::run(
        "ending::shutdown_sends_a_queue_longer_than_a_batch",
        &EXPORT_AT_SHUTDOWN,
    );
}

#[test]
fn a_flush_sends_what_is_queued_and_goes_on() {
    child::body(async {
        let receiver = Receiver::at(child::port(), Answer::Status(StatusCode::OK));
        let telemetry = telemetry();
        count_something();
        for round in 1..=3 {
            produce(&telemetry, 600);
            let unsent = telemetry.flush(Duration::from_secs(60)).await;
            assert!(unsent.is_none(), "{unsent}");
            let exports = telemetry.exports().expect("it exported");
            assert_eq!(exports.traces.exported, 600 * round);
            assert_eq!(exports.logs.exported, 600 * round);
            // The SDK adds metrics about itself.
            assert!(exports.metrics.exported >= round);
        }
        // What the receiver refuses is lost, and said.
        receiver.answer(Answer::Status(StatusCode::BAD_REQUEST));
        produce(&telemetry, 5);
        let unsent = telemetry.flush(Duration::from_secs(60)).await;
        assert_eq!((unsent.spans, unsent.log_records), (5, 5), "{unsent}");
        assert!(unsent.data_points >= 1, "{unsent}");
        let reason = unsent.reason.as_deref().expect("there is one");
        assert!(reason.contains("400"), "{reason}");
        receiver.answer(Answer::Status(StatusCode::OK));
        produce(&telemetry, 7);
        assert!(telemetry.flush(Duration::from_secs(60)).await.is_none());
        assert!(telemetry.shutdown(Duration::from_secs(60)).await.is_none());
        assert!(telemetry.flush(Duration::from_secs(60)).await.is_none());
    });
    child::run(
        "ending::a_flush_sends_what_is_queued_and_goes_on",
        &[&EXPORT_AT_SHUTDOWN[..], &[(child::ONE_THREAD, "")]].concat(),
    );
}

#[test]
fn a_flush_ends_at_its_deadline() {
    child::body(async {
        let receiver = Receiver::at(child::port(), Answer::Never);
        let telemetry = telemetry();
        count_something();
        produce(&telemetry, 600);
        let flush = telemetry.flush(Duration::from_millis(500));
        let unsent = soon("half a second", flush).await;
        assert_eq!((unsent.spans, unsent.log_records), (600, 600), "{unsent}");
        assert_eq!(unsent.data_points, 1, "{unsent}");
        assert_eq!(unsent.reason.as_deref(), Some("the time was over"));
        // They are not lost yet.
        let exports = telemetry.exports().expect("it exported");
        assert_eq!((exports.traces.failed, exports.traces.dropped), (0, 0));
        assert!(!receiver.requests().is_empty());
    });
    child::run(
        "ending::a_flush_ends_at_its_deadline",
        &[&EXPORT_AT_SHUTDOWN[..], &[(child::ONE_THREAD, "")]].concat(),
    );
}
