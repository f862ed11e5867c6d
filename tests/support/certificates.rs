//! Certificates for servers with TLS, generated for each server.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::folder::Folder;

/// PEM files, in the server's folder.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority that signed the server's certificate. Clients should trust it.
    pub authority: PathBuf,
    /// Another authority of the same name. A client that trusts only this one must refuse the server.
    pub wrong_authority: PathBuf,
    pub server: PathBuf,
    pub server_key: PathBuf,
}

impl Certificates {
    /// Generates a certificate for these host names or addresses.
    pub fn new(folder: &Folder, names: &[String]) -> Self {
        let (authority, issuer) = make_authority();
        let (wrong_authority, _) = make_authority();

        let key = make_key();
        let mut server = CertificateParams::new(names).expect("names for a certificate");
        server
            .distinguished_name
            .push(DnType::CommonName, "poolscope test server");
        server.use_authority_key_identifier_extension = true;
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let server = server.signed_by(&key, &issuer).expect("a certificate");

        Certificates {
            authority: folder.write("authority.pem", authority),
            wrong_authority: folder.write("wrong-authority.pem", wrong_authority),
            server: folder.write("server.pem", server.pem()),
            server_key: folder.write("server-key.pem", key.serialize_pem()),
        }
    }
}

fn make_authority() -> (String, Issuer<'static, KeyPair>) {
    let key = make_key();
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "poolscope test authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).expect("a certificate");
    (certificate.pem(), Issuer::new(params, key))
}

fn make_key() -> KeyPair {
    KeyPair::generate().expect("a key pair")
}
