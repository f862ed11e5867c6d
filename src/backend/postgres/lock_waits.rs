//! Asks who holds the locks that sessions wait for, by `pg_blocking_pids`.

use diesel::sql_types::{Array, Integer};
use diesel::{QueryResult, QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::backend::ServerSession;
use crate::backend::lock_waits::LockWaits;

/// The most sessions to ask about at a time. Each call of `pg_blocking_pids` stops all changes of locks
/// for a moment, and reads the queue ahead of the session.
const MOST: usize = 200;
/// The most statements. Each asks about the sessions that the one before found.
const ROUNDS: usize = 4;

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Integer)]
    pid: i32,
    /// Also those ahead in the queue of the lock, which do not hold it. 0 is a prepared transaction.
    #[diesel(sql_type = Array<Integer>)]
    ahead: Vec<i32>,
}

const AHEAD: &str = "SELECT pid, pg_blocking_pids(pid) AS ahead FROM unnest($1) AS pid";

/// Returns whether a session waits for a lock.
pub(super) fn waits(session: &ServerSession) -> bool {
    let event = session.wait_event.as_deref();
    event.is_some_and(|event| event.starts_with("Lock:"))
}

/// Completes the sessions that wait for a lock. Asks nothing if none of this user's sessions on this
/// database does.
pub(super) async fn complete(
    connection: &mut AsyncPgConnection,
    sessions: &mut [ServerSession],
) -> QueryResult<()> {
    let mut waits = LockWaits::default();
    let mut asked = waiting(sessions);
    for _ in 0..ROUNDS {
        if asked.is_empty() {
            break;
        }
        let question = sql_query(AHEAD).bind::<Array<Integer>, _>(asked);
        let rows: Vec<Row> = question.load(connection).await?;
        for row in rows {
            waits.add(id(row.pid), row.ahead.into_iter().map(id));
        }
        let unasked = waits.unasked().into_iter();
        asked = unasked
            .filter_map(|id| id.try_into().ok())
            .take(MOST)
            .collect();
    }
    waits.complete(sessions);
    Ok(())
}

/// Returns the sessions of this user on this database that wait for a lock, the longest query first.
fn waiting(sessions: &[ServerSession]) -> Vec<i32> {
    let ours = sessions.iter().filter(|s| s.same_user && s.same_database);
    let mut waiting: Vec<_> = ours.filter(|session| waits(session)).collect();
    waiting.sort_by(|a, b| f64::total_cmp(&seconds(b), &seconds(a)));
    let ids = waiting.iter().map(|session| session.process_id);
    ids.filter_map(|id| id.try_into().ok()).take(MOST).collect()
}

fn seconds(session: &ServerSession) -> f64 {
    session.query_seconds.unwrap_or_default()
}

fn id(pid: i32) -> u64 {
    u64::try_from(pid).unwrap_or_default()
}
