//! TLS by rustls: shakes hands with the receiver, and checks its certificate.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Files, Trouble};
use crate::telemetry::connect::Stream;
use crate::telemetry::variables::Set;

/// How to encrypt.
#[derive(Clone)]
pub(in crate::telemetry) struct Encryption(Arc<ClientConfig>);

impl Encryption {
    /// Reads the files; trusts the public authorities, as Mozilla lists them, if none are named.
    pub(in crate::telemetry) fn new(files: &Files, grpc: bool) -> Result<Self, Trouble> {
        // Never the process's default provider: that belongs to the app, which may have none or
        // another.
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has the ciphers of both versions")
            .with_root_certificates(roots(files.roots.as_ref())?);
        let mut config = match (&files.client_chain, &files.client_key) {
            (None, None) => config.with_no_client_auth(),
            (Some(chain), Some(key)) => {
                let certificates = certificates(chain)?;
                let private = PrivateKeyDer::from_pem_file(&key.value)
                    .map_err(|error| unreadable(key, "a private key", &error))?;
                config
                    .with_client_auth_cert(certificates, private)
                    .map_err(|error| Trouble {
                        file: Some(key.clone()),
                        expected: "the private key of the client certificate".to_owned(),
                        hint: Some(error.to_string()),
                    })?
            }
            (Some(alone), None) | (None, Some(alone)) => {
                return Err(Trouble {
                    file: Some(alone.clone()),
                    expected: "both a CLIENT_CERTIFICATE and a CLIENT_KEY".to_owned(),
                    hint: Some("set the other, too".to_owned()),
                });
            }
        };
        let protocol: &[u8] = if grpc { b"h2" } else { b"http/1.1" };
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(Self(Arc::new(config)))
    }

    /// Shakes hands with `host`.
    pub(in crate::telemetry) async fn start(
        &self,
        socket: TcpStream,
        host: &str,
    ) -> io::Result<Box<dyn Stream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::clone(&self.0))
            .connect(name, socket)
            .await?;
        Ok(Box::new(stream))
    }
}

impl fmt::Debug for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encryption").finish_non_exhaustive()
    }
}

fn roots(file: Option<&Set>) -> Result<RootCertStore, Trouble> {
    let Some(file) = file else {
        let public = webpki_roots::TLS_SERVER_ROOTS.iter().cloned();
        return Ok(public.collect());
    };
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(certificates(file)?);
    if taken == 0 {
        return Err(Trouble {
            file: Some(file.clone()),
            expected: "a PEM file with the certificate of an authority".to_owned(),
            hint: Some("there is none in it".to_owned()),
        });
    }
    Ok(roots)
}

fn certificates(file: &Set) -> Result<Vec<CertificateDer<'static>>, Trouble> {
    CertificateDer::pem_file_iter(&file.value)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable(file, "certificates", &error))
}

fn unreadable(file: &Set, what: &str, error: &pem::Error) -> Trouble {
    Trouble {
        file: Some(file.clone()),
        expected: format!("a PEM file with {what}"),
        hint: Some(error.to_string()),
    }
}
