//! Reads a trace from Jaeger's HTTP API.

use std::error::Error;
use std::time::Duration;

use axum::http::{Request, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

/// A span of a trace.
pub struct Span {
    pub id: String,
    pub parent: Option<String>,
    pub name: String,
    /// Microseconds since 1970; `took` is also in microseconds.
    pub start: u64,
    pub took: u64,
}

/// Returns the spans of a trace, once Jaeger has the root.
pub async fn spans(
    jaeger: &str,
    trace: &str,
    patience: Duration,
) -> Result<Vec<Span>, Box<dyn Error>> {
    let url = format!("{jaeger}/api/traces/{trace}");
    let deadline = Instant::now() + patience;
    loop {
        let found = fetch(&url).await.map_err(|error| {
            format!("{url}: {error}. Set JAEGER_URL if Jaeger has another address")
        })?;
        let spans: Vec<_> = found["data"][0]["spans"]
            .as_array()
            .map(|spans| spans.iter().filter_map(span).collect())
            .unwrap_or_default();
        if spans.iter().any(|span: &Span| span.parent.is_none()) {
            return Ok(spans);
        }
        if Instant::now() > deadline {
            return Err(format!("{url}: no trace after {patience:?}").into());
        }
        sleep(Duration::from_millis(200)).await;
    }
}

fn span(span: &Value) -> Option<Span> {
    Some(Span {
        id: span["spanID"].as_str()?.to_owned(),
        parent: span["references"][0]["spanID"].as_str().map(str::to_owned),
        name: span["operationName"].as_str()?.to_owned(),
        start: span["startTime"].as_u64()?,
        took: span["duration"].as_u64()?,
    })
}

async fn fetch(url: &str) -> Result<Value, Box<dyn Error>> {
    let uri: Uri = url.parse()?;
    let host = uri.host().ok_or("the URL needs a host")?;
    let port = uri.port_u16().unwrap_or(80);
    let socket = TcpStream::connect((host, port)).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get(uri.path())
        .header(header::HOST, format!("{host}:{port}"))
        .body(Empty::<Bytes>::new())?;
    let answer = sender
        .send_request(request)
        .await?
        .into_body()
        .collect()
        .await?;
    connection.abort();
    // If Jaeger does not have the trace yet, the response is a 404 with a reason.
    Ok(serde_json::from_slice(&answer.to_bytes())?)
}
