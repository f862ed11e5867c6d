//! Asks InnoDB who holds the locks that transactions wait for.

use std::collections::HashSet;

use diesel::sql_types::{BigInt, Unsigned};
use diesel::{QueryResult, QueryableByName, sql_query};
use diesel_async::{AsyncMysqlConnection, RunQueryDsl};

use crate::backend::ServerSession;
use crate::backend::lock_waits::LockWaits;

/// The most pairs of a waiting transaction and one ahead of it. Of `n` transactions that wait for one
/// row there are about `n²/2`.
const MOST: usize = 10_000;

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Unsigned<BigInt>)]
    waiter: u64,
    /// 0 is a prepared XA transaction whose session has ended.
    #[diesel(sql_type = Unsigned<BigInt>)]
    ahead: u64,
}

/// Returns whether a session waits for a lock that is not InnoDB's, by its stage: a metadata lock, a
/// table lock, or one of `GET_LOCK`. Their holders are not shown.
pub(super) fn waits_elsewhere(stage: &str) -> bool {
    (stage.starts_with("Waiting for ") && stage.ends_with(" lock")) || stage == "User lock"
}

/// Completes the sessions whose transactions wait for a lock. Asks nothing if none of this user's
/// sessions on this database does.
pub(super) async fn complete(
    connection: &mut AsyncMysqlConnection,
    version: &str,
    waiting: &HashSet<u64>,
    sessions: &mut [ServerSession],
) -> QueryResult<()> {
    let ours = sessions.iter().filter(|s| s.same_user && s.same_database);
    if !ours.map(|s| s.process_id).any(|id| waiting.contains(&id)) {
        return Ok(());
    }
    let rows: Vec<Row> = sql_query(statement(version)).load(connection).await?;
    let mut waits = LockWaits::default();
    for row in rows {
        waits.add(row.waiter, [row.ahead]);
    }
    // The answer has all transactions that wait, unless it was cut off.
    for ahead in waits.unasked() {
        if !waiting.contains(&ahead) {
            waits.add(ahead, []);
        }
    }
    waits.complete(sessions);
    Ok(())
}

/// MySQL 8 moved the view to `performance_schema`. Its join is that of `sys.innodb_lock_waits`.
fn statement(version: &str) -> String {
    let (view, waiter, ahead) = match version.contains("MariaDB") || version.starts_with("5.") {
        true => (
            "information_schema.INNODB_LOCK_WAITS",
            "requesting_trx_id",
            "blocking_trx_id",
        ),
        false => (
            "performance_schema.data_lock_waits",
            "CAST(REQUESTING_ENGINE_TRANSACTION_ID AS CHAR)",
            "CAST(BLOCKING_ENGINE_TRANSACTION_ID AS CHAR)",
        ),
    };
    format!(
        "SELECT DISTINCT CAST(w.trx_mysql_thread_id AS UNSIGNED) AS waiter, \
         CAST(a.trx_mysql_thread_id AS UNSIGNED) AS ahead FROM {view} \
         JOIN information_schema.INNODB_TRX w ON w.trx_id = {waiter} \
         JOIN information_schema.INNODB_TRX a ON a.trx_id = {ahead} LIMIT {MOST}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_view_depends_on_the_server() {
        for version in [
            "10.11.6-MariaDB-0+deb12u1",
            "11.4.2-MariaDB-log",
            "5.7.44-log",
        ] {
            assert!(statement(version).contains("information_schema.INNODB_LOCK_WAITS"));
        }
        for version in ["8.0.36", "8.4.0-commercial", "9.1.0"] {
            assert!(statement(version).contains("performance_schema.data_lock_waits"));
        }
    }

    #[test]
    fn other_locks_are_recognized_by_the_stage() {
        let locks = [
            "Waiting for table metadata lock",
            "Waiting for backup lock",
            "User lock",
        ];
        for stage in locks {
            assert!(waits_elsewhere(stage), "{stage}");
        }
        for stage in [
            "Updating",
            "Waiting for handler commit",
            "Waiting for commit",
            "System lock",
            "",
        ] {
            assert!(!waits_elsewhere(stage), "{stage}");
        }
    }
}
