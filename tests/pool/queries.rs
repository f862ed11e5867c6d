//! Query spans and metrics, on real servers.

use std::time::Duration;

use diesel::sql_types::{Integer, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, bb8};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::{StreamExt as _, TryStreamExt as _};
use opentelemetry::Context;
use opentelemetry::trace::{
    FutureExt as _, SpanKind, Status, TraceContextExt, Tracer, TracerProvider,
};
use opentelemetry_sdk::trace::{Sampler, SpanData};
use poolscope::backend::AsyncSqliteConnection;
use poolscope::service::Observe;
use poolscope::settings::QuerySpans;
use poolscope::{ObserveLayer, Pool, PoolBuilder, PoolService, Settings};
use tokio::time::{sleep, timeout};
use tower_layer::Layer as _;

use crate::databases::{Database, Tested, on_each_database};
use crate::in_memory_exporters::{Meters, Reading, Spans, attribute};
use crate::log_capture;
use crate::monitor_client::until;

type Pg = AsyncPgConnection;
type Sqlite = AsyncSqliteConnection;

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Integer)]
    n: i32,
    #[allow(dead_code, reason = "only its size counts")]
    #[diesel(sql_type = Text)]
    wide: String,
}

fn observed<C: Tested>(name: &str, spans: &Spans) -> (Database, PoolBuilder<C>) {
    let database = C::database(name);
    let builder = database
        .pool::<C>()
        .pool_size(1)
        .max_overflow(0)
        .name("orders")
        .tracer_provider(spans.provider.clone());
    (database, builder)
}

/// An existing pool of one connection, whose queries are instrumented.
pub async fn existing(
    name: &str,
    spans: &Spans,
) -> (
    Database,
    Observe<PoolService<AsyncDieselConnectionManager<Pg>>>,
) {
    let database = Pg::database(name);
    let manager = AsyncDieselConnectionManager::new(database.url.as_str());
    let theirs = bb8::Pool::builder().max_size(1).build(manager).await;
    let settings = Settings::new(database.url.as_str());
    let service = PoolService::from(theirs.unwrap()).watch_queries(&settings);
    let observe = ObserveLayer::new("theirs").tracer_provider(spans.provider.clone());
    (database, observe.layer(service))
}

fn request(spans: &Spans) -> Context {
    let tracer = spans.provider.tracer("app");
    Context::new().with_span(tracer.start("GET /orders"))
}

/// Waits for this number of spans whose names start with this.
async fn ended(spans: &Spans, start: &str, count: usize) {
    let all = async || spans.named_like(start);
    until("the spans' end", all, |spans| spans.len() == count).await;
}

fn took(span: &SpanData) -> Duration {
    span.end_time.duration_since(span.start_time).unwrap()
}

on_each_database!(
    a_query_is_a_sibling_of_its_checkout,
    a_failed_query_has_its_error_type,
    a_query_whose_future_is_dropped_ends_as_canceled,
    durations_are_recorded_by_outcome_and_without_pings,
    a_transaction_span_has_its_outcome,
    disabled_telemetry_is_not_emitted,
);

async fn a_query_is_a_sibling_of_its_checkout<C: Tested>(name: &str) {
    let spans = Spans::new();
    let (_database, builder) = observed::<C>(name, &spans);
    let pool = builder.build().unwrap();
    let request = request(&spans);
    let mut conn = pool.get().with_context(request.clone()).await.unwrap();
    // Without a current span, a query belongs to the checkout's context.
    conn.select_bound("secret").await.unwrap();
    // With a current span, it belongs to that.
    let tracer = spans.provider.tracer("app");
    let inner = Context::new().with_span(tracer.start("inner"));
    conn.run("SELECT 4711 AS n, 'hush' AS word")
        .with_context(inner.clone())
        .await
        .unwrap();
    drop(conn);

    let parent = request.span().span_context().clone();
    let checkout = spans.only_checkout();
    assert_eq!(checkout.parent_span_id, parent.span_id());
    ended(&spans, "SELECT", 2).await;
    let queries = spans.named("SELECT");
    let [first, second] = &queries[..] else {
        panic!("{queries:?}")
    };
    assert_eq!(first.parent_span_id, parent.span_id());
    assert_eq!(first.span_context.trace_id(), parent.trace_id());
    // SQLite's queries run on a thread without a current span.
    let expected = match C::database_name() {
        "sqlite" => parent.span_id(),
        _ => inner.span().span_context().span_id(),
    };
    assert_eq!(second.parent_span_id, expected);
    for query in &queries {
        assert_eq!(query.span_kind, SpanKind::Client);
        assert_eq!(query.status, Status::Unset);
        assert_eq!(query.instrumentation_scope.name(), "poolscope");
        assert_eq!(attribute(query, "db.query.summary"), "SELECT");
        assert_eq!(attribute(query, "db.operation.name"), "");
        assert_eq!(attribute(query, "error.type"), "");
        let (system, server) = match C::database_name() {
            "postgres" => ("postgresql", "127.0.0.1"),
            "mariadb" => ("mysql", "127.0.0.1"),
            _ => ("sqlite", ""),
        };
        assert_eq!(attribute(query, "db.system.name"), system);
        assert_eq!(attribute(query, "server.address"), server);
        assert_eq!(
            attribute(query, "db.namespace").is_empty(),
            server.is_empty()
        );
        assert_eq!(
            attribute(query, "server.port").is_empty(),
            server.is_empty()
        );
    }
    assert_eq!(
        attribute(second, "db.query.text"),
        "SELECT ? AS n, ? AS word"
    );
    let all = format!("{queries:?}");
    assert!(
        !all.contains("bind-of-secret") && !all.contains("hush"),
        "{all}"
    );
}

async fn a_failed_query_has_its_error_type<C: Tested>(name: &str) {
    let spans = Spans::new();
    let (_database, builder) = observed::<C>(name, &spans);
    let pool = builder.build().unwrap();
    let mut conn = pool.get().await.unwrap();
    conn.batch_execute("CREATE TABLE t (n INTEGER PRIMARY KEY)")
        .await
        .unwrap();
    conn.run("INSERT INTO t VALUES (7)").await.unwrap();
    conn.run("INSERT INTO t VALUES (7)").await.unwrap_err();
    drop(conn);
    let inserts = spans.named("INSERT t");
    let [_, failed] = &inserts[..] else {
        panic!("{inserts:?}")
    };
    let (kind, code) = match C::database_name() {
        "postgres" => ("23505", "23505"),
        _ => ("unique_violation", ""),
    };
    assert_eq!(attribute(failed, "error.type"), kind);
    assert_eq!(attribute(failed, "db.response.status_code"), code);
    assert_eq!(failed.status, Status::error(kind));
}

async fn a_query_whose_future_is_dropped_ends_as_canceled<C: Tested>(name: &str) {
    let spans = Spans::new();
    let (_database, builder) = observed::<C>(name, &spans);
    let pool = builder.build().unwrap();
    let mut conn = pool.get().await.unwrap();
    let slow = match C::database_name() {
        "postgres" => "SELECT 1 AS slow, pg_sleep(30)",
        "mariadb" => "SELECT 1 AS slow, SLEEP(30)",
        // SQLite's query cannot be stopped: its drop waits for it, so it is not dropped half-way.
        _ => return,
    };
    let cut = timeout(Duration::from_millis(500), conn.run(slow)).await;
    assert!(cut.is_err());
    assert_eq!(
        spans.named("SELECT").len(),
        0,
        "the server is still running it"
    );
    drop(conn);
    // The connection is closed, which ends its queries.
    ended(&spans, "SELECT", 1).await;
    let canceled = &spans.named("SELECT")[0];
    assert_eq!(attribute(canceled, "error.type"), "canceled");
    assert_eq!(canceled.status, Status::Unset);
    assert!(attribute(canceled, "db.query.text").contains("AS slow"));
}

async fn durations_are_recorded_by_outcome_and_without_pings<C: Tested>(name: &str) {
    let meters = Meters::new();
    let spans = Spans::sampled(Sampler::AlwaysOff);
    let (_database, builder) = observed::<C>(name, &spans);
    let pool = builder
        .meter_provider(meters.provider.clone())
        .pre_ping_bypass(Duration::ZERO)
        .build()
        .unwrap();
    for n in 0..3 {
        // Each of these checkouts except the first pings.
        let mut conn = pool.get().await.unwrap();
        assert_eq!(conn.select(n).await.unwrap(), n);
    }
    let mut conn = pool.get().await.unwrap();
    conn.run("SELECT nothing FROM nowhere").await.unwrap_err();
    drop(conn);

    let durations = meters
        .read()
        .remove("db.client.operation.duration")
        .unwrap();
    assert_eq!(durations.unit, "s");
    let counts: Vec<_> = durations
        .points
        .iter()
        .map(|(attributes, reading)| {
            let Reading::Histogram { count, .. } = reading else {
                panic!("{reading:?}")
            };
            let of = |key: &str| attributes.get(key).cloned().unwrap_or_default();
            assert_eq!(of("db.client.connection.pool.name"), "orders");
            assert!(!of("db.system.name").is_empty());
            (of("error.type"), of("db.response.status_code"), *count)
        })
        .collect();
    let (kind, code) = match C::database_name() {
        "postgres" => ("42P01", "42P01"),
        _ => ("database_error", ""),
    };
    assert_eq!(counts.len(), 2, "{counts:?}");
    assert!(
        counts.contains(&(String::new(), String::new(), 3)),
        "{counts:?}"
    );
    assert!(
        counts.contains(&(kind.to_owned(), code.to_owned(), 1)),
        "{counts:?}"
    );
    assert_eq!(spans.named("SELECT").len(), 0);
}

async fn a_transaction_span_has_its_outcome<C: Tested>(name: &str) {
    let spans = Spans::new();
    let (_database, builder) = observed::<C>(name, &spans);
    let pool = builder.build().unwrap();
    let request = request(&spans);
    let mut conn = pool.get().with_context(request.clone()).await.unwrap();
    let committed = conn.transaction(async |conn| conn.select(1).await).await;
    assert_eq!(committed.unwrap(), 1);
    let undone = conn.transaction::<(), _, _>(async |conn| {
        conn.select(2).await?;
        Err(diesel::result::Error::RollbackTransaction)
    });
    undone.await.unwrap_err();
    let mut left = Box::pin(
        conn.transaction::<(), diesel::result::Error, _>(async |conn| {
            conn.select(3).await?;
            std::future::pending().await
        }),
    );
    let cut = timeout(Duration::from_millis(300), &mut left).await;
    assert!(cut.is_err());
    drop(left);
    drop(conn);
    ended(&spans, "transaction", 3).await;
    let transactions = spans.named("transaction");
    let outcomes: Vec<_> = transactions
        .iter()
        .map(|span| attribute(span, "poolscope.transaction.outcome"))
        .collect();
    assert_eq!(outcomes, ["committed", "rolled_back", "abandoned"]);
    for span in &transactions {
        assert_eq!(span.span_kind, SpanKind::Internal);
        assert_eq!(span.parent_span_id, request.span().span_context().span_id());
    }
    assert_eq!(attribute(&transactions[2], "error.type"), "canceled");
    // Each statement is one query.
    for (statement, times) in [("BEGIN", 3), ("COMMIT", 1), ("ROLLBACK", 1), ("SELECT", 3)] {
        assert_eq!(spans.named(statement).len(), times, "{statement}");
    }
}

async fn disabled_telemetry_is_not_emitted<C: Tested>(name: &str) {
    let spans = Spans::new();
    for (word, recorded) in [("summary", QuerySpans::Summary), ("off", QuerySpans::Off)] {
        let (_database, builder) = observed::<C>(&format!("{name}_{word}"), &spans);
        let pool = builder.query_spans(recorded).build().unwrap();
        spans.reset();
        let mut conn = pool.get().await.unwrap();
        conn.select(1).await.unwrap();
        if recorded == QuerySpans::Off {
            let transaction = conn.transaction(async |conn| conn.select(2).await);
            transaction.await.unwrap();
            let all = spans.named_like("");
            assert!(
                all.iter().all(|span| span.name == "pool.checkout"),
                "{all:?}"
            );
            continue;
        }
        let selects = spans.named("SELECT");
        let [query] = &selects[..] else {
            panic!("{selects:?}")
        };
        assert_eq!(attribute(query, "db.query.text"), "");
        assert_eq!(attribute(query, "db.query.summary"), "SELECT");
    }
}

/// Rows large enough to be sent one by one.
const SLOW_ROWS: &str = "SELECT n, repeat('x', 20000) AS wide FROM \
    (SELECT n, pg_sleep(0.1) FROM generate_series(1, 10) AS n OFFSET 0) AS slow";

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_timed_to_its_last_row() {
    let spans = Spans::new();
    let (_database, builder) = observed::<Pg>("slow_stream", &spans);
    let pool = builder.build().unwrap();
    let mut conn = pool.get().await.unwrap();
    let rows: Vec<Row> = sql_query(SLOW_ROWS).load(&mut conn).await.unwrap();
    assert_eq!(rows.last().unwrap().n, 10);
    ended(&spans, "SELECT", 1).await;
    let query = &spans.named_like("SELECT")[0];
    assert!(took(query) >= Duration::from_secs(1), "{:?}", took(query));
    assert_eq!(attribute(query, "db.response.returned_rows"), "10");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_after_the_first_row_belongs_to_the_query() {
    let spans = Spans::new();
    let meters = Meters::new();
    let (_database, builder) = observed::<Pg>("late_error", &spans);
    let pool = builder
        .meter_provider(meters.provider.clone())
        .build()
        .unwrap();
    let mut conn = pool.get().await.unwrap();
    let statement =
        "SELECT 1 / (3 - n) AS n, repeat('x', 100000) AS wide FROM generate_series(1, 9) AS n";
    let rows = sql_query(statement).load_stream::<Row>(&mut conn).await;
    let rows = rows.unwrap().try_collect::<Vec<_>>().await;
    assert!(rows.is_err());
    ended(&spans, "SELECT", 1).await;
    let query = &spans.named_like("SELECT")[0];
    assert_eq!(attribute(query, "error.type"), "22012");
    assert_eq!(query.status, Status::error("22012"));
    let durations = meters
        .read()
        .remove("db.client.operation.duration")
        .unwrap();
    assert!(
        durations
            .points
            .iter()
            .any(|(attributes, _)| attributes.get("error.type").is_some_and(|t| t == "22012")),
        "{durations:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unique_violation_on_returning_is_seen() {
    let spans = Spans::new();
    let (_database, builder) = observed::<Pg>("on_returning", &spans);
    let pool = builder.build().unwrap();
    let mut conn = pool.get().await.unwrap();
    conn.batch_execute("CREATE TABLE t (n INTEGER PRIMARY KEY)")
        .await
        .unwrap();
    let insert = "INSERT INTO t VALUES (1) RETURNING n";
    conn.number(insert).await.unwrap();
    conn.number(insert).await.unwrap_err();
    ended(&spans, "INSERT t", 2).await;
    let inserts = spans.named("INSERT t");
    assert_eq!(attribute(&inserts[0], "error.type"), "");
    assert_eq!(attribute(&inserts[1], "error.type"), "23505");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_stream_ends_when_it_is_dropped() {
    let spans = Spans::new();
    let (_database, builder) = observed::<Pg>("given_up", &spans);
    let pool = builder.build().unwrap();
    let mut conn = pool.get().await.unwrap();
    let mut rows = sql_query(SLOW_ROWS)
        .load_stream::<Row>(&mut conn)
        .await
        .unwrap();
    rows.next().await.unwrap().unwrap();
    assert_eq!(spans.named_like("SELECT").len(), 0, "it is read");
    drop(rows);
    drop(conn);
    let [ended] = &spans.named_like("SELECT")[..] else {
        panic!("it ends at once")
    };
    assert_eq!(attribute(ended, "error.type"), "", "its caller had enough");
    let rows: i32 = attribute(ended, "db.response.returned_rows")
        .parse()
        .unwrap();
    assert!((1..10).contains(&rows), "{rows}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_query_ends_before_the_server_is_done() {
    let spans = Spans::new();
    let (_database, builder) = observed::<Pg>("abandoned", &spans);
    let pool = builder.build().unwrap();
    let mut conn = pool.get().await.unwrap();
    let cut = timeout(
        Duration::from_millis(500),
        conn.run("SELECT 1 AS slow, pg_sleep(2)"),
    )
    .await;
    assert!(cut.is_err());
    // Waits for the server, which still works on the abandoned one.
    conn.run("SELECT 2 AS next").await.unwrap();
    ended(&spans, "SELECT", 2).await;
    let queries = spans.named("SELECT");
    let [abandoned, next] = &queries[..] else {
        panic!("{queries:?}")
    };
    assert_eq!(attribute(abandoned, "error.type"), "canceled");
    assert_eq!(abandoned.status, Status::Unset);
    assert!(abandoned.end_time <= next.start_time, "{queries:?}");
    assert!(took(next) >= Duration::from_secs(1), "{:?}", took(next));
    drop(conn);
    // The hold has the time that the server was busy.
    let worst = &pool.health().await.hold_efficiency.worst[0];
    assert!(worst.mean_busy_ms >= Some(1_900.0), "{worst:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_query_of_a_pipeline_ends() {
    let spans = Spans::new();
    let (_database, builder) = observed::<Pg>("pipeline", &spans);
    let pool = builder.build().unwrap();
    let conn = pool.get().await.unwrap();
    let shared: &AsyncPgConnection = &conn;
    let ask = |n: i32| async move {
        let query = sql_query(format!(
            "SELECT {n} AS n, repeat('y', 9) AS wide, {n} AS {}",
            "abc"
        ));
        let mut conn = shared;
        query.load::<Row>(&mut conn).await.map(|rows| rows[0].n)
    };
    let (a, b, c) = tokio::join!(ask(1), ask(2), ask(3));
    assert_eq!((a.unwrap(), b.unwrap(), c.unwrap()), (1, 2, 3));
    ended(&spans, "SELECT", 3).await;
    for query in spans.named_like("SELECT") {
        assert_eq!(attribute(&query, "error.type"), "");
    }
    drop(conn);
    assert_eq!(pool.status().totals.connections_closed.broken, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn echo_shows_binds_only_when_enabled() {
    let lines = log_capture::capture();
    for (binds, name) in [(false, "echo_plain"), (true, "echo_binds")] {
        let database = Sqlite::database(name);
        let pool: Pool<Sqlite> = database
            .pool()
            .echo(true)
            .settings(|settings| settings.echo_binds = binds)
            .build()
            .unwrap();
        let mut conn = pool.get().await.unwrap();
        conn.select_bound(name).await.unwrap();
        drop(conn);
        let shown = lines.lines_with(&format!("bind-of-{name}"));
        assert_eq!(!shown.is_empty(), binds, "{shown:?}");
        for line in shown {
            assert!(line.contains("took_ms="), "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queries_of_an_existing_pool_can_be_instrumented() {
    let spans = Spans::new();
    let (_database, observed) = existing("existing_watched", &spans).await;
    for _ in 0..2 {
        let mut conn = observed.get().await.unwrap();
        assert_eq!(conn.select(5).await.unwrap(), 5);
    }
    let queries = spans.named("SELECT");
    assert_eq!(queries.len(), 2);
    assert_eq!(attribute(&queries[0], "db.system.name"), "postgresql");
    // The busy time of an existing pool is known from diesel's events only.
    let health = observed.health().await;
    assert!(
        health.hold_efficiency.pct.is_some(),
        "{:?}",
        health.hold_efficiency
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_without_queries_is_inefficient() {
    let spans = Spans::sampled(Sampler::AlwaysOff);
    let (_database, builder) = observed::<Pg>("efficiency", &spans);
    let pool = builder.query_spans(QuerySpans::Off).build().unwrap();
    let mut conn = pool.get().await.unwrap();
    conn.run("SELECT pg_sleep(0.05)").await.unwrap();
    // The part of the hold without a query.
    sleep(Duration::from_millis(500)).await;
    drop(conn);
    let line = line!() - 5;
    let mut conn = pool.get().await.unwrap();
    conn.run("SELECT pg_sleep(0.2)").await.unwrap();
    drop(conn);

    let efficiency = pool.health().await.hold_efficiency;
    let worst = &efficiency.worst[0];
    assert_eq!(worst.caller, format!("{}:{}", file!(), line));
    assert_eq!(worst.checkouts, 1);
    assert!(worst.mean_held_ms >= 550.0, "{worst:?}");
    assert!(worst.mean_busy_ms >= Some(50.0), "{worst:?}");
    assert!(
        // On a busy machine the answer of the server is read late.
        worst.mean_busy_ms < Some(worst.mean_held_ms - 250.0),
        "{worst:?}"
    );
    let other = &efficiency.worst[1];
    assert!(
        other.efficiency_pct > worst.efficiency_pct,
        "{efficiency:?}"
    );
    assert!(other.mean_busy_ms >= Some(200.0), "{other:?}");
    assert_eq!(spans.named("query").len(), 0);
}
