//! Connections to a receiver, plain or encrypted.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tower_service::Service;

use super::settings::ExportSettings;
use super::tls::Tls;
use crate::backend::io_message;

/// Opens connections to one receiver, whatever the URL of a request is.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    host: Arc<str>,
    port: u16,
    tls: Option<Tls>,
    last_error: LastError,
}

/// The cause of the last failed connection attempt, which the errors of the OTLP exporters do not contain.
pub(super) type LastError = watch::Sender<Option<String>>;

impl Connector {
    pub(super) fn new(to: &ExportSettings, last_error: LastError) -> Self {
        let host = to.uri.host().unwrap_or_default();
        // Only URLs have brackets around IPv6 addresses.
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
        let error = opened.as_ref().err().map(io_message);
        self.last_error.send_replace(error);
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

/// An open connection, plain or encrypted.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

impl Connection for Box<dyn Socket> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
