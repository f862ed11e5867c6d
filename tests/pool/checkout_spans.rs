//! The span of a checkout, read through the SDK.

use std::time::Duration;

use futures_util::FutureExt as _;
use opentelemetry::Context;
use opentelemetry::trace::{
    FutureExt as _, SpanId, SpanKind, Status, TraceContextExt, Tracer, TracerProvider,
};
use opentelemetry_sdk::trace::Sampler;
use poolscope::backend::AsyncSqliteConnection;
use poolscope::{Checkout, Pool, PoolError, Settings};

use crate::databases::{Database, Tested};
use crate::in_memory_exporters::{Spans, attribute};

type Sqlite = AsyncSqliteConnection;

/// A pool of one connection, and its spans.
fn one(name: &str, spans: &Spans) -> (Database, Pool<Sqlite>) {
    let database = Sqlite::database(name);
    let pool = database
        .pool::<Sqlite>()
        .name("orders")
        .pool_size(1)
        .max_overflow(0)
        .tracer_provider(spans.provider.clone())
        .build()
        .unwrap();
    (database, pool)
}

/// The context of a traced request.
fn request(spans: &Spans) -> Context {
    let tracer = spans.provider.tracer("app");
    Context::new().with_span(tracer.start("GET /orders"))
}

#[tokio::test]
async fn a_checkout_is_a_child_of_the_current_context() {
    let spans = Spans::new();
    let (_database, pool) = one("parents", &spans);
    let request = request(&spans);
    let (asked, line) = (pool.get(), line!());
    drop(asked.with_context(request.clone()).await.unwrap());
    let report = async { pool.checkout(Checkout::new().label("report")).await };
    drop(report.with_context(request.clone()).await.unwrap());
    drop(pool.get().await.unwrap());

    let checkouts = spans.checkouts();
    let [first, second, alone] = &checkouts[..] else {
        panic!("{checkouts:?}")
    };
    let parent = request.span().span_context().clone();
    for child in [first, second] {
        assert_eq!(child.parent_span_id, parent.span_id());
        assert_eq!(child.span_context.trace_id(), parent.trace_id());
    }
    assert_eq!(alone.parent_span_id, SpanId::INVALID);
    assert_ne!(alone.span_context.trace_id(), parent.trace_id());

    assert_eq!(first.span_kind, SpanKind::Internal);
    assert_eq!(first.status, Status::Unset);
    assert_eq!(first.instrumentation_scope.name(), "poolscope");
    assert_eq!(attribute(first, "db.client.connection.pool.name"), "orders");
    assert_eq!(attribute(first, "code.file.path"), file!());
    assert_eq!(attribute(first, "code.line.number"), line.to_string());
    assert_eq!(attribute(first, "error.type"), "");
    assert_eq!(attribute(first, "poolscope.checkout.label"), "");
    assert_eq!(attribute(second, "poolscope.checkout.label"), "report");
}

#[tokio::test]
async fn the_span_covers_the_wait_and_not_the_hold() {
    let spans = Spans::new();
    let (_database, pool) = one("covers", &spans);
    let held = pool.get().await.unwrap();
    assert_eq!(
        spans.checkouts().len(),
        1,
        "the span ends when the connection is granted"
    );
    let mut waiting = Box::pin(pool.get());
    assert!(waiting.as_mut().now_or_never().is_none());
    assert_eq!(spans.checkouts().len(), 1);
    drop(held);
    drop(waiting.await.unwrap());
    assert_eq!(spans.checkouts().len(), 2);
}

#[tokio::test]
async fn an_unsampled_trace_has_no_span_and_still_names_its_holder() {
    let spans = Spans::sampled(Sampler::ParentBased(Box::new(Sampler::AlwaysOff)));
    let (_database, pool) = one("not_sampled", &spans);
    let request = request(&spans);
    let held = pool.get().with_context(request.clone()).await.unwrap();
    assert_eq!(spans.checkouts().len(), 0);
    let trace = request.span().span_context().trace_id().to_string();
    let health = pool.health().await;
    assert_eq!(health.longest_holders[0].trace_id.as_deref(), Some(&*trace));
    drop(held);
    assert_eq!(spans.checkouts().len(), 0);
}

#[tokio::test]
async fn a_holder_is_shown_with_its_trace() {
    let spans = Spans::new();
    let (_database, pool) = one("holders_trace", &spans);
    let request = request(&spans);
    let _held = pool.get().with_context(request.clone()).await.unwrap();
    let trace = request.span().span_context().trace_id().to_string();
    let holders = pool.health().await.longest_holders;
    assert_eq!(holders[0].trace_id.as_deref(), Some(&*trace));
    let sessions = pool.connections().await.sessions;
    let holder = sessions[0].holder.as_ref().unwrap();
    assert_eq!(holder.trace_id.as_deref(), Some(&*trace));
}

#[tokio::test]
async fn without_telemetry_a_holder_has_no_trace() {
    let database = Sqlite::database("no_trace");
    let pool = database.pool::<Sqlite>().build().unwrap();
    let _held = pool.get().await.unwrap();
    assert_eq!(pool.health().await.longest_holders[0].trace_id, None);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_is_an_error_with_its_type_and_message() {
    let spans = Spans::new();
    let (_database, pool) = one("span_timeout", &spans);
    let _held = pool.get().await.unwrap();
    let error = pool.get().await.unwrap_err();
    assert!(error.is_timeout());
    let checkouts = spans.checkouts();
    assert_eq!(checkouts.len(), 2);
    assert_eq!(attribute(&checkouts[1], "error.type"), "timeout");
    assert_eq!(checkouts[1].status, Status::error(error.to_string()));
}

#[tokio::test]
async fn a_connect_failure_is_an_error_with_its_kind() {
    let spans = Spans::new();
    // Nothing listens on port 1.
    let settings = Settings::new("postgres://nobody@127.0.0.1:1/nothing");
    let pool = Pool::<diesel_async::AsyncPgConnection>::builder(settings)
        .tracer_provider(spans.provider.clone())
        .build()
        .unwrap();
    let error = pool.get().await.unwrap_err();
    assert!(matches!(error, PoolError::ConnectFailed(_)), "{error}");
    let span = spans.only_checkout();
    assert_eq!(attribute(&span, "error.type"), "unreachable");
    assert_eq!(span.status, Status::error(error.to_string()));
}

#[tokio::test]
async fn other_refusals_are_errors_too() {
    let spans = Spans::new();
    let (_database, pool) = one("refusals", &spans);
    let held = pool.get().await.unwrap();
    assert!(matches!(pool.try_get(), Err(PoolError::Rejected(_))));
    drop(held);
    assert!(pool.close(Duration::from_secs(10)).await);
    assert!(matches!(pool.get().await, Err(PoolError::Closed)));
    let types: Vec<_> = spans
        .checkouts()
        .iter()
        .map(|span| attribute(span, "error.type"))
        .collect();
    assert_eq!(types, ["", "rejected", "closed"]);
}

#[tokio::test]
async fn a_dropped_checkout_ends_as_canceled() {
    let spans = Spans::new();
    let (_database, pool) = one("canceled", &spans);
    let _held = pool.get().await.unwrap();
    let mut waiting = Box::pin(pool.get());
    assert!(waiting.as_mut().now_or_never().is_none());
    drop(waiting);
    let checkouts = spans.checkouts();
    assert_eq!(checkouts.len(), 2);
    assert_eq!(attribute(&checkouts[1], "error.type"), "canceled");
    assert_eq!(checkouts[1].status, Status::Unset);
    let status = pool.status();
    assert_eq!((status.totals.canceled, status.pending), (1, 0));
}

#[tokio::test]
async fn a_future_that_is_never_polled_has_no_span() {
    let spans = Spans::new();
    let (_database, pool) = one("never_runs", &spans);
    drop(pool.get());
    assert_eq!(spans.checkouts().len(), 0);
    assert_eq!(pool.status().totals.canceled, 0);
}
