//! `scripts/bench` runs this: `bench [--quick] SECTION…`, which prints the section's tables.

use std::process::ExitCode;

use poolscope_benches::Scale;
use poolscope_benches::support::postgres::{Options, Postgres};

mod checkout;
mod monitoring;
mod overload;
mod promises;
mod select;
mod starvation;

type Section = fn(Scale, &Postgres);

const SECTIONS: &[(&str, Section)] = &[
    ("checkout", checkout::run),
    ("select", select::run),
    ("starvation", starvation::run),
    ("overload", overload::run),
    ("monitoring", monitoring::run),
    ("promises", promises::run),
];

fn main() -> ExitCode {
    poolscope_benches::telemetry::set_endpoint();
    let mut asked: Vec<_> = std::env::args().skip(1).collect();
    let before = asked.len();
    asked.retain(|argument| argument != "--quick");
    let scale = Scale {
        quick: asked.len() < before,
    };
    let known = |name: &String| SECTIONS.iter().any(|(section, _)| section == name);
    if asked.is_empty() || !asked.iter().all(known) {
        let names: Vec<_> = SECTIONS.iter().map(|(name, _)| *name).collect();
        eprintln!("which section? bench [--quick] {}", names.join("|"));
        return ExitCode::FAILURE;
    }
    let server = Postgres::start(Options::new().max_connections(400));
    for (name, run) in SECTIONS {
        if asked.iter().any(|section| section == name) {
            run(scale, &server);
        }
    }
    ExitCode::SUCCESS
}

/// A runtime with so many workers.
fn runtime(workers: usize) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .expect("a runtime")
}
