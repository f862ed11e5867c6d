//! A request lasts until its body is sent, and the body may use the pool too.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body as AxumBody;
use axum::routing::get as on_get;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use opentelemetry::trace::Status;
use tower::{Layer, ServiceExt, service_fn};

use crate::test_app::{Sqlite, TestApp, assert_child, attribute, counts, get, query, send};

/// Streams one row per query, on one connection.
fn rows(pool: Sqlite, count: usize) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    let state = (pool, None, count);
    stream::unfold(state, async |(pool, mut conn, left)| {
        if left == 0 {
            return None;
        }
        if conn.is_none() {
            conn = Some(pool.get().await.unwrap());
        }
        query(conn.as_mut().unwrap()).await;
        Some((Ok(Bytes::from("row\n")), (pool, conn, left - 1)))
    })
}

fn streaming(test_app: &TestApp, count: usize) -> Router {
    let pool = test_app.pool.clone();
    let handler = async move || AxumBody::from_stream(rows(pool.clone(), count));
    Router::new()
        .route("/rows", on_get(handler))
        .layer(test_app.layer())
}

#[tokio::test]
async fn the_pool_use_of_a_streaming_body_belongs_to_the_request() {
    let test_app = TestApp::new();
    let app = streaming(&test_app, 3);
    let response = app.oneshot(get("/rows")).await.unwrap();
    assert_eq!(test_app.spans().len(), 0, "the body has not begun");
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(test_app.servers().len(), 0, "the request is in flight");
    assert_eq!(test_app.pool.status().checked_out, 1);
    assert_eq!(body.collect().await.unwrap().to_bytes().len(), 2 * 4);

    assert_eq!(test_app.pool.status().checked_out, 0);
    let server = test_app.server();
    assert_eq!(counts(&server), Some((1, 3)));
    assert_eq!(attribute(&server, "error.type"), None);
    assert_child(&test_app.named("pool.checkout"), &server);
    // The hold ended before the request was recorded.
    let held: f64 = attribute(&server, "poolscope.request.held_time")
        .unwrap()
        .parse()
        .unwrap();
    assert!(held > 0.0, "{held}");
}

#[tokio::test]
async fn a_dropped_body_cancels_the_request() {
    let test_app = TestApp::new();
    let response = streaming(&test_app, 3).oneshot(get("/rows")).await.unwrap();
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(test_app.pool.status().checked_out, 0);
    let server = test_app.server();
    assert_eq!(counts(&server), Some((1, 1)));
    assert_eq!(attribute(&server, "error.type").unwrap(), "canceled");
    assert_eq!(
        attribute(&server, "http.response.status_code").unwrap(),
        "200"
    );
    assert_eq!(server.status, Status::Unset);
}

#[tokio::test]
async fn an_error_of_the_body_is_an_error_of_the_request() {
    let test_app = TestApp::new();
    let handler = async || {
        let frames = [Ok("one"), Err(std::io::Error::other("cut off")), Ok("two")];
        AxumBody::from_stream(stream::iter(frames))
    };
    let app: Router = Router::new()
        .route("/", on_get(handler))
        .layer(test_app.layer());
    let mut body = app.oneshot(get("/")).await.unwrap().into_body();
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "one"
    );
    assert!(body.frame().await.unwrap().is_err());
    assert_eq!(
        attribute(&test_app.server(), "error.type").unwrap(),
        "axum_core::error::Error"
    );
    assert_eq!(test_app.server().status, Status::error(""));
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn a_panic_of_the_body_is_recorded() {
    let test_app = TestApp::new();
    let handler = async || {
        let panics = stream::once(async { panic!("as the test wants") });
        AxumBody::from_stream(panics.map(Ok::<Bytes, Infallible>))
    };
    let app: Router = Router::new()
        .route("/", on_get(handler))
        .layer(test_app.layer());
    let body = app.oneshot(get("/")).await.unwrap().into_body();
    assert!(tokio::spawn(body.collect()).await.unwrap_err().is_panic());
    assert_eq!(
        attribute(&test_app.server(), "error.type").unwrap(),
        "panic"
    );
}

/// A body of these frames, with scripted answers about its end and size.
#[derive(Default)]
struct Scripted {
    frames: VecDeque<Frame<Bytes>>,
    hint: SizeHint,
    knows_its_end: bool,
}

impl Body for Scripted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.frames.pop_front().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.knows_its_end && self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

fn data(text: &'static str) -> Frame<Bytes> {
    Frame::data(Bytes::from_static(text.as_bytes()))
}

/// Passes a response with this body through the layer.
async fn through(
    test_app: &TestApp,
    method: Method,
    response: http::response::Builder,
    body: Scripted,
) -> Response<impl Body<Data = Bytes, Error = Infallible> + Unpin> {
    let response = std::cell::RefCell::new(Some(response.body(body).unwrap()));
    let service = service_fn(async |_: Request<()>| Ok::<_, Infallible>(response.take().unwrap()));
    let request = Request::builder().method(method).body(()).unwrap();
    test_app
        .layer()
        .layer(service)
        .oneshot(request)
        .await
        .unwrap()
}

fn error_type(test_app: &TestApp) -> Option<String> {
    attribute(&test_app.server(), "error.type")
}

#[tokio::test]
async fn the_body_is_unchanged() {
    let test_app = TestApp::new();
    let mut hint = SizeHint::new();
    hint.set_lower(3);
    hint.set_upper(30);
    let trailers = HeaderMap::from_iter([(header::ETAG, HeaderValue::from_static("7"))]);
    let body = Scripted {
        frames: [data("abc"), data("def"), Frame::trailers(trailers.clone())].into(),
        hint,
        knows_its_end: false,
    };
    let response = through(&test_app, Method::GET, Response::builder(), body).await;
    let mut body = response.into_body();
    assert_eq!(
        (body.size_hint().lower(), body.size_hint().upper()),
        (3, Some(30))
    );
    assert!(!body.is_end_stream());
    for text in ["abc", "def"] {
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), text);
    }
    let frame = body.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_trailers().unwrap(), trailers);
    assert_eq!(test_app.servers().len(), 0);
    drop(body);
    assert_eq!(error_type(&test_app), None, "nothing follows trailers");
}

#[tokio::test]
async fn an_empty_body_ends_the_request_at_once() {
    let test_app = TestApp::new();
    let switching = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
    let body = Scripted {
        knows_its_end: true,
        hint: SizeHint::with_exact(0),
        ..Scripted::default()
    };
    let response = through(&test_app, Method::GET, switching, body).await;
    assert_eq!(
        attribute(&test_app.server(), "http.response.status_code").unwrap(),
        "101"
    );
    assert!(response.body().is_end_stream());
    assert_eq!(response.body().size_hint().exact(), Some(0));
    drop(response);
    assert_eq!(error_type(&test_app), None);
}

#[tokio::test]
async fn a_known_end_of_the_body_ends_the_request_at_its_last_frame() {
    let test_app = TestApp::new();
    let body = Scripted {
        frames: [data("abc")].into(),
        knows_its_end: true,
        ..Scripted::default()
    };
    let mut body = through(&test_app, Method::GET, Response::builder(), body)
        .await
        .into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(error_type(&test_app), None);
    assert!(body.is_end_stream());
    assert!(body.frame().await.is_none());
}

/// A server stops polling once it has the promised number of bytes, and polls nothing if no body
/// is sent.
#[tokio::test]
async fn a_server_that_does_not_poll_the_end_cancels_nothing() {
    let promised = || Response::builder().header(header::CONTENT_LENGTH, 3);
    let no_content = Response::builder().status(StatusCode::NO_CONTENT);
    let not_modified = Response::builder().status(StatusCode::NOT_MODIFIED);
    let cases = [
        (Method::GET, promised(), SizeHint::new(), 1, None),
        (
            Method::GET,
            Response::builder(),
            SizeHint::with_exact(3),
            1,
            None,
        ),
        (Method::HEAD, promised(), SizeHint::new(), 0, None),
        (Method::GET, no_content, SizeHint::new(), 0, None),
        (Method::GET, not_modified, SizeHint::new(), 0, None),
        (
            Method::GET,
            promised(),
            SizeHint::new(),
            0,
            Some("canceled"),
        ),
        (
            Method::GET,
            Response::builder(),
            SizeHint::new(),
            1,
            Some("canceled"),
        ),
    ];
    for (n, (method, response, hint, frames, expected)) in cases.into_iter().enumerate() {
        let test_app = TestApp::new();
        let body = Scripted {
            frames: [data("abc")].into(),
            hint,
            knows_its_end: false,
        };
        let mut body = through(&test_app, method, response, body).await.into_body();
        for _ in 0..frames {
            body.frame().await.unwrap().unwrap();
        }
        assert_eq!(test_app.servers().len(), 0, "case {n}");
        drop(body);
        assert_eq!(error_type(&test_app).as_deref(), expected, "case {n}");
    }
}

#[tokio::test]
async fn a_head_request_in_axum_is_complete() {
    let test_app = TestApp::new();
    let app: Router = Router::new()
        .route("/", on_get(async || "four"))
        .layer(test_app.layer());
    let request = Request::head("/").body(AxumBody::empty()).unwrap();
    assert_eq!(send(&app, request).await, (StatusCode::OK, String::new()));
    assert_eq!(test_app.server().name, "HEAD /");
    assert_eq!(error_type(&test_app), None);
}
