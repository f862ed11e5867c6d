//! Reads a certificate that rustls may not accept: its public key, its dates and its names.

use std::net::IpAddr;

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error};
use x509_cert::Certificate;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

fn parse(certificate: &CertificateDer<'_>) -> Result<Certificate, Error> {
    Certificate::from_der(certificate).map_err(|_| bad_encoding())
}

fn bad_encoding() -> Error {
    CertificateError::BadEncoding.into()
}

/// Returns the public key of a certificate of any version.
pub(super) fn public_key(
    certificate: &CertificateDer<'_>,
) -> Result<SubjectPublicKeyInfoDer<'static>, Error> {
    let certificate = parse(certificate)?;
    let key = certificate.tbs_certificate.subject_public_key_info.to_der();
    key.map(SubjectPublicKeyInfoDer::from)
        .map_err(|_| bad_encoding())
}

/// Checks that the certificate is valid at this time.
pub(super) fn check_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let validity = parse(certificate)?.tbs_certificate.validity;
    if now.as_secs() < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now.as_secs() > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

/// Checks that the certificate is for this host, by the rules of libpq: also the common name counts if
/// there is no alternative name of the host's kind, and an address may be written as a host name.
pub(super) fn check_name(
    certificate: &CertificateDer<'_>,
    host: &ServerName<'_>,
) -> Result<(), Error> {
    let strict = ParsedCertificate::try_from(certificate)
        .and_then(|certificate| verify_server_name(&certificate, host));
    let (Err(refused), certificate) = (strict, parse(certificate)?) else {
        return Ok(());
    };
    let (host, address) = match host {
        ServerName::DnsName(name) => (name.as_ref().to_owned(), false),
        ServerName::IpAddress(address) => (IpAddr::from(*address).to_string(), true),
        _ => return Err(refused),
    };
    let names = alternative_names(&certificate)?;
    let of_its_kind = |name: &GeneralName| match name {
        GeneralName::DnsName(_) => !address,
        GeneralName::IpAddress(_) => address,
        _ => false,
    };
    let common = match names.iter().any(of_its_kind) {
        true => None,
        false => common_name(&certificate),
    };
    let mut written = names.iter().filter_map(|name| match name {
        GeneralName::DnsName(name) if address => Some(name.as_str()),
        _ => None,
    });
    match common.is_some_and(|name| matches(name, &host)) || written.any(|name| name == host) {
        true => Ok(()),
        // A certificate of version 1 has no alternative names.
        false if names.is_empty() => Err(CertificateError::NotValidForName.into()),
        false => Err(refused),
    }
}

fn alternative_names(certificate: &Certificate) -> Result<Vec<GeneralName>, Error> {
    let names = certificate.tbs_certificate.get::<SubjectAltName>();
    let names = names.map_err(|_| bad_encoding())?;
    Ok(names.map(|(_, names)| names.0).unwrap_or_default())
}

/// Returns the first common name of the subject.
fn common_name(certificate: &Certificate) -> Option<&str> {
    let subject = certificate.tbs_certificate.subject.0.iter();
    let mut attributes = subject.flat_map(|names| names.0.iter());
    let name = attributes.find(|attribute| attribute.oid == COMMON_NAME)?;
    std::str::from_utf8(name.value.value()).ok()
}

/// Returns whether a name of a certificate is that of the host. A `*` stands for the first part.
fn matches(name: &str, host: &str) -> bool {
    match name.strip_prefix('*').filter(|rest| rest.starts_with('.')) {
        None => name.eq_ignore_ascii_case(host),
        Some(rest) => host.split_once('.').is_some_and(|(first, parent)| {
            !first.is_empty() && rest[1..].eq_ignore_ascii_case(parent)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_wildcard_stands_for_one_part() {
        for (name, host, is_it) in [
            ("db.example.com", "DB.example.com", true),
            ("db.example.com", "db.example.org", false),
            ("*.example.com", "db.example.com", true),
            ("*.example.com", "a.db.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*example.com", "db.example.com", false),
            ("*", "localhost", false),
        ] {
            assert_eq!(matches(name, host), is_it, "{name} {host}");
        }
    }
}
