//! A small web shop whose database pool is seen through.
//!
//! ```sh
//! cargo run --example quickstart
//! ```
//!
//! That needs nothing: the database is a SQLite file in a temporary folder. With
//! `DATABASE_URL=postgres://…` or `mysql://…` it is yours; every `DB_*` variable counts, so does
//! `PORT`, and so does a file `.env`. `QUICKSTART_TRAFFIC=off` leaves all requests to you, and
//! `QUICKSTART_HOST=0.0.0.0` lets in those of other machines. With
//! `OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318` traces, metrics and logs are sent there.

#![allow(unreachable_pub, reason = "an app has no API")]

mod database;
mod dialect;
mod error;
mod ms;
mod router;
mod server;
mod shop;
mod stop;
mod traffic;
mod trouble;
mod variables;

use std::error::Error;
use std::time::Duration;

use diesel_async::{AsyncMysqlConnection, AsyncPgConnection};
use poolscope::backend::AsyncSqliteConnection;
use poolscope::settings::DatabaseKind;
use poolscope::{Pool, Settings, Telemetry};

use self::database::Database;
use self::stop::Stop;

/// How long the last spans, metrics and log records may take to be sent.
const LAST_EXPORTS: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() {
    let status = match run().await {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("quickstart: {error}");
            1
        }
    };
    // Rather than to return, which waits for a query of SQLite that the drain has given up.
    std::process::exit(status);
}

async fn run() -> Result<(), Box<dyn Error>> {
    variables::read_dot_env()?;
    // poolscope tells of slow waits, failed connects and the like by `tracing`: to stderr, and to
    // an OpenTelemetry collector if there is an endpoint in the environment.
    let telemetry = Telemetry::from_env()?.install()?;
    let ran = run_shop().await;
    // Last of all: the drain is in the traces, too.
    telemetry.shutdown(LAST_EXPORTS).await;
    ran
}

async fn run_shop() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::Builder::new().prefix("quickstart-").tempdir()?;
    let settings = variables::settings(folder.path())?;
    // An app has one database, and would name its type of connection here.
    let served = match settings.database_url.database_kind() {
        Some(DatabaseKind::Postgres) => serve::<AsyncPgConnection>(settings).await,
        Some(DatabaseKind::Mysql) => serve::<AsyncMysqlConnection>(settings).await,
        _ => serve::<AsyncSqliteConnection>(settings).await,
    };
    remove(folder).await;
    served
}

/// A connection that closes at the same time takes its files away by itself, and the removal of
/// the folder may trip over that.
async fn remove(folder: tempfile::TempDir) {
    let path = folder.path().to_owned();
    drop(folder);
    for _ in 0..50 {
        if !path.exists() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        let _ = std::fs::remove_dir_all(&path);
    }
}

async fn serve<C: Database>(settings: Settings) -> Result<(), Box<dyn Error>> {
    let url = settings.database_url.to_string();
    // Nothing is connected yet: the database may be down, and come up later.
    let pool = Pool::<C>::builder(settings)
        // The dashboard shows the routes by them.
        .request_metrics(true)
        // A real app is migrated before it is started. This one has to find its tables wherever it
        // is pointed to, also when the database comes up later, or comes back empty.
        .on_connect(|conn| Box::pin(conn.prepare()))
        .build()?;
    let app = router::router(pool.clone());

    let stop = Stop::listen()?;
    let listener = server::listen(variables::host()?, variables::port()?).await?;
    if variables::traffic()? {
        tokio::spawn(traffic::run(app.clone(), pool.clone()));
    }
    print!("{}", router::welcome(&url, listener.local_addr()?));
    server::serve(listener, app, pool, stop).await?;
    Ok(())
}
