//! Opens connections to a receiver, plain or encrypted.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower_service::Service;

use super::destination::Destination;
use super::tls::Encryption;
use crate::backend::io_message;

/// The bytes to the receiver and back.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Opens connections to one receiver.
///
/// It is told the address once, and not by each request's URL: what else is asked of it, it does
/// not do.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    host: Arc<str>,
    port: u16,
    encryption: Option<Encryption>,
    trouble: Trouble,
}

/// Why the last attempt failed, in words; the exporters tell less, or nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    pub(super) fn note(&self, words: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(words);
    }

    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Connector {
    pub(super) fn new(to: &Destination, trouble: Trouble) -> Self {
        let host = to.uri.host().unwrap_or_default();
        // Brackets are for IPv6 addresses in URLs, and only there.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let usual = if to.encryption.is_some() { 443 } else { 80 };
        Self {
            host: host.into(),
            port: to.uri.port_u16().unwrap_or(usual),
            encryption: to.encryption.clone(),
            trouble,
        }
    }

    async fn connect(self) -> io::Result<TokioIo<Socket>> {
        let open = async {
            let socket = TcpStream::connect((&*self.host, self.port)).await?;
            socket.set_nodelay(true)?;
            Ok(match &self.encryption {
                None => Socket(Box::new(socket)),
                Some(encryption) => Socket(encryption.start(socket, &self.host).await?),
            })
        };
        match open.await {
            Ok(socket) => Ok(TokioIo::new(socket)),
            Err(error) => {
                self.trouble.note(io_message(&error));
                Err(error)
            }
        }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Socket>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Socket>>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect())
    }
}

/// An open connection.
pub(super) struct Socket(Box<dyn Stream>);

impl Connection for Socket {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").finish_non_exhaustive()
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// An error in words: its last cause says most.
pub(super) fn words(error: &(dyn Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    match deepest.downcast_ref::<io::Error>() {
        Some(error) => io_message(error),
        None => deepest.to_string(),
    }
}
