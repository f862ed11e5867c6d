//! TLS to a receiver, by rustls. Without the feature `tls`, an error that names the feature.

#[cfg(feature = "tls")]
pub(super) use self::enabled::{Tls, read};

/// This type has no values.
#[cfg(not(feature = "tls"))]
#[derive(Debug, Clone)]
pub(super) enum Tls {}

#[cfg(not(feature = "tls"))]
pub(super) fn read(
    _signal: super::stats::Signal,
    _protocol: super::settings::Protocol,
    endpoint: &super::environment::Set,
    _environment: &mut super::environment::Environment<'_>,
) -> Result<Tls, crate::settings::Problem> {
    let expected = "an http:// URL, because this build has no TLS";
    Err(endpoint.problem(expected, Some("enable poolscope's feature `tls`")))
}

#[cfg(feature = "tls")]
mod enabled {
    use std::io;
    use std::sync::Arc;

    use rustls::crypto::ring;
    use rustls::pki_types::pem::{self, PemObject};
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, RootCertStore};
    use tokio::net::TcpStream;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream;

    use crate::settings::Problem;
    use crate::telemetry::otlp::environment::{Environment, Set, of_exporter};
    use crate::telemetry::otlp::settings::Protocol;
    use crate::telemetry::otlp::stats::Signal;

    /// The certificates to trust and to present.
    #[derive(Debug, Clone)]
    pub(in crate::telemetry::otlp) struct Tls(Arc<ClientConfig>);

    /// Reads the files that the variables name. Without any, trusts Mozilla's list of public authorities.
    pub(in crate::telemetry::otlp) fn read(
        signal: Signal,
        protocol: Protocol,
        _endpoint: &Set,
        environment: &mut Environment<'_>,
    ) -> Result<Tls, Problem> {
        // Does not use the process's default provider, because the app may have set none, or another one.
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has the ciphers of both versions")
            .with_root_certificates(roots(
                environment.find_first(&of_exporter(signal, "CERTIFICATE")),
            )?);
        let chain = environment.find_first(&of_exporter(signal, "CLIENT_CERTIFICATE"));
        let key = environment.find_first(&of_exporter(signal, "CLIENT_KEY"));
        let mut config = match (chain, key) {
            (None, None) => config.with_no_client_auth(),
            (Some(chain), Some(key)) => {
                let private = PrivateKeyDer::from_pem_file(&key.value)
                    .map_err(|error| unreadable(&key, "a private key", &error))?;
                let config = config.with_client_auth_cert(certificates(&chain)?, private);
                config.map_err(|error| {
                    let expected = "the private key of the client certificate";
                    key.problem(expected, Some(&error.to_string()))
                })?
            }
            (Some(alone), None) | (None, Some(alone)) => {
                let expected = "both a CLIENT_CERTIFICATE and a CLIENT_KEY";
                return Err(alone.problem(expected, Some("set the other, too")));
            }
        };
        let protocol: &[u8] = match protocol {
            Protocol::Grpc => b"h2",
            Protocol::Http => b"http/1.1",
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(Tls(Arc::new(config)))
    }

    impl Tls {
        /// Performs the TLS handshake with `host`.
        pub(in crate::telemetry::otlp) async fn start(
            &self,
            socket: TcpStream,
            host: &str,
        ) -> io::Result<TlsStream<TcpStream>> {
            let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
            let connector = TlsConnector::from(Arc::clone(&self.0));
            connector.connect(name, socket).await
        }
    }

    fn roots(file: Option<Set>) -> Result<RootCertStore, Problem> {
        let Some(file) = file else {
            let public = webpki_roots::TLS_SERVER_ROOTS.iter().cloned();
            return Ok(public.collect());
        };
        let mut roots = RootCertStore::empty();
        match roots.add_parsable_certificates(certificates(&file)?) {
            (0, _) => Err(file.problem("a PEM file with the certificate of an authority", None)),
            _ => Ok(roots),
        }
    }

    fn certificates(file: &Set) -> Result<Vec<CertificateDer<'static>>, Problem> {
        CertificateDer::pem_file_iter(&file.value)
            .and_then(Iterator::collect)
            .map_err(|error| unreadable(file, "certificates", &error))
    }

    fn unreadable(file: &Set, what: &str, error: &pem::Error) -> Problem {
        file.problem(&format!("a PEM file with {what}"), Some(&error.to_string()))
    }
}
