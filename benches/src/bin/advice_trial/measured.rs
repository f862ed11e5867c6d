//! The measurements of a run: the waits of all checkouts, and overload.

use std::time::Duration;

use poolscope_benches::statistics::Sample;

use super::demand::Demand;
use super::run::Record;

/// The measurements at one size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) connections: u32,
    /// The number of measured checkouts.
    pub(crate) checkouts: usize,
    /// The p95 of the queue time of all checkouts.
    pub(crate) p95: Duration,
    /// The share that queued.
    pub(crate) waiting: f64,
    /// A checkout timed out, or the queue grew until the end. Never true for clients, which ask less often
    /// the longer they wait.
    pub(crate) overload: bool,
}

impl Measured {
    pub(crate) fn of<R>(connections: u32, rounds: &[Vec<Record>], demand: &Demand<R>) -> Self {
        let from = demand.measured_from();
        let all = || rounds.iter().flatten().filter(|it| it.asked >= from);
        let checkouts = all().count();
        let waiting = all().filter(|it| it.queued).count();
        let gave_up = all().any(|it| it.hold.is_none());
        Self {
            connections,
            checkouts,
            p95: Sample::sorted(all().map(Record::wait).collect()).quantile(0.95),
            waiting: waiting as f64 / checkouts.max(1) as f64,
            overload: !demand.is_closed()
                && (gave_up || grows(connections, rounds, demand.settled())),
        }
    }
}

/// Whether the late arrivals needed more connection time in total than existed while they arrived. The
/// remaining work had then grown until the end. A long queue alone may be chance, and gone a second
/// later.
///
/// `settled` is the share of a run after which the load is stationary.
fn grows(connections: u32, rounds: &[Vec<Record>], settled: f64) -> bool {
    let (mut held, mut time) = (Duration::ZERO, Duration::ZERO);
    for records in rounds {
        let end = records.last().map_or(Duration::ZERO, |it| it.asked);
        let late = || records.iter().filter(|it| it.asked >= end.mul_f64(settled));
        held += late().map(Record::held).sum::<Duration>();
        time += late()
            .next()
            .map_or(Duration::ZERO, |first| end - first.asked);
    }
    !time.is_zero() && held >= connections * time
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demand::{Clients, Pattern};
    use crate::run::Hold;
    use crate::work::Route;

    const OPEN: Demand<f64> = Demand::Open {
        rate: 1.0,
        pattern: Pattern::Poisson,
    };
    const CLOSED: Demand<f64> = Demand::Closed(Clients {
        number: 2,
        think: 1.0,
    });

    /// One checkout every 100 ms, which waits and then holds.
    fn records(wait: u64, held: u64) -> Vec<Record> {
        let ms = Duration::from_millis;
        (0..20)
            .map(|n| ms(100 * n))
            .map(|asked| Record {
                due: asked,
                asked,
                answered: asked + ms(wait),
                queued: wait > 0,
                route: Route::First,
                hold: Some(Hold {
                    first_query_begun: asked + ms(wait),
                    last_query_ended: asked + ms(wait),
                    busy: Duration::ZERO,
                    returned: asked + ms(wait + held),
                }),
            })
            .collect()
    }

    #[test]
    fn arrivals_beyond_the_capacity_are_an_overload() {
        assert!(!Measured::of(1, &[records(0, 90)], &OPEN).overload);
        assert!(Measured::of(1, &[records(7, 110)], &OPEN).overload);
    }

    #[test]
    fn clients_are_never_an_overload_and_are_measured_after_one_second() {
        let measured = Measured::of(1, &[records(7, 110)], &CLOSED);
        assert!(!measured.overload);
        assert_eq!(measured.checkouts, 10);
        assert_eq!(measured.p95, Duration::from_millis(7));
    }
}
