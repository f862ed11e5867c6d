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
    /// `settled` is the share of the run after which the load is what it is at the end.
    pub(crate) fn of(connections: u32, records: &[Record], settled: f64) -> Self {
        let queued = |record: &Record| !record.queued.is_zero();
        let waiting = records.iter().filter(|it| queued(it)).count();
        let waits = records.iter().map(|it| it.queued).collect();
        let end = records.last().map_or(Duration::ZERO, |it| it.asked);
        let late: Vec<_> = records
            .iter()
            .filter(|it| it.asked >= end.mul_f64(settled))
            .collect();
        Self {
            connections,
            p95: Sample::sorted(waits).quantile(0.95),
            waiting: waiting as f64 / records.len().max(1) as f64,
            overload: records.iter().any(|it| !it.served) || grows(connections, &late),
        }
    }
}

/// Whether these arrivals needed their connections for longer, in all, than there were connections
/// while they came. What was left to do at their end had then grown; a long queue alone may as well
/// be chance, and be gone a second later.
fn grows(connections: u32, records: &[&Record]) -> bool {
    let (Some(first), Some(last)) = (records.first(), records.last()) else {
        return false;
    };
    let held: Duration = records.iter().map(|it| it.held).sum();
    held >= connections * (last.asked - first.asked)
}
