//! `scripts/advice-trial` runs this: each load is observed at one size of the pool, the advice is
//! taken, and then the sizes are tried that it was about. Prints the tables of what was predicted
//! beside what was measured.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use diesel_async::AsyncConnection;
use fastrand::Rng;
use poolscope_benches::report::progress;
use poolscope_benches::support::postgres::{Options, Postgres};

use self::advice::Advice;
use self::loads::{LOADS, Load, Rate, USUAL};
use self::machine::Machine;
use self::measured::Measured;
use self::raw::{Header, Raw};
use self::run::Record;
use self::work::Server;

mod advice;
mod loads;
mod machine;
mod measured;
mod raw;
mod run;
mod speed;
mod tables;
mod verdict;
mod work;

/// What was asked for.
struct Asked {
    loads: Vec<&'static Load>,
    sweeps: u32,
    quick: bool,
    /// How long each size is tried.
    seconds: f64,
    raw: Option<Raw>,
}

/// One observation of a load, and the sweep of the sizes after it.
struct Sweep {
    load: &'static Load,
    number: u32,
    rate: f64,
    advice: Advice,
    measured: Vec<Measured>,
}

fn main() -> ExitCode {
    let asked = match Asked::read(std::env::args().skip(1)) {
        Ok(asked) => asked,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::FAILURE;
        }
    };
    let server = Postgres::start(Options::new().config("jit = off"));
    let url = server.create_database("trial");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let sweeps = runtime.block_on(trial(&asked, &url));
    tables::print(&sweeps);
    ExitCode::SUCCESS
}

impl Asked {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut asked = Self {
            loads: Vec::new(),
            sweeps: 2,
            quick: false,
            seconds: 25.0,
            raw: None,
        };
        while let Some(option) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{option}: which?"));
            match option.as_str() {
                "--quick" => asked.quick = true,
                "--load" => {
                    let name = value()?;
                    let load = LOADS.iter().find(|load| load.name == name);
                    asked.loads.push(load.ok_or_else(|| {
                        let names: Vec<_> = LOADS.iter().map(|load| load.name).collect();
                        format!("no load {name}; there are {}", names.join(", "))
                    })?);
                }
                "--repeat" => {
                    let times = value()?.parse().ok().filter(|times| *times > 0);
                    asked.sweeps = times.ok_or("--repeat: a whole number from 1")?;
                }
                "--seconds" => {
                    let seconds = value()?.parse().ok();
                    asked.seconds = seconds
                        .filter(|seconds| (1.0..=3600.0).contains(seconds))
                        .ok_or("--seconds: a number from 1 to 3600")?;
                }
                "--raw" => {
                    let folder = PathBuf::from(value()?);
                    asked.raw = Some(Raw::new(&folder).map_err(|error| error.to_string())?);
                }
                _ => return Err(format!("unknown option {option}")),
            }
        }
        if asked.loads.is_empty() {
            asked.loads = LOADS.iter().take(USUAL).collect();
        }
        Ok(asked)
    }

    /// How long a load is observed in all these rounds: in a hurry, for what is needed at least. In
    /// production it is the busiest five minutes.
    fn observing(&self, rounds: u32) -> f64 {
        let each = if self.quick {
            21.0
        } else {
            90.0 / f64::from(rounds)
        };
        each.max(21.0) * f64::from(rounds)
    }

    fn trying(&self) -> f64 {
        if self.quick { 1.5 } else { self.seconds }
    }
}

async fn trial(asked: &Asked, url: &str) -> Vec<Sweep> {
    let mut connection = diesel_async::AsyncPgConnection::establish(url)
        .await
        .expect("a connection");
    work::prepare(&mut connection).await.expect("a table");
    let server = Server::measure(&mut connection).await.expect("a query");
    drop(connection);

    // All runs draw from it in turn: no two have a seed in common.
    let mut seeds = Rng::with_seed(4711);
    let mut sweeps = Vec::new();
    for load in &asked.loads {
        let rate = rate(asked, url, load, &server).await;
        for number in 1..=asked.sweeps {
            let trial = Trial {
                asked,
                url,
                load,
                number,
                rate,
                server: &server,
            };
            sweeps.push(trial.run(&mut seeds).await);
        }
    }
    sweeps
}

async fn rate(asked: &Asked, url: &str, load: &Load, server: &Server) -> f64 {
    match load.rate {
        Rate::Fixed(rate) => rate,
        Rate::OfCapacity { share, connections } => {
            let pool = run::pool(url, connections).await;
            let time = Duration::from_secs_f64(asked.trying().min(4.0));
            let capacity = run::capacity(&pool, load, server, time).await;
            pool.close(Duration::from_secs(5)).await;
            progress(format!("{}: {capacity:.0} a second at most", load.name));
            share * capacity
        }
    }
}

/// What all runs of a sweep have in common.
struct Trial<'a> {
    asked: &'a Asked,
    url: &'a str,
    load: &'static Load,
    number: u32,
    rate: f64,
    server: &'a Server,
}

impl Trial<'_> {
    async fn run(&self, seeds: &mut Rng) -> Sweep {
        let sizes = self.load.sizes;
        let skipped = if self.asked.quick { sizes.len() - 2 } else { 0 };
        let mut order = sizes[skipped..].to_vec();
        // Up, and the next time down: the machine's speed drifts.
        if self.number.is_multiple_of(2) {
            order.reverse();
        }
        let mut advice = Vec::new();
        let mut tried: BTreeMap<u32, Vec<Vec<Record>>> = BTreeMap::new();
        for round in 1..=self.load.rounds {
            let run = |kind, connections| Run {
                kind,
                connections,
                round,
            };
            let observed = run("observe", self.load.observed);
            advice.extend(self.measure(observed, seeds.u64(..)).await.1);
            for &connections in &order {
                let (records, _) = self.measure(run("sweep", connections), seeds.u64(..)).await;
                tried.entry(connections).or_default().push(records);
            }
        }
        let settled = self.load.pattern.settled();
        Sweep {
            load: self.load,
            number: self.number,
            rate: self.rate,
            advice: Advice::median(&advice),
            measured: tried
                .iter()
                .map(|(connections, rounds)| Measured::of(*connections, rounds, settled))
                .collect(),
        }
    }

    /// Runs the load at one size, and has the advice if that is what it is run for.
    async fn measure(&self, run: Run, seed: u64) -> (Vec<Record>, Option<Advice>) {
        let Run {
            kind,
            connections,
            round,
        } = run;
        let observes = kind == "observe";
        let all = if observes {
            self.asked.observing(self.load.rounds)
        } else {
            self.asked.trying()
        };
        let seconds = all / f64::from(self.load.rounds);
        let plan = self.load.plan(seed, self.rate, seconds);
        let pool = run::pool(self.url, connections).await;
        let machine = Machine::now();
        let records = run::run(&pool, self.server, plan).await;
        let machine = machine.since();
        let advice = if observes {
            Some(Advice::ask(&pool, self.load.sizes).await)
        } else {
            None
        };
        pool.close(Duration::from_secs(5)).await;

        let settled = self.load.pattern.settled();
        let measured = Measured::of(connections, std::slice::from_ref(&records), settled);
        progress(format!(
            "{} {}.{round}, {kind} {connections}: p95 {:.2?}, {:.1} % wait{}; {machine}",
            self.load.name,
            self.number,
            measured.p95,
            measured.waiting * 100.0,
            if measured.overload { ", overload" } else { "" },
        ));
        if let Some(raw) = &self.asked.raw {
            let header = Header {
                kind,
                load: self.load.name,
                sweep: self.number,
                round,
                connections,
                seed,
                rate: self.rate,
                seconds,
                machine,
            };
            raw.run(header, &records).expect("a file");
            if let Some(advice) = &advice {
                raw.advice(header, &advice.said).expect("a file");
            }
        }
        (records, advice)
    }
}

/// One of the runs that a sweep consists of.
#[derive(Debug, Clone, Copy)]
struct Run {
    kind: &'static str,
    connections: u32,
    round: u32,
}
