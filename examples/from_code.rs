//! The reports from code, without HTTP: for a log, a test or a command-line tool.
//!
//! ```sh
//! cargo run --example from_code
//! ```

use std::error::Error;
use std::process::ExitCode;

use diesel_async::SimpleAsyncConnection;
use poolscope::backend::AsyncSqliteConnection;
use poolscope::report::{Connections, Health, Optimization, Status};
use poolscope::{Checkout, Pool, Settings};
use serde::Serialize;

/// Plain structs, which serialize to the JSON of the routes.
#[derive(Serialize)]
struct Reports {
    status: Status,
    health: Health,
    connections: Connections,
    optimize: Optimization,
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    // Reads variables from a file .env, if it exists.
    dotenvy::dotenv().ok();
    // In production: Pool::<AsyncPgConnection>::from_env()?
    let folder = tempfile::tempdir()?;
    let file = format!("sqlite://{}/app.db", folder.path().display());
    let settings = Settings::from_lookup("", |name| match name {
        "DATABASE_URL" => Some(file.clone().into()),
        name => std::env::var_os(name),
    })?;
    let pool = Pool::<AsyncSqliteConnection>::builder(settings)
        .name("reports")
        .pool_size(2)
        .max_overflow(1)
        .build()?;

    for _ in 0..10 {
        pool.get().await?.batch_execute("SELECT 1").await?;
    }
    let held = pool.checkout(Checkout::new().label("meanwhile")).await?;
    let reports = Reports {
        status: pool.status(),
        health: pool.health().await,
        connections: pool.connections().await,
        optimize: pool.optimize().await,
    };
    drop(held);

    serde_json::to_writer_pretty(std::io::stdout(), &reports)?;
    println!();
    Ok(if reports.health.can_serve() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
