//! Detects clients that each wait for a response before the next request, such as workers or a load test.
//!
//! While `n` of `C` clients hold a connection or wait for one, the other `C - n` think, each for a
//! mean time `Z`: the arrival rate is `(C - n) / Z`. The rate of open arrivals does not depend on `n`.
//! The likelihood of the record decides between the two.

use super::trace::{Checkout, Trace};

/// A closed load: a fixed number of clients that wait for their responses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Clients {
    pub(crate) number: u32,
    /// Mean think time from a response to the next checkout, in seconds.
    pub(crate) think: f64,
}

/// The share of each run to skip, because the other clients at its start are unknown.
const UNSETTLED: f64 = 0.1;

/// The minimum log-likelihood ratio in favour of clients, in multiples of the dispersion: clumped arrivals
/// are fewer independent observations than they seem.
const SURE: f64 = 12.0;

/// The minimum squared coefficient of variation of the times between arrivals of clients. Arrivals of
/// a timer are more regular, and would look as if they waited for each other.
const REGULAR: f64 = 0.5;

/// Clients with a shorter think time cannot be distinguished from a timer, in seconds.
const AT_ONCE: f64 = 1e-6;

/// The maximum number of clients, as a multiple of the most seen at once. More are like open arrivals.
const MOST: u32 = 20;

/// The time in which a number of clients hold a connection or wait, and the arrivals in it.
#[derive(Debug, Clone, Copy, Default)]
struct TimeAtLevel {
    seconds: f64,
    arrivals: f64,
}

impl Clients {
    /// Returns the clients of a record; `None` for open arrivals.
    pub(crate) fn of(trace: &Trace) -> Option<Self> {
        let mut levels: Vec<TimeAtLevel> = Vec::new();
        for run in &trace.runs {
            let from = run.from + UNSETTLED * run.seconds();
            for step in steps(trace.of_run(run), from) {
                if levels.len() <= step.there {
                    levels.resize(step.there + 1, TimeAtLevel::default());
                }
                let level = &mut levels[step.there];
                level.seconds += step.seconds;
                level.arrivals += f64::from(step.asks);
            }
        }
        let most = levels.iter().rposition(|level| level.arrivals > 0.0)?;
        let first = u32::try_from(most).ok()?.checked_add(1)?;
        let arrivals: f64 = levels.iter().map(|level| level.arrivals).sum();
        let all: f64 = levels.iter().map(|level| level.seconds).sum();
        let mut best: Option<(f64, f64)> = None;
        let mut clients = f64::from(first);
        while clients <= f64::from(first) * f64::from(MOST) {
            let likely = likelihood(&levels, clients, arrivals);
            if best.is_none_or(|best| likely > best.0) {
                best = Some((likely, clients));
            }
            clients += (clients / 64.0).floor().max(1.0);
        }
        let (likely, clients) = best?;
        let ratio = likely + arrivals * all.ln();
        if ratio < SURE {
            return None;
        }
        let think = idle(&levels, clients) / arrivals;
        let found = Self {
            number: clients as u32,
            think,
        };
        if think < AT_ONCE {
            return Some(found);
        }
        let variation = found.variation(trace);
        (variation >= REGULAR && ratio >= SURE * variation).then_some(found)
    }

    /// Returns the squared coefficient of variation of the times between arrivals, on a clock that runs
    /// at the rate of thinking clients and stops while none of them thinks.
    fn variation(&self, trace: &Trace) -> f64 {
        let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
        for run in &trace.runs {
            let mut since = 0.0;
            for step in steps(trace.of_run(run), run.from) {
                let thinking = (f64::from(self.number) - step.there as f64).max(0.0);
                since += step.seconds * thinking / self.think;
                if step.asks {
                    (count, sum, squares) = (count + 1.0, sum + since, squares + since * since);
                    since = 0.0;
                }
            }
        }
        let mean: f64 = sum / count;
        (squares / count - mean * mean) / (mean * mean)
    }
}

/// Returns the think time of all clients, in client-seconds.
fn idle(levels: &[TimeAtLevel], clients: f64) -> f64 {
    let levels = levels.iter().enumerate();
    levels
        .map(|(n, level)| (clients - n as f64).max(0.0) * level.seconds)
        .sum()
}

/// Returns the log-likelihood, without the terms that do not depend on the number of clients.
fn likelihood(levels: &[TimeAtLevel], clients: f64, arrivals: f64) -> f64 {
    let asked = levels.iter().enumerate();
    let asked: f64 = asked
        .filter(|(_, level)| level.arrivals > 0.0)
        .map(|(n, level)| level.arrivals * (clients - n as f64).ln())
        .sum();
    asked - arrivals * idle(levels, clients).ln()
}

/// The time between two events.
struct Interval {
    seconds: f64,
    /// The number of clients that hold a connection or wait.
    there: usize,
    /// Whether a checkout arrives at the end.
    asks: bool,
}

/// Returns the steps from `from` to the last arrival, which is not counted. Later checkouts that still
/// wait at the end of the run are not recorded.
fn steps(checkouts: &[Checkout], from: f64) -> Vec<Interval> {
    let until = checkouts.last().map_or(0.0, |last| last.asked);
    let leaves = checkouts.iter().map(|it| (it.returned, false));
    let asks = checkouts.iter().map(|it| (it.asked, true));
    let mut events: Vec<(f64, bool)> = leaves.chain(asks).filter(|it| it.0 < until).collect();
    // At the same time, departures precede arrivals.
    events.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    events.push((until, false));
    let (mut now, mut there) = (from, 0_usize);
    let mut steps = Vec::with_capacity(events.len());
    for (at, asks) in events {
        if at >= from {
            let seconds = at - now;
            steps.push(Interval {
                seconds,
                there,
                asks,
            });
            now = at;
        }
        there = match asks {
            true => there + 1,
            false => there.saturating_sub(1),
        };
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advice::model::simulator::Station;
    use crate::advice::model::tests::loads::{Coming, Hold, Load, Time};

    const HOLD: Hold = Hold::new(Time::Exponential(0.008), Time::Steady(0.002));

    fn found(
        coming: Coming,
        station: Station,
        size: u32,
        seconds: f64,
        seed: u64,
    ) -> Option<Clients> {
        let load = Load::new(coming, HOLD, station, seconds);
        Clients::of(&load.run(size, seed).trace)
    }

    #[test]
    fn clients_are_counted_for_any_division_of_their_time() {
        for (number, think, size, station) in [
            (12, 0.0, 6, Station::Free),
            (12, 0.0, 12, Station::Free),
            (16, 0.002, 5, Station::Free),
            (12, 0.015, 6, Station::Free),
            (20, 0.01, 8, Station::Lock),
            (10, 0.005, 8, Station::Shared(1.5)),
        ] {
            for (seed, seconds) in [(1, 20.0), (2, 20.0), (3, 40.0), (4, 60.0)] {
                let coming = Coming::Clients(number, think);
                let found = found(coming, station, size, seconds, seed);
                let found = found.unwrap_or_else(|| panic!("{number} {think} at {seconds} s"));
                assert_eq!(found.number, number, "{found:?}");
                assert!(
                    (found.think - think).abs() < 0.1 * think + 1e-5,
                    "{found:?}"
                );
            }
        }
    }

    #[test]
    fn open_arrivals_are_not_mistaken_for_clients() {
        for (coming, size) in [
            (Coming::Poisson(400.0), 5),
            (Coming::Poisson(600.0), 12),
            (Coming::Bursts(400.0), 8),
            (Coming::OnOff(300.0), 8),
            (Coming::Doubling(400.0), 7),
            (Coming::Requests(400.0), 8),
            // The pool is overloaded.
            (Coming::Poisson(600.0), 5),
        ] {
            for (seed, seconds) in [(1, 20.0), (2, 20.0), (3, 40.0), (4, 60.0)] {
                let found = found(coming, Station::Free, size, seconds, seed);
                assert_eq!(found, None, "{coming:?} at {seconds} s");
            }
        }
    }

    #[test]
    fn timers_and_empty_traces_have_no_clients() {
        let checkouts = (0..5000).map(|n| {
            let asked = f64::from(n) * 0.01;
            Checkout {
                asked,
                granted: asked,
                returned: asked + 0.025,
                queries: None,
                request: 0,
                place: 0,
                size: 4,
            }
        });
        let mut trace = Trace::default();
        assert_eq!(Clients::of(&trace), None);
        trace.add(checkouts.collect(), 0.0, 50.0, 0.0);
        assert_eq!(Clients::of(&trace), None);
    }
}
