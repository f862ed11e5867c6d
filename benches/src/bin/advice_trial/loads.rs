//! The loads of the trial, and the sizes at which they run.

use super::demand::{Clients, Demand, Pattern, Rate};
use super::work::Work;

/// A load, and the sizes at which it is observed and run.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) work: Work,
    pub(crate) demand: Demand<Rate>,
    /// The number of rounds of observation and runs, each a part of the time. One if nothing drifts; several
    /// if the load depends on the machine's speed, which would otherwise differ between observation and run.
    pub(crate) rounds: u32,
    /// How many sizes run concurrently. One, if they would compete for the processors.
    pub(crate) at_once: usize,
    /// Connections during the observation.
    pub(crate) observed: u32,
    /// Connections of the runs, from too few to enough.
    pub(crate) sizes: &'static [u32],
}

/// The first ones run by default, the others only by name.
pub(crate) const BY_DEFAULT: usize = 9;
pub(crate) const LOADS: &[Load] = &[
    Load {
        name: "application-bound",
        about: "Each checkout does a `SELECT 1`, then 20 ms of work in the application (gamma distribution, \
                shape 2) while it holds the connection",
        work: Work::Application { mean: 20.0 },
        demand: poisson(220.0),
        rounds: 1,
        at_once: TOGETHER,
        observed: 12,
        sizes: &[5, 6, 7, 8, 9, 10],
    },
    Load {
        name: "cpu-bound",
        about: "Each checkout does one query that computes for 3.5 ms (2 to 5 ms); arrivals are 65 % of the \
                machine's capacity",
        work: Work::Computing { mean: 3.5 },
        demand: Demand::Open {
            rate: Rate::OfCapacity {
                share: 0.65,
                connections: 4,
            },
            pattern: Pattern::Poisson,
        },
        rounds: 4,
        at_once: 1,
        observed: 16,
        sizes: &[2, 3, 4, 5, 6, 8],
    },
    Load {
        name: "hot-row",
        about: "Each checkout does 10 ms of work in the application (exponential distribution), then a \
                transaction that updates one row, always the same, and works for 3 ms before the commit; \
                arrivals are 75 % of the lock's capacity",
        work: Work::Row {
            outside: 10.0,
            inside: 3.0,
        },
        demand: Demand::Open {
            rate: Rate::OfCapacity {
                share: 0.75,
                connections: 12,
            },
            pattern: Pattern::Poisson,
        },
        rounds: 1,
        at_once: TOGETHER,
        observed: 12,
        sizes: &[3, 4, 5, 6, 7, 8],
    },
    Load {
        name: "tenth-slow",
        about: "Each checkout does one query of 4 ms, or, in one of ten at random, of 60 ms",
        work: Work::Sometimes {
            short: 4.0,
            long: 60.0,
            one_in: 10,
        },
        demand: poisson(380.0),
        rounds: 1,
        // More of them compete for the processors with 380 queries a second each.
        at_once: 2,
        observed: 12,
        sizes: &[4, 5, 6, 7, 8, 9],
    },
    Load {
        name: "bursts",
        about: "Arrivals come 4 to 8 at a time; each does 8 ms of work in the application (gamma \
                distribution, shape 2)",
        work: Work::Application { mean: 8.0 },
        demand: Demand::Open {
            rate: Rate::Fixed(220.0),
            pattern: Pattern::Batches { least: 4, most: 8 },
        },
        rounds: 1,
        at_once: TOGETHER,
        observed: 14,
        sizes: &[4, 6, 7, 8, 9, 10, 11],
    },
    Load {
        name: "doubling",
        about: "The work is that of application-bound; the second half has twice as many arrivals as the first",
        work: Work::Application { mean: 20.0 },
        demand: Demand::Open {
            rate: Rate::Fixed(150.0),
            pattern: Pattern::Doubling,
        },
        rounds: 1,
        at_once: TOGETHER,
        observed: 12,
        sizes: &[4, 5, 6, 7, 8, 9],
    },
    Load {
        name: "closed",
        about: "Each client waits for its answer and thinks for 5 ms (exponential distribution) before it asks \
                again; each checkout does a `SELECT 1`, then 10 ms of work in the application (gamma \
                distribution, shape 2)",
        work: Work::Application { mean: 10.0 },
        demand: Demand::Closed(Clients {
            number: 16,
            think: 5.0,
        }),
        rounds: 1,
        // Sixteen clients send up to a thousand requests per second.
        at_once: 4,
        observed: 6,
        sizes: &[3, 4, 5, 6, 8, 10, 12],
    },
    Load {
        name: "heavy-tailed",
        about: "Each checkout does a `SELECT 1`, then 20 ms of work in the application (lognormal distribution, \
                sigma 1.5, one second at most)",
        work: Work::HeavyTailed {
            mean: 20.0,
            sigma: 1.5,
            most: 1000.0,
        },
        demand: poisson(220.0),
        rounds: 1,
        at_once: TOGETHER,
        observed: 14,
        sizes: &[6, 7, 8, 9, 10, 11, 12],
    },
    Load {
        name: "two-routes",
        about: "One route has 30 % of the arrivals and does the work of hot-row, with 6 ms inside the \
                transaction; the other does a `SELECT 1`, then 15 ms of work in the application (gamma \
                distribution, shape 2)",
        work: Work::TwoRoutes {
            first_pct: 30,
            first: &Work::Row {
                outside: 10.0,
                inside: 6.0,
            },
            second: &Work::Application { mean: 15.0 },
        },
        demand: poisson(300.0),
        rounds: 1,
        at_once: TOGETHER,
        observed: 16,
        sizes: &[6, 7, 8, 9, 10, 11, 12],
    },
    Load {
        name: "on-off",
        about: "The work is that of application-bound; each odd second has three times as many arrivals as \
                each even one",
        work: Work::Application { mean: 20.0 },
        demand: Demand::Open {
            rate: Rate::Fixed(150.0),
            pattern: Pattern::OnOff,
        },
        rounds: 1,
        at_once: TOGETHER,
        observed: 14,
        sizes: &[5, 6, 7, 8, 9, 10, 11],
    },
];

/// Runs the observation and all sizes concurrently.
const TOGETHER: usize = usize::MAX;

const fn poisson(rate: f64) -> Demand<Rate> {
    Demand::Open {
        rate: Rate::Fixed(rate),
        pattern: Pattern::Poisson,
    }
}
