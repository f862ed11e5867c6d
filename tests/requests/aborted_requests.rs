//! Requests that end without an answer: cancellation, panics and errors.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get as on_get;
use http::{Request, Response, StatusCode};
use opentelemetry::trace::Status;
use tokio::sync::Notify;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;

use crate::test_app::{TestApp, attribute, counts, get, query, send, use_pool};

/// Uses the pool once, notifies the test, and then holds a connection for ever.
fn hanging(test_app: &TestApp) -> (Router, Arc<Notify>) {
    let (pool, hangs) = (test_app.pool.clone(), Arc::new(Notify::new()));
    let handler = {
        let hangs = Arc::clone(&hangs);
        async move || {
            let mut conn = pool.get().await.unwrap();
            query(&mut conn).await;
            hangs.notify_one();
            std::future::pending::<()>().await;
        }
    };
    (Router::new().route("/hang", on_get(handler)), hangs)
}

#[tokio::test]
async fn a_dropped_request_is_canceled_and_releases_everything() {
    let test_app = TestApp::new();
    let (app, hangs) = hanging(&test_app);
    let mut request = Box::pin(app.layer(test_app.layer()).oneshot(get("/hang")));
    tokio::select! {
        answer = &mut request => panic!("{answer:?}"),
        () = hangs.notified() => {}
    }
    assert_eq!(test_app.pool.status().checked_out, 1);
    assert_eq!(test_app.servers().len(), 0);
    drop(request);
    assert_eq!(test_app.pool.status().checked_out, 0);

    let span = test_app.server();
    assert_eq!(span.name, "GET /hang");
    assert_eq!(span.status, Status::Unset);
    assert_eq!(attribute(&span, "error.type").unwrap(), "canceled");
    assert_eq!(attribute(&span, "http.response.status_code"), None);
    assert_eq!(counts(&span), Some((1, 1)));
    // The hold ended before the request was recorded.
    let held: f64 = attribute(&span, "poolscope.request.held_time")
        .unwrap()
        .parse()
        .unwrap();
    assert!(held > 0.0, "{held}");
}

#[tokio::test]
async fn a_request_that_was_never_polled_is_canceled() {
    let test_app = TestApp::new();
    let mut app = test_app.layer().layer(hanging(&test_app).0);
    drop(tower::Service::call(&mut app, get("/hang")));
    let error_type = attribute(&test_app.server(), "error.type");
    assert_eq!(error_type.unwrap(), "canceled");
}

#[tokio::test]
async fn a_timeout_outside_the_layer_cancels_and_one_inside_answers() {
    let test_app = TestApp::new();
    // The connection is opened before, so that this takes none of the timeout.
    use_pool(&test_app.pool, 1).await;
    let layer = || {
        let limit = Duration::from_secs(1);
        TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, limit)
    };
    let inside = hanging(&test_app).0.layer(test_app.layer()).layer(layer());
    let around = hanging(&test_app).0.layer(layer()).layer(test_app.layer());
    assert_eq!(send(&inside, get("/hang")).await.0, 503);
    assert_eq!(send(&around, get("/hang")).await.0, 503);
    let [inside, around] = &test_app.servers()[..] else {
        panic!("{:#?}", test_app.servers())
    };
    assert_eq!(attribute(inside, "error.type").unwrap(), "canceled");
    assert_eq!(attribute(around, "error.type").unwrap(), "503");
    for span in [inside, around] {
        assert_eq!(counts(span), Some((1, 1)));
    }
    assert_eq!(test_app.pool.status().checked_out, 0);
}

#[tokio::test]
async fn a_panic_is_recorded_and_propagated() {
    let test_app = TestApp::new();
    let pool = test_app.pool.clone();
    let handler = async move || -> StatusCode {
        use_pool(&pool, 1).await;
        panic!("as the test wants");
    };
    let app: Router = Router::new()
        .route("/panic", on_get(handler))
        .layer(test_app.layer())
        .layer(CatchPanicLayer::new());
    let answer = send(&app, get("/panic")).await;
    assert_eq!(answer.0, StatusCode::INTERNAL_SERVER_ERROR);
    let span = test_app.server();
    assert_eq!(attribute(&span, "error.type").unwrap(), "panic");
    assert_eq!(span.status, Status::error(""));
    assert_eq!(counts(&span), Some((1, 1)));

    // State that the panic left behind does not reach the next request on this thread.
    let another = test_app.pool.clone();
    use_pool(&another, 1).await;
    let last = test_app.spans().pop().unwrap();
    assert_ne!(last.span_context.trace_id(), span.span_context.trace_id());
}

#[tokio::test]
async fn a_panic_in_call_is_recorded() {
    let test_app = TestApp::new();
    let service = service_fn(
        |_: Request<Body>| -> std::future::Ready<Result<Response<Body>, Infallible>> {
            panic!("as the test wants")
        },
    );
    let app = ServiceBuilder::new()
        .layer(CatchPanicLayer::new())
        .layer(test_app.layer())
        .service(service);
    assert_eq!(
        send(&app, get("/")).await.0,
        StatusCode::INTERNAL_SERVER_ERROR
    );
    assert_eq!(
        attribute(&test_app.server(), "error.type").unwrap(),
        "panic"
    );
}

#[tokio::test]
async fn a_service_error_is_recorded_by_type_and_propagated() {
    let test_app = TestApp::new();
    let service = service_fn(async |_: Request<Body>| {
        Err::<Response<Body>, _>(io::Error::other("hush-hush-4711"))
    });
    let app = test_app.layer().layer(service);
    let error = app.oneshot(get("/")).await.unwrap_err();
    assert_eq!(error.to_string(), "hush-hush-4711");
    let span = test_app.server();
    assert_eq!(
        attribute(&span, "error.type").unwrap(),
        "std::io::error::Error"
    );
    assert_eq!(span.status, Status::error(""));
    assert!(!format!("{span:?}").contains("hush"), "{span:?}");
}
