//! A stream that passes every byte on unchanged, and shows a copy of it to a [`Reader`].

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsStream};

use super::reader::Reader;
use super::wire::Wire;

/// The transport `S` with a reader on it.
#[derive(Debug)]
pub(crate) struct Tap<S> {
    inner: S,
    reader: Reader,
}

impl<S> Tap<S> {
    /// Puts a tap on a transport on which the session has not sent anything yet. No other tap may
    /// write to `wire`.
    pub(super) fn new(inner: S, wire: Arc<Wire>) -> Self {
        let reader = Reader::new(wire);
        Self { inner, reader }
    }

    /// Marks the connection as closed if the transport failed.
    fn checked<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if result.is_err() {
            self.reader.closed();
        }
        result
    }
}

impl<S> Drop for Tap<S> {
    fn drop(&mut self) {
        self.reader.closed();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let had_room = buf.remaining() > 0;
        let result = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        self.checked(result)?;
        match buf.filled().get(before..) {
            Some([]) | None if had_room => self.reader.closed(),
            Some(bytes) => self.reader.received(bytes),
            None => {}
        }
        if self.reader.refuses() {
            let why = "a notification arrived while nobody held the connection";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, why)));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.inner).poll_write(cx, buf));
        let accepted = self.checked(result)?;
        self.reader.sent(&buf[..accepted.min(buf.len())]);
        Poll::Ready(Ok(accepted))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs));
        let accepted = self.checked(result)?;
        let mut left = accepted;
        for buf in bufs {
            let here = left.min(buf.len());
            self.reader.sent(&buf[..here]);
            left -= here;
        }
        Poll::Ready(Ok(accepted))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.inner).poll_flush(cx));
        Poll::Ready(self.checked(result))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.reader.closed();
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S: TlsStream + Unpin> TlsStream for Tap<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.inner.channel_binding()
    }
}

#[cfg(test)]
mod tests;
