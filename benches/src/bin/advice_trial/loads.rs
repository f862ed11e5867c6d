//! The loads of the trial: how arrivals come, what they do, and at which sizes they are tried.

use std::time::Duration;

use fastrand::Rng;

use super::work::{Job, Work, exponential};

/// A load, and where it is observed and tried.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) work: Work,
    pub(crate) rate: Rate,
    pub(crate) pattern: Pattern,
    /// In so many rounds it is observed and tried, each a part of the time: one where nothing drifts.
    /// What depends on the machine's speed would else be observed on one machine and tried on another.
    pub(crate) rounds: u32,
    /// Connections with which it is observed.
    pub(crate) observed: u32,
    /// Connections at which it is tried, from too few to enough.
    pub(crate) sizes: &'static [u32],
}

/// How many arrive on average.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rate {
    /// A second.
    Fixed(f64),
    /// As a share of what the machine serves at most with so many connections, for that differs
    /// from machine to machine.
    OfCapacity { share: f64, connections: u32 },
}

/// How arrivals come.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pattern {
    /// Each by chance, whatever the others do.
    Poisson,
    /// By chance as well, but several at once: from `least` to `most`, each equally often.
    Batches { least: u32, most: u32 },
    /// By chance, and in the second half twice as many as in the first.
    Doubling,
    /// By chance, for a second three times as many as in the next.
    OnOff,
}

/// One arrival, at a time from the start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) due: Duration,
    pub(crate) job: Job,
}

/// Those that are always tried, and then those only tried by name.
pub(crate) const USUAL: usize = 6;
pub(crate) const LOADS: &[Load] = &[
    Load {
        name: "application-bound",
        about: "a `SELECT 1`, then 20 ms of the application's own work (gamma, shape 2) with the connection in hand",
        work: Work::Application { mean: 20.0 },
        rate: Rate::Fixed(220.0),
        pattern: Pattern::Poisson,
        rounds: 1,
        observed: 12,
        sizes: &[5, 6, 7, 8, 9, 10],
    },
    Load {
        name: "cpu-bound",
        about: "a query that computes for 3.5 ms (2 to 5 ms), at 65 % of what the machine can do",
        work: Work::Computing { mean: 3.5 },
        rate: Rate::OfCapacity {
            share: 0.65,
            connections: 4,
        },
        pattern: Pattern::Poisson,
        rounds: 4,
        observed: 16,
        sizes: &[2, 3, 4, 5, 6, 8, 10],
    },
    Load {
        name: "hot-row",
        about: "10 ms of the application's work (exponential), then a transaction that updates one row, \
                always the same, and works 3 ms before the commit; at 75 % of what the lock allows",
        work: Work::Row {
            outside: 10.0,
            inside: 3.0,
        },
        rate: Rate::OfCapacity {
            share: 0.75,
            connections: 12,
        },
        pattern: Pattern::Poisson,
        rounds: 1,
        observed: 12,
        sizes: &[3, 4, 5, 6, 7, 8],
    },
    Load {
        name: "tenth-slow",
        about: "queries of 4 ms, and every tenth, by chance, of 60 ms",
        work: Work::Sometimes {
            short: 4.0,
            long: 60.0,
            one_in: 10,
        },
        rate: Rate::Fixed(380.0),
        pattern: Pattern::Poisson,
        rounds: 1,
        observed: 12,
        sizes: &[4, 5, 6, 7, 8, 9],
    },
    Load {
        name: "bursts",
        about: "4 to 8 at once, each then 8 ms of the application's own work (gamma, shape 2)",
        work: Work::Application { mean: 8.0 },
        rate: Rate::Fixed(220.0),
        pattern: Pattern::Batches { least: 4, most: 8 },
        rounds: 1,
        observed: 14,
        sizes: &[4, 6, 7, 8, 9, 10, 11],
    },
    Load {
        name: "doubling",
        about: "as application-bound, and in the second half twice as many as in the first",
        work: Work::Application { mean: 20.0 },
        rate: Rate::Fixed(150.0),
        pattern: Pattern::Doubling,
        rounds: 1,
        observed: 12,
        sizes: &[4, 5, 6, 7, 8, 9],
    },
    Load {
        name: "on-off",
        about: "as application-bound, for a second three times as many as in the next",
        work: Work::Application { mean: 20.0 },
        rate: Rate::Fixed(150.0),
        pattern: Pattern::OnOff,
        rounds: 1,
        observed: 14,
        sizes: &[5, 6, 7, 8, 9, 10, 11],
    },
];

impl Load {
    /// The arrivals of so many seconds, `rate` a second on average.
    pub(crate) fn plan(&self, seed: u64, rate: f64, seconds: f64) -> Vec<Arrival> {
        let mut random = Rng::with_seed(seed);
        let mut arrivals = Vec::new();
        let mut now = 0.0;
        loop {
            now += exponential(&mut random) / self.pattern.epochs(rate, now / seconds, now);
            if now >= seconds {
                return arrivals;
            }
            let together = match self.pattern {
                Pattern::Batches { least, most } => random.u32(least..=most),
                Pattern::Poisson | Pattern::Doubling | Pattern::OnOff => 1,
            };
            for _ in 0..together {
                let job = self.work.draw(&mut random);
                let due = Duration::from_secs_f64(now);
                arrivals.push(Arrival { due, job });
            }
        }
    }
}

impl Pattern {
    /// How often somebody arrives, a second: at this share of the run, so many seconds after its
    /// start.
    fn epochs(self, rate: f64, share: f64, seconds: f64) -> f64 {
        match self {
            Self::Poisson => rate,
            Self::Batches { least, most } => rate * 2.0 / f64::from(least + most),
            Self::Doubling if share < 0.5 => rate * 2.0 / 3.0,
            Self::Doubling => rate * 4.0 / 3.0,
            Self::OnOff if (seconds as u64).is_multiple_of(2) => rate * 1.5,
            Self::OnOff => rate * 0.5,
        }
    }

    /// The share of the run after which the load is what it is at the end.
    pub(crate) fn settled(self) -> f64 {
        match self {
            Self::Doubling => 0.5,
            Self::Poisson | Self::Batches { .. } | Self::OnOff => 0.0,
        }
    }
}
