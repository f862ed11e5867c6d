//! TLS of Postgres sessions, with the modes of libpq.
//!
//! | `sslmode` | encrypted | certificate checked |
//! |---|---|---|
//! | `disable` | no | |
//! | `prefer` | if the server offers it | no |
//! | `require` | yes | no (with `sslrootcert`: as `verify-ca`) |
//! | `verify-ca` | yes | signed by a trusted authority |
//! | `verify-full` | yes | the same, and issued for this host name |
//!
//! `sslrootcert=FILE` trusts the authorities in the file, `sslrootcert=system` the public ones.
//! A server certificate that is itself in the file is accepted, whoever signed it.
//! Without `sslrootcert`, the authorities in `~/.postgresql/root.crt` are trusted if the file
//! exists, otherwise the public ones.
//!
//! `sslcert=FILE` and `sslkey=FILE` are the client's own certificate and its key. Unlike libpq, there is
//! no default for them.
//!
//! Unlike libpq, `prefer` does not retry in plain text when an encrypted session fails: it uses
//! plain text only if the server responds that it does not offer TLS. Also unlike libpq, `prefer`
//! and `require` ignore `~/.postgresql/root.crt`.

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

/// The TLS settings of a URL.
#[derive(Debug, Clone)]
pub(super) struct TlsSettings {
    /// Whether to encrypt, and which checks to make.
    pub(super) mode: TlsMode,
    /// The trusted authorities.
    #[cfg_attr(
        not(feature = "tls"),
        expect(dead_code, reason = "there is no encryption without the feature")
    )]
    pub(super) roots: TlsRoots,
    /// The client's certificate.
    #[cfg_attr(
        not(feature = "tls"),
        expect(dead_code, reason = "there is no encryption without the feature")
    )]
    pub(super) client: Option<ClientFiles>,
}

/// The files of `sslcert` and `sslkey`.
#[derive(Debug, Clone)]
#[cfg_attr(
    not(feature = "tls"),
    expect(dead_code, reason = "there is no encryption without the feature")
)]
pub(super) struct ClientFiles {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// The values of `sslmode`.
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

/// The values of `sslrootcert`.
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
    pub(super) const ALL: [Self; 5] = [
        Self::Disable,
        Self::Prefer,
        Self::Require,
        Self::VerifyCa,
        Self::VerifyFull,
    ];

    /// Returns the value of `sslmode`, as written in a URL.
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

/// Creates the stream of each connection attempt, encrypted or not, with a [`Tap`] on it.
///
/// Each connection gets a new connector, so that the next connection uses a renewed root
/// certificate.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    encryption: Option<implementation::Encryption>,
    /// The wire of the last attempt. With several hosts, only the last attempt can have become the
    /// connection.
    wire: Option<Arc<Wire>>,
}

impl Connector {
    /// Creates a connector for these settings. The error names the file and what is wrong with it.
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

    /// Takes the wire of the last attempt.
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

/// One connection attempt to one address.
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
