//! What one borrower leaves in a session: what reaches the next by the setting `never`, and does not by
//! `when_dirty`; the app's own hooks; transactions that nobody ended.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use diesel::result::Error;
use diesel::sql_types::Integer;
use diesel::{IntoSql, QueryResult};
use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use futures_util::{FutureExt, StreamExt};
use poolscope::backend::ConnectErrorKind;
use poolscope::settings::ResetOnReturn;
use poolscope::{Pool, PoolBuilder, PoolError, PooledConnection, Settings};
use tokio::time::timeout;

use crate::databases::{Tested, on_each_database};
use crate::log_capture::capture;
use crate::lost::{at_rest, nothing_is_lost, within_patience};
use crate::support::postgres::{self, Postgres};
use crate::support::waiting::until;

type Pg = AsyncPgConnection;

/// What a borrower does, and what the next one asks: 1 if it has reached it, else 0.
type Leftover = (&'static str, &'static str);

const POSTGRES: [Leftover; 12] = [
    (
        "SET search_path = other",
        "SELECT (current_setting('search_path') = 'other')::int AS n",
    ),
    (
        "SET ROLE pg_monitor",
        "SELECT (current_user = 'pg_monitor')::int AS n",
    ),
    (
        "SET SESSION AUTHORIZATION pg_monitor",
        "SELECT (session_user = 'pg_monitor')::int AS n",
    ),
    (
        "SET TIME ZONE 'Asia/Tokyo'",
        "SELECT (current_setting('TimeZone') = 'Asia/Tokyo')::int AS n",
    ),
    (
        "SET statement_timeout = '1h'",
        "SELECT (current_setting('statement_timeout') = '1h')::int AS n",
    ),
    (
        "SELECT set_config('app.tenant', 'seven', false)",
        "SELECT (coalesce(current_setting('app.tenant', true), '') = 'seven')::int AS n",
    ),
    (
        "SELECT pg_advisory_lock(4711)",
        "SELECT count(*)::int AS n FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
    ),
    (
        "CREATE TEMP TABLE left_behind (n int)",
        "SELECT (to_regclass('pg_temp.left_behind') IS NOT NULL)::int AS n",
    ),
    (
        "PREPARE left_behind AS SELECT 1",
        "SELECT count(*)::int AS n FROM pg_prepared_statements WHERE name = 'left_behind'",
    ),
    (
        "LISTEN left_behind",
        "SELECT count(*)::int AS n FROM pg_listening_channels()",
    ),
    (
        "BEGIN; DECLARE left_behind CURSOR WITH HOLD FOR SELECT 1; COMMIT",
        "SELECT count(*)::int AS n FROM pg_cursors WHERE name = 'left_behind'",
    ),
    (
        "SELECT 1; SET application_name = 'left behind'",
        "SELECT (current_setting('application_name') = 'left behind')::int AS n",
    ),
];

const MARIADB: [Leftover; 7] = [
    (
        "USE information_schema",
        "SELECT CAST(DATABASE() = 'information_schema' AS INTEGER) AS n",
    ),
    (
        "SET time_zone = '+09:00'",
        "SELECT CAST(@@time_zone = '+09:00' AS INTEGER) AS n",
    ),
    (
        "SET SESSION max_statement_time = 77",
        "SELECT CAST(@@max_statement_time = 77 AS INTEGER) AS n",
    ),
    (
        "SET @left_behind = 1",
        "SELECT CAST(@left_behind IS NOT NULL AS INTEGER) AS n",
    ),
    (
        // The server may notice later that the session before has ended.
        "DO GET_LOCK('left_behind', 60)",
        "SELECT CAST(IS_USED_LOCK('left_behind') = CONNECTION_ID() AS INTEGER) AS n",
    ),
    (
        "CREATE TEMPORARY TABLE left_behind (n int)",
        "SELECT 1 AS n FROM (SELECT count(*) FROM left_behind) AS counted",
    ),
    (
        "PREPARE left_behind FROM 'SELECT 1'",
        "SELECT CAST(VARIABLE_VALUE > 0 AS INTEGER) AS n FROM information_schema.SESSION_STATUS \
         WHERE VARIABLE_NAME = 'Com_prepare_sql'",
    ),
];

const SQLITE: [Leftover; 3] = [
    (
        "CREATE TEMP TABLE left_behind (n int)",
        "SELECT count(*) AS n FROM sqlite_temp_master",
    ),
    (
        "ATTACH ':memory:' AS left_behind",
        "SELECT count(*) AS n FROM pragma_database_list WHERE name = 'left_behind'",
    ),
    (
        "PRAGMA recursive_triggers = ON",
        "SELECT recursive_triggers AS n FROM pragma_recursive_triggers",
    ),
];

fn leftovers<C: Tested>() -> &'static [Leftover] {
    match C::database_name() {
        "postgres" => &POSTGRES,
        "mariadb" => &MARIADB,
        _ => &SQLITE,
    }
}

/// A pool of one connection, so that the next borrower gets the same one.
fn one<C: Tested>(builder: PoolBuilder<C>) -> Pool<C> {
    let pool = builder.pool_size(1).max_overflow(0).build();
    pool.unwrap()
}

async fn get<C: Tested>(pool: &Pool<C>) -> PooledConnection<C> {
    within_patience("a connection", pool.get()).await.unwrap()
}

/// 1 if it is there; a table that is not there is an error.
async fn asked<C: Tested>(conn: &mut PooledConnection<C>, asks: &str) -> i32 {
    conn.number(asks).await.unwrap_or(0)
}

on_each_database!(
    session_state_reaches_the_next_borrower_if_nothing_is_reset,
    session_state_does_not_reach_the_next_borrower,
    hooks_run_before_and_after_each_hold,
    a_hook_that_fails_closes_the_connection,
    a_batch_that_ends_in_begin_is_never_handed_on,
    a_transaction_after_one_that_was_dropped_is_said,
);

async fn session_state_reaches_the_next_borrower_if_nothing_is_reset<C: Tested>(name: &str) {
    let database = C::database(name);
    for (leaves, asks) in leftovers::<C>() {
        let pool = one(database.pool::<C>().reset_on_return(ResetOnReturn::Never));
        get(&pool).await.batch_execute(leaves).await.unwrap();
        assert_eq!(asked(&mut get(&pool).await, asks).await, 1, "{leaves}");
        pool.close(Duration::ZERO).await;
    }
}

async fn session_state_does_not_reach_the_next_borrower<C: Tested>(name: &str) {
    let database = C::database(name);
    for when in [ResetOnReturn::WhenDirty, ResetOnReturn::Always] {
        let pool = one(database.pool::<C>().reset_on_return(when));
        for (leaves, asks) in leftovers::<C>() {
            // By both protocols: as a batch, and prepared if it can be.
            let mut conn = get(&pool).await;
            assert_eq!(asked(&mut conn, asks).await, 0, "{leaves}");
            conn.batch_execute(leaves).await.unwrap();
            assert_eq!(asked(&mut conn, asks).await, 1, "{leaves}");
            drop(conn);
            assert_eq!(
                asked(&mut get(&pool).await, asks).await,
                0,
                "{when:?} {leaves} {:?}",
                pool.status().totals.connections_closed
            );
            if !leaves.contains(';') && get(&pool).await.run(leaves).await.is_ok() {
                assert_eq!(asked(&mut get(&pool).await, asks).await, 0, "{leaves}");
            }
        }
        at_rest(&pool).await;
        let totals = pool.status().totals;
        if C::database_name() == "postgres" {
            // Twice PREPARE; and the statements that diesel has prepared still work.
            assert_eq!(totals.connections_closed.dirty, 2, "{totals:?}");
            assert_eq!(totals.connections_opened, 3, "{totals:?}");
        }
        assert_eq!(totals.connections_closed.broken, 0, "{totals:?}");
        nothing_is_lost(&pool).await;
    }
}

/// Runs one of the app's hooks, and counts it.
macro_rules! counted {
    ($count:expr, $statement:expr) => {{
        let count = Arc::clone(&$count);
        move |conn| {
            let count = Arc::clone(&count);
            Box::pin(async move {
                conn.batch_execute($statement).await?;
                count.fetch_add(1, SeqCst);
                Ok(())
            })
        }
    }};
}

async fn hooks_run_before_and_after_each_hold<C: Tested>(name: &str) {
    let database = C::database(name);
    let (before, after) = (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default());
    let pool = one(database
        .pool::<C>()
        .on_checkout(counted!(before, "SELECT 1"))
        .on_return(counted!(after, "SELECT 2")));
    for n in 0..5 {
        let mut conn = get(&pool).await;
        assert_eq!((before.load(SeqCst), after.load(SeqCst)), (n + 1, n));
        assert_eq!(conn.select(1).await, Ok(1));
    }
    at_rest(&pool).await;
    assert_eq!((before.load(SeqCst), after.load(SeqCst)), (5, 5));
    // It cannot wait for the hook.
    assert!(matches!(pool.try_get(), Err(PoolError::Rejected(_))));
    at_rest(&pool).await;
    assert_eq!(pool.status().totals.connections_opened, 1);
    // A connection that is closed anyway is not cleaned.
    let mut conn = get(&pool).await;
    conn.run("BEGIN").await.unwrap();
    drop(conn);
    at_rest(&pool).await;
    assert_eq!((before.load(SeqCst), after.load(SeqCst)), (6, 5));
}

async fn a_hook_that_fails_closes_the_connection<C: Tested>(name: &str) {
    let database = C::database(name);
    let pool = one(database
        .pool::<C>()
        .on_return(|conn| Box::pin(conn.batch_execute("SELECT nonsense FROM nowhere"))));
    assert_eq!(get(&pool).await.select(1).await, Ok(1));
    at_rest(&pool).await;
    assert_eq!(pool.status().totals.connections_closed.dirty, 1);
    assert_eq!(get(&pool).await.select(1).await, Ok(1));

    let pool = one(database
        .pool::<C>()
        .on_checkout(|conn| Box::pin(conn.batch_execute("SELECT nonsense FROM nowhere"))));
    let error = within_patience("an answer", pool.get()).await.unwrap_err();
    assert!(matches!(error, PoolError::ConnectFailed(_)), "{error}");
    assert!(error.to_string().contains("no"), "{error}");
    at_rest(&pool).await;
    assert_eq!(pool.status().totals.connections_closed.dirty, 1);

    // One that hangs, and one that panics.
    for hook in [true, false] {
        let pool = one(database
            .pool::<C>()
            .settings(|settings| settings.pre_ping_timeout = Duration::from_millis(100))
            .on_return(move |_| {
                Box::pin(async move {
                    assert!(hook, "a hook panics, as this test means it to");
                    std::future::pending().await
                })
            }));
        assert_eq!(get(&pool).await.select(1).await, Ok(1));
        assert_eq!(get(&pool).await.select(2).await, Ok(2));
        at_rest(&pool).await;
        assert_eq!(pool.status().totals.connections_closed.dirty, 2);
    }
    let pool = one(database
        .pool::<C>()
        .settings(|settings| settings.pre_ping_timeout = Duration::from_millis(100))
        .on_checkout(|_| Box::pin(std::future::pending())));
    match within_patience("an answer", pool.get()).await {
        Err(PoolError::ConnectFailed(error)) => {
            assert_eq!(error.kind(), ConnectErrorKind::TimedOut);
        }
        other => panic!("{other:?}"),
    }
    at_rest(&pool).await;
    assert_eq!(pool.status().totals.connections_closed.dirty, 1);
}

async fn a_batch_that_ends_in_begin_is_never_handed_on<C: Tested>(name: &str) {
    let database = C::database(name);
    let pool = one(database.pool::<C>());
    leaves_a_transaction_open(&pool).await;
}

async fn leaves_a_transaction_open<C: Tested>(pool: &Pool<C>) {
    let mut conn = get(pool).await;
    conn.batch_execute("CREATE TABLE t (n INTEGER)")
        .await
        .unwrap();
    conn.batch_execute("SELECT 1; BEGIN").await.unwrap();
    conn.run("INSERT INTO t VALUES (1)").await.unwrap();
    drop(conn);
    at_rest(pool).await;
    assert_eq!(pool.status().totals.connections_closed.broken, 1);
    assert_eq!(get(pool).await.count("t").await, Ok(0));
}

/// The app's own dial has no wire, so the text decides.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_ends_in_begin_on_the_apps_own_dial() {
    let database = Pg::database("batch_own_dial");
    let manager = AsyncDieselConnectionManager::<Pg>::new(database.url.as_str());
    leaves_a_transaction_open(&one(database.pool::<Pg>().manager(manager))).await;
}

/// What the app's own dial has set up cannot be set up again, so a changed session is closed.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_session_of_the_apps_own_dial_is_closed() {
    let database = Pg::database("changed_own_dial");
    let manager = AsyncDieselConnectionManager::<Pg>::new(database.url.as_str());
    let pool = one(database.pool::<Pg>().manager(manager));
    let (leaves, asks) = POSTGRES[0];
    get(&pool).await.run(leaves).await.unwrap();
    assert_eq!(asked(&mut get(&pool).await, asks).await, 0);
    assert_eq!(pool.status().totals.connections_closed.dirty, 1);
}

async fn a_transaction_after_one_that_was_dropped_is_said<C: Tested>(name: &str) {
    let (log, pool_name) = (capture(), format!("pool=\"{name}\""));
    let said = || {
        let lines = log.lines_with("that succeeded inside it are rolled back");
        lines
            .iter()
            .filter(|line| line.contains(&pool_name))
            .count()
    };
    let database = C::database(name);
    let pool = one(database.pool::<C>().name(name));
    let mut conn = get(&pool).await;
    conn.batch_execute("CREATE TABLE t (n INTEGER)")
        .await
        .unwrap();
    let panics = conn.transaction::<(), Error, _>(async |conn| {
        conn.run("INSERT INTO t VALUES (1)").await?;
        panic!("inside a transaction, as this test means it to");
    });
    assert!(AssertUnwindSafe(panics).catch_unwind().await.is_err());
    inserts(&mut conn, 2).await.unwrap();
    let hangs = conn.transaction::<(), Error, _>(async |_| std::future::pending().await);
    assert!(timeout(Duration::from_millis(50), hangs).await.is_err());
    inserts(&mut conn, 3).await.unwrap();
    drop(conn);
    assert_eq!(said(), 1);
    assert_eq!(get(&pool).await.count("t").await, Ok(0));
    // A transaction inside another that is committed is nothing to report.
    let mut conn = get(&pool).await;
    let nested = conn.transaction::<(), Error, _>(async |conn| inserts(conn, 4).await);
    nested.await.unwrap();
    drop(conn);
    assert_eq!(said(), 1);
    assert_eq!(get(&pool).await.count("t").await, Ok(1));
}

async fn inserts<C: Tested>(conn: &mut PooledConnection<C>, n: i32) -> QueryResult<()> {
    conn.transaction::<(), Error, _>(async |conn| {
        conn.run(&format!("INSERT INTO t VALUES ({n})"))
            .await
            .map(drop)
    })
    .await
}

/// What the pool itself, diesel and the app have set up is there after a reset, and what diesel has
/// prepared.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_keeps_what_belongs_to_the_pool() {
    let database = Pg::database("reset_keeps");
    let pool = one(database
        .pool::<Pg>()
        .on_connect(|conn| Box::pin(conn.batch_execute("SET search_path = mine"))));
    let mine = "SELECT (current_setting('search_path') = 'mine' AND current_setting('TimeZone') = 'UTC' \
                AND current_setting('client_encoding') = 'UTF8' \
                AND current_setting('application_name') LIKE '%@%')::int AS n";
    let prepared = "SELECT count(*)::int AS n FROM pg_prepared_statements WHERE statement LIKE '%$1 + ' || '$2%'";
    for n in 1..=3 {
        let mut conn = get(&pool).await;
        assert_eq!(conn.number(mine).await, Ok(1));
        assert_eq!(conn.number(prepared).await, Ok(i32::from(n > 1)));
        let sum = sum(&mut conn, n).await;
        assert_eq!(sum, Ok(40 + n));
        conn.batch_execute(
            "SET search_path = other; SET application_name = 'x'; SET TIME ZONE 'Asia/Tokyo'",
        )
        .await
        .unwrap();
        drop(conn);
        at_rest(&pool).await;
    }
    assert_eq!(pool.status().totals.connections_opened, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_connection_costs_no_round_trip() {
    let server = Postgres::start(postgres::Options::new().config("log_statement = all"));
    let resets = || server.log().matches("CLOSE ALL").count();
    let pool = one(Pool::<Pg>::builder(Settings::new(server.url())).pool_pre_ping(false));
    let statements = || server.log().matches("LOG:  statement: ").count();
    drop(get(&pool).await);
    let before = statements();
    for _ in 0..10 {
        let mut conn = get(&pool).await;
        conn.batch_execute("SELECT 1").await.unwrap();
        conn.batch_execute(
            "BEGIN; SET LOCAL search_path = other; SELECT set_config('a.b', '1', true); COMMIT",
        )
        .await
        .unwrap();
        conn.batch_execute("UPDATE pg_class SET relname = relname WHERE false")
            .await
            .unwrap();
    }
    at_rest(&pool).await;
    assert_eq!(
        (statements() - before, resets()),
        (30, 0),
        "{}",
        server.log()
    );
    get(&pool)
        .await
        .run("SET search_path = other")
        .await
        .unwrap();
    at_rest(&pool).await;
    assert_eq!(resets(), 1);
    // It is not changed any more.
    drop(get(&pool).await);
    at_rest(&pool).await;
    assert_eq!(resets(), 1);
    assert_eq!(pool.status().totals.connections_opened, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn notifications_to_an_idle_connection_close_it() {
    let log = capture();
    let database = Pg::database("notified_idle");
    let server = postgres::shared();
    let pool = one(database
        .pool::<Pg>()
        .name("notified_idle")
        .reset_on_return(ResetOnReturn::Never));
    let mut conn = get(&pool).await;
    conn.batch_execute("LISTEN orders; NOTIFY orders, 'to the holder'")
        .await
        .unwrap();
    // The holder gets its own.
    let mut notifications = Box::pin(conn.notifications_stream());
    let first = within_patience("a notification", notifications.next()).await;
    assert_eq!(first.unwrap().unwrap().payload, "to the holder");
    drop(notifications);
    drop(conn);
    let sessions = async || {
        server.psql(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = 'notified_idle' AND state = 'idle' \
             AND query LIKE 'LISTEN%'",
        )
    };
    until("idle", sessions, |count| count == "1").await;
    server.query_in(
        "notified_idle",
        "SELECT pg_notify('orders', n::text) FROM generate_series(1, 1000) n",
    );
    until("closed", sessions, |count| count == "0").await;
    let mut next = get(&pool).await;
    assert_eq!(next.select(1).await, Ok(1));
    assert!(
        next.notifications_stream()
            .boxed()
            .next()
            .now_or_never()
            .is_none()
    );
    let totals = pool.status().totals.connections_closed;
    assert_eq!((totals.dirty, totals.broken), (1, 0));
    let lines = log.lines_with("a notification arrived while nobody held it");
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.contains("notified_idle"))
            .count(),
        1,
        "{lines:?}"
    );
}

/// What the last holder has listened to and not read is not for the next.
#[tokio::test(flavor = "multi_thread")]
async fn unread_notifications_do_not_reach_the_next_borrower() {
    let database = Pg::database("unread");
    let pool = one(database.pool::<Pg>());
    let mut conn = get(&pool).await;
    conn.batch_execute(
        "LISTEN orders; SELECT pg_notify('orders', n::text) FROM generate_series(1, 1000) n",
    )
    .await
    .unwrap();
    conn.select(1).await.unwrap();
    drop(conn);
    let mut next = get(&pool).await;
    assert!(
        next.notifications_stream()
            .boxed()
            .next()
            .now_or_never()
            .is_none()
    );
    assert_eq!(pool.status().totals.connections_opened, 1);
}

/// A query that diesel prepares once for each connection.
async fn sum(conn: &mut Pg, n: i32) -> QueryResult<i32> {
    use diesel_async::RunQueryDsl;

    diesel::select(40.into_sql::<Integer>() + n)
        .get_result(conn)
        .await
}
