//! An app that sets its OpenTelemetry providers after it has built its pool.
//!
//! The only test of its binary, because the providers are global.

use opentelemetry::trace::{
    FutureExt, SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Context, global};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use poolscope::backend::AsyncSqliteConnection;
use poolscope::{Pool, Settings};

#[path = "support/waiting.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with other test binaries")]
mod waiting;

use waiting::found;

/// The context of a request that carries its sender's trace, as behind a traced gateway.
fn incoming() -> Context {
    Context::new().with_remote_span_context(SpanContext::new(
        TraceId::from(0x4bf9_2f35),
        SpanId::from(0x00f0_67aa),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    ))
}

#[tokio::test]
async fn late_providers_receive_all_telemetry() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/app.db", folder.path().display());
    let builder = Pool::<AsyncSqliteConnection>::builder(Settings::new(url));
    let pool = builder.name("early").build().unwrap();
    let checkout = async || drop(pool.get().with_context(incoming()).await.unwrap());
    checkout().await;

    let (metrics, spans) = (
        InMemoryMetricExporter::default(),
        InMemorySpanExporter::default(),
    );
    let meters = SdkMeterProvider::builder()
        .with_periodic_exporter(metrics.clone())
        .build();
    global::set_meter_provider(meters.clone());
    let tracers = SdkTracerProvider::builder()
        .with_simple_exporter(spans.clone())
        .build();
    global::set_tracer_provider(tracers);

    found("metrics and spans", async || {
        checkout().await;
        meters.force_flush().unwrap();
        let metrics = metrics.get_finished_metrics().unwrap();
        let mut names: Vec<_> = metrics
            .iter()
            .flat_map(|resource| resource.scope_metrics())
            .flat_map(|scope| scope.metrics())
            .map(|metric| metric.name())
            .collect();
        names.sort_unstable();
        names.dedup();
        let spans = spans.get_finished_spans().unwrap();
        // All metrics except create_time: the only connection was opened before.
        if names.len() >= 8 && !spans.is_empty() {
            let parent = incoming().span().span_context().clone();
            assert_eq!(spans[0].parent_span_id, parent.span_id());
            assert_eq!(spans[0].span_context.trace_id(), parent.trace_id());
            assert!(
                names.contains(&"db.client.connection.wait_time"),
                "{names:?}"
            );
            return Ok(());
        }
        Err(format!("{names:?}, {} spans", spans.len()))
    })
    .await;
}
