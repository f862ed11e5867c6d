//! Parses a Postgres URL.
//!
//! tokio-postgres knows neither `verify-ca` and `verify-full` nor `sslrootcert`. This parser reads
//! the TLS parameters and passes the rest to tokio-postgres. tokio-postgres also reports only
//! "invalid value"; the errors here name the parameter, its value and the allowed values. They
//! never contain the password, even if an unescaped password broke the URL into the wrong parts.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, SslNegotiation};

use super::tls::{self, ClientFiles, Connector, TlsMode, TlsRoots, TlsSettings};
use crate::backend::Credentials;

/// A parsed Postgres URL.
#[derive(Clone)]
pub(crate) struct Target {
    config: Config,
    tls: TlsSettings,
    unix: bool,
}

mod parameters;

const MODES: &str = "disable, prefer, require, verify-ca or verify-full";
const EXAMPLE: &str = "postgres://user:password@host:5432/database";
const ENCODE: &str = "in a user name or password, write @ : / ? # as %40 %3A %2F %3F %23";

impl Target {
    /// Parses a `postgres://` or `postgresql://` URL.
    ///
    /// `sslmode` defaults to `prefer`, or to `disable` in a build without the feature `tls`. As in
    /// libpq, `sslrootcert=system` changes the default to `verify-full`, `sslmode=require` with a
    /// `sslrootcert` file means `verify-ca`, and a Unix socket never uses TLS.
    ///
    /// # Errors
    ///
    /// Returns a message with the parameter, its value and the allowed values; never the password.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(format!("expected a URL such as {EXAMPLE}"));
        }
        let (place, query) = split_query(url)?;
        let mut sslmode = None;
        let mut roots = TlsRoots::Unset;
        let (mut sslcert, mut sslkey) = (None, None);
        let mut kept = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let Some((key, value)) = parameter.split_once('=') else {
                return Err(format!(
                    "expected name=value for each parameter after the ?; {ENCODE}"
                ));
            };
            let (key, text) = (decode(key)?, decode(value)?);
            match (&*key, &*text) {
                ("sslmode", _) => sslmode = Some(parse_mode(&text)?),
                // libpq accepts this for compatibility with JDBC, and the instructions of hosted
                // databases use it.
                ("ssl", "true") => sslmode = Some(TlsMode::Require),
                ("sslrootcert", "system") => roots = TlsRoots::System,
                ("sslrootcert", "") => {}
                ("sslrootcert", _) => roots = TlsRoots::File(text.as_ref().into()),
                ("sslcert" | "sslkey", "") => {}
                ("sslcert", _) => sslcert = Some(text.as_ref().into()),
                ("sslkey", _) => sslkey = Some(text.as_ref().into()),
                // These values match what the pool does. Other values would silently have no
                // effect.
                ("sslnegotiation", "postgres") | ("gssencmode", "disable" | "prefer") => {}
                ("sslnegotiation", _) => return Err(expected("sslnegotiation", &text, "postgres")),
                ("gssencmode", _) => {
                    return Err(expected("gssencmode", &text, "disable or prefer"));
                }
                // tokio-postgres splits a list of hosts in the authority part of a URL, but not in
                // this parameter.
                ("host", _) => kept.extend(value.split(',').map(|host| format!("host={host}"))),
                _ => {
                    parameters::check(&key, value, &text, query.contains('@'))?;
                    kept.push(parameter.to_owned());
                }
            }
        }
        // tokio-postgres would take a raw @ anywhere as the end of the credentials.
        let rest = kept.join("&").replace('@', "%40");
        let config: Config = format!("{place}?{rest}")
            .parse()
            .map_err(|error| format!("the URL is invalid: {}; {ENCODE}", cause(&error)))?;
        Self::new(config, sslmode, roots, client_files(sslcert, sslkey)?)
    }

    fn new(
        mut config: Config,
        sslmode: Option<TlsMode>,
        roots: TlsRoots,
        client: Option<ClientFiles>,
    ) -> Result<Self, String> {
        if config.get_hosts().is_empty() {
            // tokio-postgres calls a TLS connector only if there is a host name.
            for address in config.get_hostaddrs().to_vec() {
                config.host(address.to_string());
            }
        }
        let hosts = config.get_hosts();
        if hosts.is_empty() || hosts.contains(&Host::Tcp(String::new())) {
            return Err(format!("the URL has no host: expected {EXAMPLE}"));
        }
        if !matches!(config.get_ports().len(), 0 | 1) && config.get_ports().len() != hosts.len() {
            return Err(
                "the URL has the wrong number of ports: expected one, or one per host".to_owned(),
            );
        }
        let unix = hosts.iter().any(is_unix);
        if unix && !hosts.iter().all(is_unix) {
            return Err(
                "the URL mixes Unix sockets and TCP hosts: expected only one kind".to_owned(),
            );
        }
        let tls = TlsSettings {
            mode: effective_mode(sslmode, &roots, unix)?,
            roots,
            client,
        };
        // The certificate files must exist and be readable.
        Connector::new(&tls)?;
        if unix {
            config.ssl_mode(SslMode::Disable);
        } else {
            // With "require" and "direct", tokio-postgres sends nothing itself and passes the bare
            // socket to `Connector`, which negotiates TLS according to the mode.
            config
                .ssl_mode(SslMode::Require)
                .ssl_negotiation(SslNegotiation::Direct);
        }
        Ok(Self { config, tls, unix })
    }

    /// Returns the first host: a name, an address, or the directory of a Unix socket.
    pub(crate) fn host(&self) -> Option<&str> {
        match self.config.get_hosts().first()? {
            Host::Tcp(name) => Some(name),
            #[cfg(unix)]
            Host::Unix(folder) => folder.to_str(),
        }
    }

    /// Returns the port of the first host; 5432 if the URL has none.
    pub(crate) fn port(&self) -> u16 {
        self.config.get_ports().first().copied().unwrap_or(5432)
    }

    /// Returns the database, if the URL names one. Otherwise the server uses the user's name.
    pub(crate) fn database(&self) -> Option<&str> {
        self.config.get_dbname()
    }

    /// Returns the user, if the URL names one. Otherwise it is the operating system's user of this
    /// process.
    pub(crate) fn user(&self) -> Option<&str> {
        self.config.get_user()
    }

    /// Returns the name that the server shows for the sessions, if one is set.
    pub(crate) fn application_name(&self) -> Option<&str> {
        self.config.get_application_name()
    }

    /// Returns whether the URL sets `application_name`, either as a parameter or in `options`.
    ///
    /// A name set by [`set_application_name`](Self::set_application_name) would override the one in
    /// `options`.
    pub(crate) fn has_application_name(&self) -> bool {
        let options = self.config.get_options().unwrap_or_default();
        let options = options.to_ascii_lowercase().replace('-', "_");
        self.application_name().is_some() || options.contains("application_name=")
    }

    /// Sets the name that the server shows for the sessions.
    pub(crate) fn set_application_name(&mut self, name: &str) {
        self.config.application_name(name);
    }

    /// Returns the same with other credentials.
    pub(super) fn with_credentials(&self, credentials: &Credentials) -> Self {
        let mut target = self.clone();
        if let Some(user) = credentials.user() {
            target.config.user(user);
        }
        target.config.password(credentials.password().expose());
        target
    }

    /// Returns whether this is a Unix socket, which has no TLS and cannot be tapped.
    pub(crate) fn is_unix(&self) -> bool {
        self.unix
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn tls(&self) -> &TlsSettings {
        &self.tls
    }

    /// Returns each `host:port`, separated by commas, for error messages.
    pub(super) fn addresses(&self) -> String {
        let ports = self.config.get_ports();
        let port = |at: usize| ports.get(at).or(ports.first()).copied().unwrap_or(5432);
        let hosts = self.config.get_hosts().iter().enumerate();
        let addresses = hosts.map(|(at, host)| match host {
            Host::Tcp(name) if name.contains(':') => format!("[{name}]:{}", port(at)),
            Host::Tcp(name) => format!("{name}:{}", port(at)),
            #[cfg(unix)]
            Host::Unix(folder) => format!("{}/.s.PGSQL.{}", folder.display(), port(at)),
        });
        addresses.collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("addresses", &self.addresses())
            .field("user", &self.user())
            .field("database", &self.database())
            .field("application_name", &self.application_name())
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// Splits off the parameters, and rejects a URL with more than one raw `@` before them.
///
/// With two of them, a part of the password would be taken for a host and appear in messages.
fn split_query(url: &str) -> Result<(&str, &str), String> {
    let (place, query) = url.split_once('?').unwrap_or((url, ""));
    if place.matches('@').count() > 1 {
        return Err(format!("the URL has more than one @: {ENCODE}"));
    }
    Ok((place, query))
}

fn decode(text: &str) -> Result<Cow<'_, str>, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map_err(|_| "the percent-encoded characters of the URL are not UTF-8".to_owned())
}

fn expected(key: &str, value: &str, allowed: &str) -> String {
    if value.contains('@') {
        // No value that is checked may contain an @: this is part of a password with a raw ? in it.
        return format!("parameter {key}: expected {allowed}; {ENCODE}");
    }
    format!("parameter {key}={value:?}: expected {allowed}")
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

/// Returns the cause of a parse error.
///
/// tokio-postgres puts the cause only in the source of its error, and never quotes a value.
fn cause(error: &tokio_postgres::Error) -> String {
    let source = error.source().map(ToString::to_string);
    source.unwrap_or_else(|| error.to_string())
}

fn is_unix(host: &Host) -> bool {
    !matches!(host, Host::Tcp(_))
}

#[cfg(test)]
mod tests;
