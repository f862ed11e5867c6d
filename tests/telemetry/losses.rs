//! Receivers that are absent, refuse, hang or are slow: nothing waits for them, what they did not
//! take is counted, and the log says it once.

use std::time::{Duration, Instant};

use http::StatusCode;
use poolscope::Telemetry;

use crate::app::{ENDPOINT, HERE, produce, settled, telemetry};
use crate::log::{Log, until};
use crate::receiver::{Answer, Grpc, Mute, Receiver};
use crate::support::child;

const COUNT: u64 = 200;
/// A collector that hangs costs minutes where it is waited for.
const UNHINDERED: Duration = Duration::from_secs(30);

const HTTP: &str = "http/protobuf";
const GRPC: &str = "grpc";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";

/// Runs the body of a test with quick exports, so that there are many of them.
fn run(test: &str, protocol: &str, timeout: &str) {
    let variables = [
        HERE,
        (PROTOCOL, protocol),
        ("OTEL_METRICS_EXPORTER", "none"),
        // Only where there is no answer at all: a busy machine may take its time for one.
        ("OTEL_BSP_EXPORT_TIMEOUT", timeout),
        ("OTEL_BLRP_EXPORT_TIMEOUT", timeout),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", timeout),
        ("OTEL_BSP_SCHEDULE_DELAY", "10"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "10"),
    ];
    child::run(&format!("losses::{test}"), &variables);
}

fn endpoint() -> String {
    std::env::var(ENDPOINT).expect("this is the child")
}

fn said(log: &Log, what: &str) -> usize {
    let lines = log.lines();
    lines.iter().filter(|line| line.contains(what)).count()
}

/// Produces again and again until enough exports have failed, and gives what was said.
async fn fail(log: &Log, cause: &str) -> Telemetry {
    let (telemetry, endpoint) = (telemetry(), endpoint());
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
    let failures = said(log, "telemetry can't be exported to");
    assert_eq!(failures, 1, "{:#?}", log.lines());
    let lines = log.lines();
    let first = &lines[0];
    let expected =
        format!("WARN poolscope::telemetry: telemetry can't be exported to {endpoint}: ");
    assert!(first.starts_with(&expected), "{first}");
    assert!(first.contains(cause), "{first}");
    assert_eq!(log.lines().len(), 1, "{:#?}", log.lines());
    telemetry
}

async fn end(telemetry: &Telemetry) {
    let _ = telemetry.shutdown(Duration::from_secs(60)).await;
}

#[test]
fn an_absent_receiver() {
    child::body(async { end(&fail(&Log::install(), "connection refused").await).await });
    for protocol in [HTTP, GRPC] {
        run("an_absent_receiver", protocol, "60000");
    }
}

#[test]
fn a_receiver_that_hangs() {
    child::body(async {
        let _receiver = Mute::at(child::port());
        end(&fail(&Log::install(), "no answer within 0.3 s").await).await;
    });
    for protocol in [HTTP, GRPC] {
        run("a_receiver_that_hangs", protocol, "300");
    }
}

#[test]
fn a_receiver_that_refuses_by_grpc() {
    child::body(async {
        let _receiver = Grpc::at(child::port(), 16, Vec::new());
        let cause = "the answer was gRPC status Unauthenticated";
        end(&fail(&Log::install(), cause).await).await;
    });
    run("a_receiver_that_refuses_by_grpc", GRPC, "60000");
}

/// It has no time, has had enough, or does not understand.
#[test]
fn a_receiver_that_refuses() {
    child::body(async {
        let status = std::env::var("STATUS").expect("this is the child");
        let status = StatusCode::from_bytes(status.as_bytes()).expect("a status");
        let _receiver = Receiver::at(child::port(), Answer::Status(status));
        let cause = format!("the answer was {status}");
        end(&fail(&Log::install(), &cause).await).await;
    });
    for status in ["503", "429", "400"] {
        let quick = ["OTEL_BSP_SCHEDULE_DELAY", "OTEL_BLRP_SCHEDULE_DELAY"].map(|it| (it, "10"));
        let variables = [HERE, ("OTEL_METRICS_EXPORTER", "none"), ("STATUS", status)];
        let name = "losses::a_receiver_that_refuses";
        child::run(name, &[&variables[..], &quick].concat());
    }
}

#[test]
fn a_receiver_that_comes_back_is_news() {
    child::body(async {
        let log = Log::install();
        let receiver = Receiver::at(child::port(), Answer::Status(StatusCode::BAD_REQUEST));
        let telemetry = fail(&log, "the answer was 400 Bad Request").await;
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
        until("it is said", || (said(&log, &back) == 1).then_some(())).await;
        assert_eq!(log.lines().len(), 2, "{:#?}", log.lines());
        let exports = telemetry.exports().expect("it exports");
        assert_eq!(exports.traces.failing_for_seconds, None);
        assert_eq!(exports.traces.failed, 600);
        end(&telemetry).await;
    });
    run("a_receiver_that_comes_back_is_news", HTTP, "60000");
}

#[test]
fn a_receiver_that_is_slow_gets_what_the_queue_holds() {
    child::body(async {
        let log = Log::install();
        let _receiver = Receiver::at(child::port(), Answer::Late(Duration::from_millis(200)));
        let telemetry = telemetry();
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
        assert_eq!(
            said(&log, "telemetry was dropped because the queue is full: "),
            1
        );
        assert_eq!(said(&log, "could not be sent"), 0);
    });
    let variables = [
        (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "http://127.0.0.1:{port}",
        ),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "20"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5"),
    ];
    child::run(
        "losses::a_receiver_that_is_slow_gets_what_the_queue_holds",
        &variables,
    );
}

/// `ExportTraceServiceResponse { partial_success: { rejected_spans: 1, error_message: "old" } }`,
/// and the same of log records.
const PARTLY: [u8; 9] = [0x0a, 7, 0x08, 1, 0x12, 3, b'o', b'l', b'd'];

#[test]
fn what_is_rejected_in_part_is_counted() {
    child::body(async {
        let _receiver = Receiver::at(child::port(), Answer::Body(PARTLY.to_vec()));
        rejected_in_part(&Log::install()).await;
    });
    run("what_is_rejected_in_part_is_counted", HTTP, "60000");
}

#[test]
fn what_is_rejected_in_part_by_grpc_is_counted() {
    child::body(async {
        let _receiver = Grpc::at(child::port(), 0, PARTLY.to_vec());
        rejected_in_part(&Log::install()).await;
    });
    run("what_is_rejected_in_part_by_grpc_is_counted", GRPC, "60000");
}

async fn rejected_in_part(log: &Log) {
    let telemetry = &telemetry();
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
        assert_eq!(said(log, &once), 1);
    }
    assert_eq!(log.lines().len(), 2, "{:#?}", log.lines());
    end(telemetry).await;
}
