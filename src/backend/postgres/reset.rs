//! Resets a Postgres session to the state in which it was opened.

use std::pin::pin;

use diesel::QueryResult;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use futures_util::{FutureExt, StreamExt};
use tokio::task::unconstrained;

/// `DISCARD ALL` without `DEALLOCATE ALL`, because diesel keeps the statements that it has prepared.
/// One command, so that it is one round trip. The last two lines are what diesel-async sets in each new
/// session.
const RESET: &str = "CLOSE ALL;\
    SET SESSION AUTHORIZATION DEFAULT;\
    RESET ALL;\
    UNLISTEN *;\
    SELECT pg_advisory_unlock_all();\
    DISCARD TEMP;\
    DISCARD SEQUENCES;\
    SET TIME ZONE 'UTC';\
    SET CLIENT_ENCODING TO 'UTF8'";

/// Resets the session in one round trip, and drops the notifications that nobody has read.
pub(super) async fn reset(connection: &mut AsyncPgConnection) -> QueryResult<()> {
    connection.batch_execute(RESET).await?;
    let mut unread = pin!(connection.notifications_stream());
    // Unconstrained, because all of them are there.
    while let Some(Some(_)) = unconstrained(unread.next()).now_or_never() {}
    Ok(())
}
