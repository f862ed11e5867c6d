//! The layer behind hyper, over real sockets.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get as on_get;
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, Service, service_fn};

use crate::test_app::{TestApp, attribute, attributes, counts, query, use_pool};

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Serves one connection at a time with plain hyper.
async fn serve<S, B>(listener: TcpListener, service: S)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: std::error::Error + Send + Sync,
    S::Future: Send,
    B: http_body::Body<Data: Send, Error: std::error::Error + Send + Sync> + Send + 'static,
{
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let service = TowerToHyperService::new(service.clone());
        let served = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
        let _ = served.with_upgrades().await;
    }
}

/// Sends a request, and reads until the server closes the connection.
async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = socket.read_to_string(&mut answer);
    let limit = tokio::time::timeout(Duration::from_secs(30), read);
    limit.await.expect("an answer within 30 s").unwrap();
    answer
}

#[tokio::test]
async fn the_layer_works_in_plain_hyper_with_custom_routes() {
    let test_app = TestApp::new();
    let pool = test_app.pool.clone();
    let service = service_fn(move |_: Request<Incoming>| {
        let pool = pool.clone();
        async move {
            use_pool(&pool, 2).await;
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("hello"))))
        }
    });
    let layer = test_app.layer().route(|parts| match parts.uri.path() {
        "/answer" => Some("/answer"),
        _ => None,
    });
    let (listener, address) = listener().await;
    let server = tokio::spawn(serve(listener, layer.layer(service)));
    let request =
        format!("GET /answer?n=1 HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let answer = exchange(address, &request).await;
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");

    let span = test_app.server_ended().await;
    server.abort();
    assert_eq!(span.name, "GET /answer");
    assert_eq!(counts(&span), Some((1, 2)));
    let attributes = attributes(&span);
    assert_eq!(attributes["server.address"], "127.0.0.1");
    assert_eq!(attributes["server.port"], address.port().to_string());
    assert_eq!(attributes["url.path"], "/answer");
    assert_eq!(attributes.get("error.type"), None);
}

/// hyper does not poll the end of bodies of `HEAD` and of a known length.
#[tokio::test]
async fn a_body_whose_end_hyper_does_not_poll_is_complete() {
    for (method, ends) in [("GET", "\r\n\r\nhello"), ("HEAD", "\r\n\r\n")] {
        let test_app = TestApp::new();
        let service = service_fn(async |_: Request<Incoming>| {
            let hello = Body::from_stream(stream::iter([Ok::<_, Infallible>("hello")]));
            let response = Response::builder().header(header::CONTENT_LENGTH, 5);
            Ok::<_, Infallible>(response.body(hello).unwrap())
        });
        let (listener, address) = listener().await;
        let server = tokio::spawn(serve(listener, test_app.layer().layer(service)));
        let request = format!("{method} / HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n");
        let answer = exchange(address, &request).await;
        assert!(answer.ends_with(ends), "{answer}");
        let span = test_app.server_ended().await;
        server.abort();
        assert_eq!(attribute(&span, "error.type"), None, "{method}");
    }
}

#[tokio::test]
async fn a_client_that_disconnects_during_a_stream_cancels_the_request() {
    let test_app = TestApp::new();
    let pool = test_app.pool.clone();
    let endless = async move || {
        let state = pool.get().await.unwrap();
        Body::from_stream(stream::unfold(state, async |mut conn| {
            query(&mut conn).await;
            let row = Bytes::from_static(&[b'x'; 65536]);
            Some((Ok::<_, Infallible>(row), conn))
        }))
    };
    let app: Router = Router::new()
        .route("/endless", on_get(endless))
        .layer(test_app.layer());
    let (listener, address) = listener().await;
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = "GET /endless HTTP/1.1\r\nhost: shop\r\n\r\n";
    socket.write_all(request.as_bytes()).await.unwrap();
    socket.read_exact(&mut [0; 100_000]).await.unwrap();
    drop(socket);

    let span = test_app.server_ended().await;
    server.abort();
    assert_eq!(span.name, "GET /endless");
    assert_eq!(attribute(&span, "error.type").unwrap(), "canceled");
    assert_eq!(
        attribute(&span, "http.response.status_code").unwrap(),
        "200"
    );
    let (checkouts, queries) = counts(&span).unwrap();
    assert!(checkouts == 1 && queries >= 2, "{checkouts} {queries}");
    assert_eq!(test_app.pool.status().checked_out, 0);
}

/// Another task serves an upgraded connection, and outlives the request.
#[tokio::test]
async fn an_upgrade_works_and_ends_the_request() {
    let test_app = TestApp::new();
    let pool = test_app.pool.clone();
    let upgrade = async move |mut request: axum::extract::Request| {
        use_pool(&pool, 1).await;
        let pool = pool.clone();
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(poolscope::attributed(async move {
            let mut socket = TokioIo::new(upgraded.await.unwrap());
            let mut word = [0; 4];
            socket.read_exact(&mut word).await.unwrap();
            use_pool(&pool, 1).await;
            socket.write_all(&word).await.unwrap();
        }));
        let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, "echo")];
        (StatusCode::SWITCHING_PROTOCOLS, headers)
    };
    let app: Router = Router::new()
        .route("/echo", on_get(upgrade))
        .layer(test_app.layer());
    let (listener, address) = listener().await;
    let server = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let service = TowerToHyperService::new(app);
        let builder = auto::Builder::new(TokioExecutor::new());
        let served = builder.serve_connection_with_upgrades(TokioIo::new(socket), service);
        served.await.unwrap();
    });

    let mut socket = TcpStream::connect(address).await.unwrap();
    let request =
        "GET /echo HTTP/1.1\r\nhost: shop\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    assert!(
        head.starts_with(b"HTTP/1.1 101 "),
        "{}",
        String::from_utf8_lossy(&head)
    );
    let span = test_app.server_ended().await;
    assert_eq!(counts(&span), Some((1, 1)));
    assert_eq!(
        attribute(&span, "http.response.status_code").unwrap(),
        "101"
    );
    assert_eq!(attribute(&span, "error.type"), None);

    socket.write_all(b"ping").await.unwrap();
    let mut echo = [0; 4];
    socket.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"ping");
    server.await.unwrap();
    let spans = test_app.spans();
    let checkouts: Vec<_> = spans
        .iter()
        .filter(|span| span.name == "pool.checkout")
        .collect();
    assert_eq!(checkouts.len(), 2);
    for checkout in checkouts {
        crate::test_app::assert_child(checkout, &span);
    }
}
