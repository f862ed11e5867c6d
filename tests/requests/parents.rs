//! Whose child a request's span is, and when there is none of ours.

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

use crate::watched::{Watched, assert_child, counts, get, send, use_pool};

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

fn app(watched: &Watched) -> Router {
    let pool = watched.pool.clone();
    Router::new().route("/use", on_get(async move || use_pool(&pool, 1).await))
}

#[tokio::test]
async fn it_is_a_child_of_the_callers_and_the_parent_of_checkouts_and_queries() {
    let watched = Watched::new();
    send(&app(&watched).layer(watched.layer()), traced("/use", true)).await;
    let server = watched.server();
    assert_eq!(
        server.span_context.trace_id(),
        TraceId::from_hex(TRACE).unwrap()
    );
    assert_eq!(server.parent_span_id, SpanId::from_hex(PARENT).unwrap());
    assert!(server.parent_span_is_remote);
    assert_child(&watched.named("pool.checkout"), &server);
    let queries: Vec<_> = watched
        .spans()
        .into_iter()
        .filter(|span| span.span_kind == SpanKind::Client)
        .collect();
    assert_eq!(queries.len(), 1, "{queries:#?}");
    assert_child(&queries[0], &server);
}

#[tokio::test]
async fn what_the_caller_does_not_sample_is_not_sampled() {
    let watched = Watched::new();
    send(&app(&watched).layer(watched.layer()), traced("/use", false)).await;
    assert_eq!(watched.spans().len(), 0);
}

#[tokio::test]
async fn a_context_that_came_from_the_caller_is_a_parent_and_no_span_of_ours() {
    let watched = Watched::new();
    let caller = SpanContext::new(
        TraceId::from_hex(TRACE).unwrap(),
        SpanId::from_hex(PARENT).unwrap(),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    let context = Context::new().with_remote_span_context(caller);
    let app = app(&watched).layer(watched.layer());
    send(&app, get("/use")).with_context(context).await;
    assert_eq!(
        watched.server().parent_span_id,
        SpanId::from_hex(PARENT).unwrap()
    );
}

#[tokio::test]
async fn under_a_span_none_is_opened_and_the_numbers_are_put_on_that() {
    let watched = Watched::new();
    let span = watched.provider.tracer("app").start("the app's own");
    let context = Context::new().with_span(span);
    let app = app(&watched).layer(watched.layer());
    send(&app, traced("/use", true))
        .with_context(context.clone())
        .await;
    context.span().set_attribute(KeyValue::new("still", "open"));
    context.span().end();
    assert_eq!(watched.servers().len(), 0);
    let own = watched.named("the app's own");
    assert_eq!(counts(&own), Some((1, 1)));
    assert_child(&watched.named("pool.checkout"), &own);
}

/// A middleware whose span ends when the head of the response is there.
#[tokio::test]
async fn a_span_that_ends_before_the_body_is_sent_has_the_numbers_too() {
    let watched = Watched::new();
    let provider = watched.provider.clone();
    let middleware = from_fn(move |request: Request, next: Next| {
        let span = provider.tracer("app").start("short");
        next.run(request)
            .with_context(Context::new().with_span(span))
    });
    let app = app(&watched).layer(watched.layer()).layer(middleware);
    send(&app, get("/use")).await;
    assert_eq!(counts(&watched.named("short")), Some((1, 1)));
    assert_eq!(watched.servers().len(), 0);
}

#[tokio::test]
async fn a_span_inside_of_ours_is_its_child() {
    let watched = Watched::new();
    let provider = watched.provider.clone();
    let handler = async move || provider.tracer("app").start("work").end();
    let app: Router = Router::new()
        .route("/work", on_get(handler))
        .layer(watched.layer());
    send(&app, get("/work")).await;
    assert_child(&watched.named("work"), &watched.server());
}

/// No other test in this program may use the global provider.
#[tokio::test]
async fn a_provider_that_is_set_later_gets_the_spans_from_then_on() {
    let watched = Watched::new();
    let app = app(&watched).layer(RequestLayer::new());
    send(&app, traced("/use", true)).await;
    assert_eq!(watched.servers().len(), 0);
    // With nobody to listen, the checkout is nobody's child.
    assert_eq!(
        watched.named("pool.checkout").parent_span_id,
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
