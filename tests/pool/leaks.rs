//! Connections that are held too long, in the log, the reports and the metrics.

use std::convert::Infallible;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use diesel_async::pooled_connection::bb8::Pool as Bb8Pool;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, PoolError as DieselPoolError};
use diesel_async::{AsyncMysqlConnection, AsyncPgConnection};
use http::{Request, Response};
use http_body_util::Full;
use poolscope::backend::AsyncSqliteConnection;
use poolscope::service::Route;
use poolscope::settings::QuerySpans;
use poolscope::{
    Checkout, ObserveLayer, Pool, PoolService, PooledConnection, RequestLayer, Settings,
};
use serde_json::json;
use tokio::time::{advance, sleep};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

use crate::databases::{Database, SelectAfter, Tested, on_each_database};
use crate::in_memory_exporters::{Meters, Spans};
use crate::log_capture::{self, Log};
use crate::monitor_client::{get, until};

type Sqlite = AsyncSqliteConnection;

const THRESHOLD: Duration = Duration::from_secs(1);
const FOUND: &str = "possible connection leak: held for";
const BACK: &str = "leaked connection returned after";

struct Leaky<C: Tested> {
    database: Database,
    pool: Pool<C>,
    spans: Spans,
    meters: Meters,
    log: Log,
    name: String,
}

impl<C: Tested> Leaky<C> {
    fn new(name: &str, threshold: Option<Duration>) -> Self {
        let log = log_capture::capture();
        let (spans, meters) = (Spans::new(), Meters::new());
        let database = C::database(name);
        let pool = database
            .pool::<C>()
            .name(name)
            .tracer_provider(spans.provider.clone())
            .meter_provider(meters.provider.clone())
            .settings(|settings| settings.leak_threshold = threshold)
            .build()
            .unwrap();
        Self {
            database,
            pool,
            spans,
            meters,
            log,
            name: name.to_owned(),
        }
    }

    /// Runs a statement on a dedicated connection, which is not a hold.
    async fn set_up(&self, statement: &str) {
        let mut conn = self.pool.dedicated_connection().await.unwrap();
        conn.run(statement).await.unwrap();
    }

    /// The lines of this pool that begin with this text.
    fn lines(&self, start: &str) -> Vec<String> {
        lines(&self.log, &self.name, start)
    }

    async fn until_found(&self, number: usize) -> Vec<String> {
        let lines = async || self.lines(FOUND);
        until("found", lines, |lines| lines.len() == number).await
    }
}

fn lines(log: &Log, pool: &str, start: &str) -> Vec<String> {
    let mut lines = log.lines_with(&format!("pool=\"{pool}\""));
    lines.retain(|line| line.contains(start));
    lines
}

/// A connection that a request's handler stores in a place that outlives the request.
async fn kept<C: Tested>(pool: &Pool<C>, statements: &[&str]) -> (PooledConnection<C>, u32) {
    let place = Mutex::new(None);
    let work = service_fn(|_: Request<()>| async {
        let (label, line) = (Checkout::new().label("nightly"), line!());
        let mut conn = pool.checkout(label).await.unwrap();
        for statement in statements {
            match *statement {
                "bound" => conn.select_bound("leak").await.unwrap(),
                statement => conn.run(statement).await.unwrap(),
            };
        }
        *place.lock().unwrap() = Some((conn, line));
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
    });
    let route = Route::new("/export/{id}");
    let request = Request::get("/export/5").extension(route).body(());
    let answer = RequestLayer::new().layer(work).oneshot(request.unwrap());
    answer.await.unwrap();
    place.into_inner().unwrap().unwrap()
}

on_each_database!(
    a_leak_is_logged_once_and_again_when_returned,
    leaks_are_in_the_reports_and_the_metrics,
    nothing_is_logged_without_a_threshold,
    a_leak_of_an_existing_pool_is_logged,
);

async fn a_leak_is_logged_once_and_again_when_returned<C: Tested>(name: &str) {
    let leaky = Leaky::<C>::new(name, Some(THRESHOLD));
    leaky
        .set_up("CREATE TABLE letters (word VARCHAR(20))")
        .await;
    let statements = [
        "BEGIN",
        "bound",
        "SELECT word FROM letters WHERE word = 'a-literal'",
    ];
    let (held, line) = kept(&leaky.pool, &statements).await;
    let trace = leaky.spans.checkouts().pop().unwrap().span_context;
    let process = match C::database_name() {
        "sqlite" => String::new(),
        _ => {
            let holder = leaky.pool.health().await.longest_holders.remove(0);
            format!(", server process {}", holder.process_id.unwrap())
        }
    };

    let logged = leaky.until_found(1).await.remove(0);
    assert!(logged.contains("WARN"), "{logged}");
    let place = format!("{}:{line}", file!());
    for part in [
        format!(" s by {place} (nightly) for /export/{{id}}; idle in a transaction{process}"),
        "; last query: SELECT letters".to_owned(),
        format!("caller=\"{place}\""),
        "label=\"nightly\" route=\"/export/{id}\"".to_owned(),
        format!("trace_id=\"{}\"", trace.trace_id()),
        "threshold_ms=1000".to_owned(),
        "state=\"idle_in_transaction\"".to_owned(),
        "last_query=\"SELECT letters\"".to_owned(),
    ] {
        assert!(logged.contains(&part), "{part} in {logged}");
    }
    assert_eq!(leaky.lines(BACK), [""; 0]);

    // When a second leak is logged as well, the first has had its chance to be logged twice.
    let (another, _) = kept(&leaky.pool, &["bound"]).await;
    let logged = leaky.until_found(2).await.remove(1);
    assert!(logged.contains("; idle"), "{logged}");
    assert!(logged.contains("last query: SELECT "), "{logged}");
    assert!(!logged.contains("transaction"), "{logged}");

    drop(held);
    let back = leaky.lines(BACK);
    assert_eq!(back.len(), 1, "{back:?}");
    for part in [
        "WARN".to_owned(),
        format!(" s by {place} (nightly) for /export/{{id}}"),
        format!("trace_id=\"{}\"", trace.trace_id()),
        "held_ms=".to_owned(),
    ] {
        assert!(back[0].contains(&part), "{part} in {back:?}");
    }
    drop(another);
    assert_eq!((leaky.lines(FOUND).len(), leaky.lines(BACK).len()), (2, 2));
    let all = [leaky.lines(FOUND), leaky.lines(BACK)].concat().join("\n");
    for secret in ["a-literal", "bind-of", "WHERE", &leaky.database.url] {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
}

async fn leaks_are_in_the_reports_and_the_metrics<C: Tested>(name: &str) {
    let leaky = Leaky::<C>::new(name, Some(THRESHOLD));
    let Leaky { pool, meters, .. } = &leaky;
    let number = |metric: &str| meters.number(metric, name, None);
    let (leaking, leaks) = ("poolscope.connection.leaking", "poolscope.connection.leaks");
    assert_eq!((number(leaking), number(leaks)), (Some(0), Some(0)));
    let mut held = pool.get().await.unwrap();
    held.run("SELECT 'a-literal' AS word").await.unwrap();
    leaky.until_found(1).await;
    assert_eq!((number(leaking), number(leaks)), (Some(1), Some(1)));
    let page = get(pool.monitor(), "metrics").await.text();
    for line in ["leaking", "leaks_total"] {
        let line =
            format!("poolscope_connection_{line}{{db_client_connection_pool_name=\"{name}\"}} 1\n");
        assert!(page.contains(&line), "{line} in {page}");
    }

    let health = get(pool.monitor(), "health").await.json();
    let holder = &health["longest_holders"][0];
    assert_eq!(
        (&holder["leak"], &holder["state"], &holder["last_query"]),
        (&json!(true), &json!("idle"), &json!("SELECT")),
        "{health:#}"
    );
    let connections = get(pool.monitor(), "connections").await.json();
    let sessions = connections["sessions"].as_array().unwrap();
    let of_held = |session: &&serde_json::Value| !session["holder"].is_null();
    let session = sessions.iter().find(of_held).unwrap();
    assert_eq!(session["holder"]["last_query"], json!("SELECT"));
    assert!(!connections.to_string().contains("a-literal"));

    drop(held);
    assert_eq!((number(leaking), number(leaks)), (Some(0), Some(1)));
    assert_eq!(pool.status().totals.leaks, 1);
    let health = get(pool.monitor(), "health").await.json();
    assert_eq!(health["longest_holders"], json!([]));
}

async fn nothing_is_logged_without_a_threshold<C: Tested>(name: &str) {
    let leaky = Leaky::<C>::new(name, None);
    let pool = &leaky.pool;
    let held = pool.get().await.unwrap();
    // The time after which a pool with a threshold reports it.
    sleep(2 * THRESHOLD).await;
    let holder = pool.health().await.longest_holders.remove(0);
    assert!(!holder.leak);
    drop(held);
    assert_eq!(leaky.lines(FOUND), [""; 0]);
    assert_eq!(leaky.lines(BACK), [""; 0]);
    for metric in ["leaking", "leaks"] {
        let metric = format!("poolscope.connection.{metric}");
        assert_eq!(leaky.meters.number(&metric, name, None), None);
    }
    assert_eq!(pool.status().totals.leaks, 0);
}

async fn a_leak_of_an_existing_pool_is_logged<C: Tested>(name: &str)
where
    AsyncDieselConnectionManager<C>: bb8::ManageConnection<Connection = C, Error = DieselPoolError>,
{
    let log = log_capture::capture();
    let database = C::database(name);
    for watched in [false, true] {
        let name = format!("{name}_{watched}");
        let manager = AsyncDieselConnectionManager::<C>::new(&*database.url);
        let existing = Bb8Pool::builder().max_size(1).build(manager);
        let mut existing = PoolService::from(existing.await.unwrap());
        if watched {
            existing = existing.watch_queries(&Settings::new(&*database.url));
        }
        let pool = ServiceBuilder::new()
            .layer(ObserveLayer::new(&name).leak_threshold(THRESHOLD))
            .service(existing);
        let (mut held, line) = (pool.get().await.unwrap(), line!());
        held.select_bound("leak").await.unwrap();
        let logged = async || lines(&log, &name, FOUND);
        let logged = until("found", logged, |lines| lines.len() == 1).await;
        let (found, place) = (&logged[0], format!("{}:{line}", file!()));
        assert!(found.contains(&place), "{found}");
        // Values that such a pool does not expose are left out.
        assert_eq!(found.contains("idle"), watched, "{found}");
        assert_eq!(found.contains("last query: SELECT"), watched, "{found}");
        assert!(!found.contains("bind-of"), "{found}");
        assert!(pool.health().await.longest_holders[0].leak);
        drop(held);
        assert_eq!(lines(&log, &name, BACK).len(), 1);
        assert_eq!(lines(&log, &name, FOUND).len(), 1);
        assert_eq!(pool.status().totals.leaks, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_leak_without_a_query_has_no_last_query() {
    let leaky = Leaky::<Sqlite>::new("silent_leak", Some(THRESHOLD));
    let mut before = leaky.pool.get().await.unwrap();
    before.run("SELECT 1 AS before").await.unwrap();
    drop(before);
    let _held = leaky.pool.get().await.unwrap();
    sleep(2 * THRESHOLD).await;
    let logged = leaky.lines(FOUND);
    assert_eq!(logged.len(), 1, "{logged:?}");
    assert!(logged[0].contains("; idle"), "{logged:?}");
    assert!(!logged[0].contains("last"), "{logged:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leak_whose_query_never_ends_is_logged_with_that_query() {
    let leaky = Leaky::<AsyncMysqlConnection>::new("leak_under_way", Some(THRESHOLD));
    let mut held = leaky.pool.get().await.unwrap();
    let query = tokio::spawn(async move { held.select_after(7, 600).await });
    let logged = leaky.until_found(1).await;
    assert!(logged[0].contains("; a query is running"), "{logged:?}");
    assert!(logged[0].contains("last query: SELECT"), "{logged:?}");
    query.abort();
    let _ = query.await;
    assert_eq!(leaky.lines(BACK).len(), 1);
}

/// On Postgres a statement is known when it is prepared and when it ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_known_while_it_is_being_prepared() {
    use diesel::prelude::*;
    use diesel::sql_types::Double;
    use diesel_async::RunQueryDsl;

    diesel::define_sql_function! {
        fn pg_sleep(seconds: Double);
    }
    diesel::table! {
        letters (id) { id -> Integer, }
    }
    let leaky = Leaky::<AsyncPgConnection>::new("leak_prepared", Some(THRESHOLD));
    leaky.set_up("CREATE TABLE letters AS SELECT 1 AS id").await;
    let mut held = leaky.pool.get().await.unwrap();
    let query = tokio::spawn(async move {
        let slow = letters::table.select((letters::id, pg_sleep(600.0)));
        slow.execute(&mut held).await
    });
    let logged = leaky.until_found(1).await;
    assert!(logged[0].contains("; a query is running"), "{logged:?}");
    assert!(
        logged[0].contains("last query: SELECT letters"),
        "{logged:?}"
    );
    query.abort();
    let _ = query.await;
}

/// A cached statement that was not printed for a span is known only to the server.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_statement_can_be_read_from_the_server() {
    log_capture::capture();
    let database = AsyncPgConnection::database("leak_asked_for");
    let pool = database
        .pool::<AsyncPgConnection>()
        .query_spans(QuerySpans::Off)
        .build()
        .unwrap();
    let mut held = pool.get().await.unwrap();
    held.run("SELECT 1 AS before").await.unwrap();
    let query = tokio::spawn(async move {
        held.run("SELECT pg_sleep(600) FROM pg_class WHERE relname <> 'a-literal'")
            .await
    });
    let under_way = async || pool.connections().await;
    let said = until("under way", under_way, |said| said.active_count == 1).await;
    let holder = said.sessions[0].holder.as_ref().unwrap();
    assert_eq!(holder.last_query.as_deref(), Some("SELECT pg_class"));
    let health = pool.health().await;
    assert_eq!(health.longest_holders[0].last_query, None);
    query.abort();
    let _ = query.await;
}

#[tokio::test(start_paused = true)]
async fn the_default_threshold_is_a_minute() {
    let (log, database) = (log_capture::capture(), Sqlite::database("default_leak"));
    let pool = database.pool::<Sqlite>().name("default_leak");
    let pool = pool.build().unwrap();
    let held = pool.get().await.unwrap();
    advance(Duration::from_secs(60)).await;
    sleep(Duration::ZERO).await;
    assert_eq!(lines(&log, "default_leak", FOUND).len(), 0);
    sleep(Duration::from_secs(1)).await;
    let logged = lines(&log, "default_leak", FOUND);
    assert!(logged[0].contains("held for 60."), "{logged:?}");
    drop(held);
    assert_eq!(lines(&log, "default_leak", BACK).len(), 1);
}
