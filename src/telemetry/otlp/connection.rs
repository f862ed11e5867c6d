//! Connections to a receiver, plain or encrypted, and the HTTP client over them.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tower_service::Service;

use super::settings::ExportSettings;
use super::tls::Tls;
use crate::backend::io_message;

/// Opens connections to one receiver, whatever URL a request has.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    host: Arc<str>,
    port: u16,
    tls: Option<Tls>,
    last_error: LastError,
}

/// Why the last attempt failed. The errors of the OTLP exporters say less.
#[derive(Debug, Clone, Default)]
pub(super) struct LastError(Arc<Mutex<Option<String>>>);

impl LastError {
    fn set(&self, error: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Connector {
    pub(super) fn new(to: &ExportSettings, last_error: LastError) -> Self {
        let host = to.uri.host().unwrap_or_default();
        // Brackets are for IPv6 addresses in URLs, and only there.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let usual = if to.tls.is_some() { 443 } else { 80 };
        Self {
            host: host.into(),
            port: to.uri.port_u16().unwrap_or(usual),
            tls: to.tls.clone(),
            last_error,
        }
    }

    async fn connect(self) -> io::Result<TokioIo<Box<dyn Socket>>> {
        let open = async {
            let socket = TcpStream::connect((&*self.host, self.port)).await?;
            socket.set_nodelay(true)?;
            let socket: Box<dyn Socket> = match &self.tls {
                None => Box::new(socket),
                #[cfg(feature = "tls")]
                Some(tls) => Box::new(tls.start(socket, &self.host).await?),
                #[cfg(not(feature = "tls"))]
                Some(never) => match *never {},
            };
            Ok(socket)
        };
        let opened = open.await;
        if let Err(error) = &opened {
            self.last_error.set(io_message(error));
        }
        opened.map(TokioIo::new)
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Socket>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Box<dyn Socket>>>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect())
    }
}

/// The client of the exporters over HTTP. It needs a tokio runtime.
#[derive(Debug)]
pub(super) struct Http {
    client: HyperClient<Connector>,
    last_error: LastError,
}

impl Http {
    pub(super) fn new(connector: Connector) -> Self {
        let last_error = connector.last_error.clone();
        // `export_runtime.rs` has the limit.
        let client = HyperClient::new(connector, Duration::MAX, None);
        Self { client, last_error }
    }
}

type Sent<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Http {
    fn send_bytes<'a, 'b>(&'a self, request: Request<Bytes>) -> Sent<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async {
            let sent = self.client.send_bytes(request).await;
            match &sent {
                Err(error) => self.last_error.set(deepest(&**error)),
                Ok(answer) if !answer.status().is_success() => {
                    let error = format!("the answer was {}", answer.status());
                    self.last_error.set(error);
                }
                Ok(_) => {}
            }
            sent
        })
    }
}

/// The words of an error's last cause, which says most.
fn deepest(error: &(dyn Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    match deepest.downcast_ref::<io::Error>() {
        Some(error) => io_message(error),
        None => deepest.to_string(),
    }
}

/// An open connection, plain or encrypted.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

impl Connection for Box<dyn Socket> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
