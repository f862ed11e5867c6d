//! The SERVER span that the layer opens if none is current.

use axum::Router;
use axum::routing::get as on_get;
use http::{Request, StatusCode, header};
use opentelemetry::trace::{SpanId, SpanKind, Status};

use crate::test_app::{TestApp, attribute, attributes, get, send};

#[tokio::test]
async fn the_span_follows_the_conventions_and_has_no_query_string() {
    let test_app = TestApp::new();
    let app: Router = Router::new()
        .route("/users/{id}", on_get(async || "ok"))
        .layer(test_app.layer());
    let request = Request::get("/users/7?token=hush-hush-4711")
        .header(header::HOST, "shop.example:8443")
        .header(header::USER_AGENT, "curl/8")
        .header("x-forwarded-proto", "https")
        .body("".into())
        .unwrap();
    assert_eq!(send(&app, request).await, (StatusCode::OK, "ok".into()));

    let span = test_app.server();
    assert_eq!(span.name, "GET /users/{id}");
    assert_eq!(span.span_kind, SpanKind::Server);
    assert_eq!(span.status, Status::Unset);
    assert_eq!(span.parent_span_id, SpanId::INVALID);
    assert_eq!(span.instrumentation_scope.name(), "poolscope");
    let expected = [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("http.route", "/users/{id}"),
        ("network.protocol.version", "1.1"),
        ("server.address", "shop.example"),
        ("server.port", "8443"),
        ("url.path", "/users/7"),
        ("url.scheme", "https"),
        ("user_agent.original", "curl/8"),
    ];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    // The pool was not used, so its attributes are absent.
    assert_eq!(attributes(&span), expected.into());
}

#[tokio::test]
async fn the_path_can_be_left_out_and_a_password_always_is() {
    let test_app = TestApp::new();
    let app: Router = Router::new()
        .route("/reset/{token}", on_get(async || "ok"))
        .layer(test_app.layer().url_path(false));
    send(
        &app,
        get("http://ada:hush-hush-4711@shop.example/reset/hush-hush-4711"),
    )
    .await;
    let span = test_app.server();
    assert_eq!(attribute(&span, "url.path"), None);
    assert_eq!(attribute(&span, "server.address").unwrap(), "shop.example");
    assert_eq!(attribute(&span, "server.port"), None);
    assert!(!format!("{span:?}").contains("hush"), "{span:?}");
}

#[tokio::test]
async fn a_5xx_is_an_error_and_a_4xx_is_not() {
    let test_app = TestApp::new();
    let app: Router = Router::new()
        .route("/full", on_get(async || StatusCode::SERVICE_UNAVAILABLE))
        .route("/teapot", on_get(async || StatusCode::IM_A_TEAPOT))
        .layer(test_app.layer());
    send(&app, get("/full")).await;
    send(&app, get("/teapot")).await;
    let [full, teapot] = &test_app.servers()[..] else {
        panic!("{:#?}", test_app.servers())
    };
    assert_eq!(full.status, Status::error(""));
    assert_eq!(attribute(full, "error.type").unwrap(), "503");
    assert_eq!(attribute(full, "http.response.status_code").unwrap(), "503");
    assert_eq!(teapot.status, Status::Unset);
    assert_eq!(attribute(teapot, "error.type"), None);
    assert_eq!(
        attribute(teapot, "http.response.status_code").unwrap(),
        "418"
    );
}
