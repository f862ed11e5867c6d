//! The parent of a request's span, and the cases without a span of the layer.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::routing::get as on_get;
use http::Request as HttpRequest;
use opentelemetry::global;
use opentelemetry::trace::{
    FutureExt, Span, SpanContext, SpanId, SpanKind, TraceContextExt, TraceFlags, TraceId,
    TraceState, Tracer, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use poolscope::RequestLayer;

use crate::test_app::{TestApp, assert_child, counts, get, send, use_pool};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn traced(path: &str, sampled: bool) -> HttpRequest<Body> {
    global::set_text_map_propagator(TraceContextPropagator::new());
    let flags = if sampled { "01" } else { "00" };
    HttpRequest::get(path)
        .header("traceparent", format!("00-{TRACE}-{PARENT}-{flags}"))
        .body(Body::empty())
        .unwrap()
}

fn app(test_app: &TestApp) -> Router {
    let pool = test_app.pool.clone();
    Router::new().route("/use", on_get(async move || use_pool(&pool, 1).await))
}

#[tokio::test]
async fn the_span_is_between_the_callers_and_those_of_the_pool() {
    let test_app = TestApp::new();
    send(
        &app(&test_app).layer(test_app.layer()),
        traced("/use", true),
    )
    .await;
    let server = test_app.server();
    assert_eq!(
        server.span_context.trace_id(),
        TraceId::from_hex(TRACE).unwrap()
    );
    assert_eq!(server.parent_span_id, SpanId::from_hex(PARENT).unwrap());
    assert!(server.parent_span_is_remote);
    assert_child(&test_app.named("pool.checkout"), &server);
    let queries: Vec<_> = test_app
        .spans()
        .into_iter()
        .filter(|span| span.span_kind == SpanKind::Client)
        .collect();
    assert_eq!(queries.len(), 1, "{queries:#?}");
    assert_child(&queries[0], &server);
}

#[tokio::test]
async fn the_callers_sampling_decision_is_kept() {
    let test_app = TestApp::new();
    send(
        &app(&test_app).layer(test_app.layer()),
        traced("/use", false),
    )
    .await;
    assert_eq!(test_app.spans().len(), 0);
}

#[tokio::test]
async fn a_remote_context_is_a_parent() {
    let test_app = TestApp::new();
    let caller = SpanContext::new(
        TraceId::from_hex(TRACE).unwrap(),
        SpanId::from_hex(PARENT).unwrap(),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    let context = Context::new().with_remote_span_context(caller);
    let app = app(&test_app).layer(test_app.layer());
    send(&app, get("/use")).with_context(context).await;
    assert_eq!(
        test_app.server().parent_span_id,
        SpanId::from_hex(PARENT).unwrap()
    );
}

#[tokio::test]
async fn a_current_span_gets_the_counts_and_no_span_is_opened() {
    let test_app = TestApp::new();
    let span = test_app.provider.tracer("app").start("the app's own");
    let context = Context::new().with_span(span);
    let app = app(&test_app).layer(test_app.layer());
    send(&app, traced("/use", true))
        .with_context(context.clone())
        .await;
    context.span().set_attribute(KeyValue::new("still", "open"));
    context.span().end();
    assert_eq!(test_app.servers().len(), 0);
    let own = test_app.named("the app's own");
    assert_eq!(counts(&own), Some((1, 1)));
    assert_child(&test_app.named("pool.checkout"), &own);
}

/// The span of a middleware that ends it with the head of the response.
#[tokio::test]
async fn a_span_that_ends_before_the_body_has_the_counts() {
    let test_app = TestApp::new();
    let provider = test_app.provider.clone();
    let middleware = from_fn(move |request: Request, next: Next| {
        let span = provider.tracer("app").start("short");
        next.run(request)
            .with_context(Context::new().with_span(span))
    });
    let app = app(&test_app).layer(test_app.layer()).layer(middleware);
    send(&app, get("/use")).await;
    assert_eq!(counts(&test_app.named("short")), Some((1, 1)));
    assert_eq!(test_app.servers().len(), 0);
}

#[tokio::test]
async fn a_span_inside_the_layer_is_a_child_of_its_span() {
    let test_app = TestApp::new();
    let provider = test_app.provider.clone();
    let handler = async move || provider.tracer("app").start("work").end();
    let app: Router = Router::new()
        .route("/work", on_get(handler))
        .layer(test_app.layer());
    send(&app, get("/work")).await;
    assert_child(&test_app.named("work"), &test_app.server());
}

/// No other test of this binary may use the global provider.
#[tokio::test]
async fn a_provider_that_is_set_later_gets_later_spans() {
    let test_app = TestApp::new();
    let app = app(&test_app).layer(RequestLayer::new());
    send(&app, traced("/use", true)).await;
    assert_eq!(test_app.servers().len(), 0);
    // Without a listener, the checkout has no parent.
    assert_eq!(
        test_app.named("pool.checkout").parent_span_id,
        SpanId::INVALID
    );

    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    global::set_tracer_provider(provider);
    for _ in 0..2 {
        send(&app, traced("/use", true)).await;
    }
    let spans = exporter.get_finished_spans().unwrap();
    assert_eq!(spans.len(), 2, "{spans:#?}");
    for span in &spans {
        assert_eq!(
            (&*span.name, &span.span_kind),
            ("GET /use", &SpanKind::Server)
        );
        assert_eq!(span.parent_span_id, SpanId::from_hex(PARENT).unwrap());
        assert_eq!(counts(span), Some((1, 1)));
    }
}
