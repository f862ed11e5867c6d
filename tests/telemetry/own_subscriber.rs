//! An app with its own subscriber. Its spans and events, and those made with the OpenTelemetry API, form
//! one trace.

use std::time::Duration;

use http::StatusCode;
use opentelemetry::trace::{FutureExt, TraceContextExt, Tracer};
use opentelemetry::{Context, global};
use poolscope::Telemetry;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt};

use crate::app::{ENDPOINT, HERE, telemetry, under};
use crate::log::Log;
use crate::receiver::{Answer, Receiver};
use crate::support::child;
use crate::support::collector::{Collector, Options};

#[test]
fn spans_nest_and_logs_carry_their_ids() {
    child::body(async {
        let telemetry = telemetry();
        under(&telemetry, || {
            let tracer = global::tracer("app");
            tracing::info_span!("outer").in_scope(|| {
                tracing::info!("under tracing");
                let inner = tracer.start("inner");
                let inner = Context::current_with_span(inner).attach();
                tracing::info_span!("innermost").in_scope(|| tracing::warn!("deep down"));
                drop(inner);
            });
            tracer.in_span("plain", |_| tracing::info!("under OpenTelemetry"));
            tracing::info!("under nothing");
            tracing::debug!("not at this level");
        });
        let unsent = telemetry.shutdown(Duration::from_secs(60)).await;
        assert!(unsent.is_none(), "{unsent}");
    });
    let Some(collector) = Collector::start(Options::new()) else {
        return;
    };
    let endpoint = collector.http_endpoint();
    child::run(
        "own_subscriber::spans_nest_and_logs_carry_their_ids",
        &[(ENDPOINT, &endpoint)],
    );
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let spans = collector.spans_when(|spans| spans.len() >= 4).await;
        let span = |name: &str| {
            spans
                .iter()
                .find(|span| span.name == name)
                .expect("an arrived record")
        };
        let (outer, inner, innermost, plain) = (
            span("outer"),
            span("inner"),
            span("innermost"),
            span("plain"),
        );
        assert_eq!((&*outer.parent_id, &*plain.parent_id), ("", ""));
        assert_eq!(inner.parent_id, outer.span_id);
        assert_eq!(innermost.parent_id, inner.span_id);
        assert_eq!(outer.trace_id, innermost.trace_id);
        assert_ne!(outer.trace_id, plain.trace_id);

        let logs = collector.logs_when(|logs| logs.len() >= 4).await;
        let log = |body: &str| {
            logs.iter()
                .find(|log| log.body == body)
                .expect("an arrived record")
        };
        for (body, span) in [
            ("under tracing", outer),
            ("deep down", innermost),
            ("under OpenTelemetry", plain),
        ] {
            let log = log(body);
            assert_eq!(
                (&log.trace_id, &log.span_id),
                (&span.trace_id, &span.span_id),
                "{body}"
            );
        }
        assert_eq!(log("under nothing").trace_id, "");
        assert_eq!(log("deep down").severity, "WARN");
        assert_eq!(logs.len(), 4, "{logs:?}");
    });
}

#[test]
fn an_app_can_use_its_own_filter() {
    child::body(async {
        let _receiver = Receiver::at(child::port(), Answer::Status(StatusCode::OK));
        let telemetry = telemetry();
        let subscriber = tracing_subscriber::registry()
            .with(telemetry.span_layer().with_filter(LevelFilter::DEBUG))
            .with(telemetry.event_layer().with_filter(LevelFilter::ERROR));
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug_span!("fine").in_scope(|| tracing::warn!("not bad enough"));
            tracing::error!("bad");
        });
        assert!(telemetry.shutdown(Duration::from_secs(60)).await.is_none());
        let exports = telemetry.exports().expect("exports");
        assert_eq!((exports.traces.exported, exports.logs.exported), (1, 1));
    });
    child::run("own_subscriber::an_app_can_use_its_own_filter", &[HERE]);
}

#[test]
fn a_sampler_drops_spans_but_not_logs() {
    child::body(async {
        let _receiver = Receiver::at(child::port(), Answer::Status(StatusCode::OK));
        let telemetry = telemetry();
        crate::app::produce(&telemetry, 1000);
        assert!(telemetry.shutdown(Duration::from_secs(60)).await.is_none());
        let exports = telemetry.exports().expect("exports");
        let traces = exports.traces.exported;
        assert!((300..700).contains(&traces), "{traces}");
        assert_eq!(exports.logs.exported, 1000);
    });
    let sampler = ("OTEL_TRACES_SAMPLER", "traceidratio");
    let variables = [HERE, sampler, ("OTEL_TRACES_SAMPLER_ARG", "0.5")];
    child::run(
        "own_subscriber::a_sampler_drops_spans_but_not_logs",
        &variables,
    );
}

/// Propagation needs a global propagator; telemetry sets the W3C's.
#[test]
fn trace_context_and_baggage_are_propagated() {
    child::body(async {
        let _receiver = Receiver::at(child::port(), Answer::Status(StatusCode::OK));
        let telemetry = telemetry();
        let headers = std::collections::HashMap::from([
            (
                "traceparent".to_owned(),
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
            ),
            ("baggage".to_owned(), "customer=7".to_owned()),
        ]);
        let context = global::get_text_map_propagator(|propagator| propagator.extract(&headers));
        let remote = context.span().span_context().clone();
        assert!(remote.is_remote());
        async {
            let mut sent = std::collections::HashMap::new();
            global::get_text_map_propagator(|propagator| propagator.inject(&mut sent));
            sent.retain(|_, value: &mut String| !value.is_empty());
            assert_eq!(sent, headers);
        }
        .with_context(context)
        .await;
        telemetry.shutdown(Duration::from_secs(60)).await;
    });
    child::run(
        "own_subscriber::trace_context_and_baggage_are_propagated",
        &[HERE],
    );
}

#[test]
fn install_fails_if_a_subscriber_is_installed() {
    child::body(async {
        let _log = Log::install();
        let builder = Telemetry::from_env();
        let error = builder
            .and_then(|builder| builder.install())
            .expect_err("an error");
        assert_eq!(
            error.to_string(),
            "a tracing subscriber is installed already: call `start` instead of `install`, and add `telemetry.layer()` to that subscriber"
        );
    });
    child::run(
        "own_subscriber::install_fails_if_a_subscriber_is_installed",
        &[],
    );
}
