//! TLS with rustls: requests TLS from the server, performs the handshake, and checks the
//! certificate as far as the mode requires.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{
    WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_postgres::Socket;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};

use super::{TlsMode, TlsRoots, TlsSettings, Transport};
use crate::backend::connect_error::{ConnectError, ConnectErrorKind, io_message};

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
    /// Reads the root certificates, if the mode needs any.
    pub(super) fn new(settings: &TlsSettings) -> Result<Self, String> {
        // Never uses the process's default crypto provider: that belongs to the app, which may have
        // none or a different one.
        let provider = Arc::new(ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let partly = |roots| {
            let verifier = Arc::new(PartialVerifier { roots, algorithms });
            config
                .clone()
                .dangerous()
                .with_custom_certificate_verifier(verifier)
        };
        let config = match settings.mode {
            TlsMode::Disable | TlsMode::Prefer | TlsMode::Require => partly(None),
            TlsMode::VerifyCa => partly(Some(read_roots(&settings.roots)?)),
            TlsMode::VerifyFull => config
                .clone()
                .with_root_certificates(read_roots(&settings.roots)?),
        };
        Ok(Self {
            rustls: MakeRustlsConnect::new(config.with_no_client_auth()),
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
    tls_error(format!("the TLS handshake failed: {}", io_message(error)))
}

/// Reads the certificates of the trusted authorities.
fn read_roots(roots: &TlsRoots) -> Result<RootCertStore, String> {
    match roots {
        TlsRoots::System => Ok(public_roots()),
        TlsRoots::File(path) => read_root_file(path),
        TlsRoots::Unset => match default_root_file() {
            Some(path) => read_root_file(&path),
            None => Ok(public_roots()),
        },
    }
}

fn public_roots() -> RootCertStore {
    webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()
}

/// Returns the path of libpq's default root certificate file, if the file exists.
fn default_root_file() -> Option<PathBuf> {
    let path = env::home_dir()?.join(".postgresql/root.crt");
    path.exists().then_some(path)
}

fn read_root_file(path: &Path) -> Result<RootCertStore, String> {
    let wrong = |what: &dyn fmt::Display| format!("parameter sslrootcert={path:?}: {what}");
    let pem = std::fs::read(path).map_err(|error| wrong(&io_message(&error)))?;
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| wrong(&error))?;
        store.add(certificate).map_err(|error| wrong(&error))?;
    }
    if store.is_empty() {
        return Err(wrong(&"expected a PEM file, found no certificate in it"));
    }
    Ok(store)
}

/// Checks less than rustls by default: the authority but not the name (`verify-ca`), or neither
/// (`prefer`, `require`).
///
/// It always checks that the server holds the private key of its certificate, because channel
/// binding (the `PLUS` of `SCRAM-SHA-256-PLUS`) depends on it.
#[derive(Debug)]
struct PartialVerifier {
    roots: Option<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for PartialVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _host: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(roots) = &self.roots {
            let certificate = ParsedCertificate::try_from(certificate)?;
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                roots,
                intermediates,
                now,
                algorithms,
            )?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match verify_tls13_signature(message, certificate, signature, &self.algorithms) {
            // webpki accepts only certificates of version 3. The openssl commands in the Postgres
            // manual create version 1.
            Err(Error::InvalidCertificate(_)) if self.roots.is_none() => {
                let key = public_key(certificate)?;
                verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
            }
            result => result,
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn public_key(certificate: &CertificateDer<'_>) -> Result<SubjectPublicKeyInfoDer<'static>, Error> {
    let certificate = Certificate::from_der(certificate);
    let key = certificate
        .and_then(|certificate| certificate.tbs_certificate.subject_public_key_info.to_der());
    key.map(SubjectPublicKeyInfoDer::from)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))
}
