//! A small web shop with an observed database pool.
//!
//! ```sh
//! cargo run --example quickstart
//! ```
//!
//! By default the database is a SQLite file in a temporary folder. `DATABASE_URL=postgres://…` or
//! `mysql://…` selects another. The app reads every `DB_*` variable, `PORT`, and a file `.env`.
//! `QUICKSTART_TRAFFIC=off` turns off the app's own traffic; `QUICKSTART_TRAFFIC=trouble` adds a slow report, N+1
//! queries, a leak now and then, and a peak every minute. `QUICKSTART_HOST=0.0.0.0` accepts
//! requests from other machines. With `OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318`, traces,
//! metrics and logs are sent to that address.

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
    // Returning would wait for a SQLite query that outlasted the drain.
    std::process::exit(status);
}

async fn run() -> Result<(), Box<dyn Error>> {
    variables::read_dot_env()?;
    // poolscope logs slow waits, failed connects and similar events with `tracing`: to stderr, and
    // to an OpenTelemetry collector if the environment has an endpoint.
    let telemetry = Telemetry::from_env()?.install()?;
    let ran = run_shop().await;
    // The last step, so that the traces include the drain.
    telemetry.shutdown(LAST_EXPORTS).await;
    ran
}

async fn run_shop() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::Builder::new().prefix("quickstart-").tempdir()?;
    let settings = variables::settings(folder.path())?;
    // An app with one database names its connection type here.
    let served = match settings.database_url.database_kind() {
        Some(DatabaseKind::Postgres) => serve::<AsyncPgConnection>(settings).await,
        Some(DatabaseKind::Mysql) => serve::<AsyncMysqlConnection>(settings).await,
        _ => serve::<AsyncSqliteConnection>(settings).await,
    };
    remove(folder).await;
    served
}

/// Removes the folder, with retries. A connection that closes at the same time removes its own
/// files, and the removal of the folder can then fail.
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
    // Opens no connection: the database may be down, and start later.
    let pool = Pool::<C>::builder(settings)
        // The dashboard needs these metrics to show the routes.
        .request_metrics(true)
        // A real app migrates before it starts. This one creates its tables in any database, even in one
        // that starts later or restarts empty.
        .on_connect(|conn| Box::pin(conn.prepare()))
        .build()?;
    let app = router::router(pool.clone());

    let (host, port, traffic) = (
        variables::host()?,
        variables::port()?,
        variables::traffic()?,
    );

    let stop = Stop::listen()?;
    let listener = server::listen(host, port).await?;
    tokio::spawn(traffic::run(traffic, app.clone(), pool.clone()));
    print!("{}", router::welcome(&url, listener.local_addr()?));
    server::serve(listener, app, pool, stop).await?;
    Ok(())
}
