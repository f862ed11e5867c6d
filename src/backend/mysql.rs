//! The backend for MySQL and MariaDB, on the driver that diesel-async uses.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use diesel::QueryResult;
use diesel_async::{AsyncMysqlConnection, SimpleAsyncConnection};
use futures_util::future::BoxFuture;
use mysql_async::{Conn, Opts, OptsBuilder};
use opentelemetry::KeyValue;

use self::activity::activity;
use self::kill::{Killer, Thread};
use super::addresses::{Hanging, Lookup, Turns};
use super::connect_error::io_message;
use super::dial::{from_connection, place};
use super::{
    Activity, Backend, ConnectError, ConnectErrorKind, Credentials, CredentialsProvider, Dial,
    DialOptions, Dialed,
};
use crate::settings::{DatabaseKind, DatabaseUrl};

mod activity;
mod kill;
mod lock_waits;
#[cfg(test)]
mod tests;

impl Backend for AsyncMysqlConnection {
    const KIND: DatabaseKind = DatabaseKind::Mysql;

    fn dialer(url: &DatabaseUrl, options: DialOptions) -> Result<Box<dyn Dial<Self>>, String> {
        if verifies_without_tls(url.expose()) {
            return Err(
                "verify_ca and verify_identity have no effect without require_ssl=true: the \
                connection would not be encrypted"
                    .to_owned(),
            );
        }
        let opts = Opts::from_url(url.expose()).map_err(|error| url.redact(&error.to_string()))?;
        #[cfg(not(feature = "tls"))]
        if opts.ssl_opts().is_some() {
            return Err("require_ssl=true requires poolscope's feature `tls`".to_owned());
        }
        // The same options as in diesel-async: it has its own statement cache, and diesel counts
        // found rows.
        let opts = OptsBuilder::from_opts(opts)
            .stmt_cache_size(0)
            .client_found_rows(true)
            .into();
        Ok(Box::new(Target {
            credentials: options.credentials,
            ..Target::new(opts, url, options.connect_timeout)
        }))
    }

    fn probe(&mut self) -> BoxFuture<'_, QueryResult<()>> {
        Box::pin(self.batch_execute("SELECT 1"))
    }

    fn activity(&mut self) -> BoxFuture<'_, QueryResult<Activity>> {
        Box::pin(activity(self))
    }
}

/// Returns whether the URL asks to verify certificates without requiring TLS.
///
/// The driver silently ignores these parameters unless TLS is required.
fn verifies_without_tls(url: &str) -> bool {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let has = |name: &str| {
        query
            .split('&')
            .any(|p| p.split_once('=') == Some((name, "true")))
    };
    (has("verify_ca") || has("verify_identity")) && !has("require_ssl")
}

struct Target {
    opts: Opts,
    url: DatabaseUrl,
    lookup: Lookup,
    limit: Duration,
    hanging: Hanging<IpAddr>,
    /// Asked before a query is cancelled, which takes another login.
    credentials: Option<CredentialsProvider>,
    killer: Arc<Killer>,
}

impl Dial<AsyncMysqlConnection> for Target {
    fn dial<'a>(
        &'a self,
        credentials: Option<&'a Credentials>,
    ) -> BoxFuture<'a, Result<Dialed<AsyncMysqlConnection>, ConnectError>> {
        Box::pin(async move {
            let connection = self.connect(credentials).await?;
            let session = Thread {
                id: connection.id(),
                // The same server, with the login of the URL.
                opts: OptsBuilder::from_opts(connection.opts().clone())
                    .user(self.opts.user())
                    .pass(self.opts.pass())
                    .into(),
                url: self.url.clone(),
                credentials: self.credentials.clone(),
                killer: Arc::clone(&self.killer),
            };
            let connection = AsyncMysqlConnection::try_from(connection)
                .await
                .map_err(|error| from_connection(&error).redacted(&self.url))?;
            Ok(Dialed {
                connection,
                session: Some(Arc::new(session)),
                asked_read_only: false,
            })
        })
    }

    fn attributes(&self) -> Vec<KeyValue> {
        place(
            self.opts.db_name(),
            Some(self.opts.ip_or_hostname()),
            Some(self.opts.tcp_port()),
        )
    }
}

impl Target {
    fn new(opts: Opts, url: &DatabaseUrl, limit: Duration) -> Self {
        let host = opts.ip_or_hostname();
        // The driver keeps the brackets of an IPv6 address.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Self {
            lookup: Lookup::new(host),
            opts,
            url: url.clone(),
            limit,
            hanging: Hanging::default(),
            credentials: None,
            killer: Arc::default(),
        }
    }

    /// Opens a connection with the first of the host's addresses that works. Each gets its turn; the
    /// driver itself would wait for the first one that accepts.
    async fn connect(&self, credentials: Option<&Credentials>) -> Result<Conn, ConnectError> {
        let opts = with_credentials(&self.opts, credentials);
        if let Some(path) = opts.socket() {
            let connected = Conn::new(opts.clone()).await;
            return connected.map_err(|error| explain(&error, &self.url).at(path));
        }
        let (host, port) = (self.lookup.host(), self.opts.tcp_port());
        let mut turns = Turns::new(self.limit, None);
        let found = turns.look_up(1, &self.lookup).await;
        let mut addresses = found.map_err(|error| error.at(format_args!("{host}:{port}")))?;
        self.hanging.to_the_end(&mut addresses, |address| *address);
        for (tried, &address) in addresses.iter().enumerate() {
            let opts = OptsBuilder::from_opts(opts.clone())
                .resolved_ips(Some(vec![address]))
                // The driver would take any name of this machine for one to prefer the socket for.
                .prefer_socket(opts.prefer_socket() && opts.addr_is_loopback());
            let at = match host.parse() == Ok(address) {
                true => format!("{host}:{port}"),
                false => format!("{host}:{port}, {address}"),
            };
            let turn = async {
                let connected = Conn::new(opts).await;
                connected.map_err(|error| explain(&error, &self.url))
            };
            let error = match turns.take(addresses.len() - tried, turn).await {
                Ok(connection) => {
                    self.hanging.answered(&address);
                    return Ok(connection);
                }
                Err(error) => error,
            };
            if error.kind() == ConnectErrorKind::TimedOut {
                self.hanging.timed_out(address);
            }
            // The server's own words need no address if there is no other server.
            let error = match addresses.len() > 1 || error.code().is_none() {
                true => error.at(at),
                false => error,
            };
            if !turns.failed(error) {
                break;
            }
        }
        Err(turns.error())
    }
}

fn with_credentials(opts: &Opts, credentials: Option<&Credentials>) -> Opts {
    let Some(credentials) = credentials else {
        return opts.clone();
    };
    OptsBuilder::from_opts(opts.clone())
        .user(credentials.user().or(opts.user()))
        .pass(Some(credentials.password().expose()))
        .into()
}

fn explain(error: &mysql_async::Error, url: &DatabaseUrl) -> ConnectError {
    let (kind, text, code) = match error {
        mysql_async::Error::Server(server) => {
            let code = Some(server.code.to_string());
            (kind_of(server.code), server.message.clone(), code)
        }
        mysql_async::Error::Io(mysql_async::IoError::Io(io)) => {
            (ConnectErrorKind::of_io(io), io_message(io), None)
        }
        #[cfg(feature = "tls")]
        mysql_async::Error::Io(_) => (ConnectErrorKind::Tls, error.to_string(), None),
        _ => {
            let text = error.to_string();
            (ConnectErrorKind::of_text(&text), text, None)
        }
    };
    ConnectError::new(kind, text, code).redacted(url)
}

/// Returns the error kind that a server's error number stands for while connecting.
fn kind_of(code: u16) -> ConnectErrorKind {
    match code {
        1040 | 1203 | 1226 => ConnectErrorKind::TooManyConnections,
        // Access denied; this client host may not connect; the password has expired; the account is
        // locked (4151 on MariaDB), for a time (3955) or after too many wrong passwords (4150).
        1044 | 1045 | 1130 | 1698 | 1820 | 1862 | 3118 | 3955 | 4150 | 4151 => {
            ConnectErrorKind::Authentication
        }
        1049 => ConnectErrorKind::Database,
        1053 => ConnectErrorKind::Starting,
        _ => ConnectErrorKind::Other,
    }
}
