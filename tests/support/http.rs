//! A small HTTP client: one connection for each request, no redirects, no decoding.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);

type Error = Box<dyn std::error::Error + Send + Sync>;

/// A complete response.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Response {
    /// # Panics
    /// If the body is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{} without JSON ({error}): {}", self.status, self.text())
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The value of a header; empty if it is absent.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

/// # Panics
/// If there is no response; the other functions except [`try_send`] do the same.
pub async fn get(url: &str) -> Response {
    send(Method::GET, url, "").await
}

pub async fn post_json(url: &str, body: &Value) -> Response {
    send(Method::POST, url, body.to_string()).await
}

/// Sends a request. A body is sent as JSON.
pub async fn send(method: Method, url: &str, body: impl Into<Bytes>) -> Response {
    let body = body.into();
    let mut request = Request::builder().method(method).uri(url);
    if !body.is_empty() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let request = request.body(Full::new(body)).expect("a valid request");
    try_send(request)
        .await
        .unwrap_or_else(|error| panic!("{url}: {error}"))
}

/// Sends a request with its own headers.
pub async fn try_send(request: Request<Full<Bytes>>) -> Result<Response, Error> {
    timeout(PATIENCE, exchange(request)).await?
}

async fn exchange(mut request: Request<Full<Bytes>>) -> Result<Response, Error> {
    let authority = request
        .uri()
        .authority()
        .ok_or("a URL with a host")?
        .clone();
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse::<Uri>()?;
    let host = authority.as_str().parse()?;
    request.headers_mut().entry(header::HOST).or_insert(host);

    let socket = TcpStream::connect(authority.as_str()).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    let connection = tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    connection.abort();
    Ok(Response {
        status: head.status,
        headers: head.headers,
        body,
    })
}
