//! The backend for MySQL and MariaDB, on the driver that diesel-async uses.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use diesel::QueryResult;
use diesel_async::{AsyncMysqlConnection, SimpleAsyncConnection};
use futures_util::future::BoxFuture;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use opentelemetry::KeyValue;
use tokio::time::timeout;

use self::activity::activity;
use super::connect_error::io_message;
use super::dial::{from_connection, place};
use super::{
    Activity, Backend, ConnectError, ConnectErrorKind, Credentials, CredentialsProvider, Dial,
    DialOptions, Dialed, Session,
};
use crate::settings::{DatabaseKind, DatabaseUrl};

mod activity;

/// The time limit of cancelling a query. Cancelling takes a connection of its own, which an
/// overloaded server may not grant.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

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
            opts,
            url: url.clone(),
            credentials: options.credentials,
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

#[derive(Clone)]
struct Target {
    opts: Opts,
    url: DatabaseUrl,
    /// Asked before a query is cancelled, which takes another login.
    credentials: Option<CredentialsProvider>,
}

impl Dial<AsyncMysqlConnection> for Target {
    fn dial<'a>(
        &'a self,
        credentials: Option<&'a Credentials>,
    ) -> BoxFuture<'a, Result<Dialed<AsyncMysqlConnection>, ConnectError>> {
        Box::pin(async move {
            let connection = self.open(credentials).await?;
            let id = connection.id();
            let connection = AsyncMysqlConnection::try_from(connection)
                .await
                .map_err(|error| from_connection(&error).redacted(&self.url))?;
            let session = Thread {
                id,
                target: self.clone(),
            };
            Ok(Dialed {
                connection,
                session: Some(Arc::new(session)),
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
    async fn open(&self, credentials: Option<&Credentials>) -> Result<Conn, ConnectError> {
        let mut opts = self.opts.clone();
        if let Some(credentials) = credentials {
            let user = credentials.user().or(self.opts.user());
            opts = OptsBuilder::from_opts(opts)
                .user(user)
                .pass(Some(credentials.password().expose()))
                .into();
        }
        Conn::new(opts).await.map_err(|error| self.explain(&error))
    }

    /// Cancels the query of a connection, over a connection of its own.
    async fn cancel(&self, id: u32) -> Result<(), ConnectError> {
        let credentials = match &self.credentials {
            None => None,
            Some(provider) => Some(provider.ask().await?),
        };
        let mut connection = self.open(credentials.as_ref()).await?;
        let killed = connection.query_drop(format!("KILL QUERY {id}")).await;
        killed.map_err(|error| self.explain(&error))?;
        connection
            .disconnect()
            .await
            .map_err(|error| self.explain(&error))
    }

    fn explain(&self, error: &mysql_async::Error) -> ConnectError {
        let (kind, text, code) = match error {
            mysql_async::Error::Server(server) => {
                let code = Some(server.code.to_string());
                (kind_of(server.code), server.message.clone(), code)
            }
            mysql_async::Error::Io(mysql_async::IoError::Io(io)) => {
                let (host, port) = (self.opts.ip_or_hostname(), self.opts.tcp_port());
                let text = format!("{} ({host}:{port})", io_message(io));
                (ConnectErrorKind::of_io(io), text, None)
            }
            #[cfg(feature = "tls")]
            mysql_async::Error::Io(_) => (ConnectErrorKind::Tls, error.to_string(), None),
            _ => {
                let text = error.to_string();
                (ConnectErrorKind::of_text(&text), text, None)
            }
        };
        ConnectError::new(kind, text, code).redacted(&self.url)
    }
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

/// The id of a connection on the server, and what is needed to cancel its query.
struct Thread {
    id: u32,
    target: Target,
}

impl Session for Thread {
    fn process_id(&self) -> Option<u64> {
        Some(u64::from(self.id))
    }

    fn cancel(&self) -> Option<BoxFuture<'static, Result<(), ConnectError>>> {
        let (id, target) = (self.id, self.target.clone());
        Some(Box::pin(async move {
            match timeout(CANCEL_TIMEOUT, target.cancel(id)).await {
                Ok(result) => result,
                Err(_) => {
                    let late = format!("no cancellation within {CANCEL_TIMEOUT:?}");
                    Err(ConnectError::new(ConnectErrorKind::TimedOut, late, None))
                }
            }
        }))
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Thread").field(&self.id).finish()
    }
}
