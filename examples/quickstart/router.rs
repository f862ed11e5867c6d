//! The routes of the app.

use std::net::SocketAddr;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use poolscope::{Pool, RequestLayer};

use super::database::Database;
use super::error::problem;
use super::{shop, trouble};

const MONITORING: &str = "/api/v1/monitoring/pool";

pub fn router<C: Database>(pool: Pool<C>) -> Router {
    Router::new()
        .route("/users", get(shop::users::<C>).post(shop::add_user::<C>))
        .route("/users/{id}/orders", get(shop::orders::<C>))
        .route("/n-plus-one", get(trouble::n_plus_one::<C>))
        .route("/slow", get(trouble::slow::<C>))
        .route("/query", get(trouble::query::<C>))
        .route("/transaction", get(trouble::transaction::<C>))
        .route("/report", get(trouble::report::<C>))
        .route("/leak", get(trouble::leak::<C>))
        .fallback(async || problem(StatusCode::NOT_FOUND, "no such route"))
        .method_not_allowed_fallback(async || {
            problem(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")
        })
        // Each request has a span, and its use of the pool is counted for its route.
        .layer(RequestLayer::new())
        // Added after the layer, so that it does not apply: a scraper's requests would be noise.
        .nest_service(MONITORING, pool.monitor())
        .with_state(pool)
}

/// The text printed at the start, with the addresses to open.
pub fn welcome(database: &str, address: SocketAddr) -> String {
    let url = format!("http://{address}");
    format!(
        "\
the pool, live: {url}{MONITORING}/
listening on {url}
database: {database}

the app
  {url}/users                    POST {{\"name\":\"Ada\",\"email\":\"ada@example.org\"}} adds one
  {url}/users/1/orders
  {url}/n-plus-one               one query for each user
  {url}/slow?ms=1000             holds a connection without using it
  {url}/query?ms=1000            runs a query of this duration
  {url}/transaction?ms=1000      idle in a transaction
  {url}/report?ms=1000           a short query, then work with the connection in hand
  {url}/leak                     keeps a connection for 90 s

the pool's reports
  {url}{MONITORING}/status
  {url}{MONITORING}/health
  {url}{MONITORING}/connections
  {url}{MONITORING}/optimize
  {url}{MONITORING}/healthcheck
  {url}{MONITORING}/metrics

"
    )
}
