//! Traces in Jaeger: the request, its wait for a connection, and each query.
//!
//! ```sh
//! docker compose -f examples/stack/compose.yaml up -d jaeger collector  # or scripts/stack
//! cargo run --example jaeger
//! ```
//!
//! Sends a few requests to a small app, exports their traces to `OTEL_EXPORTER_OTLP_ENDPOINT`
//! (by default `http://localhost:4318`), reads them back from Jaeger at `JAEGER_URL` (by default
//! `http://localhost:16686`), and prints them, each with its address in Jaeger's web page.

#![allow(unreachable_pub, reason = "an app has no API")]

mod app;
mod jaeger;
mod tree;

use std::error::Error;
use std::process::{Command, ExitCode};
use std::time::Duration;

use futures_util::future::join_all;
use poolscope::Telemetry;

const ENDPOINT: &str = "http://localhost:4318";
const JAEGER: &str = "http://localhost:16686";
/// The time limit for sending the traces, and then for finding them.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> ExitCode {
    if std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_none() {
        return run_with_endpoint();
    }
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jaeger: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs this program with the endpoint in the environment, where OpenTelemetry reads it.
fn run_with_endpoint() -> ExitCode {
    let program = std::env::current_exe().expect("the path of this program");
    let mut command = Command::new(program);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", ENDPOINT);
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        command.env("OTEL_SERVICE_NAME", "jaeger-example");
    }
    match command.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let telemetry = Telemetry::from_env()?.install()?;

    let folder = tempfile::tempdir()?;
    let (app, pool) = app::new(&format!("sqlite://{}/shop.db", folder.path().display()))?;
    // The first request opens a connection. Four concurrent requests wait for two connections. One
    // repeats the same query. One leaves its transaction idle.
    let mut traces = vec![app::send(&app, "/users").await?];
    let together = join_all((0..4).map(|_| app::send(&app, "/report"))).await;
    traces.extend(together.into_iter().collect::<Result<Vec<_>, _>>()?);
    traces.push(app::send(&app, "/n-plus-one").await?);
    traces.push(app::send(&app, "/transaction").await?);
    pool.close(PATIENCE).await;

    let unsent = telemetry.shutdown(PATIENCE).await;
    if unsent.spans > 0 {
        return Err(format!(
            "{} spans could not be sent. Start a collector with scripts/stack or docker compose -f \
             examples/stack/compose.yaml up; to use another endpoint than {ENDPOINT}, set \
             OTEL_EXPORTER_OTLP_ENDPOINT",
            unsent.spans
        )
        .into());
    }
    let jaeger = std::env::var("JAEGER_URL").unwrap_or_else(|_| JAEGER.to_owned());
    let jaeger = jaeger.trim_end_matches('/');
    for (path, trace) in &traces {
        let spans = jaeger::spans(jaeger, trace, PATIENCE).await?;
        println!("\nGET {path}   {jaeger}/trace/{trace}");
        print!("{}", tree::render(&spans));
    }
    Ok(())
}
