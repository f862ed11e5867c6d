//! Generated loads: the record of a pool under them, and the true waits at any size.

use crate::advice::model::random::Random;
use crate::advice::model::simulator::{Arrival, Arrivals, Job, Passage, Pool, Station};
use crate::advice::model::{Trace, prediction};
use crate::record::history::{Asked, History, Queries};

/// The distribution of a duration with a mean in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Time {
    Exponential(f64),
    /// Within a tenth of the mean.
    Steady(f64),
    /// A tenth of the values are ten times as long.
    TenthSlow(f64),
    /// Lognormal, with this standard deviation of the logarithm.
    HeavyTailed(f64, f64),
}

impl Time {
    pub(crate) fn draw(self, random: &mut Random) -> f64 {
        match self {
            Self::Exponential(mean) => random.exponential(mean),
            Self::Steady(mean) => mean * (0.9 + 0.2 * random.uniform()),
            Self::TenthSlow(mean) => {
                let factor = if random.uniform() < 0.1 { 10.0 } else { 1.0 };
                factor * Self::Steady(mean / 1.9).draw(random)
            }
            Self::HeavyTailed(mean, sigma) => {
                // Box-Muller transform.
                let radius = (-2.0 * (1.0 - random.uniform()).ln()).sqrt();
                let normal = radius * (std::f64::consts::TAU * random.uniform()).cos();
                mean * (sigma * normal - sigma * sigma / 2.0).exp()
            }
        }
    }

    fn mean(self) -> f64 {
        match self {
            Self::Exponential(mean)
            | Self::Steady(mean)
            | Self::TenthSlow(mean)
            | Self::HeavyTailed(mean, _) => mean,
        }
    }
}

/// The arrival process of checkouts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Coming {
    /// This many per second, independent of each other.
    Poisson(f64),
    /// Bursts of four to eight at once.
    Bursts(f64),
    /// Only in every other second.
    OnOff(f64),
    /// Twice the rate in the second half.
    Doubling(f64),
    /// By requests that each check out three connections in sequence.
    Requests(f64),
    /// By this many clients with this mean think time, in seconds.
    Clients(u32, f64),
}

/// The holds of one call site.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hold {
    /// Time before the queries.
    pub(crate) outside: Time,
    /// Time in queries without slowdown.
    pub(crate) query: Time,
    /// Time between the first query and the last, during which the hold keeps the station.
    pub(crate) between: Option<Time>,
    /// Whether the queries pass the station.
    pub(crate) visits: bool,
}

impl Hold {
    pub(crate) const fn new(outside: Time, query: Time) -> Self {
        Self {
            outside,
            query,
            between: None,
            visits: true,
        }
    }

    fn inside(&self) -> f64 {
        self.query.mean() + self.between.map_or(0.0, Time::mean)
    }
}

/// A load and the server that serves it.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) coming: Coming,
    /// The holds by call site; all are equally frequent.
    pub(crate) holds: Vec<Hold>,
    pub(crate) station: Station,
    pub(crate) watched: bool,
    /// Seconds from the return of a connection until a waiter has it.
    pub(crate) handover: f64,
    pub(crate) seconds: f64,
}

/// A generated checkout.
#[derive(Debug, Clone, Copy, Default)]
struct Made {
    job: Job,
    place: u16,
    request: u32,
    /// Time at the station without a query.
    between: f64,
}

/// The result of a simulated load.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) trace: Trace,
    /// Seconds queued, sorted.
    pub(crate) waits: Vec<f64>,
    /// Each checkout with its call site.
    pub(crate) passages: Vec<(u16, Passage)>,
}

impl Seen {
    pub(crate) fn p95(&self) -> f64 {
        prediction::quantile(&self.waits, 0.95)
    }
}

impl Load {
    pub(crate) fn new(coming: Coming, hold: Hold, station: Station, seconds: f64) -> Self {
        Self {
            coming,
            holds: vec![hold],
            station,
            watched: true,
            handover: 0.0,
            seconds,
        }
    }

    /// Simulates the load with a pool of this size.
    pub(crate) fn run(&self, size: u32, seed: u64) -> Seen {
        let (passages, made) = self.pass(size, seed);
        let until = passages.last().map_or(0.0, |it| it.asked.min(self.seconds));
        let mut waits: Vec<f64> = passages.iter().map(Passage::queued).collect();
        waits.sort_by(f64::total_cmp);
        Seen {
            trace: self.record(&passages, &made, size, until),
            waits,
            passages: passages
                .iter()
                .map(|it| (made[it.job].place, *it))
                .collect(),
        }
    }

    /// Returns the p95 of the time queued over several runs, in seconds.
    pub(crate) fn truth(&self, size: u32, runs: u64) -> f64 {
        let waits = (0..runs).flat_map(|run| self.pass(size, 1000 + run).0);
        let mut waits: Vec<f64> = waits.map(|it| it.queued()).collect();
        waits.sort_by(f64::total_cmp);
        prediction::quantile(&waits, 0.95)
    }

    fn pass(&self, size: u32, seed: u64) -> (Vec<Passage>, Vec<Made>) {
        let mut random = Random::new(seed);
        let (arrivals, requests) = self.arrivals(&mut random);
        let count = match self.coming {
            Coming::Clients(number, think) => self.most(size, number, think) as usize,
            _ => arrivals.len(),
        };
        let made: Vec<Made> = (0..count)
            .map(|index| {
                let request = requests.get(index).copied().unwrap_or_default();
                self.make(request, &mut random)
            })
            .collect();
        let jobs: Vec<Job> = made.iter().map(|it| it.job).collect();
        let pool = Pool {
            connections: size,
            station: self.station,
            handover: self.handover,
        };
        let passages = match self.coming {
            Coming::Clients(clients, think) => {
                let arrivals = Arrivals::Closed {
                    clients,
                    think,
                    seed,
                };
                pool.run(&jobs, arrivals)
            }
            _ => pool.run(&jobs, Arrivals::Open(&arrivals)),
        };
        (passages, made)
    }

    /// Returns an upper bound of the clients' checkouts within the time.
    fn most(&self, size: u32, clients: u32, think: f64) -> f64 {
        let holds = self.holds.len() as f64;
        let mean = |of: &dyn Fn(&Hold) -> f64| self.holds.iter().map(of).sum::<f64>() / holds;
        let held = mean(&|hold| hold.outside.mean() + hold.inside());
        let inside = mean(&|hold| if hold.visits { hold.inside() } else { 0.0 });
        let server = match self.station {
            Station::Free => f64::INFINITY,
            Station::Lock => 1.0 / inside,
            Station::Shared(processors) => processors / inside,
        };
        let pool = f64::from(size) / held;
        let rate = server.min(pool).min(f64::from(clients) / (think + held));
        1.1 * rate * self.seconds + f64::from(clients)
    }

    fn make(&self, request: u32, random: &mut Random) -> Made {
        let place = random.below(self.holds.len());
        let hold = &self.holds[place];
        let between = hold.between.map_or(0.0, |time| time.draw(random));
        let (outside, query) = (hold.outside.draw(random), hold.query.draw(random));
        let (inside, after) = match hold.visits {
            true => (query + between, 0.0),
            false => (0.0, query + between),
        };
        Made {
            job: Job {
                before: outside,
                inside,
                after,
            },
            place: place as u16,
            request,
            between,
        }
    }

    /// Returns the times of open arrivals and their requests.
    fn arrivals(&self, random: &mut Random) -> (Vec<Arrival>, Vec<u32>) {
        let (mut arrivals, mut requests) = (Vec::new(), Vec::new());
        let (mut now, mut request) = (0.0, 0);
        let rate = match self.coming {
            Coming::Poisson(rate) => rate,
            Coming::Bursts(rate) => rate / 6.0,
            Coming::OnOff(rate) => rate * 2.0,
            Coming::Doubling(rate) => rate * 4.0 / 3.0,
            Coming::Requests(rate) => rate / 3.0,
            Coming::Clients(..) => return (arrivals, requests),
        };
        loop {
            now += random.exponential(1.0 / rate);
            if now >= self.seconds {
                return (arrivals, requests);
            }
            let first = Arrival::At(now);
            match self.coming {
                Coming::OnOff(_) if now % 2.0 >= 1.0 => {}
                Coming::Doubling(_) if now < self.seconds / 2.0 && random.uniform() < 0.5 => {}
                Coming::Bursts(_) => {
                    arrivals.extend(std::iter::repeat_n(first, 4 + random.below(5)));
                }
                Coming::Requests(_) => {
                    request += 1;
                    arrivals.push(first);
                    for _ in 0..2 {
                        let gap = random.exponential(0.005);
                        arrivals.push(Arrival::After(arrivals.len() - 1, gap));
                    }
                    requests.extend([request; 3]);
                }
                _ => arrivals.push(first),
            }
        }
    }

    /// Returns the record that the pool would keep of it.
    fn record(&self, passages: &[Passage], made: &[Made], size: u32, until: f64) -> Trace {
        #[derive(PartialEq, Eq, PartialOrd, Ord)]
        enum Event {
            Returned,
            Asked,
            Granted,
        }
        let mut events: Vec<(u64, Event, usize)> = Vec::with_capacity(3 * passages.len());
        for (index, passage) in passages.iter().enumerate() {
            events.push((nanos(passage.asked), Event::Asked, index));
            events.push((nanos(passage.granted), Event::Granted, index));
            events.push((nanos(passage.returned), Event::Returned, index));
        }
        events.retain(|event| event.0 <= nanos(until));
        events.sort();
        let mut history = History::new(size);
        let mut positions = vec![None; passages.len()];
        for (now, event, index) in events {
            let (passage, made) = (&passages[index], &made[passages[index].job]);
            match event {
                Event::Asked => history.asked(),
                Event::Granted => {
                    let asked = Asked {
                        asked: nanos(passage.asked),
                        request: made.request,
                        place: made.place,
                    };
                    positions[index] = history.granted(now, now, asked);
                }
                Event::Returned => {
                    let (first, last) = match made.job.inside > 0.0 {
                        true => (passage.came, passage.left),
                        false => (passage.granted + made.job.before, passage.returned),
                    };
                    let queries = Queries {
                        between: Some((nanos(first), nanos(last))),
                        busy: nanos((last - first - made.between).max(0.0)),
                    };
                    if let Some(position) = positions[index] {
                        history.returned(position, now, self.watched.then_some(queries));
                    }
                }
            }
        }
        Trace::of(&history.read(nanos(until)).recent)
    }
}

fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}
