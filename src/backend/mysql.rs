//! The backend for MySQL and MariaDB, on the driver that diesel-async uses.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use diesel::sql_types::{BigInt, Double, Integer, Nullable, Text, Unsigned};
use diesel::{QueryResult, QueryableByName, sql_query};
use diesel_async::{AsyncMysqlConnection, MysqlCancelToken, RunQueryDsl, SimpleAsyncConnection};
use futures_util::future::BoxFuture;
use mysql_async::{Conn, Opts, OptsBuilder};
use opentelemetry::KeyValue;
use tokio::time::timeout;

use super::connect_error::io_message;
use super::dial::{ping, place};
use super::{
    Activity, Backend, ConnectError, ConnectErrorKind, Dial, DialOptions, Dialed, Limits,
    ServerSession, Session, SessionState,
};
use crate::settings::{DatabaseKind, DatabaseUrl};

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
                .map_err(|error| from_text(&self.url.redact(&error.to_string())))?;
            let session = Thread {
                id,
                cancel: connection.cancel_token(),
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

    fn ping<'a>(
        &'a self,
        connection: &'a mut AsyncMysqlConnection,
    ) -> BoxFuture<'a, Result<(), ConnectError>> {
        Box::pin(ping(connection))
    }
}

impl Target {
    fn explain(&self, error: &mysql_async::Error) -> ConnectError {
        let (kind, code) = match error {
            mysql_async::Error::Server(server) => {
                let kind = match server.code {
                    1040 | 1203 | 1226 => ConnectErrorKind::TooManyConnections,
                    1044 | 1045 | 1698 | 3118 => ConnectErrorKind::Authentication,
                    1049 => ConnectErrorKind::Database,
                    1053 => ConnectErrorKind::Starting,
                    _ => ConnectErrorKind::Other,
                };
                (kind, Some(server.code.to_string()))
            }
            mysql_async::Error::Io(mysql_async::IoError::Io(io)) => {
                (ConnectErrorKind::of_io(io), None)
            }
            #[cfg(feature = "tls")]
            mysql_async::Error::Io(_) => (ConnectErrorKind::Tls, None),
            _ => (ConnectErrorKind::Other, None),
        };
        let text = match error {
            mysql_async::Error::Server(server) => server.message.clone(),
            mysql_async::Error::Io(mysql_async::IoError::Io(io)) => {
                format!(
                    "{} ({}:{})",
                    io_message(io),
                    self.opts.ip_or_hostname(),
                    self.opts.tcp_port()
                )
            }
            other => other.to_string(),
        };
        ConnectError::new(kind, self.url.redact(&text), code)
    }
}

fn from_text(text: &str) -> ConnectError {
    ConnectError::new(ConnectErrorKind::Other, text, None)
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

#[derive(QueryableByName)]
struct Process {
    #[diesel(sql_type = Unsigned<BigInt>)]
    id: u64,
    #[diesel(sql_type = Text)]
    command: String,
    #[diesel(sql_type = Nullable<Double>)]
    seconds: Option<f64>,
    #[diesel(sql_type = Nullable<Text>)]
    stage: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    statement: Option<String>,
    /// The host and the port of the client; the host alone on a Unix socket.
    #[diesel(sql_type = Nullable<Text>)]
    client: Option<String>,
    #[diesel(sql_type = Integer)]
    same_user: i32,
    #[diesel(sql_type = Integer)]
    same_database: i32,
}

#[derive(QueryableByName)]
struct Transaction {
    #[diesel(sql_type = Unsigned<BigInt>)]
    id: u64,
    #[diesel(sql_type = Double)]
    seconds: f64,
}

#[derive(QueryableByName)]
struct ServerLimits {
    #[diesel(sql_type = Unsigned<BigInt>)]
    max_connections: u64,
    #[diesel(sql_type = Unsigned<BigInt>)]
    max_user_connections: u64,
    #[diesel(sql_type = Unsigned<BigInt>)]
    lane: u64,
}

#[derive(QueryableByName)]
struct Status {
    #[diesel(sql_type = Text, column_name = "Value")]
    value: String,
}

/// Reads the sessions and the limits of the server.
async fn activity(connection: &mut AsyncMysqlConnection) -> QueryResult<Activity> {
    let limits: ServerLimits = sql_query(
        "SELECT CAST(@@global.max_connections AS UNSIGNED) AS max_connections, \
         CAST(@@max_user_connections AS UNSIGNED) AS max_user_connections, \
         CAST(CONNECTION_ID() AS UNSIGNED) AS lane",
    )
    .get_result(connection)
    .await?;
    let connected: Status = sql_query("SHOW GLOBAL STATUS LIKE 'Threads_connected'")
        .get_result(connection)
        .await?;
    let processes: Vec<Process> = sql_query(
        "SELECT CAST(ID AS UNSIGNED) AS id, COMMAND AS command, CAST(TIME AS DOUBLE) AS seconds, STATE AS stage, \
         INFO AS statement, HOST AS client, CAST(USER = SUBSTRING_INDEX(CURRENT_USER(), '@', 1) AS SIGNED) AS same_user, \
         CAST(COALESCE(DB = DATABASE(), 0) AS SIGNED) AS same_database \
         FROM information_schema.PROCESSLIST WHERE COMMAND NOT IN ('Daemon', 'Binlog Dump')",
    )
    .load(connection)
    .await?;
    // This query needs the PROCESS privilege. Without it, the report says so and does not fail.
    let transactions: QueryResult<Vec<Transaction>> = sql_query(
        "SELECT CAST(trx_mysql_thread_id AS UNSIGNED) AS id, \
         CAST(TIMESTAMPDIFF(SECOND, trx_started, NOW()) AS DOUBLE) AS seconds \
         FROM information_schema.INNODB_TRX",
    )
    .load(connection)
    .await;
    let (transactions, restricted) = match transactions {
        Ok(transactions) => (Some(transactions), None),
        Err(error) if crate::backend::is_connection_failure(&error) => return Err(error),
        Err(_) => (
            None,
            Some("sessions of other users and InnoDB transactions are not visible: GRANT PROCESS ON *.* to this user".to_owned()),
        ),
    };
    let sessions = processes
        .into_iter()
        .map(|process| {
            let transaction = transactions
                .as_ref()
                .map(|all| all.iter().find(|trx| trx.id == process.id));
            let state = match (process.command.as_str(), &transaction) {
                ("Sleep", Some(Some(_))) => SessionState::IdleInTransaction,
                ("Sleep", Some(None)) => SessionState::Idle,
                ("Sleep", None) => SessionState::IdleUnknown,
                ("Connect", _) => SessionState::Other,
                _ => SessionState::Active,
            };
            ServerSession {
                process_id: process.id,
                state,
                state_seconds: process.seconds,
                query_seconds: process.seconds.filter(|_| state == SessionState::Active),
                transaction_seconds: transaction.flatten().map(|trx| trx.seconds),
                wait_event: process.stage.filter(|stage| !stage.is_empty()),
                application_name: None,
                replica: process.client.as_deref().map(host_of).map(str::to_owned),
                same_user: process.same_user != 0,
                same_database: process.same_database != 0,
                query: process.statement,
            }
        })
        .collect();
    let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Ok(Activity {
        sessions: Some(sessions),
        limits: Some(Limits {
            max_connections: narrow(limits.max_connections),
            // The server's extra connection for administrators is not part of max_connections.
            reserved: 0,
            in_use: connected.value.parse().unwrap_or(0),
            user_limit: Some(narrow(limits.max_user_connections)).filter(|&limit| limit > 0),
        }),
        lane_process_id: Some(limits.lane),
        restricted,
    })
}

/// Returns the host of a client, without the port (`10.0.0.7:51234`, `2001:db8::7:51234`,
/// `localhost`).
///
/// A loopback address becomes `localhost`, because on the server's own machine the driver connects
/// by address first and then by Unix socket.
fn host_of(client: &str) -> &str {
    let host = match client.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => client,
    };
    match host {
        "127.0.0.1" | "::1" => "localhost",
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::host_of;

    #[test]
    fn the_port_of_a_client_is_removed() {
        for (client, host) in [
            ("10.0.0.7:51234", "10.0.0.7"),
            ("2001:db8::7:51234", "2001:db8::7"),
            ("app.internal:1", "app.internal"),
            ("localhost", "localhost"),
            ("127.0.0.1:51234", "localhost"),
            ("::1:51234", "localhost"),
            ("127.0.0.2:51234", "127.0.0.2"),
            ("", ""),
        ] {
            assert_eq!(host_of(client), host);
        }
    }
}
