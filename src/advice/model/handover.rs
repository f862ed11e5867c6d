//! The time from the return of a connection until a checkout that waits for it has it: the waiter's
//! task has to be woken, and polled.

use std::collections::VecDeque;

use super::trace::Trace;

/// Fewer are no measure.
const ENOUGH: usize = 20;

/// A waiter that did not come within this many seconds was not handed a connection then.
const LONGEST: f64 = 0.1;

/// The mean hand-over, in seconds; 0 where too few were seen.
pub(crate) fn handover(trace: &Trace) -> f64 {
    let (mut count, mut sum) = (0_usize, 0.0);
    for run in &trace.runs {
        let checkouts = trace.of_run(run);
        let mut returns: Vec<f64> = checkouts
            .iter()
            .filter(|it| it.is_complete())
            .map(|it| it.returned)
            .collect();
        returns.sort_by(f64::total_cmp);
        let mut grants: Vec<(f64, f64)> = checkouts
            .iter()
            .filter(|it| it.is_served() && it.granted > it.asked)
            .map(|it| (it.granted, it.asked))
            .collect();
        grants.sort_by(|a, b| a.0.total_cmp(&b.0));
        // The first return that somebody was waiting for goes to the first who waits.
        let mut returns = returns.into_iter().peekable();
        let mut freed: VecDeque<f64> = VecDeque::new();
        for (granted, asked) in grants {
            while let Some(returned) = returns.next_if(|it| *it <= granted) {
                freed.push_back(returned);
            }
            while freed
                .front()
                .is_some_and(|it| *it < asked || granted - it > LONGEST)
            {
                freed.pop_front();
            }
            if let Some(returned) = freed.pop_front() {
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
