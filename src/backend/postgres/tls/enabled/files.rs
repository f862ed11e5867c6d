//! Reads certificates and keys from PEM files.

use std::env;
use std::fmt;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::super::{ClientFiles, TlsRoots};
use super::certificate::public_key;
use crate::backend::connect_error::io_message;

/// The certificates of `sslrootcert`.
#[derive(Debug)]
pub(super) struct Roots {
    /// The authorities.
    pub(super) store: RootCertStore,
    /// The certificates of the file, each of which may be the server's own. Empty if the roots are the
    /// public authorities.
    pub(super) exact: Vec<CertificateDer<'static>>,
}

/// Reads the certificates of the trusted authorities.
pub(super) fn read_roots(roots: &TlsRoots) -> Result<Roots, String> {
    match roots {
        TlsRoots::System => Ok(public_roots()),
        TlsRoots::File(path) => read_root_file(path),
        TlsRoots::Unset => match default_root_file() {
            Some(path) => read_root_file(&path),
            None => Ok(public_roots()),
        },
    }
}

fn public_roots() -> Roots {
    Roots {
        store: webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect(),
        exact: Vec::new(),
    }
}

/// Returns the path of libpq's default root certificate file, if the file exists.
fn default_root_file() -> Option<PathBuf> {
    let path = env::home_dir()?.join(".postgresql/root.crt");
    path.exists().then_some(path)
}

fn read_root_file(path: &Path) -> Result<Roots, String> {
    let exact = read_certificates("sslrootcert", path)?;
    let mut store = RootCertStore::empty();
    for certificate in &exact {
        let added = store.add(certificate.clone());
        added.map_err(|error| wrong("sslrootcert", path, &error))?;
    }
    Ok(Roots { store, exact })
}

fn wrong(parameter: &str, path: &Path, what: &dyn fmt::Display) -> String {
    format!("parameter {parameter}={path:?}: {what}")
}

fn read_certificates(parameter: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = fs::read(path).map_err(|error| wrong(parameter, path, &io_message(&error)))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|error| wrong(parameter, path, &error))?;
    if certificates.is_empty() {
        let none = "expected a PEM file, found no certificate in it";
        return Err(wrong(parameter, path, &none));
    }
    Ok(certificates)
}

/// Reads the client's certificate and its private key.
pub(super) fn read_client(
    files: &ClientFiles,
    provider: &CryptoProvider,
) -> Result<Arc<dyn ResolvesClientCert>, String> {
    let chain = read_certificates("sslcert", &files.certificate)?;
    let wrong_key = |what: &dyn fmt::Display| wrong("sslkey", &files.key, what);
    let key = read_key(&files.key).map_err(|what| wrong_key(&what))?;
    let key = provider.key_provider.load_private_key(key);
    let key = key.map_err(|error| wrong_key(&error))?;
    // rustls's own check fails for a certificate of version 1, which most servers accept.
    let certified =
        public_key(&chain[0]).map_err(|error| wrong("sslcert", &files.certificate, &error))?;
    if key.public_key().is_some_and(|public| public != certified) {
        return Err(wrong_key(&"not the key of the certificate in sslcert"));
    }
    Ok(Arc::new(SingleCertAndKey::from(CertifiedKey::new(
        chain, key,
    ))))
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let metadata = fs::metadata(path).map_err(|error| io_message(&error))?;
    check_access(&metadata)?;
    let pem = fs::read(path).map_err(|error| io_message(&error))?;
    if String::from_utf8_lossy(&pem).contains("ENCRYPTED") {
        return Err(
            "the key is encrypted with a passphrase, which is not supported: decrypt it with \
             `openssl pkey -in FILE -out NEW`, and let only its owner read it"
                .to_owned(),
        );
    }
    // The error may not quote the file.
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| "expected a PEM file, found no private key in it".to_owned())
}

/// Refuses a key that others may read, by the rule of libpq.
#[cfg(unix)]
fn check_access(metadata: &Metadata) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;

    if !metadata.is_file() {
        return Err("not a regular file".to_owned());
    }
    let forbidden = match metadata.uid() {
        0 => 0o037,
        _ => 0o077,
    };
    if metadata.mode() & forbidden != 0 {
        return Err(
            "the group or others have access to the key: expected the permissions 0600 or less, or \
             0640 or less if root owns the file"
                .to_owned(),
        );
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_access(_: &Metadata) -> Result<(), String> {
    Ok(())
}
