//! The accuracy of the advice: each minute is compared once, by whoever asks first after it has ended.

use std::sync::{Mutex, PoisonError};

use super::clock::MINUTE;
use super::recorder::Recorder;
use crate::advise::{Accuracy, Score};

#[derive(Debug, Default)]
pub(super) struct Scored(Mutex<Score>);

impl Recorder {
    /// How good the predictions were, of the complete minutes of the last hour. Who comes while a
    /// minute is compared waits for it, rather than compare it too.
    pub(crate) fn accuracy(&self) -> Option<Accuracy> {
        let mut score = self.scored.0.lock().unwrap_or_else(PoisonError::into_inner);
        if score.ended() < self.clock.now() / MINUTE {
            let reading = self.occupancy();
            score.update(&reading.minutes, reading.ended);
        }
        score.accuracy()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::{Instant, sleep_until};

    use super::*;
    use crate::checkout::Checkout;
    use crate::inventory::{Counts, Inventory};
    use crate::observe::families::{FAMILIES, Kind};
    use crate::observe::leaks::Leaks;
    use crate::observe::ledger::Holder;
    use crate::observe::metrics::Metrics;
    use crate::observe::span::Tracing;
    use crate::phase::{Phase, Phases};

    /// Exponential times of this mean, the same ones each time.
    struct Times(u64);

    impl Times {
        fn next(&mut self, mean: f64) -> Duration {
            // Knuth's MMIX generator; its upper half is random enough.
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
            self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
            let uniform = (f64::from((self.0 >> 32) as u32) + 1.0) / (f64::from(u32::MAX) + 2.0);
            Duration::from_secs_f64(-mean * uniform.ln())
        }
    }

    struct OneAllowed;

    impl Inventory for OneAllowed {
        fn counts(&self) -> Counts {
            Counts::new(1, 0, 1, 0)
        }
    }

    fn holder(waited: Duration) -> Holder {
        Holder {
            waited,
            ..Holder::bare(Checkout::new())
        }
    }

    /// A hundred a second, at random, that hold the one connection for 7 ms on average.
    async fn one_connection(recorder: &Arc<Recorder>, until: Instant) {
        let mut times = Times(7);
        let mut waiting = VecDeque::new();
        let mut held: Option<(u32, Instant)> = None;
        let mut arrives = Instant::now();
        while arrives < until {
            match held {
                Some((key, ends)) if ends <= arrives => {
                    sleep_until(ends).await;
                    recorder.returned(key);
                    held = waiting.pop_front().map(|(since, waiter)| {
                        let queued = ends.saturating_duration_since(since);
                        let phases = Phases {
                            queued,
                            ..Phases::default()
                        };
                        let key = recorder.granted(holder(queued), Some(waiter), Some(phases));
                        (key, ends + times.next(0.007))
                    });
                }
                _ => {
                    sleep_until(arrives).await;
                    if held.is_none() {
                        let phases = Some(Phases::default());
                        let key = recorder.granted(holder(Duration::ZERO), None, phases);
                        held = Some((key, arrives + times.next(0.007)));
                    } else {
                        let waiter = recorder.queued(arrives, Some(Phase::Queued));
                        waiting.push_back((arrives, waiter));
                    }
                    arrives += times.next(0.01);
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_predicted_of_a_pool_is_compared_and_is_a_metric() {
        let recorder = Recorder::new(
            Arc::from("orders"),
            Tracing::new(None),
            Metrics::new(None),
            Duration::MAX,
            Leaks::new(None),
            Box::new(OneAllowed),
        );
        let metric = || {
            let family = FAMILIES
                .into_iter()
                .find(|family| family.name == "poolscope.advice.error");
            let Kind::Gauge(read) = family.unwrap().kind else {
                panic!("it is a gauge");
            };
            let mut values = Vec::new();
            read(&recorder, &mut |value, attributes| {
                assert!(attributes.is_empty());
                values.push(value);
            });
            values
        };
        assert_eq!(metric(), Vec::<f64>::new(), "nothing was measured yet");

        one_connection(&recorder, Instant::now() + Duration::from_secs(365)).await;
        let accuracy = recorder.accuracy().unwrap();
        assert_eq!((accuracy.compared, accuracy.skipped), (5, 1));
        assert_eq!((accuracy.queueing, accuracy.at_new_sizes), (5, 0));
        assert_eq!(
            (accuracy.last.connections, accuracy.last.minutes_ago),
            (1, 0)
        );
        let error = accuracy.median_error_queueing_pct.unwrap();
        assert!(error < 50.0, "{accuracy:?}");
        assert_eq!(accuracy.verdict(), None);
        assert_eq!(metric(), [error / 100.0]);
    }
}
