//! Reads `pg_stat_activity` and the connection limits of the server.

use diesel::sql_types::{BigInt, Bool, Double, Integer, Nullable, Text};
use diesel::{QueryResult, QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::application_name::instance_of_ours;
use super::lock_waits;
use crate::backend::{Activity, Limits, ServerSession, SessionState, is_connection_failure};

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Integer)]
    pid: i32,
    /// NULL for sessions of other users whose state this user may not see.
    #[diesel(sql_type = Nullable<Text>)]
    state: Option<String>,
    #[diesel(sql_type = Nullable<Double>)]
    state_seconds: Option<f64>,
    #[diesel(sql_type = Nullable<Double>)]
    query_seconds: Option<f64>,
    #[diesel(sql_type = Nullable<Double>)]
    transaction_seconds: Option<f64>,
    #[diesel(sql_type = Nullable<Text>)]
    wait_event: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    application_name: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    user: Option<String>,
    #[diesel(sql_type = Bool)]
    same_user: bool,
    #[diesel(sql_type = Bool)]
    same_database: bool,
    #[diesel(sql_type = Nullable<Text>)]
    query: Option<String>,
}

/// The type of other users' sessions is NULL for a user without `pg_monitor`.
const SESSIONS: &str = "\
    SELECT pid, state, \
        extract(epoch FROM clock_timestamp() - state_change)::float8 AS state_seconds, \
        extract(epoch FROM clock_timestamp() - query_start)::float8 AS query_seconds, \
        extract(epoch FROM clock_timestamp() - xact_start)::float8 AS transaction_seconds, \
        CASE WHEN state = 'active' THEN wait_event_type || ':' || wait_event END AS wait_event, \
        application_name, usename::text AS user, \
        coalesce(usename = current_user, false) AS same_user, \
        coalesce(datname = current_database(), false) AS same_database, \
        CASE WHEN usename = current_user THEN query END AS query \
    FROM pg_stat_activity WHERE coalesce(backend_type = 'client backend', datname IS NOT NULL)";

#[derive(QueryableByName)]
struct ServerLimits {
    #[diesel(sql_type = Integer)]
    monitor: i32,
    #[diesel(sql_type = Integer)]
    max_connections: i32,
    #[diesel(sql_type = Integer)]
    reserved: i32,
    #[diesel(sql_type = Nullable<Integer>)]
    user_limit: Option<i32>,
    #[diesel(sql_type = BigInt)]
    in_use: i64,
}

/// `reserved_connections` exists since Postgres 16. A limit of -1 means no limit.
const LIMITS: &str = "\
    SELECT pg_backend_pid() AS monitor, \
        current_setting('max_connections')::int AS max_connections, \
        current_setting('superuser_reserved_connections')::int \
            + coalesce(current_setting('reserved_connections', true)::int, 0) AS reserved, \
        least( \
            (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user), \
            (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database()) \
        ) AS user_limit, \
        (SELECT count(*) FROM pg_stat_activity \
            WHERE coalesce(backend_type = 'client backend', datname IS NOT NULL)) AS in_use";

/// Reads the sessions and the limits of the server.
pub(super) async fn activity(connection: &mut AsyncPgConnection) -> QueryResult<Activity> {
    let limits: ServerLimits = sql_query(LIMITS).get_result(connection).await?;
    let rows: Vec<Row> = sql_query(SESSIONS).load(connection).await?;
    let hidden = rows.iter().filter(|row| row.state.is_none()).count();
    let mut sessions: Vec<_> = rows.into_iter().map(ServerSession::from).collect();
    let unknown_holders = match lock_waits::complete(connection, &mut sessions).await {
        Err(error) if is_connection_failure(&error) => return Err(error),
        answer => answer.err(),
    };
    let restricted = [
        (hidden > 0).then(|| format!("the states of {hidden} sessions of other users are not visible: GRANT pg_monitor to this user")),
        unknown_holders.map(|error| format!("the holders of locks are not visible: {error}")),
    ];
    let restricted: Vec<_> = restricted.into_iter().flatten().collect();
    let narrow = |n: i64| u32::try_from(n.max(0)).unwrap_or(u32::MAX);
    Ok(Activity {
        sessions: Some(sessions),
        limits: Some(Limits {
            max_connections: narrow(limits.max_connections.into()),
            reserved: narrow(limits.reserved.into()),
            in_use: narrow(limits.in_use),
            user_limit: limits.user_limit.map(|limit| narrow(limit.into())),
        }),
        monitor_process_id: u64::try_from(limits.monitor).ok(),
        restricted: (!restricted.is_empty()).then(|| restricted.join("; ")),
    })
}

impl From<Row> for ServerSession {
    fn from(row: Row) -> Self {
        let state = match row.state.as_deref() {
            Some("active" | "fastpath function call") => SessionState::Active,
            Some("idle") => SessionState::Idle,
            Some("idle in transaction" | "idle in transaction (aborted)") => {
                SessionState::IdleInTransaction
            }
            _ => SessionState::Other,
        };
        let mut session = Self {
            process_id: u64::try_from(row.pid).unwrap_or_default(),
            state,
            state_seconds: row.state_seconds,
            query_seconds: row.query_seconds.filter(|_| state == SessionState::Active),
            transaction_seconds: row.transaction_seconds,
            wait_event: row.wait_event,
            replica: row.application_name.as_deref().and_then(instance_of_ours),
            application_name: row.application_name,
            user: row.user,
            same_user: row.same_user,
            same_database: row.same_database,
            query: row.query,
            blocked_by: None,
        };
        if row.state.is_some() && !lock_waits::waits(&session) {
            session.blocked_by = Some(Vec::new());
        }
        session
    }
}
