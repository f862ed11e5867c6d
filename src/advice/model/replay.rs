//! Replays the recorded checkouts through a pool of another size or under another load.

use std::collections::HashMap;

use super::clients::Clients;
use super::random::Random;
use super::simulator::{Arrival, Arrivals, Job, Passage, Pool, Station};
use super::station::Fit;
use super::statistics;
use super::trace::{Checkout, Run, Trace};

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
    arrivals: Vec<RecordedArrival>,
    /// The runs, and how often each is replayed consecutively.
    runs: Vec<(Run, usize)>,
    pub(crate) clients: Option<Clients>,
    station: Station,
    handover: f64,
}

/// A recorded arrival.
#[derive(Debug, Clone, Copy)]
struct RecordedArrival {
    /// Seconds from the start of the run.
    asked: f64,
    /// Its work. That of a checkout that was not served is the work of the next one that was.
    job: Job,
    place: u16,
    /// For a further checkout of a request: how many arrivals ago the request's previous checkout
    /// arrived, and the seconds from its return to this arrival.
    follows: Option<(u32, f64)>,
}

/// The measurements of a replay.
#[derive(Debug, Clone, Default)]
pub(crate) struct Replayed {
    /// Seconds queued, each with the number of its part.
    pub(crate) queued: Vec<(f64, usize)>,
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
            arrivals: Vec::with_capacity(trace.checkouts.len()),
            runs: Vec::new(),
            clients,
            station: fit.station,
            handover,
        };
        let recorded = trace.checkouts.len().max(1);
        let most = (REPLAYED / recorded).max(1);
        let mut served = 0;
        for run in &trace.runs {
            let mut last_of: HashMap<u32, (usize, f64)> = HashMap::new();
            for (index, checkout) in trace.of_run(run).iter().enumerate() {
                let request = Some(checkout.request).filter(|request| *request != 0);
                let last = request.and_then(|it| last_of.insert(it, (index, checkout.returned)));
                let follows = last
                    .filter(|(_, returned)| *returned <= checkout.asked)
                    .map(|(before, returned)| ((index - before) as u32, checkout.asked - returned));
                let job = fit.jobs.get(served).or(fit.jobs.last());
                replay.arrivals.push(RecordedArrival {
                    asked: checkout.asked - run.from,
                    job: job.copied().unwrap_or_default(),
                    place: checkout.place,
                    follows,
                });
                served += usize::from(checkout.is_complete());
            }
            let times = (run.weight / run.range.len().max(1) as f64).round() as usize;
            replay.runs.push((run.clone(), times.clamp(1, most)));
        }
        replay
    }

    /// Replays the record through a pool of `connections`, under `load` times the recorded load, with the
    /// holds of the call sites `halved` half as long.
    pub(crate) fn run(&self, connections: u32, load: f64, halved: &[u16]) -> Replayed {
        let runs = self.runs.iter();
        let once: usize = runs.map(|(run, times)| run.range.len() * times).sum();
        let times = (REPLAYED / once.max(1)).clamp(1, TIMES);
        let mut replayed = Replayed::default();
        let pool = self.pool(connections);
        let (mut waiting, mut count, mut seconds, mut held) = (0, 0, 0.0, 0.0);
        for number in 0..times {
            let passages = self.pass(&pool, number, load, halved, times);
            let last = passages.last().map_or(0.0, |it| it.asked);
            let skipped = (UNSETTLED * passages.len() as f64) as usize;
            let settled = passages.get(skipped..).unwrap_or_default();
            let part = settled.len().div_ceil(PARTS).max(1);
            for (part, passages) in settled.chunks(part).enumerate() {
                let queued = passages.iter().map(|it| (it.queued(), part));
                replayed.queued.extend(queued);
            }
            let start = settled.first().map_or(0.0, |it| it.asked);
            waiting += settled.iter().filter(|it| it.granted > last).count();
            count += settled.len();
            seconds += last - start;
            let holds = settled.iter();
            let holds = holds.map(|it| (it.returned.min(last) - it.granted).max(0.0));
            held += holds.sum::<f64>();
        }
        replayed.overload = self.clients.is_none() && waiting as f64 > LEFT_WAITING * count as f64;
        replayed.served = (count - waiting) as f64 / seconds;
        replayed.in_use = held / seconds;
        replayed
    }

    /// Returns the Kolmogorov distance between the recorded hold times and those of a replay at the
    /// recorded size.
    pub(crate) fn distance(&self, trace: &Trace, connections: u32) -> f64 {
        let replayed = self.pass(&self.pool(connections), 0, 1.0, &[], 1);
        let replayed = replayed.iter().map(|it| it.returned - it.granted);
        let recorded = trace.checkouts.iter().filter(|it| it.is_complete());
        statistics::distance(replayed, recorded.map(Checkout::held))
    }

    /// Returns the throughput, in checkouts per second, of clients without think time on a connection
    /// each.
    pub(crate) fn throughput(&self, clients: u32) -> f64 {
        let (mut jobs, _) = self.plan(0, 1.0, &[]);
        jobs.truncate((THROUGHPUT * clients as usize).max(16 * THROUGHPUT));
        // No client waits for a connection, so none is handed over.
        let always_busy = Arrivals::Closed {
            clients,
            think: 0.0,
            seed: 0,
        };
        let passages = self.pool(clients).run(&jobs, always_busy);
        let half = passages.len() / 2;
        match (passages.get(half), passages.last()) {
            (Some(first), Some(last)) => {
                (passages.len() - half) as f64 / (last.asked - first.asked)
            }
            _ => 0.0,
        }
    }

    fn pool(&self, connections: u32) -> Pool {
        Pool {
            connections,
            station: self.station,
            handover: self.handover,
        }
    }

    /// Runs replay `number` of `of`.
    fn pass(
        &self,
        pool: &Pool,
        number: usize,
        load: f64,
        halved: &[u16],
        of: usize,
    ) -> Vec<Passage> {
        let (jobs, arrivals) = self.plan(number as u64, load, halved);
        match self.clients {
            None => pool.run(&jobs, Arrivals::Open(&arrivals)),
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
                pool.run(&jobs, arrivals)
            }
        }
    }

    /// Returns the jobs and arrivals of a replay, shuffled by `seed`.
    fn plan(&self, seed: u64, load: f64, halved: &[u16]) -> (Vec<Job>, Vec<Arrival>) {
        let mut random = Random::new(seed);
        let (mut jobs, mut arrivals) = (Vec::new(), Vec::new());
        let mut offset = 0.0;
        let runs = self.runs.iter();
        for run in runs.flat_map(|(run, times)| std::iter::repeat_n(run, *times)) {
            for block in self.arrivals[run.range.clone()].chunks(BLOCK) {
                let first = jobs.len();
                jobs.resize(first + block.len(), Job::default());
                // Holds of one call site are shuffled among themselves.
                let mut order: Vec<usize> = (0..block.len()).collect();
                order.sort_by_key(|at| block[*at].place);
                for places in order.chunk_by(|a, b| block[*a].place == block[*b].place) {
                    let mut drawn: Vec<Job> = places.iter().map(|at| block[*at].job).collect();
                    random.shuffle(&mut drawn);
                    let is_halved = halved.contains(&block[places[0]].place);
                    for (at, job) in places.iter().zip(drawn) {
                        jobs[first + at] = if is_halved { job.halved() } else { job };
                    }
                }
                let indices = block.iter().zip(first..);
                arrivals.extend(indices.map(|(it, index)| match it.follows {
                    Some((before, gap)) => Arrival::After(index - before as usize, gap),
                    None => Arrival::At(offset + it.asked / load),
                }));
            }
            offset += run.seconds() / load;
        }
        (jobs, arrivals)
    }
}
