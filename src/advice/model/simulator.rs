//! A pool of connections, simulated event by event.
//!
//! Jobs queue first come, first served. Each gets a connection, works *before* a station, passes the
//! station, works *after* it, and returns the connection. Jobs slow each other down only at the
//! station. The replay simulates recorded checkouts; tests and trials simulate generated ones.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::random::Random;

/// The work of a job with its connection, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Job {
    pub(crate) before: f64,
    /// Work at the station: the time if the job is alone there.
    pub(crate) inside: f64,
    pub(crate) after: f64,
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
    /// in the list.
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
    /// Runs each job once, until all have returned their connections. Returns the passages in the order
    /// of arrival.
    pub(crate) fn run(&self, jobs: &[Job], arrivals: Arrivals<'_>) -> Vec<Passage> {
        SimulationRun::new(self, jobs, arrivals).run()
    }
}

/// The time of an event and its job, ordered by time.
#[derive(Debug, Clone, Copy, PartialEq)]
struct At(f64, usize);

impl Eq for At {}

impl PartialOrd for At {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for At {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0).then(self.1.cmp(&other.1))
    }
}

type Queue = BinaryHeap<Reverse<At>>;

/// Returns the time of a queue's first event; infinite if it is empty.
fn due(queue: &Queue) -> f64 {
    queue.peek().map_or(f64::INFINITY, |first| first.0.0)
}

struct SimulationRun<'a> {
    pool: &'a Pool,
    jobs: &'a [Job],
    arrivals: Arrivals<'a>,
    random: Random,
    now: f64,
    passages: Vec<Passage>,
    /// The next arrivals.
    asking: Queue,
    /// The index of the next open arrival that is not in `asking` yet.
    next: usize,
    /// The open arrivals that follow each job's return.
    followers: Vec<Vec<usize>>,
    in_use: u32,
    waiting: VecDeque<usize>,
    /// Jobs before the station, and jobs between the station and the return.
    before: Queue,
    after: Queue,
    /// Jobs at a shared station, by the virtual time of their departure.
    sharing: Queue,
    virtual_now: f64,
    /// Jobs at a lock, in order. The first one holds it.
    locking: VecDeque<usize>,
    unlocks: f64,
}

impl<'a> SimulationRun<'a> {
    fn new(pool: &'a Pool, jobs: &'a [Job], arrivals: Arrivals<'a>) -> Self {
        let mut run = Self {
            pool,
            jobs,
            arrivals,
            random: Random::new(0),
            now: 0.0,
            passages: Vec::with_capacity(jobs.len()),
            asking: Queue::new(),
            next: 0,
            followers: Vec::new(),
            in_use: 0,
            waiting: VecDeque::new(),
            before: Queue::new(),
            after: Queue::new(),
            sharing: Queue::new(),
            virtual_now: 0.0,
            locking: VecDeque::new(),
            unlocks: f64::INFINITY,
        };
        match arrivals {
            Arrivals::Open(all) => {
                let follows = |arrival: &Arrival| matches!(arrival, Arrival::After(..));
                if all.iter().any(follows) {
                    run.followers = vec![Vec::new(); jobs.len()];
                }
                for (job, arrival) in all.iter().enumerate() {
                    if let Arrival::After(leader, _) = *arrival
                        && let Some(followers) = run.followers.get_mut(leader)
                    {
                        followers.push(job);
                    }
                }
            }
            Arrivals::Closed {
                clients,
                think,
                seed,
            } => {
                run.random = Random::new(seed);
                for _ in 0..clients {
                    run.ask_again(think);
                }
            }
        }
        run
    }

    fn run(mut self) -> Vec<Passage> {
        loop {
            self.advance_open();
            let asks = due(&self.asking);
            let comes = due(&self.before);
            let returns = due(&self.after);
            let leaves = self.next_to_leave();
            let at = asks.min(comes).min(returns).min(leaves);
            if at.is_infinite() {
                break;
            }
            self.advance(at);
            // At the same time, returns precede arrivals.
            if at == returns {
                if let Some(Reverse(At(_, passage))) = self.after.pop() {
                    self.give_back(passage);
                }
            } else if at == leaves {
                self.leave_station();
            } else if at == comes {
                if let Some(Reverse(At(_, passage))) = self.before.pop() {
                    self.come_to_station(passage);
                }
            } else if let Some(Reverse(At(_, job))) = self.asking.pop() {
                self.ask(job);
            }
        }
        self.passages
    }

    /// Moves the next open arrival to `asking` if no other event precedes it.
    fn advance_open(&mut self) {
        let Arrivals::Open(all) = self.arrivals else {
            return;
        };
        while self.next < all.len().min(self.jobs.len()) {
            match all[self.next] {
                Arrival::After(..) => self.next += 1,
                Arrival::At(at) => {
                    if at
                        <= due(&self.asking)
                            .min(due(&self.before))
                            .min(due(&self.after))
                        && at <= self.next_to_leave()
                    {
                        self.asking.push(Reverse(At(at, self.next)));
                        self.next += 1;
                    }
                    return;
                }
            }
        }
    }

    fn ask_again(&mut self, think: f64) {
        if self.next < self.jobs.len() {
            let at = self.now + self.random.exponential(think);
            self.asking.push(Reverse(At(at, self.next)));
            self.next += 1;
        }
    }

    fn advance(&mut self, to: f64) {
        self.virtual_now += (to - self.now) * self.speed();
        self.now = to;
    }

    /// Returns the speed of a job at a shared station; 1 if it does not wait for others.
    fn speed(&self) -> f64 {
        match self.pool.station {
            Station::Shared(processors) => (processors / self.sharing.len() as f64).min(1.0),
            Station::Free | Station::Lock => 1.0,
        }
    }

    fn next_to_leave(&self) -> f64 {
        match self.pool.station {
            Station::Free => f64::INFINITY,
            Station::Lock => self.unlocks,
            Station::Shared(_) => {
                let left = (due(&self.sharing) - self.virtual_now).max(0.0);
                self.now + left / self.speed()
            }
        }
    }

    fn ask(&mut self, job: usize) {
        let passage = self.passages.len();
        self.passages.push(Passage {
            job,
            asked: self.now,
            granted: f64::INFINITY,
            came: f64::INFINITY,
            left: f64::INFINITY,
            returned: f64::INFINITY,
        });
        if self.in_use < self.pool.connections {
            self.in_use += 1;
            self.grant(passage, self.now);
        } else {
            self.waiting.push_back(passage);
        }
    }

    fn grant(&mut self, passage: usize, at: f64) {
        let job = self.jobs[self.passages[passage].job];
        self.passages[passage].granted = at;
        let next = at + job.before;
        match self.pool.station {
            Station::Free => {
                self.passages[passage].came = next;
                self.passages[passage].left = next + job.inside;
                let returns = next + job.inside + job.after;
                self.after.push(Reverse(At(returns, passage)));
            }
            // A job without work at the station does not queue there.
            Station::Lock | Station::Shared(_) if job.inside <= 0.0 => {
                self.after.push(Reverse(At(next + job.after, passage)));
            }
            Station::Lock | Station::Shared(_) => self.before.push(Reverse(At(next, passage))),
        }
    }

    fn come_to_station(&mut self, passage: usize) {
        self.passages[passage].came = self.now;
        let inside = self.jobs[self.passages[passage].job].inside;
        if let Station::Shared(_) = self.pool.station {
            self.sharing
                .push(Reverse(At(self.virtual_now + inside, passage)));
        } else {
            self.locking.push_back(passage);
            if self.locking.len() == 1 {
                self.unlocks = self.now + inside;
            }
        }
    }

    fn leave_station(&mut self) {
        let left = if let Station::Shared(_) = self.pool.station {
            self.sharing.pop().map(|Reverse(At(_, passage))| passage)
        } else {
            let left = self.locking.pop_front();
            self.unlocks = match self.locking.front() {
                Some(next) => self.now + self.jobs[self.passages[*next].job].inside,
                None => f64::INFINITY,
            };
            left
        };
        if let Some(passage) = left {
            self.passages[passage].left = self.now;
            let after = self.jobs[self.passages[passage].job].after;
            self.after.push(Reverse(At(self.now + after, passage)));
        }
    }

    fn give_back(&mut self, passage: usize) {
        self.passages[passage].returned = self.now;
        let job = self.passages[passage].job;
        match self.arrivals {
            Arrivals::Closed { think, .. } => self.ask_again(think),
            Arrivals::Open(all) => {
                for follower in self.followers.get(job).into_iter().flatten() {
                    if let Some(Arrival::After(_, gap)) = all.get(*follower) {
                        self.asking.push(Reverse(At(self.now + gap, *follower)));
                    }
                }
            }
        }
        match self.waiting.pop_front() {
            Some(next) => self.grant(next, self.now + self.pool.handover),
            None => self.in_use -= 1,
        }
    }
}
