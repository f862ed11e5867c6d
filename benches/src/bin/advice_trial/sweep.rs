//! A sweep: observes a load at one pool size, and runs it at the others.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::join_all;
use poolscope_benches::report::progress;
use serde_json::{Value, json};

use super::advice::Advice;
use super::arguments::Arguments;
use super::demand::{Demand, Rate};
use super::loads::Load;
use super::machine::Machine;
use super::measured::Measured;
use super::raw::Header;
use super::run::{Record, Setup};
use super::verdict::TARGET;
use super::work::Server;

/// The results of a sweep.
pub(crate) struct Sweep {
    pub(crate) load: &'static Load,
    pub(crate) number: u32,
    pub(crate) demand: Demand<f64>,
    pub(crate) rounds: u32,
    /// The median of the advice of all rounds.
    pub(crate) advice: Advice,
    pub(crate) measured: Vec<Measured>,
}

/// The parameters that all sweeps of a load share.
pub(crate) struct Trial<'a> {
    pub(crate) arguments: &'a Arguments,
    pub(crate) url: &'a str,
    pub(crate) load: &'static Load,
    pub(crate) server: &'a Server,
}

/// One run of a sweep.
#[derive(Debug, Clone, Copy)]
struct Run {
    kind: Kind,
    connections: u32,
    round: u32,
    seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Observe,
    Sweep,
}

/// The outcome of a run, with advice if it was an observation.
struct Outcome {
    run: Run,
    records: Vec<Record>,
    advice: Option<Advice>,
}

impl Trial<'_> {
    /// Runs all sweeps of the load.
    pub(crate) async fn run(&self, mut seeds: Rng) -> Vec<Sweep> {
        let demand = self.demand().await;
        let mut sweeps = Vec::new();
        for number in 1..=self.arguments.sweeps {
            sweeps.push(self.sweep(number, demand, &mut seeds).await);
        }
        sweeps
    }

    /// The demand with its rate, which may have to be measured.
    async fn demand(&self) -> Demand<f64> {
        match self.load.demand {
            Demand::Closed(clients) => Demand::Closed(clients),
            Demand::Open { rate, pattern } => Demand::Open {
                rate: self.rate(rate).await,
                pattern,
            },
        }
    }

    async fn rate(&self, rate: Rate) -> f64 {
        match rate {
            Rate::Fixed(rate) => rate,
            Rate::OfCapacity { share, connections } => {
                let setup = self.open(connections, 1).await;
                let time = Duration::from_secs_f64(self.arguments.measuring_capacity());
                let capacity = setup.capacity(self.load.work, time).await;
                setup.close().await;
                progress(format!(
                    "{}: {capacity:.0} per second at most",
                    self.load.name
                ));
                share * capacity
            }
        }
    }

    async fn open(&self, connections: u32, row: i32) -> Setup {
        Setup::open(self.url, connections, self.server.clone(), row).await
    }

    async fn sweep(&self, number: u32, demand: Demand<f64>, seeds: &mut Rng) -> Sweep {
        let mut advice = Vec::new();
        let mut tried: BTreeMap<u32, Vec<Vec<Record>>> = BTreeMap::new();
        let runs = self.runs(number, seeds);
        for at_once in runs.chunks(self.arguments.at_once(self.load).min(runs.len())) {
            let mut setups = Vec::new();
            for (run, row) in at_once.iter().zip(1..) {
                setups.push(self.open(run.connections, row).await);
            }
            let outcomes = at_once
                .iter()
                .zip(setups)
                .map(|(run, setup)| self.outcome(number, demand, *run, setup));
            for outcome in join_all(outcomes).await {
                match outcome.advice {
                    Some(advised) => advice.push((outcome.run, advised)),
                    None => {
                        let of_size = tried.entry(outcome.run.connections).or_default();
                        of_size.push(outcome.records);
                    }
                }
            }
        }
        let (observations, advice): (Vec<_>, Vec<_>) = advice.into_iter().unzip();
        let sweep = Sweep {
            load: self.load,
            number,
            demand,
            rounds: self.arguments.rounds(self.load),
            advice: Advice::median(&advice),
            measured: tried
                .iter()
                .map(|(connections, rounds)| Measured::of(*connections, rounds, &demand))
                .collect(),
        };
        if let Some(raw) = &self.arguments.raw {
            let each = observations.iter().zip(&advice).map(|(run, advice)| {
                let mut json = advice.to_json();
                json["round"] = run.round.into();
                json
            });
            let name = format!("{}-{number}", self.load.name);
            raw.json(&name, &sweep.to_json(each.collect()))
                .expect("a file");
        }
        sweep
    }

    /// The runs of each round: the observation, then the sizes, ascending or in the next sweep descending,
    /// because the machine's speed drifts.
    fn runs(&self, number: u32, seeds: &mut Rng) -> Vec<Run> {
        let mut sizes = self.arguments.sizes(self.load).to_vec();
        if number.is_multiple_of(2) {
            sizes.reverse();
        }
        let observe = (Kind::Observe, self.load.observed);
        let sweep = sizes.into_iter().map(|size| (Kind::Sweep, size));
        let round: Vec<_> = std::iter::once(observe).chain(sweep).collect();
        let rounds = 1..=self.arguments.rounds(self.load);
        rounds
            .flat_map(|number| round.iter().map(move |run| (number, *run)))
            .map(|(round, (kind, connections))| Run {
                kind,
                connections,
                round,
                seed: seeds.u64(..),
            })
            .collect()
    }

    /// Runs the load at one size, and takes the advice if it is an observation.
    async fn outcome(&self, sweep: u32, demand: Demand<f64>, run: Run, setup: Setup) -> Outcome {
        let seconds = match run.kind {
            Kind::Observe => self.arguments.observing(self.load),
            Kind::Sweep => self.arguments.trying(self.load),
        };
        let machine = Machine::now();
        let work = self.load.work;
        let records = match demand {
            Demand::Open { rate, pattern } => {
                let plan = pattern.plan(work, run.seed, rate, seconds);
                setup.arrivals(plan).await
            }
            Demand::Closed(clients) => {
                let time = Duration::from_secs_f64(seconds);
                setup.clients(clients, work, run.seed, time).await
            }
        };
        let machine = machine.since();
        let advice = match run.kind {
            Kind::Observe => Some(Advice::ask(&setup.pool, self.load.sizes).await),
            Kind::Sweep => None,
        };
        setup.close().await;

        let measured = Measured::of(run.connections, std::slice::from_ref(&records), &demand);
        progress(format!(
            "{} {sweep}.{}, {} {}: p95 {:.2?}, {:.1} % wait{}; {machine}",
            self.load.name,
            run.round,
            run.kind.name(),
            run.connections,
            measured.p95,
            measured.waiting * 100.0,
            if measured.overload { ", overload" } else { "" },
        ));
        if let Some(raw) = &self.arguments.raw {
            let header = Header {
                kind: run.kind.name(),
                load: self.load.name,
                sweep,
                round: run.round,
                connections: run.connections,
                seed: run.seed,
                demand,
                seconds,
                machine,
            };
            raw.checkouts(header, &records).expect("a file");
            if let Some(advice) = &advice {
                raw.json(&header.name(), &advice.json).expect("a file");
            }
        }
        Outcome {
            run,
            records,
            advice,
        }
    }
}

impl Sweep {
    /// The measurements with the evaluated advice and that of each observation.
    fn to_json(&self, observations: Vec<Value>) -> Value {
        let demand = match self.demand {
            Demand::Open { rate, .. } => json!({ "rate": rate }),
            Demand::Closed(clients) => {
                json!({ "clients": clients.number, "think_ms": clients.think })
            }
        };
        let measured = self.measured.iter().map(|it| {
            json!({
                "connections": it.connections,
                "p95_ms": it.p95.as_secs_f64() * 1e3,
                "waiting": it.waiting,
                "overload": it.overload,
                "checkouts": it.checkouts,
            })
        });
        json!({
            "load": self.load.name,
            "sweep": self.number,
            "demand": demand,
            "observed": self.load.observed,
            "target_ms": TARGET.as_secs_f64() * 1e3,
            "measured": measured.collect::<Vec<_>>(),
            "advice": self.advice.to_json(),
            "observations": observations,
        })
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Sweep => "sweep",
        }
    }
}
