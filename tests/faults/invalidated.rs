//! Connections that work and yet are of no use: the session is read-only, or what it has prepared is
//! outdated. Each is replaced after one error at most.

use diesel::prelude::*;
use diesel::sql_types::Array;
use diesel_async::{
    AsyncConnection, AsyncMysqlConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection,
};
use futures_util::future::try_join_all;
use poolscope::settings::ResetOnReturn;
use poolscope::{Pool, PoolBuilder, PooledConnection};

use crate::databases::{Database, Tested};
use crate::log_capture;
use crate::lost::nothing_is_lost;
use crate::servers::{Faulty, on_each_server};
use crate::support::mariadb::{self, MariaDb};
use crate::support::postgres;

const SIZE: u32 = 5;
const ATTEMPTS: usize = 50;

on_each_server!(
    sessions_that_became_read_only_are_replaced,
    a_resumed_pool_replaces_what_was_opened_before,
    a_transaction_that_is_opened_read_only_invalidates_nothing,
    a_session_that_is_asked_to_be_read_only_is_kept,
    a_column_that_changes_its_type,
);

fn of<C: Tested>(postgres: &'static str, mariadb: &'static str) -> &'static str {
    match C::database_name() {
        "postgres" => postgres,
        _ => mariadb,
    }
}

fn sized<C: Tested>(builder: PoolBuilder<C>) -> Pool<C> {
    // A reset would undo what these tests do to a session.
    builder
        .pool_size(SIZE)
        .max_overflow(0)
        .reset_on_return(ResetOnReturn::Never)
        .build()
        .unwrap()
}

/// A pool on a database of its own, with a table in it, and all connections open.
async fn filled<C: Tested>(database: &Database) -> Pool<C> {
    let pool = sized(database.pool::<C>());
    let mut held = all(&pool).await;
    let table = "CREATE TABLE t (id INTEGER, word VARCHAR(10))";
    held[0].run(table).await.unwrap();
    pool
}

async fn all<C: Tested>(pool: &Pool<C>) -> Vec<PooledConnection<C>> {
    try_join_all((0..SIZE).map(|_| pool.get())).await.unwrap()
}

async fn in_each_session<C: Tested>(pool: &Pool<C>, statement: &str) {
    for mut conn in all(pool).await {
        conn.batch_execute(statement).await.unwrap();
    }
}

fn read_only<C: Tested>() -> &'static str {
    of::<C>(
        "SET default_transaction_read_only = on",
        "SET SESSION TRANSACTION READ ONLY",
    )
}

/// The number of attempts that failed, each with a connection of its own.
async fn failures<C: Tested>(
    pool: &Pool<C>,
    attempts: usize,
    attempt: impl AsyncFn(&mut C) -> QueryResult<()>,
) -> usize {
    let mut failed = 0;
    for _ in 0..attempts {
        let mut conn = pool.get().await.unwrap();
        failed += usize::from(attempt(&mut conn).await.is_err());
    }
    failed
}

async fn insert<C: Tested>(conn: &mut C) -> QueryResult<()> {
    conn.run("INSERT INTO t VALUES (1, 'one')").await.map(drop)
}

fn invalidated<C: Tested>(pool: &Pool<C>) -> u64 {
    pool.status().totals.connections_closed.invalidated
}

/// Every session of the pool is made read-only behind its back, and new ones can write again.
async fn sessions_that_became_read_only_are_replaced<S: Faulty>(name: &str) {
    let log = log_capture::capture();
    let database = Database::at(&S::shared().create_database(name));
    let pool = filled::<S::Connection>(&database).await;
    in_each_session(&pool, read_only::<S::Connection>()).await;
    assert_eq!(invalidated(&pool), 0, "no error yet");
    let failed = failures(&pool, ATTEMPTS, insert).await;
    // Postgres reports that the others are read-only, too; MariaDB does not.
    let most: usize = of::<S::Connection>("1", "5").parse().unwrap();
    assert!((1..=most).contains(&failed), "{failed}");
    assert_eq!(invalidated(&pool), u64::from(SIZE));

    let code = of::<S::Connection>("25006", "1792");
    let health = pool.health().await;
    let last = health.database.last_invalidation.unwrap();
    assert!(last.starts_with(code), "{last}");
    assert!(
        health.warnings.concat().contains(code),
        "{:?}",
        health.warnings
    );
    let events = log.lines_with("connection invalidated");
    let is_logged = events.iter().any(|line| line.contains(code));
    assert!(is_logged, "{events:?}");
    assert!(!events.concat().contains("'one'"));
    nothing_is_lost(&pool).await;
}

/// The documented step of a failover. Nobody sees an error.
async fn a_resumed_pool_replaces_what_was_opened_before<S: Faulty>(name: &str) {
    let database = Database::at(&S::shared().create_database(name));
    let pool = filled::<S::Connection>(&database).await;
    in_each_session(&pool, read_only::<S::Connection>()).await;
    let mut held = pool.get().await.unwrap();
    pool.suspend();
    pool.resume();
    assert_eq!(invalidated(&pool), u64::from(SIZE) - 1, "the idle ones");
    assert_eq!(held.select(1).await.unwrap(), 1, "it stays with its holder");
    drop(held);
    assert_eq!(invalidated(&pool), u64::from(SIZE));
    assert_eq!(failures(&pool, ATTEMPTS, insert).await, 0);
    assert_eq!(invalidated(&pool), u64::from(SIZE));
    nothing_is_lost(&pool).await;
}

/// The app's own wish is no fault of the session, however it is written.
async fn a_transaction_that_is_opened_read_only_invalidates_nothing<S: Faulty>(name: &str) {
    let database = Database::at(&S::shared().create_database(name));
    let pool = filled::<S::Connection>(&database).await;
    let opened = pool.status().totals.connections_opened;
    for begin in [
        of::<S::Connection>("BEGIN READ ONLY", "START TRANSACTION READ ONLY"),
        of::<S::Connection>(
            "BEGIN; SET TRANSACTION READ ONLY",
            "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
        ),
        of::<S::Connection>(
            "BEGIN; SET LOCAL transaction_read_only = on",
            "start transaction read only",
        ),
    ] {
        let failed = failures(&pool, ATTEMPTS, async |conn: &mut S::Connection| {
            conn.batch_execute(begin).await.unwrap();
            let answer = insert(conn).await;
            conn.batch_execute("ROLLBACK").await.unwrap();
            answer
        })
        .await;
        assert_eq!(failed, ATTEMPTS, "{begin}");
    }
    let failed = failures(&pool, ATTEMPTS, async |conn: &mut S::Connection| {
        let own = of::<S::Connection>("SELECT 1", "SET TRANSACTION READ ONLY");
        conn.batch_execute(own).await.unwrap();
        conn.transaction(async |conn: &mut S::Connection| {
            let own = of::<S::Connection>("SET TRANSACTION READ ONLY", "SELECT 1");
            conn.batch_execute(own).await?;
            insert(conn).await
        })
        .await
    })
    .await;
    assert_eq!(failed, ATTEMPTS);
    assert_eq!(pool.status().totals.connections_opened, opened);
    nothing_is_lost(&pool).await;
}

/// diesel's own way to say it.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_transaction_of_diesels_builder_invalidates_nothing() {
    let database = AsyncPgConnection::database("read_only_builder");
    let pool = filled::<AsyncPgConnection>(&database).await;
    let opened = pool.status().totals.connections_opened;
    let failed = failures(&pool, ATTEMPTS, async |conn: &mut AsyncPgConnection| {
        let mut transaction = conn.build_transaction().read_only();
        transaction.run(async |conn| insert(conn).await).await
    })
    .await;
    assert_eq!(failed, ATTEMPTS);
    assert_eq!(pool.status().totals.connections_opened, opened);
}

/// By the pool's own set-up, or by the URL: a write is the caller's mistake then.
async fn a_session_that_is_asked_to_be_read_only_is_kept<S: Faulty>(name: &str) {
    let url = S::shared().create_database(name);
    drop(filled::<S::Connection>(&Database::at(&url)).await);
    let ask = read_only::<S::Connection>();
    let set_up = Database::at(&url)
        .pool::<S::Connection>()
        .on_connect(move |conn| Box::pin(conn.batch_execute(ask)));
    let mut pools = vec![sized(set_up)];
    if S::Connection::database_name() == "postgres" {
        let url = format!("{url}?options=-c%20default_transaction_read_only%3Don");
        pools.push(sized(Database::at(&url).pool::<S::Connection>()));
    }
    for pool in pools {
        drop(all(&pool).await);
        assert_eq!(failures(&pool, ATTEMPTS, insert).await, ATTEMPTS);
        assert_eq!(pool.status().totals.connections_opened, u64::from(SIZE));
        nothing_is_lost(&pool).await;
    }
}

/// New sessions are read-only, too, until the default is undone: one error replaces one connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_stays_read_only_causes_no_storm_of_connects() {
    let name = "stays_read_only";
    let server = postgres::shared();
    let database = AsyncPgConnection::database(name);
    let pool = filled::<AsyncPgConnection>(&database).await;
    let set = |what: &str| server.psql(&format!("ALTER DATABASE {name} {what}"));
    set("SET default_transaction_read_only = on");
    in_each_session(&pool, read_only::<AsyncPgConnection>()).await;
    assert_eq!(failures(&pool, ATTEMPTS, insert).await, ATTEMPTS);
    let totals = pool.status().totals;
    // Those that became read-only, once each, and then one for each error.
    let most = u64::from(2 * SIZE) + ATTEMPTS as u64;
    assert!(totals.connections_opened <= most, "{totals:?}");

    set("RESET default_transaction_read_only");
    let failed = failures(&pool, ATTEMPTS, insert).await;
    assert!(failed <= SIZE as usize, "{failed}");
    assert_eq!(failures(&pool, ATTEMPTS, insert).await, 0);
    nothing_is_lost(&pool).await;
}

/// `read_only` of the server, which a user with few rights cannot pass by.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_read_only_for_a_while() {
    let server = MariaDb::start(mariadb::Options::new());
    server.sql("CREATE TABLE t (id INTEGER, word VARCHAR(10))");
    let database = Database::at(&server.create_user("app"));
    let pool = sized(database.pool::<AsyncMysqlConnection>());
    drop(all(&pool).await);
    assert_eq!(failures(&pool, ATTEMPTS, insert).await, 0);
    server.sql("SET GLOBAL read_only = 1");
    assert_eq!(failures(&pool, ATTEMPTS, insert).await, ATTEMPTS);
    let totals = pool.status().totals;
    assert_eq!(totals.connections_closed.invalidated, ATTEMPTS as u64);
    let most = u64::from(SIZE) + ATTEMPTS as u64;
    assert!(totals.connections_opened <= most, "{totals:?}");
    let last = pool.health().await.database.last_invalidation.unwrap();
    assert!(last.starts_with("1290"), "{last}");

    server.sql("SET GLOBAL read_only = 0");
    assert_eq!(failures(&pool, ATTEMPTS, insert).await, 0);
    nothing_is_lost(&pool).await;
}

diesel::table! {
    t (id) { id -> Integer, word -> Text, }
}

/// A statement that stays prepared on its connection.
trait Load {
    async fn load_words(&mut self) -> QueryResult<()>;
}

macro_rules! load {
    ($($connection:ty),+) => { $(
        impl Load for $connection {
            async fn load_words(&mut self) -> QueryResult<()> {
                let words = t::table.select((t::id, t::word));
                words.load::<(i32, String)>(self).await.map(drop)
            }
        }
    )+ };
}

load!(AsyncPgConnection, AsyncMysqlConnection);

/// `ALTER COLUMN .. TYPE` by somebody else. MariaDB prepares the statement anew by itself.
async fn a_column_that_changes_its_type<S: Faulty>(name: &str)
where
    S::Connection: Load,
{
    let database = Database::at(&S::shared().create_database(name));
    let pool = filled::<S::Connection>(&database).await;
    for mut conn in all(&pool).await {
        conn.load_words().await.unwrap();
    }
    let mut other = database
        .pool::<S::Connection>()
        .build()
        .unwrap()
        .get()
        .await
        .unwrap();
    let alter = of::<S::Connection>(
        "ALTER TABLE t ALTER COLUMN word TYPE TEXT",
        "ALTER TABLE t MODIFY COLUMN word TEXT",
    );
    other.run(alter).await.unwrap();
    let load = async |conn: &mut S::Connection| conn.load_words().await;
    let failed = failures(&pool, ATTEMPTS, load).await;
    // The first error replaces all that were opened before.
    let expected: usize = of::<S::Connection>("1", "0").parse().unwrap();
    assert_eq!(failed, expected);
    assert_eq!(invalidated(&pool), u64::from(SIZE) * expected as u64);
    if expected > 0 {
        let last = pool.health().await.database.last_invalidation.unwrap();
        assert!(last.starts_with("0A000"), "{last}");
    }
    // Another change within a minute: each connection is replaced after its own error.
    for mut conn in all(&pool).await {
        conn.load_words().await.unwrap();
    }
    let alter = of::<S::Connection>(
        "ALTER TABLE t ALTER COLUMN word TYPE VARCHAR(99)",
        "ALTER TABLE t MODIFY COLUMN word VARCHAR(99)",
    );
    other.run(alter).await.unwrap();
    let load = async |conn: &mut S::Connection| conn.load_words().await;
    let failed = failures(&pool, ATTEMPTS, load).await;
    assert!(failed <= SIZE as usize * expected, "{failed}");
    nothing_is_lost(&pool).await;
}

/// The app throws away what diesel has prepared, on each connection.
#[tokio::test(flavor = "multi_thread")]
async fn statements_that_the_server_no_longer_knows() {
    let database = AsyncPgConnection::database("deallocated");
    let pool = filled::<AsyncPgConnection>(&database).await;
    for forget in ["DEALLOCATE ALL", "DISCARD ALL"] {
        for mut conn in all(&pool).await {
            conn.load_words().await.unwrap();
        }
        in_each_session(&pool, forget).await;
        let before = invalidated(&pool);
        let load = async |conn: &mut AsyncPgConnection| conn.load_words().await;
        let mut failed = 0;
        for mut conn in all(&pool).await {
            failed += u64::from(load(&mut conn).await.is_err());
        }
        assert_eq!(failed, u64::from(SIZE), "each on its first use");
        assert_eq!(invalidated(&pool) - before, failed);
        assert_eq!(failures(&pool, ATTEMPTS, load).await, 0);
    }
    let last = pool.health().await.database.last_invalidation.unwrap();
    assert!(last.starts_with("26000"), "{last}");
    nothing_is_lost(&pool).await;
}

#[derive(Debug, Clone, Copy, diesel::sql_types::SqlType, diesel::query_builder::QueryId)]
#[diesel(postgres_type(name = "mood"))]
pub struct MoodType;

#[derive(Debug, Clone, Copy, diesel::expression::AsExpression)]
#[diesel(sql_type = MoodType)]
struct Happy;

impl diesel::serialize::ToSql<MoodType, diesel::pg::Pg> for Happy {
    fn to_sql<'b>(
        &'b self,
        out: &mut diesel::serialize::Output<'b, '_, diesel::pg::Pg>,
    ) -> diesel::serialize::Result {
        std::io::Write::write_all(out, b"happy")?;
        Ok(diesel::serialize::IsNull::No)
    }
}

diesel::table! {
    use diesel::sql_types::Integer;
    use super::MoodType;
    moods (id) { id -> Integer, mood -> MoodType, }
}

/// A wrong statement of the app that looks like an outdated type costs the pool its connections once,
/// and one that names the app's own prepared statement costs nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_statement_causes_no_storm_of_connects() {
    let database = AsyncPgConnection::database("wrong_statement");
    let pool = filled::<AsyncPgConnection>(&database).await;
    let wrong = async |conn: &mut AsyncPgConnection| conn.batch_execute("EXECUTE own").await;
    assert_eq!(failures(&pool, ATTEMPTS, wrong).await, ATTEMPTS);
    assert_eq!(invalidated(&pool), 0);
    let wrong = async |conn: &mut AsyncPgConnection| conn.batch_execute("SELECT 1 = ANY(1)").await;
    assert_eq!(failures(&pool, ATTEMPTS, wrong).await, ATTEMPTS);
    assert_eq!(invalidated(&pool), u64::from(SIZE));
    nothing_is_lost(&pool).await;
}

/// `DROP TYPE` and `CREATE TYPE`: the type has another id, which each connection has looked up.
#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_is_created_anew() {
    let database = AsyncPgConnection::database("type_anew");
    let pool = filled::<AsyncPgConnection>(&database).await;
    let create = "CREATE TYPE mood AS ENUM ('happy'); CREATE TABLE moods (id INTEGER, mood mood)";
    let mut conn = pool.get().await.unwrap();
    conn.batch_execute(create).await.unwrap();
    drop(conn);
    let insert = async |conn: &mut AsyncPgConnection| {
        let row = (moods::id.eq(1), moods::mood.eq(Happy));
        let insert = diesel::insert_into(moods::table).values(row);
        insert.execute(conn).await.map(drop)
    };
    // Prepared each time, with the id of the type's array that was looked up.
    let filter = async |conn: &mut AsyncPgConnection| {
        let filter = diesel::sql_query("SELECT id FROM moods WHERE mood = ANY($1)");
        let filter = filter.bind::<Array<MoodType>, _>(vec![Happy]);
        filter.execute(conn).await.map(drop)
    };
    for uses_array in [true, false] {
        let pool = sized(database.pool::<AsyncPgConnection>());
        for mut conn in all(&pool).await {
            insert(&mut conn).await.unwrap();
            filter(&mut conn).await.unwrap();
        }
        let mut conn = pool.get().await.unwrap();
        let drop_both = "DROP TABLE moods; DROP TYPE mood";
        conn.batch_execute(drop_both).await.unwrap();
        conn.batch_execute(create).await.unwrap();
        drop(conn);
        let failed = match uses_array {
            true => failures(&pool, ATTEMPTS, filter).await,
            false => failures(&pool, ATTEMPTS, insert).await,
        };
        assert_eq!(
            failed, 1,
            "the first error replaces all that were opened before"
        );
        assert_eq!(invalidated(&pool), u64::from(SIZE));
        nothing_is_lost(&pool).await;
    }
    nothing_is_lost(&pool).await;
}
