//! Certificates that libpq accepts: self-signed ones, old ones, and those of clients.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SigningKey, date_time_ymd,
};
use x509_cert::Certificate;
use x509_cert::certificate::Version;
use x509_cert::der::asn1::BitString;
use x509_cert::der::{Decode, Encode, EncodePem, pem::LineEnding};

use super::server::{Identity, Server, refused, target};
use super::tls::attempt;
use crate::backend::connect_error::ConnectErrorKind;
use crate::backend::postgres::connect::connect;
use crate::backend::postgres::url::Target;

/// The parameters of a certificate for `localhost`, by its common name only, as `openssl req -x509 -subj
/// /CN=localhost` makes it.
fn of_localhost() -> CertificateParams {
    let mut params = CertificateParams::new([]).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, "localhost");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn self_signed(params: &CertificateParams) -> Identity {
    let key = KeyPair::generate().unwrap();
    Identity {
        certificate: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
        clients: None,
    }
}

/// Creates a certificate of version 1, as `openssl x509 -req` does in the Postgres manual. It is signed
/// by itself, or by this authority.
fn old(authority: Option<(&CertificateParams, &KeyPair)>) -> Identity {
    let key = KeyPair::generate().unwrap();
    let mut params = of_localhost();
    params.is_ca = IsCa::NoCa;
    let new = match authority {
        None => params.self_signed(&key).unwrap(),
        Some((of, signer)) => params
            .signed_by(&key, &Issuer::from_params(of, signer))
            .unwrap(),
    };
    let mut old = Certificate::from_der(new.der()).unwrap();
    old.tbs_certificate.version = Version::V1;
    old.tbs_certificate.extensions = None;
    let signer = authority.map_or(&key, |(_, signer)| signer);
    let signature = signer.sign(&old.tbs_certificate.to_der().unwrap()).unwrap();
    old.signature = BitString::from_bytes(&signature).unwrap();
    Identity {
        certificate: old.to_pem(LineEnding::LF).unwrap(),
        key: key.serialize_pem(),
        clients: None,
    }
}

/// Its own certificate is what the client trusts.
#[tokio::test]
async fn a_server_certificate_in_sslrootcert_is_accepted() {
    let named = {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        self_signed(&params)
    };
    let common_name = self_signed(&of_localhost());
    for (what, identity) in [
        ("an alternative name", named),
        ("a common name", common_name),
        ("version 1", old(None)),
    ] {
        let server = Server::start(Some(identity)).await;
        let root = server.folder().join("data/server.crt");
        let other = self_signed(&of_localhost()).certificate;
        let other = server.folder().write("other.crt", other);
        let accepts = async |mode: &str, host: &str, root: &Path| {
            let rest = format!("offers?sslmode={mode}&sslrootcert={}", root.display());
            attempt(&server, host, &rest).await
        };
        let refused = Err(ConnectErrorKind::Tls);
        for (mode, of_localhost, of_its_address) in [
            ("require", Ok(true), Ok(true)),
            ("verify-ca", Ok(true), Ok(true)),
            ("verify-full", Ok(true), refused),
        ] {
            assert_eq!(
                accepts(mode, "localhost", &root).await,
                of_localhost,
                "{what} {mode}"
            );
            assert_eq!(
                accepts(mode, "127.0.0.1", &root).await,
                of_its_address,
                "{what} {mode}"
            );
            assert_eq!(
                accepts(mode, "localhost", &other).await,
                refused,
                "{what} {mode}"
            );
        }
        assert_eq!(
            attempt(&server, "localhost", "offers").await,
            Ok(true),
            "{what}"
        );
        let url = format!(
            "postgres://scram:it's%40secret@127.0.0.1:{}/offers?channel_binding=require",
            server.port
        );
        connect(&target(&url)).await.unwrap();
    }
}

#[tokio::test]
async fn a_name_is_checked_as_by_libpq() {
    let authority = of_localhost();
    let key = KeyPair::generate().unwrap();
    let issuer = Issuer::from_params(&authority, &key);
    let root = authority.self_signed(&key).unwrap().pem();
    let signed = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "localhost");
        let key = KeyPair::generate().unwrap();
        Identity {
            certificate: params.signed_by(&key, &issuer).unwrap().pem(),
            key: key.serialize_pem(),
            clients: None,
        }
    };
    let refused = Err(ConnectErrorKind::Tls);
    for (names, of_localhost, of_its_address) in [
        (&[][..], Ok(true), refused),
        (&["db.example.com"], refused, refused),
        (&["127.0.0.1"], Ok(true), Ok(true)),
    ] {
        let server = Server::start(Some(signed(names))).await;
        let root = server.folder().write("root.crt", root.as_str());
        let rest = format!("offers?sslmode=verify-full&sslrootcert={}", root.display());
        assert_eq!(
            attempt(&server, "localhost", &rest).await,
            of_localhost,
            "{names:?}"
        );
        assert_eq!(
            attempt(&server, "127.0.0.1", &rest).await,
            of_its_address,
            "{names:?}"
        );
    }
}

#[tokio::test]
async fn an_error_says_what_to_change_in_the_certificate() {
    let authority = of_localhost();
    let key = KeyPair::generate().unwrap();
    let root = authority.self_signed(&key).unwrap().pem();
    let mut expired = of_localhost();
    expired.not_before = date_time_ymd(2001, 1, 1);
    expired.not_after = date_time_ymd(2002, 1, 1);
    for (identity, mode, root, expected) in [
        (self_signed(&expired), "verify-ca", None, "Expired"),
        (
            self_signed(&of_localhost()),
            "verify-ca",
            Some(&root),
            "put it into the file of sslrootcert itself, or issue one with basicConstraints=CA:FALSE",
        ),
        (
            old(Some((&authority, &key))),
            "verify-ca",
            Some(&root),
            "has X.509 version 1: put it into the file of sslrootcert itself, or issue one of version 3",
        ),
        (
            self_signed(&of_localhost()),
            "verify-full",
            None,
            "issue one with a subjectAltName for this host",
        ),
    ] {
        let server = Server::start(Some(identity)).await;
        let root = match root {
            None => server.folder().join("data/server.crt"),
            Some(root) => server.folder().write("root.crt", root.as_str()),
        };
        let rest = format!("offers?sslmode={mode}&sslrootcert={}", root.display());
        let error = refused(&server.url("127.0.0.1", &rest)).await;
        assert_eq!(error.kind(), ConnectErrorKind::Tls);
        assert!(error.message().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_client_certificate_logs_in() {
    let authority = of_localhost();
    let signer = KeyPair::generate().unwrap();
    let root = authority.self_signed(&signer).unwrap().pem();
    let server = Identity {
        clients: Some(root),
        ..self_signed(&of_localhost())
    };
    let server = Server::start(Some(server)).await;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    };
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "client");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let issuer = Issuer::from_params(&authority, &signer);
    let certificate = write(
        "client.crt",
        &params.signed_by(&key, &issuer).unwrap().pem(),
    );
    let sslkey = write("client.key", &key.serialize_pem());
    let url = |parameters: &str| {
        format!(
            "postgres://client@localhost:{}/offers?{parameters}",
            server.port
        )
    };
    let with = |certificate: &Path, key: &Path| {
        url(&format!(
            "sslcert={}&sslkey={}",
            certificate.display(),
            key.display()
        ))
    };
    connect(&target(&with(&certificate, &sslkey)))
        .await
        .unwrap();
    let error = refused(&url("sslmode=require")).await;
    assert_eq!(error.kind(), ConnectErrorKind::Authentication, "{error}");
    let kept = format!("{}&sslcertmode=disable", with(&certificate, &sslkey));
    let error = refused(&kept).await;
    assert_eq!(error.kind(), ConnectErrorKind::Authentication, "{error}");

    // A file that is replaced is used by the next connection.
    let other = self_signed(&params);
    let renewed = target(&with(&certificate, &sslkey));
    let (old_certificate, old_key) = (
        fs::read_to_string(&certificate).unwrap(),
        fs::read_to_string(&sslkey).unwrap(),
    );
    write("client.crt", &other.certificate);
    write("client.key", &other.key);
    assert!(
        connect(&renewed).await.is_err(),
        "the server does not know its signer"
    );
    write("client.crt", &old_certificate);
    write("client.key", &old_key);
    connect(&renewed).await.unwrap();

    let wrong = |url: &str| Target::parse(url).unwrap_err();
    let other_key = write("other.key", &other.key);
    let text = wrong(&with(&certificate, &other_key));
    assert!(
        text.contains("not the key of the certificate in sslcert"),
        "{text}"
    );
    let text = wrong(&with(&certificate, &certificate));
    assert!(text.contains("found no private key in it"), "{text}");
    let encrypted = write(
        "encrypted.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let text = wrong(&with(&certificate, &encrypted));
    assert!(text.contains("encrypted with a passphrase"), "{text}");
    fs::set_permissions(&sslkey, Permissions::from_mode(0o644)).unwrap();
    let text = wrong(&with(&certificate, &sslkey));
    assert!(text.contains("0600 or less"), "{text}");
    let text = wrong(&url(&format!("sslcert={}", certificate.display())));
    assert!(text.contains("sslcert requires sslkey"), "{text}");
    let text = wrong(&url(&format!("sslkey={}", sslkey.display())));
    assert!(text.contains("sslkey requires sslcert"), "{text}");
}
