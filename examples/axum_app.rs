//! An axum app with its own layers and its own extractor, on an observed pool.
//!
//! ```sh
//! cargo run --example axum_app
//! ```

use std::error::Error;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use diesel::prelude::*;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use poolscope::backend::AsyncSqliteConnection;
use poolscope::{Checkout, Pool, PoolError, PooledConnection, RequestLayer, Settings};
use serde::Serialize;
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;

use self::schema::notes;

type Sqlite = AsyncSqliteConnection;

mod schema {
    diesel::table! {
        notes (id) {
            id -> Integer,
            text -> Text,
        }
    }
}

#[derive(Queryable, Serialize)]
struct Note {
    id: i32,
    text: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Reads variables from a file .env, if it exists.
    dotenvy::dotenv().ok();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();

    // In production: Pool::<AsyncPgConnection>::from_env()?
    let folder = tempfile::tempdir()?;
    let file = format!("sqlite://{}/notes.db", folder.path().display());
    let mut settings = Settings::from_lookup("", |name| match name {
        "DATABASE_URL" => Some(file.clone().into()),
        name => std::env::var_os(name),
    })?;
    // Shorter than the app's own timeout below, so that the response and the log of a request that
    // waits too long contain the reason.
    settings.pool_timeout = Duration::from_secs(5);
    let pool = Pool::<Sqlite>::builder(settings).build()?;
    create_tables(&pool).await?;

    let app = Router::new()
        .route("/notes", get(list).layer(Extension(Label("notes"))))
        .route(
            "/notes/count",
            get(count).layer(Extension(Label("count of notes"))),
        )
        .layer(
            ServiceBuilder::new()
                .layer(TraceLayer::new_for_http())
                // Inside the request's span, and outside the timeout, so that it sees the timeout's response.
                .layer(RequestLayer::new())
                .layer(TimeoutLayer::with_status_code(
                    StatusCode::SERVICE_UNAVAILABLE,
                    Duration::from_secs(10),
                )),
        )
        // Added after the layers, so that they do not apply. The monitor has its own deadlines.
        .nest_service("/api/v1/monitoring/pool", pool.monitor())
        .with_state(pool.clone());

    let port = std::env::var("PORT").map_or(Ok(8000), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app)
        .with_graceful_shutdown(async move {
            let _ = tokio::signal::ctrl_c().await;
            pool.close(Duration::from_secs(10)).await;
        })
        .await?;
    Ok(())
}

async fn list(Connection(mut conn): Connection) -> Result<Json<Vec<Note>>, AppError> {
    Ok(Json(notes::table.order(notes::id).load(&mut conn).await?))
}

async fn count(Connection(mut conn): Connection) -> Result<Json<i64>, AppError> {
    Ok(Json(notes::table.count().get_result(&mut conn).await?))
}

/// The extractor for a handler's connection.
struct Connection(PooledConnection<Sqlite>);

/// A route's label, for the reports. All checkouts have the extractor's source line.
#[derive(Clone, Copy)]
struct Label(&'static str);

impl FromRequestParts<Pool<Sqlite>> for Connection {
    type Rejection = PoolError; // A response: 503 with `Retry-After`.

    async fn from_request_parts(parts: &mut Parts, pool: &Pool<Sqlite>) -> Result<Self, PoolError> {
        let label = parts
            .extensions
            .get()
            .map_or("unlabelled", |Label(text)| text);
        pool.checkout(Checkout::new().label(label)).await.map(Self)
    }
}

/// A query that failed. The client receives no details.
struct AppError(diesel::result::Error);

impl From<diesel::result::Error> for AppError {
    fn from(error: diesel::result::Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        tracing::error!("responding with 500: {}", self.0);
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

async fn create_tables(pool: &Pool<Sqlite>) -> Result<(), Box<dyn Error>> {
    let mut conn = pool.get().await?;
    conn.batch_execute(
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
         INSERT INTO notes (text) VALUES ('water the plants'), ('feed the cat');",
    )
    .await?;
    Ok(())
}
