//! A pool as it would run, event by event: what is learned of it, and how long arrivals waited.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use crate::observe::load::Load;
use crate::observe::occupancy::{Began, Hold, Occupancy};

/// SplitMix64 (G. Steele, D. Lea, C. Flood, 2014).
#[derive(Debug, Clone)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.uniform()).ln()
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Time {
    Exponential(f64),
    /// Within a tenth of it.
    Steady(f64),
    /// A tenth of them takes ten times as long.
    TenthSlow(f64),
}

impl Time {
    fn draw(self, random: &mut Random) -> f64 {
        match self {
            Self::Exponential(mean) => random.exponential(mean),
            Self::Steady(mean) => mean * (0.9 + 0.2 * random.uniform()),
            Self::TenthSlow(mean) => {
                let slow = random.uniform() < 0.1;
                mean / 1.9 * if slow { 10.0 } else { 1.0 } * (0.9 + 0.2 * random.uniform())
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Arrivals {
    Poisson,
    /// So many at once.
    Batches(u32),
    /// One second of five.
    OnOff,
    /// Twice as many in the second half as in the first.
    Doubles,
    /// Of so many clients, who each wait for their answer: the rate is that of clients who are answered
    /// at once.
    Clients(u32),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Station {
    /// None waits for another.
    Apart,
    /// One after the other.
    Lock,
    /// All share so many processors.
    Shared(f64),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Scenario {
    pub(super) arrivals: Arrivals,
    /// Per second, on average.
    pub(super) rate: f64,
    pub(super) outside: Time,
    pub(super) query: Time,
    pub(super) station: Station,
    pub(super) seconds: f64,
}

#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) load: Load,
    /// Sorted.
    pub(super) waits: Vec<f64>,
}

impl Outcome {
    pub(super) fn quantile(&self, q: f64) -> f64 {
        let rank = (self.waits.len() as f64 * q).ceil() as usize;
        self.waits[rank.clamp(1, self.waits.len()) - 1]
    }
}

impl Scenario {
    fn times(&self, random: &mut Random) -> Vec<f64> {
        let mut times = Vec::new();
        let mut now = 0.0;
        loop {
            let (rate, many) = match self.arrivals {
                Arrivals::Poisson => (self.rate, 1),
                Arrivals::Batches(size) => (self.rate / f64::from(size), size),
                Arrivals::OnOff => (self.rate * 5.0, 1),
                Arrivals::Doubles => (self.rate * 4.0 / 3.0, 1),
                Arrivals::Clients(number) => {
                    return (0..number).map(|_| self.thinks(number, random)).collect();
                }
            };
            now += random.exponential(1.0 / rate);
            match self.arrivals {
                Arrivals::OnOff if now % 5.0 >= 1.0 => {
                    now = (now / 5.0).ceil() * 5.0;
                    continue;
                }
                Arrivals::Doubles if now < self.seconds / 2.0 && random.uniform() < 0.5 => continue,
                _ => {}
            }
            if now >= self.seconds {
                return times;
            }
            times.extend(std::iter::repeat_n(now, many as usize));
        }
    }

    fn thinks(&self, clients: u32, random: &mut Random) -> f64 {
        random.exponential(f64::from(clients) / self.rate)
    }

    pub(super) fn run(&self, size: u32, seed: u64) -> Outcome {
        let mut random = Random(seed);
        let times = self.times(&mut random);
        let pool = Pool::new(*self, size, random);
        pool.run(times)
    }
}

/// Ordered by time.
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

#[derive(Debug, Clone, Copy, Default)]
struct Held {
    from: f64,
    /// What the record had said.
    began: Began,
    queried: f64,
    query: f64,
}

struct Pool {
    scenario: Scenario,
    size: u32,
    random: Random,
    /// Of what happens while the load is observed.
    record: Occupancy,
    now: f64,
    level: u32,
    holds: Vec<Held>,
    queue: VecDeque<usize>,
    /// When somebody's time outside is over.
    outside: BinaryHeap<Reverse<At>>,
    /// When somebody's query at a station apart is over; at a shared one, at which virtual time.
    querying: BinaryHeap<Reverse<At>>,
    virtually: f64,
    locked: VecDeque<usize>,
    lock_free_at: f64,
}

impl Pool {
    fn new(scenario: Scenario, size: u32, random: Random) -> Self {
        Self {
            scenario,
            size,
            random,
            record: Occupancy::new(size),
            now: 0.0,
            level: 0,
            holds: Vec::new(),
            queue: VecDeque::new(),
            outside: BinaryHeap::new(),
            querying: BinaryHeap::new(),
            virtually: 0.0,
            locked: VecDeque::new(),
            lock_free_at: f64::INFINITY,
        }
    }

    fn run(mut self, mut times: Vec<f64>) -> Outcome {
        self.holds = vec![Held::default(); times.len()];
        let mut waits = Vec::with_capacity(times.len());
        let asks = times.iter().enumerate();
        let mut asks: BinaryHeap<_> = asks.map(|(who, at)| Reverse(At(*at, who))).collect();
        loop {
            let arrival = asks.peek().map_or(f64::INFINITY, |e| e.0.0);
            let outside = self.outside.peek().map_or(f64::INFINITY, |e| e.0.0);
            let done = self.next_done();
            let at = arrival.min(outside).min(done);
            if at.is_infinite() {
                break;
            }
            self.advance(at);
            if at == arrival {
                let Some(Reverse(At(_, who))) = asks.pop() else {
                    break;
                };
                self.record.arrived(Duration::ZERO);
                self.queue.push_back(who);
            } else if at == outside {
                let Some(Reverse(At(_, who))) = self.outside.pop() else {
                    break;
                };
                self.query(who);
            } else {
                let who = self.finish();
                self.check_in(who);
                if let Arrivals::Clients(number) = self.scenario.arrivals {
                    let again = self.now + self.scenario.thinks(number, &mut self.random);
                    if again < self.scenario.seconds {
                        asks.push(Reverse(At(again, times.len())));
                        times.push(again);
                        self.holds.push(Held::default());
                    }
                }
            }
            while self.level < self.size {
                let Some(who) = self.queue.pop_front() else {
                    break;
                };
                let wait = self.now - times[who];
                waits.push(wait);
                self.check_out(who, wait);
            }
            self.tell_level();
        }
        waits.sort_by(f64::total_cmp);
        self.record
            .advance(nanos(self.scenario.seconds), || self.size);
        let load = self.record.read().loads().hour;
        Outcome { load, waits }
    }

    /// What is left when the last has arrived is no part of what is observed.
    fn is_observed(&self) -> bool {
        self.now < self.scenario.seconds
    }

    fn shared_by(&self) -> f64 {
        match self.scenario.station {
            Station::Shared(cores) => (cores / self.querying.len() as f64).min(1.0),
            _ => 1.0,
        }
    }

    fn next_done(&self) -> f64 {
        match self.scenario.station {
            Station::Lock => self.lock_free_at,
            Station::Apart => self.querying.peek().map_or(f64::INFINITY, |e| e.0.0),
            Station::Shared(_) => self.querying.peek().map_or(f64::INFINITY, |e| {
                self.now + (e.0.0 - self.virtually).max(0.0) / self.shared_by()
            }),
        }
    }

    fn advance(&mut self, to: f64) {
        self.virtually += (to - self.now) * self.shared_by();
        self.now = to;
        if self.is_observed() {
            self.record.advance(nanos(to), || self.size);
        }
    }

    fn check_out(&mut self, who: usize, queued: f64) {
        self.level += 1;
        self.holds[who] = Held {
            from: self.now,
            ..Held::default()
        };
        if self.is_observed() {
            let queued = Duration::from_secs_f64(queued);
            self.holds[who].began = self.record.granted(queued);
        }
        let outside = self.scenario.outside.draw(&mut self.random);
        self.outside.push(Reverse(At(self.now + outside, who)));
    }

    fn query(&mut self, who: usize) {
        let query = self.scenario.query.draw(&mut self.random);
        self.holds[who].queried = self.now;
        self.holds[who].query = query;
        match self.scenario.station {
            Station::Apart => self.querying.push(Reverse(At(self.now + query, who))),
            Station::Shared(_) => self.querying.push(Reverse(At(self.virtually + query, who))),
            Station::Lock => {
                self.locked.push_back(who);
                if self.locked.len() == 1 {
                    self.lock_free_at = self.now + query;
                }
            }
        }
    }

    fn finish(&mut self) -> usize {
        if matches!(self.scenario.station, Station::Lock) {
            let who = self.locked.pop_front().unwrap();
            self.lock_free_at = self
                .locked
                .front()
                .map_or(f64::INFINITY, |next| self.now + self.holds[*next].query);
            who
        } else {
            self.querying.pop().unwrap().0.1
        }
    }

    fn check_in(&mut self, who: usize) {
        let hold = self.holds[who];
        self.level -= 1;
        if self.is_observed() {
            let since = |from: f64| Duration::from_secs_f64(self.now - from);
            self.record.returned(Hold {
                held: since(hold.from),
                busy: Some(since(hold.queried)),
                began: hold.began,
            });
        }
    }

    fn tell_level(&mut self) {
        if self.is_observed() {
            let waiting = self.queue.len() as u32;
            self.record.set_level(self.level, waiting);
        }
    }
}

fn nanos(seconds: f64) -> u64 {
    Duration::from_secs_f64(seconds).as_nanos() as u64
}
