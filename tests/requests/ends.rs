//! How a request may end other than with its answer.

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

use crate::watched::{Watched, attribute, counts, get, query, send, use_pool};

/// Uses the pool once, says so, and then holds a connection for ever.
fn hanging(watched: &Watched) -> (Router, Arc<Notify>) {
    let (pool, hangs) = (watched.pool.clone(), Arc::new(Notify::new()));
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
async fn a_request_whose_client_goes_away_is_canceled_and_gives_everything_back() {
    let watched = Watched::new();
    let (app, hangs) = hanging(&watched);
    let mut request = Box::pin(app.layer(watched.layer()).oneshot(get("/hang")));
    tokio::select! {
        answer = &mut request => panic!("{answer:?}"),
        () = hangs.notified() => {}
    }
    assert_eq!(watched.pool.status().checked_out, 1);
    assert_eq!(watched.servers().len(), 0);
    drop(request);
    assert_eq!(watched.pool.status().checked_out, 0);

    let span = watched.server();
    assert_eq!(span.name, "GET /hang");
    assert_eq!(span.status, Status::Unset);
    assert_eq!(attribute(&span, "error.type").unwrap(), "canceled");
    assert_eq!(attribute(&span, "http.response.status_code"), None);
    assert_eq!(counts(&span), Some((1, 1)));
    // The hold was over when the request was told.
    let held: f64 = attribute(&span, "poolscope.request.held_time")
        .unwrap()
        .parse()
        .unwrap();
    assert!(held > 0.0, "{held}");
}

#[tokio::test]
async fn a_request_that_was_never_looked_at_is_canceled_too() {
    let watched = Watched::new();
    let mut app = watched.layer().layer(hanging(&watched).0);
    drop(tower::Service::call(&mut app, get("/hang")));
    let error_type = attribute(&watched.server(), "error.type");
    assert_eq!(error_type.unwrap(), "canceled");
}

#[tokio::test]
async fn inside_of_a_timeout_it_is_canceled_and_around_it_it_is_answered() {
    let watched = Watched::new();
    // So that the time is not over while a connection is opened.
    use_pool(&watched.pool, 1).await;
    let layer = || {
        let limit = Duration::from_secs(1);
        TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, limit)
    };
    let inside = hanging(&watched).0.layer(watched.layer()).layer(layer());
    let around = hanging(&watched).0.layer(layer()).layer(watched.layer());
    assert_eq!(send(&inside, get("/hang")).await.0, 503);
    assert_eq!(send(&around, get("/hang")).await.0, 503);
    let [inside, around] = &watched.servers()[..] else {
        panic!("{:#?}", watched.servers())
    };
    assert_eq!(attribute(inside, "error.type").unwrap(), "canceled");
    assert_eq!(attribute(around, "error.type").unwrap(), "503");
    for span in [inside, around] {
        assert_eq!(counts(span), Some((1, 1)));
    }
    assert_eq!(watched.pool.status().checked_out, 0);
}

#[tokio::test]
async fn a_panic_is_told_and_passed_on() {
    let watched = Watched::new();
    let pool = watched.pool.clone();
    let handler = async move || -> StatusCode {
        use_pool(&pool, 1).await;
        panic!("as the test wants");
    };
    let app: Router = Router::new()
        .route("/panic", on_get(handler))
        .layer(watched.layer())
        .layer(CatchPanicLayer::new());
    let answer = send(&app, get("/panic")).await;
    assert_eq!(answer.0, StatusCode::INTERNAL_SERVER_ERROR);
    let span = watched.server();
    assert_eq!(attribute(&span, "error.type").unwrap(), "panic");
    assert_eq!(span.status, Status::error(""));
    assert_eq!(counts(&span), Some((1, 1)));

    // What the panic has left behind does not reach the next request on this thread.
    let another = watched.pool.clone();
    use_pool(&another, 1).await;
    let last = watched.spans().pop().unwrap();
    assert_ne!(last.span_context.trace_id(), span.span_context.trace_id());
}

#[tokio::test]
async fn a_service_that_panics_when_called_is_told_too() {
    let watched = Watched::new();
    let service = service_fn(
        |_: Request<Body>| -> std::future::Ready<Result<Response<Body>, Infallible>> {
            panic!("as the test wants")
        },
    );
    let app = ServiceBuilder::new()
        .layer(CatchPanicLayer::new())
        .layer(watched.layer())
        .service(service);
    assert_eq!(
        send(&app, get("/")).await.0,
        StatusCode::INTERNAL_SERVER_ERROR
    );
    assert_eq!(attribute(&watched.server(), "error.type").unwrap(), "panic");
}

#[tokio::test]
async fn an_error_of_the_service_is_told_by_its_type_and_passed_on() {
    let watched = Watched::new();
    let service = service_fn(async |_: Request<Body>| {
        Err::<Response<Body>, _>(io::Error::other("hush-hush-4711"))
    });
    let app = watched.layer().layer(service);
    let error = app.oneshot(get("/")).await.unwrap_err();
    assert_eq!(error.to_string(), "hush-hush-4711");
    let span = watched.server();
    assert_eq!(
        attribute(&span, "error.type").unwrap(),
        "std::io::error::Error"
    );
    assert_eq!(span.status, Status::error(""));
    assert!(!format!("{span:?}").contains("hush"), "{span:?}");
}
