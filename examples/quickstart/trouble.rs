//! Routes that reproduce common misuses of a pool.

use axum::Json;
use axum::extract::State;
use diesel::QueryResult;
use diesel_async::AsyncConnection;
use poolscope::Pool;
use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use super::database::Database;
use super::error::AppError;
use super::ms::Ms;

/// `GET /n-plus-one`: sends one query for the users, and another for each user.
pub async fn n_plus_one<C: Database>(State(pool): State<Pool<C>>) -> Result<Json<Value>, AppError> {
    let mut conn = pool.get().await?;
    let users = conn.users().await?;
    let mut orders = 0;
    for user in &users {
        orders += conn.orders_of(user.id).await?.len();
    }
    Ok(Json(
        json!({ "users": users.len(), "orders": orders, "queries": 1 + users.len() }),
    ))
}

/// `GET /slow?ms=`: holds a connection without using it.
pub async fn slow<C: Database>(
    State(pool): State<Pool<C>>,
    Ms(time): Ms,
) -> Result<Json<Value>, AppError> {
    let conn = pool.get().await?;
    sleep(time).await;
    drop(conn);
    Ok(done("held a connection", time))
}

/// `GET /query?ms=`: runs a query for the given time.
pub async fn query<C: Database>(
    State(pool): State<Pool<C>>,
    Ms(time): Ms,
) -> Result<Json<Value>, AppError> {
    let mut conn = pool.get().await?;
    conn.sleep(time).await?;
    Ok(done("ran a query", time))
}

/// `GET /transaction?ms=`: leaves a transaction idle.
pub async fn transaction<C: Database>(
    State(pool): State<Pool<C>>,
    Ms(time): Ms,
) -> Result<Json<Value>, AppError> {
    let mut conn = pool.get().await?;
    conn.transaction(async |conn| {
        conn.users().await?;
        sleep(time).await;
        QueryResult::Ok(())
    })
    .await?;
    Ok(done("kept a transaction open", time))
}

/// `GET /report?ms=`: queries for a tenth of the time, and computes for the rest, with the connection still in
/// its hand.
pub async fn report<C: Database>(
    State(pool): State<Pool<C>>,
    Ms(time): Ms,
) -> Result<Json<Value>, AppError> {
    let mut conn = pool.get().await?;
    conn.sleep(time / 10).await?;
    sleep(time - time / 10).await;
    drop(conn);
    Ok(done("computed a report", time))
}

/// `GET /leak`: a task keeps the connection long after the response.
pub async fn leak<C: Database>(State(pool): State<Pool<C>>) -> Result<Json<Value>, AppError> {
    // Longer than `DB_POOL_LEAK_THRESHOLD`, and short enough for the app to recover.
    const LEAK: Duration = Duration::from_secs(90);
    let conn = pool.get().await?;
    tokio::spawn(async move {
        sleep(LEAK).await;
        drop(conn);
    });
    Ok(done("leaked a connection", LEAK))
}

fn done(what: &str, time: Duration) -> Json<Value> {
    Json(json!({ "did": what, "ms": time.as_millis() }))
}
