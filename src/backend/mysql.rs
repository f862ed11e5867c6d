//! The backend for MySQL and MariaDB, on the driver that diesel-async uses.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use diesel::QueryResult;
use diesel_async::{AsyncMysqlConnection, MysqlCancelToken, SimpleAsyncConnection};
use futures_util::future::BoxFuture;
use mysql_async::{Conn, Opts, OptsBuilder};
use opentelemetry::KeyValue;
use tokio::time::timeout;

use self::activity::activity;
use super::connect_error::io_message;
use super::dial::{from_connection, place};
use super::{
    Activity, Backend, ConnectError, ConnectErrorKind, Dial, DialOptions, Dialed, Session,
};
use crate::settings::{DatabaseKind, DatabaseUrl};

mod activity;

/// The time limit of cancelling a query. Cancelling takes a connection of its own, which an
/// overloaded server may not grant.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

impl Backend for AsyncMysqlConnection {
    const KIND: DatabaseKind = DatabaseKind::Mysql;

    fn dialer(url: &DatabaseUrl, _: DialOptions) -> Result<Box<dyn Dial<Self>>, String> {
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
}

impl Dial<AsyncMysqlConnection> for Target {
    fn dial(&self) -> BoxFuture<'_, Result<Dialed<AsyncMysqlConnection>, ConnectError>> {
        Box::pin(async {
            let connection = Conn::new(self.opts.clone())
                .await
                .map_err(|e| self.explain(&e))?;
            let id = connection.id();
            let connection = AsyncMysqlConnection::try_from(connection)
                .await
                .map_err(|error| from_connection(&error).redacted(&self.url))?;
            let session = Thread {
                id,
                cancel: connection.cancel_token(),
            };
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
        1044 | 1045 | 1698 | 3118 => ConnectErrorKind::Authentication,
        1049 => ConnectErrorKind::Database,
        1053 => ConnectErrorKind::Starting,
        _ => ConnectErrorKind::Other,
    }
}

/// The id of a connection on the server, and the token that cancels its query.
struct Thread {
    id: u32,
    cancel: MysqlCancelToken,
}

impl Session for Thread {
    fn process_id(&self) -> Option<u64> {
        Some(u64::from(self.id))
    }

    fn cancel(&self) -> Option<BoxFuture<'static, ()>> {
        let cancel = self.cancel.clone();
        Some(Box::pin(async move {
            // Best effort: the connection is closed in any case.
            let _ = timeout(CANCEL_TIMEOUT, cancel.cancel_query()).await;
        }))
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Thread").field(&self.id).finish()
    }
}
