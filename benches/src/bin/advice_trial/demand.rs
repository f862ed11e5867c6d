//! The demand for connections: arrivals at a rate, or clients that wait for each response.

use std::time::Duration;

use fastrand::Rng;

use super::work::{Job, Work, exponential};

/// The demand. `R` is the rate: as configured, or per second once it is known.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Demand<R> {
    /// Arrivals at given times, independent of earlier ones.
    Open { rate: R, pattern: Pattern },
    /// Clients that repeatedly wait for a response and think.
    Closed(Clients),
}

/// The mean number of arrivals.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rate {
    /// Per second.
    Fixed(f64),
    /// A share of the machine's maximum with this number of connections, because machines differ.
    OfCapacity { share: f64, connections: u32 },
}

/// The clients of a closed load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clients {
    pub(crate) number: u32,
    /// The mean milliseconds between a response and the next request; exponential.
    pub(crate) think: f64,
}

/// The pattern of arrivals.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pattern {
    /// A Poisson process: arrivals are independent.
    Poisson,
    /// A Poisson process of batches of `least` to `most`, each size equally often.
    Batches { least: u32, most: u32 },
    /// A Poisson process whose rate in the second half is twice that in the first.
    Doubling,
    /// A Poisson process whose rate in each odd second is three times that in each even one.
    OnOff,
}

/// One arrival, at a time since the start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) due: Duration,
    pub(crate) job: Job,
}

impl<R> Demand<R> {
    /// The share of the run after which the load is stationary.
    pub(crate) fn settled(&self) -> f64 {
        match self {
            Self::Open {
                pattern: Pattern::Doubling,
                ..
            } => 0.5,
            Self::Open { .. } | Self::Closed(_) => 0.0,
        }
    }

    /// When measuring starts. All clients think first, and need a moment to spread.
    pub(crate) fn measured_from(&self) -> Duration {
        match self {
            Self::Open { .. } => Duration::ZERO,
            Self::Closed(_) => Duration::from_secs(1),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }
}

impl Pattern {
    /// The arrivals of a run, `rate` per second on average.
    pub(crate) fn plan(self, work: Work, seed: u64, rate: f64, seconds: f64) -> Vec<Arrival> {
        let mut random = Rng::with_seed(seed);
        let mut arrivals = Vec::new();
        let mut now = 0.0;
        loop {
            now += exponential(&mut random) / self.epochs(rate, now / seconds, now);
            if now >= seconds {
                return arrivals;
            }
            let together = match self {
                Self::Batches { least, most } => random.u32(least..=most),
                Self::Poisson | Self::Doubling | Self::OnOff => 1,
            };
            for _ in 0..together {
                let job = work.draw(&mut random);
                let due = Duration::from_secs_f64(now);
                arrivals.push(Arrival { due, job });
            }
        }
    }

    /// The rate of arrival epochs per second, at this share of the run and this many seconds after its start.
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
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORK: Work = Work::Application { mean: 1.0 };
    const SECONDS: f64 = 400.0;
    const RATE: f64 = 200.0;

    fn plan(pattern: Pattern) -> Vec<Arrival> {
        pattern.plan(WORK, 7, RATE, SECONDS)
    }

    #[test]
    fn every_pattern_has_the_requested_rate_in_time_order() {
        for pattern in [
            Pattern::Poisson,
            Pattern::Batches { least: 4, most: 8 },
            Pattern::Doubling,
            Pattern::OnOff,
        ] {
            let plan = plan(pattern);
            let rate = plan.len() as f64 / SECONDS;
            assert!((rate / RATE - 1.0).abs() < 0.03, "{pattern:?}: {rate}");
            assert!(plan.is_sorted_by_key(|it| it.due));
            assert!(plan.iter().all(|it| it.due.as_secs_f64() < SECONDS));
        }
    }

    #[test]
    fn doubling_doubles_the_rate_in_the_second_half() {
        let plan = plan(Pattern::Doubling);
        let half = Duration::from_secs_f64(SECONDS / 2.0);
        let first = plan.iter().filter(|it| it.due < half).count();
        let ratio = (plan.len() - first) as f64 / first as f64;
        assert!((ratio - 2.0).abs() < 0.1, "{ratio}");
    }

    #[test]
    fn a_plan_depends_on_its_seed_only() {
        let due = |seed| {
            let plan = Pattern::Poisson.plan(WORK, seed, RATE, 10.0);
            plan.iter().map(|it| it.due).collect::<Vec<_>>()
        };
        assert_eq!(due(1), due(1));
        assert_ne!(due(1), due(2));
    }
}
