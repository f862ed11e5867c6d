//! Replaces the TLS implementation in builds without the feature `tls`.
//!
//! Connections are in plain text only. The types here have no values, so the compiler removes the
//! encrypted path.

use tokio_postgres::Socket;

use super::{TlsSettings, Transport};
use crate::backend::connect_error::ConnectError;

/// Whether this build has TLS.
pub(in crate::backend::postgres) const AVAILABLE: bool = false;

/// An encrypted stream; this type has no values.
pub(super) type Encrypted = tokio_postgres::tls::NoTlsStream;

/// The settings of encrypted connections; this type has no values.
#[derive(Debug, Clone)]
pub(super) enum Encryption {}

impl Encryption {
    /// Always returns an error. URL parsing already rejects these settings; this is a second check.
    pub(super) fn new(_settings: &TlsSettings) -> Result<Self, String> {
        Err("this build has no TLS: enable poolscope's feature `tls`".to_owned())
    }

    /// Cannot be called, because `self` has no values.
    pub(super) async fn start(
        self,
        _socket: Socket,
        _host: &str,
    ) -> Result<Transport, ConnectError> {
        match self {}
    }
}
