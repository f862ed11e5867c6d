//! What a run measured: the waiting of all arrivals, and whether there was too much to do.

use std::time::Duration;

use poolscope_benches::statistics::Sample;

use super::run::Record;

/// What was measured at one size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) connections: u32,
    /// The p95 of the time queued, of all arrivals.
    pub(crate) p95: Duration,
    /// The share that queued at all.
    pub(crate) waiting: f64,
    /// Some waited in vain, or the queue grew to the end.
    pub(crate) overload: bool,
}

impl Measured {
    /// `settled` is the share of a run after which the load is what it is at the end.
    pub(crate) fn of(connections: u32, rounds: &[Vec<Record>], settled: f64) -> Self {
        let all = || rounds.iter().flatten();
        let waiting = all().filter(|it| !it.queued.is_zero()).count();
        let waits = all().map(|it| it.queued).collect();
        Self {
            connections,
            p95: Sample::sorted(waits).quantile(0.95),
            waiting: waiting as f64 / all().count().max(1) as f64,
            overload: all().any(|it| !it.served) || grows(connections, rounds, settled),
        }
    }
}

/// Whether the late arrivals needed their connections for longer, in all, than there were connections
/// while they came. What was left to do at their end had then grown; a long queue alone may as well
/// be chance, and be gone a second later.
fn grows(connections: u32, rounds: &[Vec<Record>], settled: f64) -> bool {
    let (mut held, mut time) = (Duration::ZERO, Duration::ZERO);
    for records in rounds {
        let end = records.last().map_or(Duration::ZERO, |it| it.asked);
        let late = || records.iter().filter(|it| it.asked >= end.mul_f64(settled));
        held += late().map(|it| it.held).sum::<Duration>();
        time += late()
            .next()
            .map_or(Duration::ZERO, |first| end - first.asked);
    }
    !time.is_zero() && held >= connections * time
}
