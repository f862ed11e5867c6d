//! Run by `scripts/bench`: `bench [--quick] SECTION…` prints the tables of the sections.

use std::process::ExitCode;

use poolscope_benches::Scale;
use poolscope_benches::support::postgres::{Options, Postgres};

mod checkout;
mod connection_per_request;
mod monitoring;
mod overload;
mod select;
mod starvation;

type Section = fn(Scale, &Postgres);

const SECTIONS: &[(&str, Section)] = &[
    ("checkout", checkout::run),
    ("select", select::run),
    ("starvation", starvation::run),
    ("overload", overload::run),
    ("monitoring", monitoring::run),
    ("connection-per-request", connection_per_request::run),
];

fn main() -> ExitCode {
    poolscope_benches::telemetry::set_endpoint();
    let mut sections: Vec<_> = std::env::args().skip(1).collect();
    let before = sections.len();
    sections.retain(|argument| argument != "--quick");
    let scale = Scale {
        quick: sections.len() < before,
    };
    let known = |name: &String| SECTIONS.iter().any(|(section, _)| section == name);
    if sections.is_empty() || !sections.iter().all(known) {
        let names: Vec<_> = SECTIONS.iter().map(|(name, _)| *name).collect();
        eprintln!("usage: bench [--quick] {}", names.join("|"));
        return ExitCode::FAILURE;
    }
    let server = Postgres::start(Options::new().max_connections(400));
    for (name, run) in SECTIONS {
        if sections.iter().any(|it| it == name) {
            run(scale, &server);
        }
    }
    ExitCode::SUCCESS
}

/// A runtime with this number of workers.
fn runtime(workers: usize) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .expect("a runtime")
}
