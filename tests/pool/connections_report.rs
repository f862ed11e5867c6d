//! The `connections` report: the server's sessions joined with the pool's holders.

use std::time::Instant;

use diesel::sql_types::BigInt;
use diesel::{QueryResult, QueryableByName, sql_query};
use diesel_async::pooled_connection::ManagerConfig;
use diesel_async::{AsyncConnection, AsyncMysqlConnection, AsyncPgConnection, RunQueryDsl};
use http::StatusCode;
use poolscope::backend::{AsyncSqliteConnection as Sqlite, Backend};
use poolscope::{Checkout, Pool, PoolBuilder, Settings};
use serde_json::{Value, json};

use crate::databases::{Database, Tested};
use crate::monitor_client::{get, patient, strings, until};
use crate::support::{mariadb, postgres};

/// A database server, which can list its sessions.
pub trait Served: Tested {
    /// The server's id of this session.
    fn own_id(&mut self) -> impl Future<Output = u64> + Send;

    /// A connection of another client.
    fn other_client(url: &str) -> impl Future<Output = Self> + Send;

    /// A query that runs this long on the server.
    fn slow(seconds: u32) -> String;

    /// The database `poolscope` for a user without privileges on other sessions.
    fn plain_user(name: &str) -> String;
}

macro_rules! served {
    ($connection:ty, $own_id:literal, $slow:literal, $server:ident) => {
        impl Served for $connection {
            async fn own_id(&mut self) -> u64 {
                #[derive(QueryableByName)]
                struct Row {
                    #[diesel(sql_type = BigInt)]
                    id: i64,
                }
                let row: QueryResult<Row> = sql_query($own_id).get_result(self).await;
                row.unwrap().id.try_into().unwrap()
            }

            async fn other_client(url: &str) -> Self {
                <$connection>::establish(url).await.unwrap()
            }

            fn slow(seconds: u32) -> String {
                format!($slow, seconds)
            }

            fn plain_user(name: &str) -> String {
                $server::shared().create_user(name)
            }
        }
    };
}

served!(
    AsyncPgConnection,
    "SELECT pg_backend_pid()::bigint AS id",
    "SELECT pg_sleep({})",
    postgres
);
served!(
    AsyncMysqlConnection,
    "SELECT CAST(CONNECTION_ID() AS SIGNED) AS id",
    "SELECT SLEEP({})",
    mariadb
);

/// Makes a test for each database server of an `async fn test<C: Served>(name: &str)`.
macro_rules! on_each_server {
    ($($test:ident),+ $(,)?) => { $(
        mod $test {
            #[tokio::test(flavor = "multi_thread")]
            async fn postgres() {
                super::$test::<diesel_async::AsyncPgConnection>(concat!(stringify!($test), "_pg")).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn mariadb() {
                super::$test::<diesel_async::AsyncMysqlConnection>(concat!(stringify!($test), "_my")).await;
            }
        }
    )+ };
}

on_each_server!(
    sessions_are_joined_with_holders,
    too_many_sessions_idle_in_transaction_are_a_503,
    sessions_of_other_clients_are_counted_separately,
    query_texts_are_shown_only_when_enabled,
    a_running_query_is_timed,
    sessions_of_a_custom_manager_are_recognised_by_user,
    an_unprivileged_user_gets_a_report,
);

/// A pool that opens no more than these: during a slow connect a pool may begin another one.
pub fn exactly<C: Backend>(connections: u32, builder: PoolBuilder<C>) -> Pool<C> {
    let builder = builder.pool_size(connections).max_overflow(0);
    builder.build().unwrap()
}

/// The session with this id.
fn session(report: &Value, id: u64) -> &Value {
    let mut sessions = report["sessions"].as_array().unwrap().iter();
    sessions
        .find(|session| session["process_id"] == json!(id))
        .unwrap_or_else(|| panic!("{id} in {report:#}"))
}

async fn sessions_are_joined_with_holders<C: Served>(name: &str) {
    let database = C::database(name);
    let began = Instant::now();
    let pool = exactly(3, database.pool::<C>());
    let mut idle = pool.get().await.unwrap();
    let (mut plain, line) = (pool.get().await.unwrap(), line!());
    let report = Checkout::new().label("nightly-report");
    let (mut labelled, labels_line) = (pool.checkout(report).await.unwrap(), line!() - 1);
    let ids = (
        plain.own_id().await,
        labelled.own_id().await,
        idle.own_id().await,
    );
    drop(idle);

    let report = get(pool.monitor(), "connections").await.json();
    assert_eq!(report["scope"], json!("pool"));
    assert_eq!(report["total_connections"], json!(3));
    assert_eq!(
        (&report["active_count"], &report["idle_count"]),
        (&json!(0), &json!(3))
    );
    assert_eq!(report["idle_in_transaction"], json!(0));
    assert_eq!(report["other_connections"], json!(0));
    assert_eq!(report["server_max_connections"], json!(100));
    assert!(
        report["server_connections"].as_u64().unwrap() >= 4,
        "{report:#}"
    );
    assert_eq!(report["sessions"].as_array().unwrap().len(), 3);

    let (one, other, unheld) = (
        session(&report, ids.0),
        session(&report, ids.1),
        session(&report, ids.2),
    );
    assert_eq!(
        one["holder"]["caller"],
        json!(format!("{}:{line}", file!()))
    );
    assert_eq!(one["holder"]["label"], Value::Null);
    assert_eq!(one["holder"]["process_id"], json!(ids.0));
    assert_eq!(one["holder"]["route"], Value::Null);
    assert_eq!(one["holder"]["leak"], json!(false));
    let held = one["holder"]["held_seconds"].as_f64().unwrap();
    assert!(held <= began.elapsed().as_secs_f64(), "{held}");
    assert_eq!(other["holder"]["label"], json!("nightly-report"));
    assert_eq!(
        other["holder"]["caller"],
        json!(format!("{}:{labels_line}", file!()))
    );
    assert_eq!(unheld["holder"], Value::Null);
    for session in [one, other, unheld] {
        assert_eq!(session["state"], json!("idle"));
        // Servers count in whole seconds at worst.
        let since = session["state_seconds"].as_f64().unwrap();
        assert!(since <= began.elapsed().as_secs_f64() + 1.0, "{session}");
    }
    // The monitoring connection's session is named and not counted.
    let monitor = report["monitoring_process_id"].as_u64().unwrap();
    assert!(![ids.0, ids.1, ids.2].contains(&monitor));
}

async fn too_many_sessions_idle_in_transaction_are_a_503<C: Served>(name: &str) {
    let database = C::database(name);
    let pool = exactly(6, database.pool::<C>());
    let began = Instant::now();
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(in_transaction(&pool).await);
    }
    let ask = async || get(pool.monitor(), "connections").await;
    let counts = |n: u32| {
        move |answer: &crate::support::http::Response| {
            answer.json()["idle_in_transaction"] == json!(n)
        }
    };
    // The monitoring connection caches its answers for a second, and the server's own view may lag a little.
    let five = until("five", ask, counts(5)).await;
    assert_eq!(five.status, StatusCode::OK, "as many as allowed");

    held.push(in_transaction(&pool).await);
    let six = until("six", ask, counts(6)).await;
    assert_eq!(six.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(six.header("content-type"), "application/json");
    let report = six.json();
    assert_eq!(report["total_connections"], json!(6), "the body is kept");
    for session in report["sessions"].as_array().unwrap() {
        assert_eq!(session["state"], json!("idle_in_transaction"));
        // Servers count in whole seconds at worst.
        let since = session["transaction_seconds"].as_f64().unwrap();
        assert!(since <= began.elapsed().as_secs_f64() + 1.0, "{session}");
        let caller = session["holder"]["caller"].as_str().unwrap();
        assert!(caller.starts_with(file!()), "{session}");
    }

    // Health warns of it, and the pool can still serve.
    let health = get(pool.monitor(), "health").await;
    assert_eq!(health.status, StatusCode::OK);
    let health = health.json();
    let warnings = strings(&health["warnings"]);
    assert!(
        warnings
            .iter()
            .any(|w| w.starts_with("6 sessions are idle in a transaction (threshold 5)")),
        "{warnings:?}"
    );
    assert_eq!(health["database"]["idle_in_transaction"], json!(6));
    let advice = get(pool.monitor(), "optimize").await.json();
    let advice = strings(&advice["recommendations"]).join(" ");
    assert!(
        advice.contains("6 sessions are idle in a transaction"),
        "{advice}"
    );

    for conn in &mut held {
        conn.run("ROLLBACK").await.unwrap();
    }
    let none = until("none", ask, counts(0)).await;
    assert_eq!(none.status, StatusCode::OK);
}

/// A connection inside a raw transaction. InnoDB begins one only when a table is read.
async fn in_transaction<C: Served>(pool: &Pool<C>) -> poolscope::PooledConnection<C> {
    let mut conn = pool.get().await.unwrap();
    conn.run("CREATE TABLE IF NOT EXISTS t (n INTEGER)")
        .await
        .unwrap();
    conn.run("BEGIN").await.unwrap();
    conn.run("INSERT INTO t VALUES (1)").await.unwrap();
    conn
}

async fn sessions_of_other_clients_are_counted_separately<C: Served>(name: &str) {
    let database = C::database(name);
    let mut other = C::other_client(&database.url).await;
    let theirs = other.own_id().await;
    other.run("CREATE TABLE u (n INTEGER)").await.unwrap();
    other.run("BEGIN").await.unwrap();
    other.run("INSERT INTO u VALUES (1)").await.unwrap();
    let replica = exactly(1, database.pool::<C>().name("replica"));
    let _its = replica.get().await.unwrap();

    let pool = exactly(1, patient(database.pool::<C>()));
    let mut held = pool.get().await.unwrap();
    let ours = held.own_id().await;
    let report = get(pool.monitor(), "connections").await.json();
    assert_eq!(report["total_connections"], json!(1));
    assert_eq!(report["other_connections"], json!(2));
    assert_eq!(
        report["idle_in_transaction"],
        json!(0),
        "sessions of other clients are not judged"
    );
    let sessions = report["sessions"].as_array().unwrap();
    let ids: Vec<_> = sessions.iter().map(|it| &it["process_id"]).collect();
    assert_eq!(ids, [&json!(ours)], "not {theirs}");
    let health = get(pool.monitor(), "health").await.json();
    assert_eq!(strings(&health["warnings"]), [""; 0]);
}

async fn query_texts_are_shown_only_when_enabled<C: Served>(name: &str) {
    let database = C::database(name);
    let mut other = C::other_client(&database.url).await;
    let others_query = tokio::spawn(async move {
        let query = format!("{} /* others-secret */", C::slow(60));
        other.run(&query).await
    });
    let build = |shown: bool| {
        let builder = database.pool::<C>().pool_size(1);
        builder
            .settings(|settings| settings.query_text = shown)
            .build()
            .unwrap()
    };
    for shown in [false, true] {
        let pool = build(shown);
        let mut conn = pool.get().await.unwrap();
        let id = conn.own_id().await;
        let query = format!("{} AS our_words, 'our-value' AS value", C::slow(60));
        let running = tokio::spawn(async move { conn.run(&query).await });
        let report = until(
            "active",
            async || get(pool.monitor(), "connections").await,
            |answer| answer.json()["active_count"] == json!(1),
        )
        .await;
        let json = report.json();
        let session = session(&json, id);
        match shown {
            true => assert!(
                session["query"].as_str().unwrap().contains("our_words"),
                "{session}"
            ),
            false => assert_eq!(session.get("query"), None),
        }
        let text = report.text();
        assert!(
            !text.contains("others-secret") && !text.contains("our-value"),
            "{text}"
        );
        for route in ["health", "optimize", "status"] {
            let text = get(pool.monitor(), route).await.text();
            assert!(
                !text.contains("our_words") && !text.contains("secret"),
                "{text}"
            );
        }
        running.abort();
    }
    others_query.abort();
}

async fn a_running_query_is_timed<C: Served>(name: &str) {
    let database = C::database(name);
    let pool = database
        .pool::<C>()
        .settings(|settings| {
            settings.thresholds.longest_query = std::time::Duration::from_millis(500);
        })
        .build()
        .unwrap();
    let (mut conn, line) = (pool.get().await.unwrap(), line!());
    let running = tokio::spawn(async move { conn.run(&C::slow(60)).await });
    let ask = async || get(pool.monitor(), "connections").await.json();
    let report = until("long enough", ask, |report| {
        report["longest_query_seconds"].as_f64() > Some(0.5)
    })
    .await;
    assert_eq!(
        (&report["active_count"], &report["idle_count"]),
        (&json!(1), &json!(0))
    );
    let session = &report["sessions"][0];
    assert_eq!(session["state"], json!("active"));
    assert_eq!(
        session["holder"]["caller"],
        json!(format!("{}:{line}", file!()))
    );
    assert!(session["query_seconds"].as_f64() > Some(0.5), "{session}");
    assert!(
        session["wait_event"].is_string(),
        "what it waits for: {session}"
    );
    assert_eq!(
        report["longest_idle_seconds"],
        Value::Null,
        "no session is idle"
    );

    let health = get(pool.monitor(), "health").await.json();
    assert!(health["database"]["longest_query_seconds"].as_f64() > Some(0.5));
    let warnings = strings(&health["warnings"]).join(" ");
    assert!(
        warnings.contains("a query has been running for") && warnings.contains("threshold 0.5 s"),
        "{warnings}"
    );
    running.abort();
}

/// The ids of a custom manager's connections are unknown.
async fn sessions_of_a_custom_manager_are_recognised_by_user<C: Served>(name: &str)
where
    diesel_async::pooled_connection::AsyncDieselConnectionManager<C>:
        bb8::ManageConnection<Connection = C, Error = diesel_async::pooled_connection::PoolError>,
{
    let database = C::database(name);
    let builder = database.pool::<C>();
    let pool = exactly(2, builder.manager_config(ManagerConfig::default()));
    let before = get(pool.monitor(), "connections").await.json();
    assert_eq!(before["total_connections"], json!(0));
    let mut held = [pool.get().await.unwrap(), pool.get().await.unwrap()];
    assert_eq!(held[0].select(1).await.unwrap(), 1);

    let ask = async || get(pool.monitor(), "connections").await.json();
    let report = until("both", ask, |report| {
        report["total_connections"] == json!(2)
    })
    .await;
    assert_eq!(report["scope"], json!("user_and_database"));
    assert_eq!(report["idle_count"], json!(2));
    assert_eq!(
        report["sessions"][0]["holder"],
        Value::Null,
        "unknown, not guessed"
    );
    let holders = pool.health().await.longest_holders;
    assert_eq!(holders.len(), 2);
    assert!(holders.iter().all(|holder| holder.process_id.is_none()));
}

async fn an_unprivileged_user_gets_a_report<C: Served>(name: &str) {
    let url = C::plain_user(name);
    let database = Database::at(&url);
    let pool = exactly(2, patient(database.pool::<C>()));
    let mut held = pool.get().await.unwrap();
    let id = held.own_id().await;
    drop(pool.get().await.unwrap());

    let answer = get(pool.monitor(), "connections").await;
    assert_eq!(answer.status, StatusCode::OK);
    let report = answer.json();
    assert_eq!(
        (&report["error"], &report["scope"]),
        (&Value::Null, &json!("pool"))
    );
    assert_eq!(report["total_connections"], json!(2));
    assert_eq!(report["server_max_connections"], json!(100));
    let session = session(&report, id);
    let caller = session["holder"]["caller"].as_str().unwrap();
    assert!(caller.starts_with(file!()), "{session}");
    // On MariaDB only the PROCESS privilege shows whether a session is in a transaction. The pool knows it
    // of its own connections.
    if C::database_name() == "mariadb" {
        let restricted = report["restricted"].as_str().unwrap();
        assert!(restricted.contains("GRANT PROCESS"), "{restricted}");
    }
    let idle_in_transaction = json!(0);
    assert_eq!(session["state"], json!("idle"));
    assert_eq!(report["idle_in_transaction"], idle_in_transaction);
    assert_eq!(report["idle_count"], json!(2));

    let health = get(pool.monitor(), "health").await;
    assert_eq!(health.status, StatusCode::OK);
    let health = health.json();
    assert_eq!(
        health["database"]["idle_in_transaction"],
        idle_in_transaction
    );
    assert_eq!(health["database"]["error"], Value::Null);
    assert_eq!(strings(&health["warnings"]), [""; 0]);
}

/// Postgres distinguishes sessions of one user by their `application_name`.
#[tokio::test(flavor = "multi_thread")]
async fn without_ids_sessions_are_recognised_by_application_name() {
    let database = AsyncPgConnection::database("application_name");
    let _stranger = AsyncPgConnection::other_client(&database.url).await;
    let url = format!("{}?application_name=orders", database.url);
    let builder = Pool::<AsyncPgConnection>::builder(Settings::new(url));
    let pool = exactly(1, builder.manager_config(ManagerConfig::default()));
    let _held = pool.get().await.unwrap();
    let report = get(pool.monitor(), "connections").await.json();
    assert_eq!(report["scope"], json!("application_name"));
    assert_eq!(report["total_connections"], json!(1));
    assert_eq!(report["other_connections"], json!(1));
}

/// SQLite has no server, so the report has the pool's own view only.
#[tokio::test(flavor = "multi_thread")]
async fn sqlite_shows_the_pools_own_view() {
    let database = Sqlite::database("own_view");
    let pool = exactly(2, database.pool::<Sqlite>());
    let (mut held, line) = (pool.get().await.unwrap(), line!());
    drop(pool.get().await.unwrap());
    let report = get(pool.monitor(), "connections").await.json();
    assert_eq!(report["scope"], json!("pool_view"));
    assert_eq!(report["total_connections"], json!(2));
    // Held, and no query is running.
    assert_eq!(
        (&report["active_count"], &report["idle_count"]),
        (&json!(0), &json!(2))
    );
    assert_eq!(report["idle_in_transaction"], json!(0));
    for unknown in [
        "server_max_connections",
        "other_connections",
        "longest_query_seconds",
    ] {
        assert_eq!(report[unknown], Value::Null);
    }
    let [session] = &report["sessions"].as_array().unwrap()[..] else {
        panic!("{report:#}")
    };
    assert_eq!(
        session["holder"]["caller"],
        json!(format!("{}:{line}", file!()))
    );
    assert_eq!(
        (&session["process_id"], &session["state"]),
        (&Value::Null, &json!("idle"))
    );

    held.run("BEGIN").await.unwrap();
    let report = get(pool.monitor(), "connections").await.json();
    assert_eq!(report["idle_in_transaction"], json!(1));
    assert_eq!(report["sessions"][0]["state"], json!("idle_in_transaction"));
    held.run("COMMIT").await.unwrap();
    let report = get(pool.monitor(), "connections").await.json();
    assert_eq!(report["idle_in_transaction"], json!(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_idle_transactions_on_sqlite_are_a_503() {
    let database = Sqlite::database("own_view_503");
    let pool = database.pool::<Sqlite>().build().unwrap();
    let mut held = Vec::new();
    for _ in 0..6 {
        let answer = get(pool.monitor(), "connections").await;
        assert_eq!(answer.status, StatusCode::OK);
        let mut conn = pool.get().await.unwrap();
        conn.run("BEGIN").await.unwrap();
        held.push(conn);
    }
    let answer = get(pool.monitor(), "connections").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json()["idle_in_transaction"], json!(6));
    let health = get(pool.monitor(), "health").await;
    assert_eq!(health.status, StatusCode::OK);
    let health = health.json();
    assert_eq!(health["database"]["idle_in_transaction"], json!(6));
    let warnings = strings(&health["warnings"]).join(" ");
    assert!(
        warnings.contains("6 sessions are idle in a transaction"),
        "{warnings}"
    );
}

/// Concurrent requests cause one query on one session.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_share_one_session_and_one_answer() {
    let database = AsyncPgConnection::database("shared_monitor");
    let pool = database.pool::<AsyncPgConnection>().build().unwrap();
    let asked = (0..50).map(|n| get(pool.monitor(), ["connections", "health"][n % 2]));
    for answer in futures_util::future::join_all(asked).await {
        assert_eq!(answer.status, StatusCode::OK);
    }
    let report = get(pool.monitor(), "connections").await.json();
    assert_eq!(report["total_connections"], json!(0));
    assert_eq!(report["other_connections"], json!(0), "{report:#}");
    assert!(report["monitoring_process_id"].is_u64());
}
