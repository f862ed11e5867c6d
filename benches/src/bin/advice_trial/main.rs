//! Run by `scripts/advice-trial`: observes each load at one pool size, takes the advice, and runs the sizes
//! in the advice. Prints tables that compare predictions with measurements.

use std::process::ExitCode;

use diesel_async::{AsyncConnection, AsyncPgConnection};
use fastrand::Rng;
use futures_util::stream::{self, StreamExt};
use poolscope_benches::report::progress;
use poolscope_benches::support::postgres::{Options, Postgres};

use self::arguments::Arguments;
use self::sweep::{Sweep, Trial};
use self::work::Server;

mod advice;
mod arguments;
mod demand;
mod loads;
mod machine;
mod measured;
mod raw;
mod run;
mod speed;
mod sweep;
mod tables;
mod verdict;
mod work;

/// More than all concurrent pools have, so that the server's limit does not affect the advice.
const MAX_CONNECTIONS: u16 = 400;

fn main() -> ExitCode {
    let arguments = match Arguments::read(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::FAILURE;
        }
    };
    let options = Options::new().max_connections(MAX_CONNECTIONS);
    let server = Postgres::start(options.config("jit = off"));
    let url = server.create_database("trial");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    progress(format!(
        "{} loads: about {:.1} minutes",
        arguments.loads.len(),
        arguments.expected() / 60.0
    ));
    let sweeps = runtime.block_on(trial(&arguments, &url));
    tables::print(&sweeps);
    ExitCode::SUCCESS
}

async fn trial(arguments: &Arguments, url: &str) -> Vec<Sweep> {
    let mut connection = AsyncPgConnection::establish(url)
        .await
        .expect("a connection");
    work::prepare(&mut connection).await.expect("a table");
    let server = Server::measure(&mut connection).await.expect("a query");
    drop(connection);

    // The source of each load's seeds, so that no two runs share a seed.
    let mut seeds = Rng::with_seed(4711);
    let trials: Vec<_> = arguments
        .loads
        .iter()
        .map(|load| {
            let trial = Trial {
                arguments,
                url,
                load,
                server: &server,
            };
            (trial, seeds.fork())
        })
        .collect();
    stream::iter(trials)
        .map(|(trial, seeds)| async move { trial.run(seeds).await })
        .buffered(arguments.loads_at_once())
        .flat_map(stream::iter)
        .collect()
        .await
}
