//! Who holds the lock that a connection waits for, in `connections` and in a warning of `health`.

use diesel_async::{AsyncMysqlConnection, AsyncPgConnection};
use poolscope::{Checkout, Pool};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::connections_report::{Served, exactly};
use crate::databases::{Database, Tested};
use crate::monitor_client::{get, strings, until};
use crate::support::{mariadb, postgres};

type Pg = AsyncPgConnection;
type MySql = AsyncMysqlConnection;

const HOT: &str = "UPDATE t SET n = n + 1 WHERE id = 1";

/// Makes a test for each database server of an `async fn test<C: Served>(name: &str)`.
macro_rules! on_each_server {
    ($($test:ident),+ $(,)?) => { $(
        mod $test {
            #[tokio::test(flavor = "multi_thread")]
            async fn postgres() {
                super::$test::<super::Pg>(concat!(stringify!($test), "_pg")).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn mariadb() {
                super::$test::<super::MySql>(concat!(stringify!($test), "_my")).await;
            }
        }
    )+ };
}

on_each_server!(
    a_hot_row_names_the_transaction_that_has_the_lock,
    a_blocker_of_another_client_is_named_without_its_query,
);

/// A database with one row to wait for.
async fn with_a_row<C: Served>(name: &str) -> Database {
    let database = C::database(name);
    create_row(&mut C::other_client(&database.url).await).await;
    database
}

async fn create_row<C: Tested>(conn: &mut C) {
    conn.run("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER)")
        .await
        .unwrap();
    conn.run("INSERT INTO t VALUES (1, 0)").await.unwrap();
}

/// Takes a connection for a statement that will wait. Returns the id of its session.
async fn blocked<C: Served>(pool: &Pool<C>, statement: &'static str) -> (u64, JoinHandle<()>) {
    let mut conn = pool.get().await.unwrap();
    let id = conn.own_id().await;
    let waits = tokio::spawn(async move {
        conn.run(statement).await.unwrap();
    });
    (id, waits)
}

/// Waits until the report names the blockers of all these sessions.
async fn named<C: Served>(pool: &Pool<C>, ids: &[u64]) -> Value {
    let ask = async || get(pool.monitor(), "connections").await.json();
    until("the blockers", ask, |report| {
        ids.iter().all(|id| {
            let blockers = session(report, *id).map(|session| &session["blocked_by"]);
            blockers.is_some_and(|blockers| blockers.get(0).is_some())
        })
    })
    .await
}

/// The session with this id; `None` if the shared answer is older than the session.
fn session(report: &Value, id: u64) -> Option<&Value> {
    let mut sessions = report["sessions"].as_array().unwrap().iter();
    sessions.find(|session| session["process_id"] == json!(id))
}

#[track_caller]
fn blockers(report: &Value, id: u64) -> &Value {
    let session = session(report, id);
    &session.unwrap_or_else(|| panic!("{id} in {report:#}"))["blocked_by"]
}

/// Waits for the warning. Returns it with its recommendation.
async fn warning<C: Served>(pool: &Pool<C>, start: &str) -> (String, String) {
    let ask = async || get(pool.monitor(), "health").await.json();
    let place = |health: &Value| {
        let warnings = strings(&health["warnings"]);
        warnings
            .iter()
            .position(|warning| warning.starts_with(start))
    };
    let health = until(start, ask, |health| place(health).is_some()).await;
    let place = place(&health).unwrap();
    let text = |list: &str| strings(&health[list])[place].to_owned();
    (text("warnings"), text("recommendations"))
}

/// One holds the lock, the second waits for it, and the third waits behind the second.
async fn a_hot_row_names_the_transaction_that_has_the_lock<C: Served>(name: &str) {
    let database = with_a_row::<C>(name).await;
    let pool = exactly(3, database.pool::<C>());
    let (checkout, line) = (pool.checkout(Checkout::new().label("orders")), line!());
    let mut holder = checkout.await.unwrap();
    let holders_id = holder.own_id().await;
    holder.run("BEGIN").await.unwrap();
    holder.run(HOT).await.unwrap();
    let (second, second_waits) = blocked(&pool, HOT).await;
    named(&pool, &[second]).await;
    let (third, third_waits) = blocked(&pool, HOT).await;
    let report = named(&pool, &[second, third]).await;

    let caller = format!("{}:{line}", file!());
    assert_eq!(
        blockers(&report, holders_id),
        &json!([]),
        "it waits for no lock"
    );
    for waiter in [second, third] {
        let [blocker] = &blockers(&report, waiter).as_array().unwrap()[..] else {
            panic!("one of {report:#}")
        };
        assert_eq!(blocker["process_id"], json!(holders_id), "{report:#}");
        assert_eq!(blocker["state"], json!("idle_in_transaction"));
        assert_eq!(blocker["user"], json!("poolscope"));
        assert!(blocker["transaction_seconds"].is_f64(), "{blocker}");
        assert_eq!(blocker["holder"]["caller"], json!(caller));
        assert_eq!(blocker["holder"]["label"], json!("orders"));
        assert_eq!(blocker["holder"]["state"], json!("idle_in_transaction"));
    }

    let start = format!(
        "2 connections wait for a lock that process {holders_id} holds: orders ({caller}), idle in transaction for "
    );
    let (_, recommendation) = warning(&pool, &start).await;
    let end = match C::database_name() {
        "postgres" => format!("`SELECT pg_terminate_backend({holders_id})`"),
        _ => format!("`KILL {holders_id}`"),
    };
    assert!(recommendation.contains(&end), "{recommendation}");

    holder.run("COMMIT").await.unwrap();
    second_waits.await.unwrap();
    third_waits.await.unwrap();
    let ask = async || get(pool.monitor(), "connections").await.json();
    until("nobody waits", ask, |report| {
        let sessions = report["sessions"].as_array().unwrap();
        sessions
            .iter()
            .all(|session| session["blocked_by"] == json!([]))
    })
    .await;
    let health = get(pool.monitor(), "health").await.json();
    let warnings = strings(&health["warnings"]).join(" ");
    assert!(!warnings.contains("wait for a lock"), "{warnings}");
}

async fn a_blocker_of_another_client_is_named_without_its_query<C: Served>(name: &str) {
    let database = with_a_row::<C>(name).await;
    let (url, expected_name) = match C::database_name() {
        "postgres" => (
            format!("{}?application_name=billing", database.url),
            json!("billing"),
        ),
        _ => (database.url.clone(), Value::Null),
    };
    let mut other = C::other_client(&url).await;
    let theirs = other.own_id().await;
    other.run("BEGIN").await.unwrap();
    other
        .run("UPDATE t SET n = 4242 /* others-secret */ WHERE id = 1")
        .await
        .unwrap();
    let builder = database.pool::<C>();
    let pool = exactly(1, builder.settings(|settings| settings.query_text = true));
    let (waiter, waits) = blocked(&pool, HOT).await;
    let report = named(&pool, &[waiter]).await;
    let [blocker] = &blockers(&report, waiter).as_array().unwrap()[..] else {
        panic!("one of {report:#}")
    };
    assert_eq!(blocker["process_id"], json!(theirs));
    assert_eq!(blocker["state"], json!("idle_in_transaction"));
    assert_eq!(blocker["application_name"], expected_name);
    assert_eq!(blocker["user"], json!("poolscope"));
    assert_eq!(blocker["holder"], Value::Null);
    let text = report.to_string();
    assert!(!text.contains("secret") && !text.contains("4242"), "{text}");

    let who = match C::database_name() {
        "postgres" => "billing (user poolscope)",
        _ => "another client (user poolscope)",
    };
    let start = format!(
        "1 connection waits for a lock that process {theirs} holds: {who}, idle in transaction for "
    );
    warning(&pool, &start).await;
    other.run("ROLLBACK").await.unwrap();
    waits.await.unwrap();
}

/// The queued request for the table keeps others out, and the transaction that has the lock is what they
/// wait for.
#[tokio::test(flavor = "multi_thread")]
async fn behind_a_queued_table_lock_the_holder_is_named() {
    let database = with_a_row::<Pg>("queued_table_lock").await;
    let pool = exactly(2, database.pool::<Pg>());
    let mut reader = pool.get().await.unwrap();
    let readers_id = reader.own_id().await;
    reader.run("BEGIN").await.unwrap();
    reader.run("SELECT n FROM t").await.unwrap();
    let mut migration = Pg::other_client(&database.url).await;
    let alters = tokio::spawn(async move {
        migration
            .run("ALTER TABLE t ADD COLUMN m INTEGER")
            .await
            .unwrap();
    });
    let waiting = "SELECT count(*) FROM pg_stat_activity \
        WHERE wait_event_type = 'Lock' AND query LIKE 'ALTER TABLE%' AND datname = 'queued_table_lock'";
    let server = postgres::shared();
    until(
        "the queued lock",
        async || server.psql(waiting),
        |n| n.trim() == "1",
    )
    .await;
    let (waiter, waits) = blocked(&pool, "SELECT n FROM t").await;
    let report = named(&pool, &[waiter]).await;
    let blockers = blockers(&report, waiter).as_array().unwrap();
    let ids: Vec<_> = blockers.iter().map(|it| &it["process_id"]).collect();
    assert_eq!(ids, [&json!(readers_id)], "{report:#}");
    reader.run("COMMIT").await.unwrap();
    alters.await.unwrap();
    waits.await.unwrap();
}

/// Postgres shows which sessions another user's session blocks, and not what it does.
#[tokio::test(flavor = "multi_thread")]
async fn a_blocker_of_another_user_is_named_without_its_state() {
    let url = postgres::shared().create_user("lock_plain");
    let admin = format!("{}?application_name=billing", postgres::shared().url());
    let mut other = Pg::other_client(&admin).await;
    let theirs = other.own_id().await;
    for statement in [
        "CREATE TABLE lock_plain (id INTEGER)",
        "GRANT ALL ON lock_plain TO lock_plain",
        "BEGIN",
        "LOCK TABLE lock_plain",
    ] {
        other.run(statement).await.unwrap();
    }
    let pool = exactly(1, Database::at(&url).pool::<Pg>());
    let (waiter, waits) = blocked(&pool, "SELECT id FROM lock_plain").await;
    let report = named(&pool, &[waiter]).await;
    let expected = json!([{
        "process_id": theirs, "state": null, "state_seconds": null, "transaction_seconds": null,
        "application_name": "billing", "user": "poolscope", "holder": null,
    }]);
    assert_eq!(blockers(&report, waiter), &expected);
    let restricted = report["restricted"].as_str().unwrap();
    assert!(restricted.contains("GRANT pg_monitor"), "{restricted}");
    // Sessions whose state is not visible are sessions all the same.
    assert!(
        report["server_connections"].as_u64() >= Some(3),
        "{report:#}"
    );
    other.run("ROLLBACK").await.unwrap();
    waits.await.unwrap();
}

/// MariaDB shows lock waits only with a privilege, and no holders of metadata locks.
#[tokio::test(flavor = "multi_thread")]
async fn unknown_blockers_are_null_on_mariadb() {
    let url = mariadb::shared().create_user("lock_plain");
    let pool = exactly(1, Database::at(&url).pool::<MySql>());
    let mut conn = pool.get().await.unwrap();
    let id = conn.own_id().await;
    let report = get(pool.monitor(), "connections").await.json();
    assert_eq!(blockers(&report, id), &Value::Null);
    let restricted = report["restricted"].as_str().unwrap();
    assert!(restricted.contains("lock waits") && restricted.contains("GRANT PROCESS"));

    let database = with_a_row::<MySql>("metadata_lock").await;
    let pool = exactly(2, database.pool::<MySql>());
    let mut reader = pool.get().await.unwrap();
    reader.run("BEGIN").await.unwrap();
    reader.run("SELECT n FROM t").await.unwrap();
    let (waiter, waits) = blocked(&pool, "ALTER TABLE t ADD COLUMN m INTEGER").await;
    let ask = async || get(pool.monitor(), "connections").await.json();
    let report = until("the metadata lock", ask, |report| {
        let mut sessions = report["sessions"].as_array().unwrap().iter();
        sessions.any(|session| session["wait_event"] == json!("Waiting for table metadata lock"))
    })
    .await;
    assert_eq!(blockers(&report, waiter), &Value::Null);
    reader.run("COMMIT").await.unwrap();
    waits.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_asked_only_while_somebody_waits() {
    let options = postgres::Options::new().config("log_statement = all");
    let server = postgres::Postgres::start(options.config("max_prepared_transactions = 1"));
    let times = |text: &str| server.log().matches(text).count();
    let pool = exactly(2, Database::at(&server.url()).pool::<Pg>());
    let mut other = Pg::other_client(&server.url()).await;
    create_row(&mut other).await;
    other.run("BEGIN").await.unwrap();
    other.run(HOT).await.unwrap();
    for report in ["connections", "health", "optimize"] {
        get(pool.monitor(), report).await;
    }
    assert!(times("FROM pg_stat_activity") > 0, "{}", server.log());
    assert_eq!(times("pg_blocking_pids"), 0, "nobody waits");

    other.run("PREPARE TRANSACTION 'forgotten'").await.unwrap();
    let (waiter, waits) = blocked(&pool, HOT).await;
    let report = named(&pool, &[waiter]).await;
    assert!(times("pg_blocking_pids") > 0, "somebody waits");
    let [blocker] = &blockers(&report, waiter).as_array().unwrap()[..] else {
        panic!("one of {report:#}")
    };
    assert_eq!(blocker["process_id"], Value::Null, "it has no session");
    let start = "1 connection waits for a lock that a prepared transaction holds";
    let (_, recommendation) = warning(&pool, start).await;
    assert!(
        recommendation.contains("pg_prepared_xacts"),
        "{recommendation}"
    );
    other.run("ROLLBACK PREPARED 'forgotten'").await.unwrap();
    waits.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_is_asked_only_while_somebody_waits() {
    let options = mariadb::Options::new().argument("--general-log");
    let server = mariadb::MariaDb::start(options.argument("--log-output=TABLE"));
    // The pattern does not match itself.
    let times = |text: &str| {
        let pattern = text.replace('_', "\\\\_");
        let counted = "SELECT count(*) FROM mysql.general_log WHERE argument LIKE";
        server.sql(&format!(
            "{counted} '%FROM information\\\\_schema.{pattern}%'"
        ))
    };
    let pool = exactly(2, Database::at(&server.url()).pool::<MySql>());
    let mut other = MySql::other_client(&server.url()).await;
    create_row(&mut other).await;
    other.run("BEGIN").await.unwrap();
    other.run(HOT).await.unwrap();
    for report in ["connections", "health", "optimize"] {
        get(pool.monitor(), report).await;
    }
    assert_ne!(times("INNODB_TRX").trim(), "0");
    assert_eq!(times("INNODB_LOCK_WAITS").trim(), "0", "nobody waits");

    let (waiter, waits) = blocked(&pool, HOT).await;
    named(&pool, &[waiter]).await;
    assert_ne!(times("INNODB_LOCK_WAITS").trim(), "0", "somebody waits");
    other.run("ROLLBACK").await.unwrap();
    waits.await.unwrap();
}
