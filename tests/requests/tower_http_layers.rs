//! The layer combined with other layers of tower-http.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get as on_get;
use futures_util::StreamExt;
use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use tower::{ServiceBuilder, ServiceExt};
use tower_http::compression::CompressionLayer;
use tower_http::timeout::{ResponseBodyTimeoutLayer, TimeoutLayer};
use tower_http::trace::TraceLayer;

use crate::test_app::{Sqlite, TestApp, attribute, counts, query};

fn app(pool: &Sqlite) -> Router {
    let pool = pool.clone();
    let long = async move || {
        let pool = pool.clone();
        let parts = futures_util::stream::unfold(0, move |n| {
            let pool = pool.clone();
            async move {
                query(&mut pool.get().await.unwrap()).await;
                (n < 20).then(|| (Ok::<_, std::io::Error>("a row of many\n"), n + 1))
            }
        });
        // Compression polls again after the end.
        let body = Body::from_stream(parts.fuse());
        ([(header::CONTENT_TYPE, "text/plain")], body)
    };
    Router::new().route("/long", on_get(long))
}

async fn check_compressed_and_counted(test_app: TestApp, app: Router) {
    let request = Request::get("/long")
        .header(header::ACCEPT_ENCODING, "gzip")
        .body(Body::empty())
        .unwrap();
    let response = app.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&body[..2], b"\x1f\x8b");
    let server = test_app.server();
    assert_eq!(counts(&server), Some((21, 21)));
    assert_eq!(attribute(&server, "error.type"), None);
    assert_eq!(test_app.pool.status().checked_out, 0);
}

#[tokio::test]
async fn the_layer_works_inside_compression_and_timeouts() {
    let test_app = TestApp::new();
    let layers = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(CompressionLayer::new())
        .layer(ResponseBodyTimeoutLayer::new(Duration::from_secs(30)))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            Duration::from_secs(30),
        ))
        .layer(test_app.layer());
    let app = app(&test_app.pool).layer(layers);
    check_compressed_and_counted(test_app, app).await;
}

#[tokio::test]
async fn the_layer_works_outside_compression_and_timeouts() {
    let test_app = TestApp::new();
    let layers = ServiceBuilder::new()
        .layer(test_app.layer())
        .layer(TraceLayer::new_for_http())
        .layer(ResponseBodyTimeoutLayer::new(Duration::from_secs(30)))
        .layer(CompressionLayer::new())
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            Duration::from_secs(30),
        ));
    let app = app(&test_app.pool).layer(layers);
    check_compressed_and_counted(test_app, app).await;
}
