//! What a run measured: the waiting of all arrivals, and whether the queue still grew at its end.

use std::time::Duration;

use poolscope_benches::statistics::Sample;

use super::run::Record;

/// A queue that is not this long on average does not count as overload.
const LONG: Duration = Duration::from_millis(50);
/// The share of the waits' variance that a steady growth must explain.
const STEADY: f64 = 0.5;

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
        let first = (records.len() as f64 * settled) as usize;
        let waits = records.iter().map(|it| it.queued).collect();
        Self {
            connections,
            p95: Sample::sorted(waits).quantile(0.95),
            waiting: waiting as f64 / records.len().max(1) as f64,
            overload: records.iter().any(|it| !it.served) || grows(&records[first..]),
        }
    }
}

/// Whether a line through the waits rises, and tells most of what there is to tell of them.
fn grows(records: &[Record]) -> bool {
    let point = |it: &Record| (it.asked.as_secs_f64(), it.queued.as_secs_f64());
    let count = records.len() as f64;
    let (mut x, mut y) = (0.0, 0.0);
    for (asked, queued) in records.iter().map(point) {
        x += asked / count;
        y += queued / count;
    }
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for (asked, queued) in records.iter().map(point) {
        xx += (asked - x) * (asked - x);
        xy += (asked - x) * (queued - y);
        yy += (queued - y) * (queued - y);
    }
    y > LONG.as_secs_f64() && xy > 0.0 && xy * xy > STEADY * xx * yy
}
