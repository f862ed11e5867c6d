//! Reads the process list and the connection limits of the server.

use std::collections::HashSet;

use diesel::sql_types::{BigInt, Double, Integer, Nullable, Text, Unsigned};
use diesel::{QueryResult, QueryableByName, sql_query};
use diesel_async::{AsyncMysqlConnection, RunQueryDsl};

use super::lock_waits;
use crate::backend::{Activity, Limits, ServerSession, SessionState, is_connection_failure};

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
    #[diesel(sql_type = Nullable<Text>)]
    user: Option<String>,
    #[diesel(sql_type = Integer)]
    same_user: i32,
    #[diesel(sql_type = Integer)]
    same_database: i32,
}

#[derive(QueryableByName)]
struct TransactionRow {
    #[diesel(sql_type = Unsigned<BigInt>)]
    id: u64,
    #[diesel(sql_type = Double)]
    seconds: f64,
    /// Whether it waits for a lock of InnoDB.
    #[diesel(sql_type = Integer)]
    waits: i32,
}

#[derive(QueryableByName)]
struct LimitsRow {
    #[diesel(sql_type = Unsigned<BigInt>)]
    max_connections: u64,
    #[diesel(sql_type = Unsigned<BigInt>)]
    max_user_connections: u64,
    #[diesel(sql_type = Unsigned<BigInt>)]
    monitor: u64,
    #[diesel(sql_type = Text)]
    version: String,
}

#[derive(QueryableByName)]
struct StatusRow {
    #[diesel(sql_type = Text, column_name = "Value")]
    value: String,
}

/// Reads the sessions and the limits of the server.
pub(super) async fn activity(connection: &mut AsyncMysqlConnection) -> QueryResult<Activity> {
    let limits: LimitsRow = sql_query(
        "SELECT CAST(@@global.max_connections AS UNSIGNED) AS max_connections, \
         CAST(@@max_user_connections AS UNSIGNED) AS max_user_connections, \
         CAST(CONNECTION_ID() AS UNSIGNED) AS monitor, VERSION() AS version",
    )
    .get_result(connection)
    .await?;
    let connected: StatusRow = sql_query("SHOW GLOBAL STATUS LIKE 'Threads_connected'")
        .get_result(connection)
        .await?;
    let processes: Vec<Process> = sql_query(
        "SELECT CAST(ID AS UNSIGNED) AS id, COMMAND AS command, CAST(TIME AS DOUBLE) AS seconds, STATE AS stage, \
         INFO AS statement, HOST AS client, USER AS user, CAST(USER = SUBSTRING_INDEX(CURRENT_USER(), '@', 1) AS SIGNED) AS same_user, \
         CAST(COALESCE(DB = DATABASE(), 0) AS SIGNED) AS same_database \
         FROM information_schema.PROCESSLIST WHERE COMMAND NOT IN ('Daemon', 'Binlog Dump')",
    )
    .load(connection)
    .await?;
    // This query needs the PROCESS privilege. Without it, the report says so and does not fail.
    let transactions: QueryResult<Vec<TransactionRow>> = sql_query(
        "SELECT CAST(trx_mysql_thread_id AS UNSIGNED) AS id, \
         CAST(TIMESTAMPDIFF(SECOND, trx_started, NOW()) AS DOUBLE) AS seconds, \
         CAST(trx_state = 'LOCK WAIT' AS SIGNED) AS waits \
         FROM information_schema.INNODB_TRX",
    )
    .load(connection)
    .await;
    let (transactions, mut restricted) = match transactions {
        Ok(transactions) => (Some(transactions), None),
        Err(error) if is_connection_failure(&error) => return Err(error),
        Err(_) => (
            None,
            Some("sessions of other users, InnoDB transactions and lock waits are not visible: GRANT PROCESS ON *.* to this user".to_owned()),
        ),
    };
    let waiting = transactions.iter().flatten().filter(|trx| trx.waits != 0);
    let waiting: HashSet<u64> = waiting.map(|trx| trx.id).collect();
    let mut sessions: Vec<_> = processes
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
            let stage = process.stage.filter(|stage| !stage.is_empty());
            let is_blocked = waiting.contains(&process.id)
                || stage.as_deref().is_some_and(lock_waits::waits_elsewhere);
            ServerSession {
                process_id: process.id,
                state,
                state_seconds: process.seconds,
                query_seconds: process.seconds.filter(|_| state == SessionState::Active),
                transaction_seconds: transaction.flatten().map(|trx| trx.seconds),
                wait_event: stage,
                application_name: None,
                user: process.user,
                replica: process.client.as_deref().map(host_of).map(str::to_owned),
                same_user: process.same_user != 0,
                same_database: process.same_database != 0,
                query: process.statement,
                blocked_by: (transactions.is_some() && !is_blocked).then(Vec::new),
            }
        })
        .collect();
    match lock_waits::complete(connection, &limits.version, &waiting, &mut sessions).await {
        Ok(()) => {}
        Err(error) if is_connection_failure(&error) => return Err(error),
        // Reads performance_schema on MySQL 8.
        Err(_) => restricted = Some("the holders of locks are not visible: GRANT SELECT ON performance_schema.* to this user".to_owned()),
    }
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
        monitor_process_id: Some(limits.monitor),
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
