//! How the session is encrypted, decided as libpq decides it.
//!
//! | `sslmode` | encrypted | certificate checked |
//! |---|---|---|
//! | `disable` | no | |
//! | `prefer` | if the server offers it | no |
//! | `require` | yes | no (with `sslrootcert`: as `verify-ca`) |
//! | `verify-ca` | yes | signed by a trusted authority |
//! | `verify-full` | yes | the same, and issued for this host name |
//!
//! Trusted are the authorities in `sslrootcert=FILE`, or the public ones with `sslrootcert=system`;
//! without `sslrootcert`, those in `~/.postgresql/root.crt` if there is such a file, else the
//! public ones.
//!
//! Unlike libpq, `prefer` does not try a second time in plain text when an encrypted session fails:
//! it is plain only if the server answers that it has no TLS. And `prefer` and `require` do not
//! look at `~/.postgresql/root.crt`.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use tokio_postgres::Socket;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};

use super::tap::Tap;
use super::wire::Wire;
use crate::backend::connect_error::ConnectError;

#[cfg(not(feature = "tls"))]
mod disabled;
#[cfg(feature = "tls")]
mod enabled;
mod transport;

#[cfg(not(feature = "tls"))]
use disabled as implementation;
#[cfg(feature = "tls")]
use enabled as implementation;

pub(super) use implementation::AVAILABLE;
pub(super) use transport::Transport;

/// What the URL says about TLS.
#[derive(Debug, Clone)]
pub(super) struct TlsSettings {
    /// Whether to encrypt and what to check.
    pub(super) mode: TlsMode,
    /// Whom to trust.
    #[cfg_attr(
        not(feature = "tls"),
        expect(dead_code, reason = "nothing is encrypted without it")
    )]
    pub(super) roots: TlsRoots,
}

/// `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TlsMode {
    /// Plain text.
    Disable,
    /// TLS if the server offers it.
    Prefer,
    /// TLS with any certificate.
    Require,
    /// TLS with a certificate of a trusted authority.
    VerifyCa,
    /// TLS with a certificate of a trusted authority for this host.
    VerifyFull,
}

/// `sslrootcert`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TlsRoots {
    /// Not given.
    Unset,
    /// The public authorities, as Mozilla lists them.
    System,
    /// The certificates in this PEM file.
    File(PathBuf),
}

impl TlsMode {
    /// As it is written in a URL.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

impl TlsSettings {
    /// Whether connecting could begin: the files are there and can be read.
    pub(super) fn check(&self) -> Result<(), String> {
        Connector::new(self).map(drop)
    }
}

/// Makes the stream of each attempt to connect: encrypted or not, and with a [`Tap`] on it.
///
/// One is made for each connection, so that a renewed root certificate is used by the next.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    encryption: Option<implementation::Encryption>,
    /// Of the last attempt: with several hosts, only that one may have become the connection.
    wire: Option<Arc<Wire>>,
}

impl Connector {
    /// A connector for these settings; the error says which file is wrong, and how.
    pub(super) fn new(settings: &TlsSettings) -> Result<Self, String> {
        let encryption = match settings.mode {
            TlsMode::Disable => None,
            _ => Some(implementation::Encryption::new(settings)?),
        };
        Ok(Self {
            encryption,
            wire: None,
        })
    }

    /// The wire of the last attempt.
    pub(super) fn take_wire(&mut self) -> Option<Arc<Wire>> {
        self.wire.take()
    }
}

impl MakeTlsConnect<Socket> for &mut Connector {
    type Stream = Tap<Transport>;
    type TlsConnect = Attempt;
    type Error = ConnectError;

    fn make_tls_connect(&mut self, host: &str) -> Result<Attempt, ConnectError> {
        let wire = Arc::new(Wire::new());
        self.wire = Some(Arc::clone(&wire));
        Ok(Attempt {
            encryption: self.encryption.clone(),
            host: host.to_owned(),
            wire,
        })
    }
}

/// One attempt to connect to one address.
#[derive(Debug)]
pub(super) struct Attempt {
    encryption: Option<implementation::Encryption>,
    host: String,
    wire: Arc<Wire>,
}

impl TlsConnect<Socket> for Attempt {
    type Stream = Tap<Transport>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Tap<Transport>, ConnectError>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let transport = match self.encryption {
                None => Transport::Plain(socket),
                Some(encryption) => encryption.start(socket, &self.host).await?,
            };
            Ok(Tap::new(transport, self.wire))
        })
    }
}
