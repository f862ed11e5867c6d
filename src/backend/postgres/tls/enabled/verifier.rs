//! Checks the server's certificate as far as the mode requires.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use super::certificate::{check_dates, check_name, public_key};
use super::files::Roots;

/// Checks nothing (`prefer`, `require`), the authority (`verify-ca`), or the authority and the name
/// (`verify-full`).
///
/// A certificate that is itself in the file of `sslrootcert` needs no authority, as in libpq: the usual
/// self-signed certificate is one of an authority (`CA:TRUE`), which rustls accepts from no server.
///
/// It always checks that the server holds the private key of its certificate, because channel
/// binding (the `PLUS` of `SCRAM-SHA-256-PLUS`) depends on it.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) roots: Option<Roots>,
    pub(super) checks_name: bool,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(roots) = &self.roots else {
            return Ok(ServerCertVerified::assertion());
        };
        if roots.exact.contains(certificate) {
            check_dates(certificate, now)?;
        } else {
            verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(certificate)?,
                &roots.store,
                intermediates,
                now,
                self.algorithms.all,
            )?;
        }
        if self.checks_name {
            match roots.exact.is_empty() {
                // The names of public authorities need no leniency.
                true => verify_server_name(&ParsedCertificate::try_from(certificate)?, host)?,
                false => check_name(certificate, host)?,
            }
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
            Err(Error::InvalidCertificate(_)) => {
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

/// Returns what to change if the server's certificate was not accepted.
pub(super) fn advice(error: &Error) -> Option<&'static str> {
    let Error::InvalidCertificate(error) = error else {
        return None;
    };
    match error {
        CertificateError::UnknownIssuer => Some(
            "put the certificate of the authority that signed the server's, or the server's own, \
             into the file of sslrootcert",
        ),
        CertificateError::NotValidForName => Some(
            "the certificate names no host, or another: issue one with a subjectAltName for this host",
        ),
        // webpki's own errors, which rustls passes on without a name.
        other => match format!("{other:?}") {
            text if text.contains("CaUsedAsEndEntity") => Some(
                "the server's certificate is that of an authority: put it into the file of \
                 sslrootcert itself, or issue one with basicConstraints=CA:FALSE",
            ),
            text if text.contains("UnsupportedCertVersion") => Some(
                "the server's certificate has X.509 version 1: put it into the file of sslrootcert \
                 itself, or issue one of version 3, with a subjectAltName",
            ),
            _ => None,
        },
    }
}
