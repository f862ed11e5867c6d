//! A pool of connections, simulated event by event.
//!
//! Jobs queue first come, first served. Each gets a connection, works *before* a station, passes the
//! station, works *after* it, and returns the connection. Jobs slow each other down only at the
//! station. The replay simulates recorded checkouts; tests and trials simulate generated ones.

use std::collections::VecDeque;

use super::events::{EventKind, Events};
use super::random::Random;

/// The work of a job with its connection, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Job {
    pub(crate) before: f64,
    /// Work at the station: the time if the job is alone there.
    pub(crate) inside: f64,
    pub(crate) after: f64,
}

impl Job {
    /// Returns the same work in half the time.
    pub(crate) fn halved(&self) -> Self {
        Self {
            before: self.before / 2.0,
            inside: self.inside / 2.0,
            after: self.after / 2.0,
        }
    }

    /// Returns the hold time without slowdown.
    pub(crate) fn whole(&self) -> f64 {
        self.before + self.inside + self.after
    }
}

/// How jobs slow each other down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Station {
    /// Not at all.
    Free,
    /// Jobs share this many processors equally. The number may be fractional.
    Shared(f64),
    /// One job at a time, first come, first served.
    Lock,
}

/// When jobs request a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Arrivals<'a> {
    /// Arrivals at these times, in order, independent of other jobs.
    Open(&'a [Arrival]),
    /// Clients that wait for a response and send the next request after an exponentially distributed
    /// think time with this mean, in seconds.
    Closed { clients: u32, think: f64, seed: u64 },
}

/// The time of an open arrival.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Arrival {
    /// At this time, in seconds.
    At(f64),
    /// This many seconds after the job with this index has returned its connection. That job is earlier
    /// in the list, and no other job follows it.
    After(usize, f64),
}

/// The times of one job, in seconds; infinite for events that have not happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Passage {
    pub(crate) job: usize,
    pub(crate) asked: f64,
    pub(crate) granted: f64,
    /// The arrival at the station and the departure from it.
    pub(crate) came: f64,
    pub(crate) left: f64,
    pub(crate) returned: f64,
}

impl Passage {
    /// Returns the time queued, in seconds.
    pub(crate) fn queued(&self) -> f64 {
        self.granted - self.asked
    }
}

/// A pool and the station behind it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pool {
    pub(crate) connections: u32,
    pub(crate) station: Station,
    /// Seconds from the return of a connection until a waiting job has it.
    pub(crate) handover: f64,
}

impl Pool {
    /// Runs each job once, until all have returned their connections. Open arrivals are one for each
    /// job. Returns the passages in the order of arrival.
    pub(crate) fn run(&self, jobs: &[Job], arrivals: Arrivals<'_>) -> Vec<Passage> {
        let mut run = SimulationRun::new(self, jobs, arrivals);
        while let Some(event) = run.events.next() {
            match event.kind {
                EventKind::Returns => run.give_back(event.who),
                EventKind::Leaves => run.leave_station(event.who),
                EventKind::Comes => run.come_to_station(event.who),
                EventKind::Asks => run.ask(event.who),
            }
        }
        run.passages
    }
}

struct SimulationRun<'a> {
    pool: &'a Pool,
    jobs: &'a [Job],
    arrivals: Arrivals<'a>,
    random: Random,
    events: Events,
    passages: Vec<Passage>,
    /// The index of the next job that has no arrival yet.
    next: usize,
    /// The job that follows each job's return, for open arrivals.
    followers: Vec<Option<usize>>,
    in_use: u32,
    waiting: VecDeque<usize>,
    /// Jobs at a lock, in order. The first one holds it.
    locking: VecDeque<usize>,
}

impl<'a> SimulationRun<'a> {
    fn new(pool: &'a Pool, jobs: &'a [Job], arrivals: Arrivals<'a>) -> Self {
        let (clients, seed) = match arrivals {
            Arrivals::Open(_) => (1, 0),
            Arrivals::Closed { clients, seed, .. } => (clients, seed),
        };
        let mut run = Self {
            pool,
            jobs,
            arrivals,
            random: Random::new(seed),
            events: match pool.station {
                Station::Shared(processors) => Events::new(processors),
                Station::Free | Station::Lock => Events::new(f64::INFINITY),
            },
            passages: Vec::with_capacity(jobs.len()),
            next: 0,
            followers: vec![None; jobs.len()],
            in_use: 0,
            waiting: VecDeque::new(),
            locking: VecDeque::new(),
        };
        if let Arrivals::Open(all) = arrivals {
            for (job, arrival) in all.iter().enumerate() {
                if let Arrival::After(leader, _) = *arrival {
                    run.followers[leader] = Some(job);
                }
            }
        }
        // Each open arrival schedules the next one, and each client its own next job.
        (0..clients).for_each(|_| run.schedule_next());
        run
    }

    /// Schedules the next open arrival, or the next job of a client that thinks from now on.
    fn schedule_next(&mut self) {
        while self.next < self.jobs.len() {
            let (job, now) = (self.next, self.events.now);
            self.next += 1;
            let at = match self.arrivals {
                Arrivals::Closed { think, .. } => now + self.random.exponential(think),
                Arrivals::Open(all) => match all[job] {
                    Arrival::At(at) => at,
                    // Is scheduled at the return of the job that it follows.
                    Arrival::After(..) => continue,
                },
            };
            return self.events.push(at, EventKind::Asks, job);
        }
    }

    fn job(&self, passage: usize) -> Job {
        self.jobs[self.passages[passage].job]
    }

    fn ask(&mut self, job: usize) {
        let passage = self.passages.len();
        self.passages.push(Passage {
            job,
            asked: self.events.now,
            granted: f64::INFINITY,
            came: f64::INFINITY,
            left: f64::INFINITY,
            returned: f64::INFINITY,
        });
        if self.in_use < self.pool.connections {
            self.in_use += 1;
            self.grant(passage, self.events.now);
        } else {
            self.waiting.push_back(passage);
        }
        if let Arrivals::Open(all) = self.arrivals
            && let Arrival::At(_) = all[job]
        {
            self.schedule_next();
        }
    }

    fn grant(&mut self, passage: usize, at: f64) {
        let job = self.job(passage);
        let comes = at + job.before;
        let granted = &mut self.passages[passage];
        granted.granted = at;
        let (at, kind) = match self.pool.station {
            Station::Free => {
                (granted.came, granted.left) = (comes, comes + job.inside);
                (comes + job.inside + job.after, EventKind::Returns)
            }
            // A job without work at the station does not queue there.
            _ if job.inside <= 0.0 => (comes + job.after, EventKind::Returns),
            Station::Lock | Station::Shared(_) => (comes, EventKind::Comes),
        };
        self.events.push(at, kind, passage);
    }

    fn come_to_station(&mut self, passage: usize) {
        self.passages[passage].came = self.events.now;
        if let Station::Shared(_) = self.pool.station {
            self.events.share(self.job(passage).inside, passage);
        } else {
            self.locking.push_back(passage);
            if self.locking.len() == 1 {
                self.take_lock(passage);
            }
        }
    }

    fn take_lock(&mut self, passage: usize) {
        let leaves = self.events.now + self.job(passage).inside;
        self.events.push(leaves, EventKind::Leaves, passage);
    }

    fn leave_station(&mut self, passage: usize) {
        self.passages[passage].left = self.events.now;
        let returns = self.events.now + self.job(passage).after;
        self.events.push(returns, EventKind::Returns, passage);
        // Empty at a shared station.
        self.locking.pop_front();
        if let Some(next) = self.locking.front() {
            self.take_lock(*next);
        }
    }

    fn give_back(&mut self, passage: usize) {
        self.passages[passage].returned = self.events.now;
        match self.arrivals {
            Arrivals::Closed { .. } => self.schedule_next(),
            Arrivals::Open(all) => {
                if let Some(follower) = self.followers[self.passages[passage].job]
                    && let Arrival::After(_, gap) = all[follower]
                {
                    let at = self.events.now + gap;
                    self.events.push(at, EventKind::Asks, follower);
                }
            }
        }
        match self.waiting.pop_front() {
            Some(next) => self.grant(next, self.events.now + self.pool.handover),
            None => self.in_use -= 1,
        }
    }
}
