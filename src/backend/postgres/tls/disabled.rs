//! Without the feature `tls` there is only plain text: nothing of this can be made, and the
//! compiler knows.

use tokio_postgres::Socket;

use super::{TlsSettings, Transport};
use crate::backend::connect_error::ConnectError;

/// Whether this build has TLS.
pub(in crate::backend::postgres) const AVAILABLE: bool = false;

/// An encrypted stream, of which there are none.
pub(super) type Encrypted = tokio_postgres::tls::NoTlsStream;

/// How to encrypt, which is not known here.
#[derive(Debug, Clone)]
pub(super) enum Encryption {}

impl Encryption {
    /// Parsing the URL has refused these settings already; this is the second lock.
    pub(super) fn new(_settings: &TlsSettings) -> Result<Self, String> {
        Err("this build has no TLS: enable poolscope's feature `tls`".to_owned())
    }

    /// Cannot be called.
    pub(super) async fn start(
        self,
        _socket: Socket,
        _host: &str,
    ) -> Result<Transport, ConnectError> {
        match self {}
    }
}
