//! A small app on SQLite, called without a network.

use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Request};
use axum::routing::get;
use diesel::{QueryResult, sql_query};
use diesel_async::{AsyncConnection, RunQueryDsl, SimpleAsyncConnection};
use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt;
use poolscope::backend::AsyncSqliteConnection;
use poolscope::{Pool, RequestLayer, Settings};
use tokio::time::sleep;
use tower::ServiceExt;

type Sqlite = Pool<AsyncSqliteConnection>;
type Reply = Result<HeaderMap, axum::http::StatusCode>;

/// The response header with the trace ID.
const TRACE: &str = "x-trace-id";

const TABLE: &str = "CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, name TEXT)";

pub fn new(url: &str) -> Result<(Router, Sqlite), Box<dyn Error>> {
    let pool = Sqlite::builder(Settings::new(url))
        .name("shop")
        .pool_size(2)
        .max_overflow(0)
        .on_connect(|conn| Box::pin(conn.batch_execute(TABLE)))
        .build()?;
    let app = Router::new()
        .route("/users", get(users))
        .route("/report", get(report))
        .route("/n-plus-one", get(n_plus_one))
        .route("/transaction", get(transaction))
        .layer(RequestLayer::new())
        .with_state(pool.clone());
    Ok((app, pool))
}

/// Sends a request, and returns its path and its trace ID.
pub async fn send(app: &Router, path: &'static str) -> Result<(&'static str, String), String> {
    let request = Request::get(path).body(Body::empty());
    let request = request.map_err(|error| error.to_string())?;
    let Ok(answer) = app.clone().oneshot(request).await;
    let trace = answer
        .headers()
        .get(TRACE)
        .and_then(|value| value.to_str().ok());
    match trace {
        Some(trace) => Ok((path, trace.to_owned())),
        None => Err(format!("{path}: {}", answer.status())),
    }
}

async fn users(State(pool): State<Sqlite>) -> Reply {
    select(&pool, 1).await
}

/// Holds its connection for much longer than its query takes.
async fn report(State(pool): State<Sqlite>) -> Reply {
    let mut conn = pool.get().await.map_err(|_| unavailable())?;
    query(&mut conn).await.map_err(|_| unavailable())?;
    sleep(Duration::from_millis(80)).await;
    Ok(trace_header())
}

async fn n_plus_one(State(pool): State<Sqlite>) -> Reply {
    select(&pool, 12).await
}

async fn transaction(State(pool): State<Sqlite>) -> Reply {
    let mut conn = pool.get().await.map_err(|_| unavailable())?;
    let work = conn.transaction(async |conn| {
        query(conn).await?;
        sleep(Duration::from_millis(40)).await;
        QueryResult::Ok(())
    });
    work.await.map_err(|_| unavailable())?;
    Ok(trace_header())
}

async fn select(pool: &Sqlite, times: u32) -> Reply {
    let mut conn = pool.get().await.map_err(|_| unavailable())?;
    for _ in 0..times {
        query(&mut conn).await.map_err(|_| unavailable())?;
    }
    Ok(trace_header())
}

async fn query(conn: &mut AsyncSqliteConnection) -> QueryResult<usize> {
    sql_query("SELECT id, name FROM users WHERE name <> 'nobody'")
        .execute(conn)
        .await
}

fn trace_header() -> HeaderMap {
    let trace = Context::current()
        .span()
        .span_context()
        .trace_id()
        .to_string();
    let value = HeaderValue::from_str(&trace).expect("hexadecimal");
    HeaderMap::from_iter([(axum::http::HeaderName::from_static(TRACE), value)])
}

fn unavailable() -> axum::http::StatusCode {
    axum::http::StatusCode::SERVICE_UNAVAILABLE
}
