//! Replays the recorded checkouts through a pool of another size or under another load.

use std::collections::HashMap;
use std::ops::Range;

use super::clients::Clients;
use super::random::Random;
use super::simulator::{Arrival, Arrivals, Job, Passage, Pool, Station};
use super::station::Fit;
use super::statistics;
use super::trace::{Checkout, Trace};

/// The maximum number of checkouts to replay for one answer.
const REPLAYED: usize = 64 * 1024;

/// The maximum number of replays of a record, each with the holds in another order.
const TIMES: usize = 4;

/// Holds of one call site are shuffled within blocks of this many consecutive checkouts.
const BLOCK: usize = 512;

/// The share of a replay to skip, because the pool is empty at its start.
const UNSETTLED: f64 = 0.02;

/// A load is an overload if more than this share still waits when the last checkout arrives.
const LEFT_WAITING: f64 = 0.05;

/// The number of jobs per client for measuring the throughput.
const THROUGHPUT: usize = 128;

/// The number of parts of a replay, which are resampled for the interval of the p95.
pub(crate) const PARTS: usize = 8;

/// A record, prepared for replays.
#[derive(Debug, Clone)]
pub(crate) struct Replay {
    jobs: Vec<Job>,
    arrivals: Vec<RecordedArrival>,
    runs: Vec<Repeated>,
    pub(crate) clients: Option<Clients>,
    station: Station,
    handover: f64,
}

/// A recorded arrival.
#[derive(Debug, Clone, Copy)]
struct RecordedArrival {
    /// Seconds from the start of the run.
    asked: f64,
    /// The index of its job. A checkout that was not served has the job of the next one that was.
    job: u32,
    place: u16,
    /// For a further checkout of a request: how many arrivals ago the request's previous checkout
    /// arrived, and the seconds from its return to this arrival.
    follows: Option<(u32, f64)>,
}

/// A run, and how often it is replayed consecutively.
#[derive(Debug, Clone)]
struct Repeated {
    range: Range<usize>,
    seconds: f64,
    times: usize,
}

/// The measurements of a replay.
#[derive(Debug, Clone, Default)]
pub(crate) struct Replayed {
    /// Seconds queued, in the order of arrival, by part.
    pub(crate) queued: [Vec<f64>; PARTS],
    /// Whether the queue grew until the end.
    pub(crate) overload: bool,
    /// Checkouts served per second.
    pub(crate) served: f64,
    /// Mean number of connections in use.
    pub(crate) in_use: f64,
}

impl Replay {
    pub(crate) fn new(trace: &Trace, fit: &Fit, clients: Option<Clients>, handover: f64) -> Self {
        let mut replay = Self {
            jobs: fit.jobs.clone(),
            arrivals: Vec::with_capacity(trace.checkouts.len()),
            runs: Vec::new(),
            clients,
            station: fit.station,
            handover,
        };
        let recorded = trace.checkouts.len().max(1);
        let most = (REPLAYED / recorded).max(1);
        let mut job = 0_u32;
        for run in &trace.runs {
            let start = replay.arrivals.len();
            let mut last_of: HashMap<u32, (usize, f64)> = HashMap::new();
            for (index, checkout) in trace.of_run(run).iter().enumerate() {
                let last = last_of.get(&checkout.request).copied();
                let follows = last
                    .filter(|(_, returned)| checkout.request != 0 && *returned <= checkout.asked)
                    .map(|(before, returned)| ((index - before) as u32, checkout.asked - returned));
                replay.arrivals.push(RecordedArrival {
                    asked: checkout.asked - run.from,
                    job: job.min(replay.jobs.len().saturating_sub(1) as u32),
                    place: checkout.place,
                    follows,
                });
                if checkout.request != 0 {
                    last_of.insert(checkout.request, (index, checkout.returned));
                }
                job += u32::from(checkout.is_complete());
            }
            let recorded = (replay.arrivals.len() - start).max(1);
            let times = (run.weight / recorded as f64).round() as usize;
            replay.runs.push(Repeated {
                range: start..replay.arrivals.len(),
                seconds: run.seconds(),
                times: times.clamp(1, most),
            });
        }
        replay
    }

    /// Returns the number of checkouts in one replay.
    fn once(&self) -> usize {
        self.runs
            .iter()
            .map(|run| run.range.len() * run.times)
            .sum()
    }

    /// Replays the record through a pool of `connections`, under `load` times the recorded load.
    pub(crate) fn run(&self, connections: u32, load: f64) -> Replayed {
        let times = (REPLAYED / self.once().max(1)).clamp(1, TIMES);
        let mut replayed = Replayed::default();
        let pool = Pool {
            connections,
            station: self.station,
            handover: self.handover,
        };
        let (mut waiting, mut count, mut seconds, mut held) = (0, 0, 0.0, 0.0);
        for number in 0..times {
            let passages = self.pass(&pool, number, load, times);
            let last = passages.last().map_or(0.0, |it| it.asked);
            let skipped = (UNSETTLED * passages.len() as f64) as usize;
            let settled = passages.get(skipped..).unwrap_or_default();
            let part = settled.len().div_ceil(PARTS).max(1);
            for (part, passages) in settled.chunks(part).enumerate() {
                replayed.queued[part].extend(passages.iter().map(Passage::queued));
            }
            let start = settled.first().map_or(0.0, |it| it.asked);
            waiting += settled.iter().filter(|it| it.granted > last).count();
            count += settled.len();
            seconds += last - start;
            held += settled
                .iter()
                .map(|it| (it.returned.min(last) - it.granted).max(0.0))
                .sum::<f64>();
        }
        replayed.overload = self.clients.is_none() && waiting as f64 > LEFT_WAITING * count as f64;
        replayed.served = (count - waiting) as f64 / seconds;
        replayed.in_use = held / seconds;
        replayed
    }

    /// Returns the Kolmogorov distance between the recorded hold times and those of a replay at the
    /// recorded size.
    pub(crate) fn distance(&self, trace: &Trace, connections: u32) -> f64 {
        let pool = Pool {
            connections,
            station: self.station,
            handover: self.handover,
        };
        let replayed = self.pass(&pool, 0, 1.0, 1);
        let replayed = replayed.iter().map(|it| it.returned - it.granted);
        let recorded = trace.checkouts.iter().filter(|it| it.is_complete());
        statistics::distance(replayed, recorded.map(Checkout::held))
    }

    /// Returns the throughput, in checkouts per second, of clients without think time on a connection
    /// each.
    pub(crate) fn throughput(&self, clients: u32) -> f64 {
        let mut jobs = self.plan(0, 1.0).jobs;
        jobs.truncate((THROUGHPUT * clients as usize).max(16 * THROUGHPUT));
        let pool = Pool {
            connections: clients,
            station: self.station,
            handover: 0.0,
        };
        let (think, seed) = (0.0, 0);
        let passages = pool.run(
            &jobs,
            Arrivals::Closed {
                clients,
                think,
                seed,
            },
        );
        let half = passages.len() / 2;
        match (passages.get(half), passages.last()) {
            (Some(first), Some(last)) => {
                (passages.len() - half) as f64 / (last.asked - first.asked)
            }
            _ => 0.0,
        }
    }

    /// Returns the mean work at the station, in seconds.
    pub(crate) fn mean_inside(&self) -> f64 {
        let inside: f64 = self.jobs.iter().map(|job| job.inside).sum();
        inside / self.jobs.len().max(1) as f64
    }

    /// Runs replay `number` of `of`.
    fn pass(&self, pool: &Pool, number: usize, load: f64, of: usize) -> Vec<Passage> {
        let plan = self.plan(number as u64, load);
        match self.clients {
            None => pool.run(&plan.jobs, Arrivals::Open(&plan.arrivals)),
            Some(clients) => {
                // The fraction of a client is present in that fraction of the replays.
                let part = (number as f64 + 0.5) / of as f64;
                let arrivals = Arrivals::Closed {
                    clients: (f64::from(clients.number) * load + 1.0 - part)
                        .floor()
                        .max(1.0) as u32,
                    think: clients.think,
                    seed: number as u64,
                };
                pool.run(&plan.jobs, arrivals)
            }
        }
    }

    /// Returns the jobs and arrivals of a replay, shuffled by `seed`.
    fn plan(&self, seed: u64, load: f64) -> Plan {
        let mut random = Random::new(seed);
        let mut plan = Plan::default();
        let mut offset = 0.0;
        let mut order: Vec<(u16, u32)> = Vec::new();
        for run in &self.runs {
            let arrivals = &self.arrivals[run.range.clone()];
            for _ in 0..run.times {
                for block in arrivals.chunks(BLOCK) {
                    // Holds of one call site are shuffled among themselves.
                    order.clear();
                    order.extend(block.iter().zip(0..).map(|(it, at)| (it.place, at)));
                    order.sort_unstable();
                    let first = plan.jobs.len();
                    plan.jobs.resize(first + block.len(), Job::default());
                    for places in order.chunk_by(|a, b| a.0 == b.0) {
                        let mut jobs: Vec<u32> =
                            places.iter().map(|it| block[it.1 as usize].job).collect();
                        random.shuffle(&mut jobs);
                        for ((_, at), job) in places.iter().zip(jobs) {
                            plan.jobs[first + *at as usize] = self.jobs[job as usize];
                        }
                    }
                    plan.arrivals
                        .extend(
                            block
                                .iter()
                                .zip(first..)
                                .map(|(it, index)| match it.follows {
                                    Some((before, gap)) => {
                                        Arrival::After(index - before as usize, gap)
                                    }
                                    None => Arrival::At(offset + it.asked / load),
                                }),
                        );
                }
                offset += run.seconds / load;
            }
        }
        plan
    }
}

#[derive(Debug, Default)]
struct Plan {
    jobs: Vec<Job>,
    arrivals: Vec<Arrival>,
}
