//! An existing pool of an app, observed and otherwise unchanged.
//!
//! ```sh
//! cargo run --example existing_pool
//! ```

use std::error::Error;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use diesel::sql_types::Integer;
use diesel_async::RunQueryDsl;
use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::pooled_connection::bb8::Pool;
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use poolscope::service::Observe;
use poolscope::{ObserveLayer, PoolError, PoolService};
use tokio::net::TcpListener;
use tower::ServiceBuilder;

type Sqlite = SyncConnectionWrapper<diesel::SqliteConnection>;
type Manager = AsyncDieselConnectionManager<Sqlite>;

/// Replaces the app's `Pool<Sqlite>`.
type Observed = Observe<PoolService<Manager>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Reads variables from a file .env, if it exists.
    dotenvy::dotenv().ok();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();

    // The app's own pool, with its own settings.
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("app.db").display().to_string();
    let existing: Pool<Sqlite> = Pool::builder()
        .max_size(5)
        .connection_timeout(Duration::from_secs(5))
        .build(Manager::new(file))
        .await?;

    // Checkouts by `existing.get()` still work, and are counted. Checkouts by `observed.get()` are also
    // timed, traced, and reported with their source line.
    let observed: Observed = ServiceBuilder::new()
        .layer(ObserveLayer::new("answers"))
        .service(PoolService::from(existing));

    let app = Router::new()
        .route("/answer", get(answer))
        .nest_service("/api/v1/monitoring/pool", observed.monitor())
        .with_state(observed);

    let port = std::env::var("PORT").map_or(Ok(8000), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app)
        .with_graceful_shutdown(async { drop(tokio::signal::ctrl_c().await) })
        .await?;
    Ok(())
}

async fn answer(State(pool): State<Observed>) -> Result<Json<i32>, AppError> {
    let mut conn = pool.get().await?;
    let query = diesel::dsl::sql::<Integer>("SELECT 6 * 7");
    Ok(Json(query.get_result(&mut conn).await?))
}

/// The example `quickstart` has a more detailed error.
enum AppError {
    Pool(PoolError),
    Query(diesel::result::Error),
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        match self {
            Self::Pool(error) => error.into_response(),
            Self::Query(error) => {
                tracing::error!("responding with 500: {error}");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

impl From<PoolError> for AppError {
    fn from(error: PoolError) -> Self {
        Self::Pool(error)
    }
}

impl From<diesel::result::Error> for AppError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Query(error)
    }
}
