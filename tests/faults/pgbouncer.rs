//! PgBouncer in transaction mode between the pool and the server: its capabilities and limits.
//!
//! Each transaction, and each command outside of one, may run in another session.

use diesel::QueryResult;
use diesel::result::Error;
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use futures_util::future::join_all;
use poolscope::backend::is_connection_failure;
use poolscope::{Pool, PoolError, PooledConnection};
use serde_json::{Value, json};

use crate::databases::{Database, Tested};
use crate::load::Load;
use crate::lost::{at_rest, nothing_is_lost, within_patience};
use crate::monitor_client::{get, until};
use crate::outages;
use crate::servers::Faulty;
use crate::support::pgbouncer::PgBouncer;
use crate::support::postgres::{self, Postgres};

type Pg = AsyncPgConnection;

/// A pool of eight behind PgBouncer with this number of sessions.
fn behind(name: &str, sessions: u16) -> Option<(PgBouncer, Pool<Pg>)> {
    let server = postgres::shared();
    let url = server.create_database(name);
    let pooler = PgBouncer::in_transaction_mode(server.port(), sessions)?;
    let pool = Database::at(&server.url_by(&url, pooler.port()))
        .pool::<Pg>()
        .pool_size(4)
        .max_overflow(4)
        .build()
        .unwrap();
    Some((pooler, pool))
}

/// With one session, every prepared statement is in that session.
#[tokio::test(flavor = "multi_thread")]
async fn pgbouncer_with_one_session_serves_every_query() {
    let Some((pooler, pool)) = behind("pooler_of_one", 1) else {
        return;
    };
    let load = Load::start(&pool, 16);
    load.is_served(200).await;
    // The server ends the session; PgBouncer opens another.
    let ended = tokio::task::block_in_place(|| postgres::shared().end_sessions("pooler_of_one"));
    assert_eq!(ended, 1);
    load.is_served(200).await;
    let seen = load.end().await;
    assert_eq!(seen.refusals(), 0, "{seen:?} {}", pooler.log());
    assert!(seen.failed <= 8, "{seen:?} {}", pooler.log());
    nothing_is_lost(&pool).await;

    // The pool knows PgBouncer's process ids, which match no session of the server.
    let held = pool.get().await.unwrap();
    let connections = get(pool.monitor(), "connections").await.json();
    assert_eq!(
        connections["scope"],
        json!("application_name"),
        "{connections:#}"
    );
    assert_eq!(connections["error"], Value::Null, "{connections:#}");
    for session in connections["sessions"].as_array().unwrap() {
        assert_eq!(session["holder"], Value::Null, "{connections:#}");
    }
    drop(held);
}

/// With several sessions, a statement prepared in one is executed in another: a query, or a setup command
/// of diesel-async. Each such failure has a clear error. A single transaction works, and nobody reads
/// another's results.
#[tokio::test(flavor = "multi_thread")]
async fn pgbouncer_with_several_sessions_breaks_prepared_statements() {
    let Some((pooler, pool)) = behind("pooler_of_several", 3) else {
        return;
    };
    let users = (0..16).map(|n| {
        let pool = pool.clone();
        async move {
            for _ in 0..20 {
                let Some(mut conn) = connected(pool.get().await) else {
                    continue;
                };
                conn.batch_execute("SELECT 1").await.unwrap();
                assert_eq!(within_a_transaction(&mut conn, n).await, Ok(n));
                match conn.select(n).await {
                    Ok(answer) => assert_eq!(answer, n),
                    Err(error) => assert_unprepared(&error.to_string()),
                }
            }
        }
    });
    within_patience("all users", join_all(users)).await;
    let totals = pool.status().totals;
    assert_eq!(
        (totals.checkouts + totals.errors, totals.timeouts),
        (320, 0),
        "{totals:?}"
    );
    assert!(totals.checkouts > 0, "{}", pooler.log());

    at_rest(&pool).await;
    let mut held = Vec::new();
    for n in 0..pool.settings().max_connections() as i32 {
        let one = async || connected(within_patience("one more checkout", pool.get()).await);
        let conn = until("connected", one, Option::is_some).await;
        let mut conn = conn.expect("a connection");
        assert_eq!(within_a_transaction(&mut conn, n).await, Ok(n));
        held.push(conn);
    }
    assert!(matches!(pool.try_get(), Err(PoolError::Rejected(_))));
    drop(held);
    at_rest(&pool).await;
}

/// The pooler is there, and says in its own words that its server is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_without_its_server() {
    let mut server = Postgres::start(postgres::Options::new());
    let Some(pooler) = PgBouncer::in_transaction_mode(server.port(), 1) else {
        return;
    };
    let pool: Pool<Pg> = outages::pool(&server.url_by(&server.url(), pooler.port()));
    let mut held = pool.get().await.unwrap();
    assert_eq!(held.select(1).await, Ok(1));
    let load = Load::start(&pool, 16);
    load.is_served(100).await;
    server.kill();
    let error = held.select(1).await.expect_err("the server is gone");
    assert!(is_connection_failure(&error), "{error:?}");
    drop(held);
    outages::is_refused(&load, &["unreachable"]).await;
    server.start_again();
    // The pooler itself tries again after a second.
    load.is_served(100).await;
    load.end().await;
    nothing_is_lost(&pool).await;
}

fn connected(answer: Result<PooledConnection<Pg>, PoolError>) -> Option<PooledConnection<Pg>> {
    answer
        .map_err(|error| assert_unprepared(&error.to_string()))
        .ok()
}

fn assert_unprepared(error: &str) {
    let says = error.contains("prepared statement") && error.contains("does not exist");
    assert!(says, "{error}");
}

async fn within_a_transaction(conn: &mut PooledConnection<Pg>, n: i32) -> QueryResult<i32> {
    conn.transaction::<i32, Error, _>(async |conn| conn.select(n).await)
        .await
}
