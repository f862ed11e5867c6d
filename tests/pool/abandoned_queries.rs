//! Abandoned queries, and the queries after them on the same connection.

use std::time::Duration;

use diesel::sql_types::{Integer, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::StreamExt as _;
use opentelemetry::trace::Status;
use opentelemetry_sdk::trace::SpanData;
use poolscope::Pool;
use tokio::time::timeout;

use crate::databases::{Database, Tested};
use crate::in_memory_exporters::{Spans, attribute};
use crate::monitor_client::until;
use crate::queries::existing;
use crate::support::postgres::{Options, Postgres};

type Pg = AsyncPgConnection;

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Integer)]
    n: i32,
    #[allow(dead_code, reason = "only its size counts")]
    #[diesel(sql_type = Text)]
    wide: String,
}

fn one(name: &str) -> (Spans, Database, Pool<Pg>) {
    let (spans, database) = (Spans::new(), Pg::database(name));
    let pool = database
        .pool()
        .pool_size(1)
        .max_overflow(0)
        .tracer_provider(spans.provider.clone())
        .build()
        .unwrap();
    (spans, database, pool)
}

/// Waits for this number of queries whose text contains this, in the order of their ends.
async fn ended(spans: &Spans, text: &str, count: usize) -> Vec<SpanData> {
    let all = async || {
        let mut all = spans.named_like("");
        all.retain(|span| attribute(span, "db.query.text").contains(text));
        all
    };
    until("the spans' end", all, |spans| spans.len() == count).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_a_dropped_stream_is_not_the_next_querys() {
    let (spans, _database, pool) = one("given_up_error");
    let mut conn = pool.get().await.unwrap();
    // Fails at its last row, long after the first one.
    let slow = "SELECT 1 / (3 - n) AS n, repeat('x', 20000) AS wide FROM \
        (SELECT n, pg_sleep(0.1) FROM generate_series(1, 9) AS n OFFSET 0) AS slow";
    let mut rows = sql_query(slow).load_stream::<Row>(&mut conn).await.unwrap();
    assert_eq!(rows.next().await.unwrap().unwrap().n, 0);
    drop(rows);
    assert_eq!(conn.number("SELECT 7 AS n").await.unwrap(), 7);
    let next = &ended(&spans, "SELECT ? AS n", 1).await[0];
    assert_eq!(attribute(next, "error.type"), "", "{next:?}");
    assert_eq!(attribute(next, "db.response.returned_rows"), "1");
    let given_up = &ended(&spans, "wide", 1).await[0];
    assert_eq!(attribute(given_up, "error.type"), "", "nobody has seen it");
    assert!(given_up.end_time <= next.start_time, "{given_up:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_pipeline_only_the_failed_query_has_an_error() {
    let (spans, _database, pool) = one("pipeline_error");
    let mut conn = pool.get().await.unwrap();
    conn.batch_execute("CREATE TABLE t (n INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    let shared: &Pg = &conn;
    let run = |statement: &'static str| async move {
        let mut conn = shared;
        sql_query(statement).execute(&mut conn).await
    };
    for round in 1..=3 {
        let (failed, missing, a, b) = tokio::join!(
            run("INSERT INTO t VALUES (1) RETURNING n"),
            run("SELECT n FROM nowhere"),
            run("SELECT 1 AS first"),
            run("SELECT 1 AS second"),
        );
        assert!(failed.is_err() && missing.is_err() && a.is_ok() && b.is_ok());
        let inserts = ended(&spans, "RETURNING", round).await;
        let insert = &inserts[round - 1];
        assert_eq!(attribute(insert, "error.type"), "23505");
        assert_eq!(attribute(insert, "db.response.status_code"), "23505");
        let missing = ended(&spans, "nowhere", round).await;
        assert_eq!(attribute(&missing[round - 1], "error.type"), "42P01");
        for text in ["AS first", "AS second"] {
            let fine = &ended(&spans, text, round).await[round - 1];
            assert_eq!(attribute(fine, "error.type"), "", "{fine:?}");
            assert_eq!(fine.status, Status::Unset);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_distinguished_from_the_abandoned_query() {
    let (spans, _database, pool) = one("retry");
    let mut conn = pool.get().await.unwrap();
    conn.batch_execute("CREATE TABLE t (n INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    // The same text again, now without a lock that blocks it.
    let mut other = pool.dedicated_connection().await.unwrap();
    other.batch_execute("BEGIN; LOCK TABLE t").await.unwrap();
    let read = "SELECT n FROM t";
    let waits = "SELECT count(*) FROM pg_stat_activity \
        WHERE wait_event_type = 'Lock' AND query = 'SELECT n FROM t'";
    let server = crate::support::postgres::shared();
    tokio::select! {
        _ = conn.number(read) => panic!("there is a lock in its way"),
        _ = until("it waits", async || server.psql(waits), |n| n == "1") => {}
    }
    other.batch_execute("COMMIT").await.unwrap();
    assert_eq!(conn.number(read).await.unwrap(), 1);
    // The second query after it shows that the first is abandoned.
    assert_eq!(conn.number("SELECT 2 AS n").await.unwrap(), 2);
    assert_eq!(conn.number("SELECT 3 AS n").await.unwrap(), 3);
    let both = ended(&spans, read, 2).await;
    let kind = |span: &SpanData| attribute(span, "error.type");
    let fine = both.iter().find(|span| kind(span).is_empty()).unwrap();
    let given_up = both.iter().find(|span| kind(span) == "canceled").unwrap();
    assert!(fine.start_time > given_up.start_time);
    // From then on every outcome is exact again.
    conn.number("INSERT INTO t VALUES (1) RETURNING n")
        .await
        .unwrap_err();
    let insert = &ended(&spans, "INSERT INTO t VALUES (?) RETURNING", 1).await[0];
    assert_eq!(attribute(insert, "error.type"), "23505");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_abandoned_queries_of_one_hold_all_end() {
    let (spans, _database, pool) = one("several_given_up");
    let mut conn = pool.get().await.unwrap();
    for round in 1..=3 {
        let slow = format!("SELECT pg_sleep(0.5) AS round_{round}");
        let under_way = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = '{slow}'"
        );
        let server = crate::support::postgres::shared();
        tokio::select! {
            _ = conn.run(&slow) => panic!("it was to be given up"),
            _ = until("it runs", async || server.psql(&under_way), |n| n == "1") => {}
        }
    }
    // The first query is sent before the abandoned ones are answered, and two more show that they are abandoned.
    for _ in 0..3 {
        conn.run("SELECT 1 AS last").await.unwrap();
    }
    // The connection is still held.
    for span in ended(&spans, "pg_sleep", 3).await {
        assert_eq!(attribute(&span, "error.type"), "canceled");
    }
    drop(conn);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_rolls_back_is_reported_as_rolled_back() {
    let (spans, _database, pool) = one("failed_commit");
    let mut conn = pool.get().await.unwrap();
    let swallowed = conn.transaction(async |conn| {
        let _ = conn.run("SELECT nothing FROM nowhere").await;
        diesel::QueryResult::Ok(())
    });
    swallowed.await.unwrap();
    let [transaction] = &spans.named("transaction")[..] else {
        panic!("one transaction")
    };
    assert_eq!(
        attribute(transaction, "poolscope.transaction.outcome"),
        "rolled_back"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_whose_server_dies_is_lost_and_not_canceled() {
    let mut server = Postgres::start(Options::new());
    let spans = Spans::new();
    let database = Database::at(&server.create_database("dies"));
    let pool = database
        .pool::<Pg>()
        .tracer_provider(spans.provider.clone())
        .build()
        .unwrap();
    let held: Vec<_> = {
        let mut held = Vec::new();
        for _ in 0..8 {
            held.push(pool.get().await.unwrap());
        }
        held
    };
    let asking: Vec<_> = held
        .into_iter()
        .map(|mut conn| tokio::spawn(async move { conn.run("SELECT pg_sleep(60)").await.is_err() }))
        .collect();
    until("all are under way", async || server.psql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"), |n| n == "8").await;
    server.kill9();
    for asked in asking {
        assert!(asked.await.unwrap());
    }
    for span in ended(&spans, "pg_sleep", 8).await {
        let kind = attribute(&span, "error.type");
        assert!(["connection_closed", "57P02"].contains(&&*kind), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_session_has_one_error_type_whoever_saw_it_first() {
    let spans = Spans::new();
    let database = Pg::database("terminated");
    let pool: Pool<Pg> = database
        .pool()
        .tracer_provider(spans.provider.clone())
        .build()
        .unwrap();
    let mut asking = Vec::new();
    for at_work in [true, true, true, true, false, false, false, false] {
        let mut conn = pool.get().await.unwrap();
        let query = match at_work {
            true => "SELECT pg_sleep(60) AS terminated",
            false => "SELECT 1 AS terminated",
        };
        conn.run("SELECT 0 AS before").await.unwrap();
        let killed = std::sync::Arc::new(tokio::sync::Notify::new());
        let ended = std::sync::Arc::clone(&killed);
        let task = tokio::spawn(async move {
            if !at_work {
                ended.notified().await;
            }
            conn.run(query).await.is_err()
        });
        asking.push((killed, task));
    }
    let server = crate::support::postgres::shared();
    let sessions = "FROM pg_stat_activity WHERE datname = 'terminated'";
    let at_work = format!("SELECT count(*) {sessions} AND query LIKE '%60%' AND state = 'active'");
    until(
        "four are at work",
        async || server.psql(&at_work),
        |n| n == "4",
    )
    .await;
    server.psql(&format!(
        "SELECT count(pg_terminate_backend(pid)) {sessions}"
    ));
    let left = format!("SELECT count(*) {sessions}");
    until("all have ended", async || server.psql(&left), |n| n == "0").await;
    for (killed, task) in asking {
        killed.notify_one();
        assert!(task.await.unwrap());
    }
    for span in ended(&spans, "AS terminated", 8).await {
        assert_eq!(attribute(&span, "error.type"), "57P01", "{span:?}");
        assert_eq!(attribute(&span, "db.response.status_code"), "57P01");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_query_does_not_keep_an_existing_pool_alive() {
    let spans = Spans::new();
    let (_database, observed) = existing("existing_given_up", &spans).await;
    let mut conn = observed.get().await.unwrap();
    let cut = timeout(Duration::from_millis(500), conn.run("SELECT pg_sleep(2)")).await;
    assert!(cut.is_err());
    drop(conn);
    let given_up = &ended(&spans, "pg_sleep", 1).await[0];
    assert_eq!(attribute(given_up, "error.type"), "canceled");
    drop(observed);
    // Nothing else owns the pool, so its connection closes.
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'existing_given_up'";
    let count = async || crate::support::postgres::shared().psql(sessions);
    until("the session's end", count, |count| count == "0").await;
}
