//! Receivers that are absent, refuse, hang or are slow: nothing waits for them, what they did not
//! take is counted, and the log says it once.

use std::time::{Duration, Instant};

use http::StatusCode;
use poolscope::Telemetry;

use crate::alone::{Alone, alone, until};
use crate::app::{produce, settled, telemetry};
use crate::receiver::{Answer, Grpc, Mute, Receiver};
use crate::support::ports::free_port;

const COUNT: u64 = 200;
/// A collector that hangs costs minutes where it is waited for, so this is generous and yet tells.
const UNHINDERED: Duration = Duration::from_secs(10);

const HTTP: &str = "http/protobuf";
const GRPC: &str = "grpc";

/// Quick exports, so that there are many of them.
fn to(endpoint: &str, protocol: &str) -> Telemetry {
    within("60000", endpoint, protocol)
}

fn within(timeout: &str, endpoint: &str, protocol: &str) -> Telemetry {
    telemetry(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_METRICS_EXPORTER", "none"),
        // Only where there is no answer at all: a busy machine may take its time for one.
        ("OTEL_BSP_EXPORT_TIMEOUT", timeout),
        ("OTEL_BLRP_EXPORT_TIMEOUT", timeout),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", timeout),
        ("OTEL_BSP_SCHEDULE_DELAY", "10"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "10"),
    ])
}

fn said(alone: &Alone, what: &str) -> usize {
    alone
        .log()
        .iter()
        .filter(|line| line.contains(what))
        .count()
}

/// Produces again and again until enough exports have failed, and gives what was said.
async fn fail(alone: &Alone, endpoint: &str, protocol: &str, cause: &str) -> Telemetry {
    let hangs = cause.starts_with("no answer within 0.3 s");
    let timeout = if hangs { "300" } else { "60000" };
    let telemetry = within(timeout, endpoint, protocol);
    let mut produced = 0;
    for round in 1..=3 {
        let start = Instant::now();
        produce(&telemetry, COUNT);
        produced += COUNT;
        assert!(start.elapsed() < UNHINDERED, "{:?}", start.elapsed());
        let exports = until("all is counted", || {
            telemetry
                .exports()
                .filter(|exports| settled(exports) == (produced, produced))
        })
        .await;
        for signal in [&exports.traces, &exports.logs] {
            assert_eq!((signal.exported, signal.dropped), (0, 0), "{round}");
            assert_eq!(signal.failed, produced);
            assert_eq!(signal.lost_last_5m, produced);
            let error = signal.last_error.as_deref().expect("it failed");
            assert!(error.contains(cause), "{error}");
            assert!(signal.failing_for_seconds.is_some());
        }
    }
    let failures = said(alone, "telemetry can't be exported to");
    assert_eq!(failures, 1, "{:#?}", alone.log());
    let first = &alone.log()[0];
    let expected =
        format!("WARN poolscope::telemetry::news: telemetry can't be exported to {endpoint}: ");
    assert!(first.starts_with(&expected), "{first}");
    assert!(first.contains(cause), "{first}");
    assert_eq!(alone.log().len(), 1, "{:#?}", alone.log());
    telemetry
}

async fn end(telemetry: &Telemetry) {
    let _ = telemetry.shutdown(Duration::from_secs(60)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_receiver() {
    for protocol in [HTTP, GRPC] {
        let alone = alone().await;
        let endpoint = format!("http://127.0.0.1:{}", free_port());
        end(&fail(&alone, &endpoint, protocol, "connection refused").await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs() {
    for protocol in [HTTP, GRPC] {
        let alone = alone().await;
        let receiver = Mute::start();
        end(&fail(&alone, &receiver.url(), protocol, "no answer within 0.3 s").await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_refuses_by_grpc() {
    let alone = alone().await;
    let receiver = Grpc::start(16, Vec::new());
    let cause = "the answer was gRPC status Unauthenticated";
    end(&fail(&alone, &receiver.url(), GRPC, cause).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_has_no_time() {
    let alone = alone().await;
    let receiver = Receiver::start(Answer::Status(StatusCode::SERVICE_UNAVAILABLE));
    let cause = "the answer was 503 Service Unavailable";
    end(&fail(&alone, &receiver.url(), HTTP, cause).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_has_had_enough() {
    let alone = alone().await;
    let receiver = Receiver::start(Answer::Status(StatusCode::TOO_MANY_REQUESTS));
    let cause = "the answer was 429 Too Many Requests";
    end(&fail(&alone, &receiver.url(), HTTP, cause).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_does_not_understand() {
    let alone = alone().await;
    let receiver = Receiver::start(Answer::Status(StatusCode::BAD_REQUEST));
    end(&fail(
        &alone,
        &receiver.url(),
        HTTP,
        "the answer was 400 Bad Request",
    )
    .await)
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_comes_back_is_news() {
    let alone = alone().await;
    let receiver = Receiver::start(Answer::Status(StatusCode::BAD_REQUEST));
    let telemetry = fail(
        &alone,
        &receiver.url(),
        HTTP,
        "the answer was 400 Bad Request",
    )
    .await;
    receiver.answer(Answer::Status(StatusCode::OK));
    produce(&telemetry, COUNT);
    until("both are exported again", || {
        let exports = telemetry.exports()?;
        (exports.traces.exported == COUNT && exports.logs.exported == COUNT).then_some(())
    })
    .await;
    let back = format!(
        "telemetry is exported to {} again; lost meanwhile: 600 spans, 600 log records",
        receiver.url()
    );
    until("it is said", || (said(&alone, &back) == 1).then_some(())).await;
    assert_eq!(alone.log().len(), 2, "{:#?}", alone.log());
    let exports = telemetry.exports().expect("it exports");
    assert_eq!(exports.traces.failing_for_seconds, None);
    assert_eq!(exports.traces.failed, 600);
    end(&telemetry).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_slow_gets_what_the_queue_holds() {
    let alone = alone().await;
    let receiver = Receiver::start(Answer::Late(Duration::from_millis(200)));
    let telemetry = telemetry(&[
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &receiver.url()),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "20"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5"),
    ]);
    let start = Instant::now();
    produce(&telemetry, 10_000);
    assert!(start.elapsed() < UNHINDERED, "{:?}", start.elapsed());
    let unsent = telemetry.shutdown(Duration::from_secs(60)).await;
    assert!(unsent.is_none(), "{unsent}");
    let exports = telemetry.exports().expect("it exports");
    let traces = exports.traces;
    assert_eq!(traces.exported + traces.dropped, 10_000);
    assert_eq!(traces.failed, 0);
    // Those of the queue, and of the batches that left it meanwhile, one in a fifth of a second.
    assert!((20..5_000).contains(&traces.exported), "{traces:?}");
    assert_eq!(traces.lost_last_5m, traces.dropped);
    assert_eq!(said(&alone, "spans were dropped: the queue is full"), 1);
    assert_eq!(said(&alone, "could not be sent"), 0);
}

/// `ExportTraceServiceResponse { partial_success: { rejected_spans: 1, error_message: "old" } }`,
/// and the same of log records.
const PARTLY: [u8; 9] = [0x0a, 7, 0x08, 1, 0x12, 3, b'o', b'l', b'd'];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rejected_in_part_is_counted() {
    let alone = alone().await;
    let receiver = Receiver::start(Answer::Body(PARTLY.to_vec()));
    rejected_in_part(&alone, &to(&receiver.url(), HTTP)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rejected_in_part_by_grpc_is_counted() {
    let alone = alone().await;
    let receiver = Grpc::start(0, PARTLY.to_vec());
    rejected_in_part(&alone, &to(&receiver.url(), GRPC)).await;
}

async fn rejected_in_part(alone: &Alone, telemetry: &Telemetry) {
    for round in 1..=2 {
        produce(telemetry, COUNT);
        let produced = COUNT * round;
        until("all is counted", || {
            let exports = telemetry.exports()?;
            (settled(&exports) == (produced, produced)).then_some(())
        })
        .await;
    }
    let exports = telemetry.exports().expect("it exports");
    for signal in [&exports.traces, &exports.logs] {
        // One of each export, and each round took one at least.
        assert!((2..=COUNT * 2).contains(&signal.failed), "{signal:?}");
        assert_eq!(signal.lost_last_5m, signal.failed);
        assert_eq!(signal.last_error.as_deref(), Some("rejected in part: old"));
        assert_eq!(signal.failing_for_seconds, None);
    }
    for items in ["spans", "log records"] {
        let once = format!("does not take all {items}: rejected in part: old");
        assert_eq!(said(alone, &once), 1);
    }
    assert_eq!(alone.log().len(), 2, "{:#?}", alone.log());
    end(telemetry).await;
}
