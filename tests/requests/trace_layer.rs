//! The layer combined with tower-http's `TraceLayer`, whose `tracing` spans go to OpenTelemetry.

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::routing::get as on_get;
use futures_util::stream;
use opentelemetry::trace::{SpanId, SpanKind};
use tower::ServiceBuilder;
use tower_http::trace::TraceLayer;

use crate::test_app::{TestApp, assert_child, attribute, counts, get, query, send, use_pool};

/// One route answers from memory, the other streams rows.
fn app(test_app: &TestApp) -> Router {
    let (plain, streamed) = (test_app.pool.clone(), test_app.pool.clone());
    let stream = async move || {
        let pool = streamed.clone();
        Body::from_stream(stream::once(async move {
            query(&mut pool.get().await.unwrap()).await;
            Ok::<_, std::convert::Infallible>("row")
        }))
    };
    Router::new()
        .route("/plain", on_get(async move || use_pool(&plain, 1).await))
        .route("/stream", on_get(stream))
}

/// The span of the guide's example.
fn server_span(request: &Request) -> tracing::Span {
    let route = request.extensions().get().map(MatchedPath::as_str);
    let method = request.method();
    tracing::info_span!(
        "request",
        otel.name = format!("{method} {}", route.unwrap_or_default()),
        otel.kind = "server",
        http.request.method = %method,
        http.route = route,
    )
}

#[tokio::test]
async fn a_span_of_the_trace_layer_gets_the_counts() {
    for path in ["/plain", "/stream"] {
        let test_app = TestApp::new();
        let _tracing = test_app.with_tracing();
        let layers = ServiceBuilder::new()
            .layer(TraceLayer::new_for_http().make_span_with(server_span))
            .layer(test_app.layer());
        send(&app(&test_app).layer(layers), get(path)).await;

        let server = test_app.server();
        assert_eq!(server.name, format!("GET {path}"));
        assert_eq!(server.instrumentation_scope.name(), "tracing");
        assert_eq!(attribute(&server, "http.route").unwrap(), path);
        assert_eq!(counts(&server), Some((1, 1)), "{path}");
        assert_child(&test_app.named("pool.checkout"), &server);
        assert_eq!(test_app.spans().len(), 3, "{:#?}", test_app.spans());
    }
}

#[tokio::test]
async fn a_trace_layer_inside_opens_a_child_span() {
    for path in ["/plain", "/stream"] {
        let test_app = TestApp::new();
        let _tracing = test_app.with_tracing();
        let layers = ServiceBuilder::new().layer(test_app.layer()).layer(
            TraceLayer::new_for_http()
                .make_span_with(|_: &Request| tracing::info_span!("their span")),
        );
        send(&app(&test_app).layer(layers), get(path)).await;

        let server = test_app.server();
        assert_eq!(server.name, format!("GET {path}"));
        assert_eq!(server.instrumentation_scope.name(), "poolscope");
        assert_eq!(server.parent_span_id, SpanId::INVALID);
        assert_eq!(counts(&server), Some((1, 1)), "{path}");
        let theirs = test_app.named("their span");
        assert_child(&theirs, &server);
        assert_eq!(counts(&theirs), None);
        assert_eq!(theirs.span_kind, SpanKind::Internal);
        assert_child(&test_app.named("pool.checkout"), &theirs);
    }
}

#[tokio::test]
async fn a_trace_layer_between_two_request_layers_counts_once_per_span() {
    for path in ["/plain", "/stream"] {
        let test_app = TestApp::new();
        let _tracing = test_app.with_tracing();
        let layers = ServiceBuilder::new()
            .layer(test_app.layer())
            .layer(
                TraceLayer::new_for_http()
                    .make_span_with(|_: &Request| tracing::info_span!("their span")),
            )
            .layer(test_app.layer())
            .layer(test_app.layer());
        send(&app(&test_app).layer(layers), get(path)).await;
        assert_eq!(counts(&test_app.server()), Some((1, 1)), "{path}");
        assert_eq!(
            counts(&test_app.named("their span")),
            Some((1, 1)),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_span_is_opened_if_tracing_is_not_exported() {
    let test_app = TestApp::new();
    let app = app(&test_app)
        .layer(test_app.layer())
        .layer(TraceLayer::new_for_http());
    send(&app, get("/plain")).await;
    assert_eq!(test_app.server().name, "GET /plain");
}
