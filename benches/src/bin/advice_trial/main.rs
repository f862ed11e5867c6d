//! `scripts/advice-trial` runs this: each load is observed at one size of the pool, the advice is
//! taken, and the sizes that it is about are tried. Prints the tables of what was predicted beside
//! what was measured.

use std::process::ExitCode;

use diesel_async::{AsyncConnection, AsyncPgConnection};
use fastrand::Rng;
use futures_util::stream::{self, StreamExt};
use poolscope_benches::report::progress;
use poolscope_benches::support::postgres::{Options, Postgres};

use self::asked::Asked;
use self::sweep::{Sweep, Trial};
use self::work::Server;

mod advice;
mod asked;
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

/// More than all pools have side by side: the advice is not to be limited by what the server grants.
const MAX_CONNECTIONS: u16 = 400;

fn main() -> ExitCode {
    let asked = match Asked::read(std::env::args().skip(1)) {
        Ok(asked) => asked,
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
        asked.loads.len(),
        asked.expected() / 60.0
    ));
    let sweeps = runtime.block_on(trial(&asked, &url));
    tables::print(&sweeps);
    ExitCode::SUCCESS
}

async fn trial(asked: &Asked, url: &str) -> Vec<Sweep> {
    let mut connection = AsyncPgConnection::establish(url)
        .await
        .expect("a connection");
    work::prepare(&mut connection).await.expect("a table");
    let server = Server::measure(&mut connection).await.expect("a query");
    drop(connection);

    // Each load draws its own from it: no two runs have a seed in common.
    let mut seeds = Rng::with_seed(4711);
    let trials: Vec<_> = asked
        .loads
        .iter()
        .map(|load| {
            let trial = Trial {
                asked,
                url,
                load,
                server: &server,
            };
            (trial, seeds.fork())
        })
        .collect();
    stream::iter(trials)
        .map(|(trial, seeds)| async move { trial.run(seeds).await })
        .buffered(asked.loads_at_once())
        .flat_map(stream::iter)
        .collect()
        .await
}
