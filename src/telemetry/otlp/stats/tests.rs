use std::fmt;
use std::sync::Mutex;

use tracing::Event;
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use super::*;

fn stats(origins: [&str; 3]) -> Arc<ExportStats> {
    ExportStats::new([const { None }; 3], origins.map(str::to_owned))
}

#[test]
fn the_warning_has_the_cause() {
    let endpoint = "http://collector:4318";
    let stats = ExportStats::new([Some(endpoint.to_owned()), None, None], Default::default());
    stats.add_exported(Signal::Traces, 10, 0, "");
    assert_eq!(stats.read().warning(), None);
    stats.add_failed(Signal::Traces, 3, "connection refused");
    stats.add_dropped(Signal::Traces, 2);
    let exports = stats.read();
    assert_eq!(exports.lost_last_5m(), 5);
    let traces = &exports.traces;
    assert_eq!((traces.exported, traces.failed, traces.dropped), (10, 3, 2));
    assert_eq!(
        exports.warning().unwrap().0,
        "telemetry was lost within the last 5 minutes: 5 spans; http://collector:4318 does not take it: connection refused"
    );
    stats.add_exported(Signal::Traces, 1, 0, "");
    let exports = stats.read();
    assert_eq!(exports.traces.failing_for_seconds, None);
    let (_, advice) = exports.warning().unwrap();
    assert!(advice.contains("OTEL_BSP_MAX_QUEUE_SIZE"));
}

#[test]
fn health_shows_the_active_counts() {
    let [one, other] = [(); 2].map(|()| stats(["", "", ""]));
    one.activate();
    one.add_dropped(Signal::Logs, 1);
    assert_eq!(Exports::snapshot().unwrap().logs.dropped, 1);
    other.activate();
    one.deactivate();
    assert_eq!(Exports::snapshot().unwrap().logs.dropped, 0);
    other.deactivate();
    assert_eq!(Exports::snapshot(), None);
}

/// The messages logged since the last call of `take`.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl<S: tracing::Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut &*self);
    }
}

impl Visit for &Log {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0.lock().unwrap().push(format!("{value:?}"));
        }
    }
}

/// Returns statistics whose messages are collected while the guard lives.
fn logged(origins: [&str; 3]) -> (Arc<ExportStats>, Log, DefaultGuard) {
    let log = Log::default();
    let subscriber = tracing_subscriber::registry().with(log.clone());
    let guard = tracing::subscriber::set_default(subscriber);
    (stats(origins), log, guard)
}

/// Adds a failed export of five items, and returns the messages.
fn failed(stats: &ExportStats, log: &Log, signal: Signal) -> Vec<String> {
    stats.add_failed(signal, 5, "refused");
    log.take()
}

/// Adds a successful export of one item, and returns the messages.
fn exported(stats: &ExportStats, log: &Log, signal: Signal) -> Vec<String> {
    stats.add_exported(signal, 1, 0, "");
    log.take()
}

#[test]
fn an_outage_is_logged_once_and_so_is_its_end() {
    let (stats, log, _guard) = logged(["http://one:4318", "http://one:4318", "http://other:4318"]);
    let fail = |signal| failed(&stats, &log, signal);
    let succeed = |signal| exported(&stats, &log, signal);

    // Losses before the outage are not from the outage.
    stats.add_dropped(Signal::Metrics, 7);
    let first = fail(Signal::Traces).pop().unwrap();
    let expected = "telemetry can't be exported to http://one:4318: refused; lost so far: 5 spans, 7 data points;";
    assert!(first.starts_with(expected), "{first}");
    for _ in 0..3 {
        assert_eq!(fail(Signal::Traces), [""; 0]);
        assert_eq!(fail(Signal::Metrics), [""; 0]);
    }
    assert!(fail(Signal::Logs)[0].contains("http://other:4318"));
    assert_eq!(succeed(Signal::Traces), [""; 0]);
    // It fails again while the other signal still does, and more spans are in the queue.
    stats.queued[Signal::Traces as usize].store(1, Relaxed);
    assert_eq!(fail(Signal::Traces), [""; 0]);
    assert_eq!(succeed(Signal::Metrics), [""; 0]);
    assert_eq!(
        succeed(Signal::Traces),
        [
            "telemetry is exported to http://one:4318 again; lost meanwhile: 25 spans, 15 data points"
        ]
    );
    assert_eq!(succeed(Signal::Traces), [""; 0]);
}

#[test]
fn a_signal_with_nothing_left_to_export_does_not_delay_the_end_of_an_outage() {
    let (stats, log, _guard) = logged(["http://one:4318"; 3]);
    let fail = |signal| failed(&stats, &log, signal);
    let succeed = |signal| exported(&stats, &log, signal);
    let spans_left = |number| stats.queued[Signal::Traces as usize].store(number, Relaxed);
    let begins = |said: Vec<String>| said[0].starts_with("telemetry can't be exported to");
    let ends = |lost: &str| {
        let end = "telemetry is exported to http://one:4318 again; lost meanwhile:";
        [format!("{end} {lost}")]
    };

    assert!(begins(fail(Signal::Traces)));
    assert_eq!(fail(Signal::Metrics), [""; 0]);
    spans_left(2);
    // Metrics are read again later, and spans are in the queue.
    assert_eq!(succeed(Signal::Logs), [""; 0]);
    assert_eq!(succeed(Signal::Metrics), [""; 0]);
    spans_left(0);
    let lost = ends("5 spans, 5 data points");
    assert_eq!(succeed(Signal::Logs), lost);
    assert_eq!(succeed(Signal::Logs), [""; 0]);
    // A server that rejects every span is not reported as working whenever the queue is empty.
    assert!(begins(fail(Signal::Traces)));
    assert_eq!(succeed(Signal::Logs), [""; 0]);
    assert_eq!(succeed(Signal::Traces), ends("5 spans"));
}

#[test]
fn a_full_queue_is_logged_when_it_begins() {
    let (stats, log, _guard) = logged(["", "", ""]);
    for full in [true, false, true] {
        for _ in 0..3 {
            stats.add_dropped(Signal::Traces, u64::from(full) * 4);
            stats.add_exported(Signal::Traces, 1, 0, "");
        }
        let said = log.take();
        assert_eq!(said.len(), usize::from(full), "{said:?}");
        if full {
            let expected = "telemetry was dropped because the queue is full: 4 spans; ";
            assert!(said[0].starts_with(expected), "{said:?}");
        }
    }
}
