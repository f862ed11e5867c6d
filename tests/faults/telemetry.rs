//! The collector is unreachable while an app exports to it.

use std::time::Duration;

use http::StatusCode;
use poolscope::Telemetry;
use poolscope::backend::AsyncSqliteConnection;
use poolscope::telemetry::SignalExports;

use crate::databases::Tested;
use crate::load::Load;
use crate::lost::nothing_is_lost;
use crate::monitor_client::until;
use crate::receiver::{Answer, Receiver};
use crate::support::child;
use crate::support::proxy::Proxy;
use crate::support::waiting::soon;

/// The collector refuses, is silent, and returns. Checkouts are not affected, and losses are counted.
#[test]
fn an_unreachable_collector_does_not_affect_checkouts() {
    child::body(interrupt_the_collector());
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:{port}"),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "500"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "500"),
    ];
    child::run(
        "telemetry::an_unreachable_collector_does_not_affect_checkouts",
        &variables,
    );
}

async fn interrupt_the_collector() {
    let receiver = Receiver::start(Answer::Status(StatusCode::OK));
    let url = receiver.url();
    let (_, port) = url.rsplit_once(':').expect("a port");
    let mut proxy = Proxy::at(child::port(), port.parse().expect("a port")).await;
    let builder = Telemetry::from_env();
    let telemetry = builder
        .and_then(|builder| builder.start())
        .expect("telemetry");
    let traces = async || telemetry.exports().expect("exports").traces;
    let more = |before: u64| move |traces: &SignalExports| traces.exported > before;

    let database = AsyncSqliteConnection::database("no_collector");
    let pool = database
        .pool::<AsyncSqliteConnection>()
        .pool_size(4)
        .max_overflow(4)
        .build()
        .unwrap();
    let load = Load::start(&pool, 16);
    until("spans arrive", traces, more(100)).await;
    for silent in [false, true] {
        match silent {
            true => proxy.pause(),
            false => proxy.refuse().await,
        }
        let failed = traces().await.failed;
        until("spans are lost", traces, |now| {
            now.failed > failed && now.failing_for_seconds.is_some()
        })
        .await;
        load.is_served(500).await;
        proxy.pass().await;
        let exported = traces().await.exported;
        until("spans arrive again", traces, more(exported)).await;
        until("export resumes", traces, |now| {
            now.failing_for_seconds.is_none()
        })
        .await;
    }
    proxy.refuse().await;
    let seen = load.end().await;
    assert_eq!((seen.failed, seen.refusals()), (0, 0), "{seen:?}");
    nothing_is_lost(&pool).await;

    soon("the shutdown", telemetry.shutdown(Duration::from_secs(1))).await;
}
