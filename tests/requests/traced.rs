//! Beside tower-http's `TraceLayer`, with `tracing`'s spans sent to OpenTelemetry.

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::routing::get as on_get;
use futures_util::stream;
use opentelemetry::trace::{SpanId, SpanKind};
use tower::ServiceBuilder;
use tower_http::trace::TraceLayer;

use crate::watched::{Watched, assert_child, attribute, counts, get, query, send, use_pool};

/// One route answers from memory, the other streams what it reads.
fn app(watched: &Watched) -> Router {
    let (plain, streamed) = (watched.pool.clone(), watched.pool.clone());
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

/// As the guide says.
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
async fn under_its_span_none_is_opened() {
    for path in ["/plain", "/stream"] {
        let watched = Watched::new();
        let _tracing = watched.with_tracing();
        let layers = ServiceBuilder::new()
            .layer(TraceLayer::new_for_http().make_span_with(server_span))
            .layer(watched.layer());
        send(&app(&watched).layer(layers), get(path)).await;

        let server = watched.server();
        assert_eq!(server.name, format!("GET {path}"));
        assert_eq!(server.instrumentation_scope.name(), "tracing");
        assert_eq!(attribute(&server, "http.route").unwrap(), path);
        assert_eq!(counts(&server), Some((1, 1)), "{path}");
        assert_child(&watched.named("pool.checkout"), &server);
        assert_eq!(watched.spans().len(), 3, "{:#?}", watched.spans());
    }
}

#[tokio::test]
async fn inside_of_ours_its_span_is_a_child() {
    for path in ["/plain", "/stream"] {
        let watched = Watched::new();
        let _tracing = watched.with_tracing();
        let layers = ServiceBuilder::new().layer(watched.layer()).layer(
            TraceLayer::new_for_http()
                .make_span_with(|_: &Request| tracing::info_span!("their span")),
        );
        send(&app(&watched).layer(layers), get(path)).await;

        let server = watched.server();
        assert_eq!(server.name, format!("GET {path}"));
        assert_eq!(server.instrumentation_scope.name(), "poolscope");
        assert_eq!(server.parent_span_id, SpanId::INVALID);
        assert_eq!(counts(&server), Some((1, 1)), "{path}");
        let theirs = watched.named("their span");
        assert_child(&theirs, &server);
        assert_eq!(counts(&theirs), None);
        assert_eq!(theirs.span_kind, SpanKind::Internal);
        assert_child(&watched.named("pool.checkout"), &theirs);
    }
}

#[tokio::test]
async fn where_it_is_in_the_midst_of_two_each_span_is_told_once() {
    for path in ["/plain", "/stream"] {
        let watched = Watched::new();
        let _tracing = watched.with_tracing();
        let layers = ServiceBuilder::new()
            .layer(watched.layer())
            .layer(
                TraceLayer::new_for_http()
                    .make_span_with(|_: &Request| tracing::info_span!("their span")),
            )
            .layer(watched.layer())
            .layer(watched.layer());
        send(&app(&watched).layer(layers), get(path)).await;
        assert_eq!(counts(&watched.server()), Some((1, 1)), "{path}");
        assert_eq!(counts(&watched.named("their span")), Some((1, 1)), "{path}");
    }
}

#[tokio::test]
async fn where_its_spans_go_nowhere_ours_is_opened() {
    let watched = Watched::new();
    let app = app(&watched)
        .layer(watched.layer())
        .layer(TraceLayer::new_for_http());
    send(&app, get("/plain")).await;
    assert_eq!(watched.server().name, "GET /plain");
}
