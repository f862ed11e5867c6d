//! TLS with rustls: requests TLS from the server, performs the handshake, and checks the
//! certificate as far as the mode requires.

use std::fmt;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::ring;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_postgres::Socket;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

use self::files::{read_client, read_roots};
use self::verifier::{Verifier, advice};
use super::{TlsMode, TlsSettings, Transport};
use crate::backend::connect_error::{ConnectError, ConnectErrorKind, io_message};

mod certificate;
mod files;
mod verifier;

/// Whether this build has TLS.
pub(in crate::backend::postgres) const AVAILABLE: bool = true;

/// An encrypted stream.
pub(super) type Encrypted = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

/// The settings of encrypted connections.
#[derive(Clone)]
pub(super) struct Encryption {
    rustls: MakeRustlsConnect,
    plain_if_not_offered: bool,
}

impl fmt::Debug for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encryption")
            .field("plain_if_not_offered", &self.plain_if_not_offered)
            .finish_non_exhaustive()
    }
}

impl Encryption {
    /// Reads the root certificates, if the mode needs any, and the client's certificate.
    pub(super) fn new(settings: &TlsSettings) -> Result<Self, String> {
        // Never uses the process's default crypto provider: that belongs to the app, which may have
        // none or a different one.
        let provider = Arc::new(ring::default_provider());
        let verifier = Verifier {
            roots: match settings.mode {
                TlsMode::Disable | TlsMode::Prefer | TlsMode::Require => None,
                TlsMode::VerifyCa | TlsMode::VerifyFull => Some(read_roots(&settings.roots)?),
            },
            checks_name: settings.mode == TlsMode::VerifyFull,
            algorithms: provider.signature_verification_algorithms,
        };
        let client = match &settings.client {
            None => None,
            Some(files) => Some(read_client(files, &provider)?),
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let config = match client {
            None => config.with_no_client_auth(),
            Some(client) => config.with_client_cert_resolver(client),
        };
        Ok(Self {
            rustls: MakeRustlsConnect::new(config),
            plain_if_not_offered: settings.mode == TlsMode::Prefer,
        })
    }

    /// Requests TLS from the server, and performs the handshake.
    pub(super) async fn start(
        mut self,
        mut socket: Socket,
        host: &str,
    ) -> Result<Transport, ConnectError> {
        match ask(&mut socket).await? {
            b'S' => {
                let Ok(handshake) =
                    MakeTlsConnect::<Socket>::make_tls_connect(&mut self.rustls, host);
                let stream = handshake
                    .connect(socket)
                    .await
                    .map_err(|error| handshake_failed(&error))?;
                Ok(Transport::Encrypted(Box::new(stream)))
            }
            b'N' if self.plain_if_not_offered => Ok(Transport::Plain(socket)),
            b'N' => Err(tls_error("the server does not offer TLS")),
            // A server may respond with an error. The message does not show its text: it is not
            // authenticated, and an attacker may have sent it.
            b'E' => Err(tls_error(
                "the server responded to the TLS request with an error",
            )),
            _ => Err(tls_error(
                "unexpected response to the TLS request: not a Postgres server",
            )),
        }
    }
}

/// Sends `SSLRequest` and reads exactly one byte of response.
///
/// The bytes after it belong to TLS. Plain-text bytes injected there by an attacker must make the
/// handshake fail.
async fn ask(socket: &mut Socket) -> Result<u8, ConnectError> {
    const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
    let exchange = async {
        socket.write_all(&SSL_REQUEST).await?;
        socket.flush().await?;
        socket.read_u8().await
    };
    exchange.await.map_err(|error| {
        let message = format!("the TLS request failed: {}", io_message(&error));
        ConnectError::new(ConnectErrorKind::of_io(&error), message, None)
    })
}

fn tls_error(message: impl Into<String>) -> ConnectError {
    ConnectError::new(ConnectErrorKind::Tls, message, None)
}

fn handshake_failed(error: &std::io::Error) -> ConnectError {
    if error.kind() == std::io::ErrorKind::TimedOut {
        return ConnectError::new(
            ConnectErrorKind::TimedOut,
            "the TLS handshake timed out",
            None,
        );
    }
    let mut message = format!("the TLS handshake failed: {}", io_message(error));
    let cause = error.get_ref().and_then(|error| error.downcast_ref());
    if let Some(advice) = cause.and_then(advice) {
        message = format!("{message}; {advice}");
    }
    tls_error(message)
}
