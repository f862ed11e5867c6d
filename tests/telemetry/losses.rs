//! Receivers that are absent, rejecting, hanging or slow. The app does not wait for them, counts what
//! they did not accept, and logs each failure once.

use std::time::{Duration, Instant};

use http::StatusCode;
use poolscope::Telemetry;

use crate::app::{ENDPOINT, HERE, produce, settled, telemetry};
use crate::log::{Log, until};
use crate::receiver::{Answer, Grpc, Mute, Receiver};
use crate::support::child;

const COUNT: u64 = 200;
/// Waiting for a hanging collector would take minutes.
const MAX_DURATION: Duration = Duration::from_secs(30);

const HTTP: &str = "http/protobuf";
const GRPC: &str = "grpc";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";

/// Runs the body of a test with a short export interval, so that it exports often.
fn run(test: &str, protocol: &str, timeout: &str) {
    let variables = [
        HERE,
        (PROTOCOL, protocol),
        ("OTEL_METRICS_EXPORTER", "none"),
        // Short only where there is no response at all, because a busy machine may respond late.
        ("OTEL_BSP_EXPORT_TIMEOUT", timeout),
        ("OTEL_BLRP_EXPORT_TIMEOUT", timeout),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", timeout),
        ("OTEL_BSP_SCHEDULE_DELAY", "10"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "10"),
    ];
    child::run(&format!("losses::{test}"), &variables);
}

fn endpoint() -> String {
    std::env::var(ENDPOINT).expect("set in the child process")
}

fn occurrences(log: &Log, what: &str) -> usize {
    let lines = log.lines();
    lines.iter().filter(|line| line.contains(what)).count()
}

/// Produces telemetry until enough exports have failed, and checks the log.
async fn fail(log: &Log, cause: &str) -> Telemetry {
    let (telemetry, endpoint) = (telemetry(), endpoint());
    let mut produced = 0;
    for round in 1..=3 {
        let start = Instant::now();
        produce(&telemetry, COUNT);
        produced += COUNT;
        assert!(start.elapsed() < MAX_DURATION, "{:?}", start.elapsed());
        let exports = until("all is settled", || {
            telemetry
                .exports()
                .filter(|exports| settled(exports) == (produced, produced))
        })
        .await;
        for signal in [&exports.traces, &exports.logs] {
            assert_eq!((signal.exported, signal.dropped), (0, 0), "{round}");
            assert_eq!(signal.failed, produced);
            assert_eq!(signal.lost_last_5m, produced);
            let error = signal.last_error.as_deref().expect("an error");
            assert!(error.contains(cause), "{error}");
            assert!(signal.failing_for_seconds.is_some());
        }
    }
    let failures = occurrences(log, "telemetry can't be exported to");
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
fn losses_to_an_absent_receiver_are_counted() {
    child::body(async { end(&fail(&Log::install(), "connection refused").await).await });
    for protocol in [HTTP, GRPC] {
        run(
            "losses_to_an_absent_receiver_are_counted",
            protocol,
            "60000",
        );
    }
}

#[test]
fn losses_to_a_hanging_receiver_are_counted() {
    child::body(async {
        let _receiver = Mute::at(child::port());
        end(&fail(&Log::install(), "no answer within 0.3 s").await).await;
    });
    for protocol in [HTTP, GRPC] {
        run("losses_to_a_hanging_receiver_are_counted", protocol, "300");
    }
}

#[test]
fn losses_to_a_rejecting_grpc_receiver_are_counted() {
    child::body(async {
        let _receiver = Grpc::at(child::port(), 16, Vec::new());
        let cause = "the answer was gRPC status Unauthenticated";
        end(&fail(&Log::install(), cause).await).await;
    });
    run(
        "losses_to_a_rejecting_grpc_receiver_are_counted",
        GRPC,
        "60000",
    );
}

/// The receiver is overloaded, rate-limits, or rejects the data.
#[test]
fn losses_to_a_rejecting_receiver_are_counted() {
    child::body(async {
        let status = std::env::var("STATUS").expect("set in the child process");
        let status = StatusCode::from_bytes(status.as_bytes()).expect("a status");
        let _receiver = Receiver::at(child::port(), Answer::Status(status));
        let cause = format!("the answer was {status}");
        end(&fail(&Log::install(), &cause).await).await;
    });
    for status in ["503", "429", "400"] {
        let quick = ["OTEL_BSP_SCHEDULE_DELAY", "OTEL_BLRP_SCHEDULE_DELAY"].map(|it| (it, "10"));
        let variables = [HERE, ("OTEL_METRICS_EXPORTER", "none"), ("STATUS", status)];
        let name = "losses::losses_to_a_rejecting_receiver_are_counted";
        child::run(name, &[&variables[..], &quick].concat());
    }
}

#[test]
fn the_log_reports_that_export_resumes() {
    child::body(async {
        let log = Log::install();
        let receiver = Receiver::at(child::port(), Answer::Status(StatusCode::BAD_REQUEST));
        let telemetry = fail(&log, "the answer was 400 Bad Request").await;
        receiver.answer(Answer::Status(StatusCode::OK));
        produce(&telemetry, COUNT);
        until("both signals are exported again", || {
            let exports = telemetry.exports()?;
            (exports.traces.exported == COUNT && exports.logs.exported == COUNT).then_some(())
        })
        .await;
        let back = format!(
            "telemetry is exported to {} again; lost meanwhile: 600 spans, 600 log records",
            receiver.url()
        );
        until("the log event", || {
            (occurrences(&log, &back) == 1).then_some(())
        })
        .await;
        assert_eq!(log.lines().len(), 2, "{:#?}", log.lines());
        let exports = telemetry.exports().expect("exports");
        assert_eq!(exports.traces.failing_for_seconds, None);
        assert_eq!(exports.traces.failed, 600);
        end(&telemetry).await;
    });
    run("the_log_reports_that_export_resumes", HTTP, "60000");
}

#[test]
fn a_slow_receiver_gets_only_the_queued_telemetry() {
    child::body(async {
        let log = Log::install();
        let _receiver = Receiver::at(child::port(), Answer::Late(Duration::from_millis(200)));
        let telemetry = telemetry();
        let start = Instant::now();
        produce(&telemetry, 10_000);
        assert!(start.elapsed() < MAX_DURATION, "{:?}", start.elapsed());
        let unsent = telemetry.shutdown(Duration::from_secs(60)).await;
        assert!(unsent.is_none(), "{unsent}");
        let exports = telemetry.exports().expect("exports");
        let traces = exports.traces;
        assert_eq!(traces.exported + traces.dropped, 10_000);
        assert_eq!(traces.failed, 0);
        // The queue, and the batches sent meanwhile, one each fifth of a second.
        assert!((20..5_000).contains(&traces.exported), "{traces:?}");
        assert_eq!(traces.lost_last_5m, traces.dropped);
        assert_eq!(
            occurrences(&log, "telemetry was dropped because the queue is full: "),
            1
        );
        assert_eq!(occurrences(&log, "could not be sent"), 0);
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
        "losses::a_slow_receiver_gets_only_the_queued_telemetry",
        &variables,
    );
}

/// `ExportTraceServiceResponse { partial_success: { rejected_spans: 1, error_message: "old" } }`,
/// and the same of log records.
const PARTIAL_SUCCESS: [u8; 9] = [0x0a, 7, 0x08, 1, 0x12, 3, b'o', b'l', b'd'];

#[test]
fn partial_rejections_are_counted() {
    child::body(async {
        let _receiver = Receiver::at(child::port(), Answer::Body(PARTIAL_SUCCESS.to_vec()));
        rejected_in_part(&Log::install()).await;
    });
    run("partial_rejections_are_counted", HTTP, "60000");
}

#[test]
fn partial_grpc_rejections_are_counted() {
    child::body(async {
        let _receiver = Grpc::at(child::port(), 0, PARTIAL_SUCCESS.to_vec());
        rejected_in_part(&Log::install()).await;
    });
    run("partial_grpc_rejections_are_counted", GRPC, "60000");
}

async fn rejected_in_part(log: &Log) {
    let telemetry = &telemetry();
    for round in 1..=2 {
        produce(telemetry, COUNT);
        let produced = COUNT * round;
        until("all is settled", || {
            let exports = telemetry.exports()?;
            (settled(&exports) == (produced, produced)).then_some(())
        })
        .await;
    }
    let exports = telemetry.exports().expect("exports");
    for signal in [&exports.traces, &exports.logs] {
        // One in each export, and each round exported at least once.
        assert!((2..=COUNT * 2).contains(&signal.failed), "{signal:?}");
        assert_eq!(signal.lost_last_5m, signal.failed);
        assert_eq!(signal.last_error.as_deref(), Some("rejected in part: old"));
        assert_eq!(signal.failing_for_seconds, None);
    }
    for items in ["spans", "log records"] {
        let once = format!("does not take all {items}: rejected in part: old");
        assert_eq!(occurrences(log, &once), 1);
    }
    assert_eq!(log.lines().len(), 2, "{:#?}", log.lines());
    end(telemetry).await;
}
