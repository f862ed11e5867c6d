//! The URL parameters of TLS: `sslmode`, and the files of certificates.

use std::path::PathBuf;

use super::expected;
use crate::backend::postgres::tls::{self, ClientFiles, TlsMode, TlsRoots, TlsSettings};

const MODES: &str = "disable, prefer, require, verify-ca or verify-full";

/// What the parameters of TLS say.
#[derive(Debug)]
pub(super) struct TlsParameters {
    mode: Option<TlsMode>,
    roots: TlsRoots,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    sends_certificate: bool,
}

impl TlsParameters {
    pub(super) fn new() -> Self {
        Self {
            mode: None,
            roots: TlsRoots::Unset,
            certificate: None,
            key: None,
            sends_certificate: true,
        }
    }

    /// Sets a parameter. Returns false if it is not one of these.
    pub(super) fn set(&mut self, key: &str, text: &str) -> Result<bool, String> {
        match (key, text) {
            ("sslmode", _) => self.mode = Some(parse_mode(text)?),
            // libpq accepts this for compatibility with JDBC, and the instructions of hosted
            // databases use it.
            ("ssl", "true") => self.mode = Some(TlsMode::Require),
            ("sslrootcert" | "sslcert" | "sslkey", "") => {}
            ("sslrootcert", "system") => self.roots = TlsRoots::System,
            ("sslrootcert", _) => self.roots = TlsRoots::File(text.into()),
            ("sslcert", _) => self.certificate = Some(text.into()),
            ("sslkey", _) => self.key = Some(text.into()),
            ("sslcertmode", "disable" | "allow") => self.sends_certificate = text == "allow",
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Returns the settings that result for this kind of socket.
    pub(super) fn settings(self, unix: bool) -> Result<TlsSettings, String> {
        let client = client_files(self.certificate, self.key)?;
        Ok(TlsSettings {
            mode: effective_mode(self.mode, &self.roots, unix)?,
            roots: self.roots,
            client: client.filter(|_| self.sends_certificate),
        })
    }
}

fn parse_mode(text: &str) -> Result<TlsMode, String> {
    let mut modes = TlsMode::ALL.into_iter();
    let mode = modes.find(|mode| mode.as_str() == text);
    let hint = match text {
        "allow" => "; allow is not supported, use prefer instead",
        _ => "",
    };
    mode.ok_or_else(|| expected("sslmode", text, MODES) + hint)
}

/// Returns the files of `sslcert` and `sslkey`, which need each other.
fn client_files(
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Result<Option<ClientFiles>, String> {
    match (certificate, key) {
        (None, None) => Ok(None),
        _ if !tls::AVAILABLE => Err(
            "parameter sslcert: this build has no TLS: enable poolscope's feature `tls`".to_owned(),
        ),
        (Some(certificate), Some(key)) => Ok(Some(ClientFiles { certificate, key })),
        (Some(_), None) => {
            Err("parameter sslcert requires sslkey, the file of its private key".to_owned())
        }
        (None, Some(_)) => {
            Err("parameter sslkey requires sslcert, the file of its certificate".to_owned())
        }
    }
}

/// Returns the TLS mode that results from `sslmode`, `sslrootcert` and the kind of socket.
fn effective_mode(asked: Option<TlsMode>, roots: &TlsRoots, unix: bool) -> Result<TlsMode, String> {
    if unix {
        return Ok(TlsMode::Disable);
    }
    let mode = match (asked, roots) {
        (None, TlsRoots::System) => TlsMode::VerifyFull,
        (None, _) => TlsMode::Prefer,
        // Anyone can get a certificate of a public authority, so it proves nothing unless the host
        // name is checked too.
        (Some(mode), TlsRoots::System)
            if !matches!(mode, TlsMode::VerifyFull | TlsMode::Disable) =>
        {
            return Err(expected(
                "sslmode",
                mode.as_str(),
                "verify-full, because of sslrootcert=system",
            ));
        }
        (Some(TlsMode::Require), TlsRoots::File(_)) => TlsMode::VerifyCa,
        (Some(mode), _) => mode,
    };
    match mode {
        TlsMode::Disable => Ok(mode),
        _ if tls::AVAILABLE => Ok(mode),
        TlsMode::Prefer => Ok(TlsMode::Disable),
        _ => Err(format!(
            "parameter sslmode={:?}: this build has no TLS: enable poolscope's feature `tls`",
            mode.as_str()
        )),
    }
}
