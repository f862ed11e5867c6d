//! Parses a Postgres URL.
//!
//! tokio-postgres knows only some of libpq's parameters, gives some another unit or meaning, and
//! reports only "invalid value". So the URL is parsed here. The errors name the parameter, its value
//! and the allowed values. They never contain the password, even if an unescaped password broke the
//! URL into the wrong parts.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::{SslMode, SslNegotiation};

use self::encryption::TlsParameters;
use self::hosts::Lists;
pub(super) use self::hosts::{Host, Socket};
use self::parameters::Parameters;
use super::role::Role;
use super::tls::{Connector, TlsSettings};
use crate::backend::addresses::Hanging;
use crate::backend::{Credentials, asks_read_only};

mod encryption;
mod hosts;
mod parameters;

/// A parsed Postgres URL.
#[derive(Clone)]
pub(crate) struct Target {
    /// Everything but the hosts.
    config: Config,
    tls: TlsSettings,
    unix: bool,
    pub(super) hosts: Arc<[Host]>,
    /// Which of the servers is wanted.
    pub(super) role: Role,
    /// Whether the hosts and their addresses are tried in a random order.
    pub(super) shuffled: bool,
    /// How long one address may take, if the URL says so.
    pub(super) connect_timeout: Option<Duration>,
    /// How long all addresses together may take.
    pub(super) limit: Duration,
    pub(super) hanging: Arc<Hanging<Tried>>,
}

/// A host by its number, or one of its addresses.
pub(super) type Tried = (usize, Option<std::net::IpAddr>);

const EXAMPLE: &str = "postgres://user:password@host:5432/database";
const ENCODE: &str = "in a user name or password, write @ : / ? # as %40 %3A %2F %3F %23";
/// How long an attempt to connect may take if the pool sets no time.
const LIMIT: Duration = Duration::from_secs(10);

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
        let prefixes = ["postgres://", "postgresql://"];
        let Some(rest) = prefixes.iter().find_map(|prefix| url.strip_prefix(prefix)) else {
            return Err(format!("expected a URL such as {EXAMPLE}"));
        };
        let (place, query) = split_query(rest)?;
        let mut encryption = TlsParameters::new();
        let mut parameters = Parameters::default();
        let mut lists = Lists::default();
        let authority = parameters.read_credentials(place)?;
        let (authority, database) = authority.split_once('/').unwrap_or((authority, ""));
        lists.read_authority(authority)?;
        if !database.is_empty() {
            parameters.config.dbname(decode(database)?);
        }
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let Some((key, value)) = parameter.split_once('=') else {
                return Err(format!(
                    "expected name=value for each parameter after the ?; {ENCODE}"
                ));
            };
            let (key, text) = (decode(key)?, decode(value)?);
            if !encryption.set(&key, &text)? && !lists.set(&key, &text)? {
                parameters.set(&key, &text, query.contains('@'))?;
            }
        }
        parameters.finish();
        Self::new(parameters, lists.hosts()?, encryption)
    }

    fn new(
        parameters: Parameters,
        hosts: Vec<Host>,
        encryption: TlsParameters,
    ) -> Result<Self, String> {
        let mut config = parameters.config;
        let unix = hosts.iter().any(Host::is_unix);
        let tls = encryption.settings(unix)?;
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
        Ok(Self {
            config,
            tls,
            unix,
            hosts: hosts.into(),
            role: parameters.role,
            shuffled: parameters.shuffled,
            connect_timeout: parameters.connect_timeout,
            limit: LIMIT,
            hanging: Arc::default(),
        })
    }

    /// Returns the first host: a name, an address, or the directory of a Unix socket.
    pub(crate) fn host(&self) -> Option<&str> {
        self.hosts.first()?.name()
    }

    /// Returns the port of the first host; 5432 if the URL has none.
    pub(crate) fn port(&self) -> u16 {
        self.hosts.first().map_or(5432, |host| host.port)
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

    /// Returns whether the URL's `options` ask for read-only sessions.
    pub(crate) fn asks_read_only(&self) -> bool {
        self.config.get_options().is_some_and(asks_read_only)
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

    /// Returns the settings for tokio-postgres, without a host.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Looks up all names in another way than by the operating system.
    #[cfg(test)]
    pub(super) fn set_resolver<F>(&mut self, resolve: F)
    where
        F: Fn(&str) -> std::io::Result<Vec<std::net::IpAddr>> + Clone + Send + Sync + 'static,
    {
        let mut hosts = self.hosts.to_vec();
        for host in &mut hosts {
            if let Socket::Tcp { name, lookup } = &mut host.socket {
                *lookup = crate::backend::addresses::Lookup::by(name, resolve.clone());
            }
        }
        self.hosts = hosts.into();
    }

    pub(super) fn tls(&self) -> &TlsSettings {
        &self.tls
    }

    /// Returns each `host:port`, separated by commas, for error messages.
    pub(super) fn addresses(&self) -> String {
        let hosts = self.hosts.iter().map(ToString::to_string);
        hosts.collect::<Vec<_>>().join(", ")
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

#[cfg(test)]
mod tests;
