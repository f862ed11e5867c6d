//! The hand-over: the time from the return of a connection until the waiting checkout has it, while
//! the waiter's task is woken and polled.

use super::trace::{Checkout, Trace};

/// The minimum number of hand-overs to measure.
const ENOUGH: usize = 20;

/// The longest hand-over, in seconds. A return and a grant that are further apart are unrelated.
const LONGEST: f64 = 0.1;

/// Returns the mean hand-over time, in seconds; 0 if too few were recorded.
pub(crate) fn handover(trace: &Trace) -> f64 {
    let (mut count, mut sum) = (0_usize, 0.0);
    for run in &trace.runs {
        let checkouts = trace.of_run(run).iter();
        let complete = checkouts.clone().filter(|it| it.is_complete());
        let mut returns: Vec<f64> = complete.map(|it| it.returned).collect();
        returns.sort_by(f64::total_cmp);
        let mut returns = returns.into_iter().peekable();
        let waited = checkouts.filter(|it| it.is_served() && it.granted > it.asked);
        let mut waited: Vec<&Checkout> = waited.collect();
        waited.sort_by(|a, b| a.granted.total_cmp(&b.granted));
        // Each returned connection goes to the oldest waiter.
        for Checkout { granted, asked, .. } in waited {
            let is_unrelated = |it: &f64| it < asked || granted - it > LONGEST;
            while returns
                .next_if(|it| it <= granted && is_unrelated(it))
                .is_some()
            {}
            if let Some(returned) = returns.next_if(|it| it <= granted) {
                (count, sum) = (count + 1, sum + granted - returned);
            }
        }
    }
    if count < ENOUGH {
        0.0
    } else {
        sum / count as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advice::model::Model;
    use crate::advice::model::simulator::Station;
    use crate::advice::model::tests::loads::{Coming, Hold, Load, Time};

    fn load(coming: Coming, handover: f64) -> Load {
        let hold = Hold::new(Time::Exponential(0.002), Time::Exponential(0.001));
        Load {
            handover,
            ..Load::new(coming, hold, Station::Free, 21.0)
        }
    }

    #[test]
    fn the_hand_over_is_measured_from_return_to_grant() {
        for (coming, size) in [
            (Coming::Poisson(200.0), 1),
            (Coming::Poisson(400.0), 2),
            (Coming::Clients(6, 0.001), 4),
        ] {
            for time in [0.0, 0.0002, 0.0007] {
                let found = handover(&load(coming, time).run(size, 2).trace);
                assert!(
                    (found - time).abs() < 2e-6 + 0.03 * time,
                    "{found} of {time}"
                );
            }
        }
    }

    #[test]
    fn the_hand_over_is_zero_without_waiters() {
        assert_eq!(
            handover(&load(Coming::Poisson(60.0), 0.5).run(50, 2).trace),
            0.0
        );
        assert_eq!(handover(&Trace::default()), 0.0);
    }

    /// A hand-over belongs to no hold, but makes a connection unavailable.
    #[test]
    fn a_replay_includes_the_hand_over() {
        let load = load(Coming::Poisson(450.0), 0.0006);
        let seen = load.run(2, 2);
        let model = Model::learn(&seen.trace).unwrap();
        let error = |size: u32| model.at(size, 1.0).p95 / load.truth(size, 8) - 1.0;
        for size in [2, 3] {
            assert!(error(size).abs() < 0.25, "{size}: {}", error(size));
        }
    }
}
