//! Tests the score and its metric with hand-written checkouts.

use std::collections::VecDeque;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use futures_util::future::{Ready, ready};
use tokio::time::{Instant, sleep_until};
use tower_layer::Layer;
use tower_service::Service;

use super::*;
use crate::ObserveLayer;
use crate::checkout::wait_phase::{Phase, Phases};
use crate::checkout::{Checkout, PooledGuard};
use crate::error::PoolError;
use crate::metrics::catalog::FAMILIES;
use crate::metrics::family::Kind;
use crate::record::inventory::{Counts, Inventory};
use crate::record::ledger::Holder;
use crate::record::nested::Borrower;

/// A reproducible source of exponentially distributed times.
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

#[derive(Clone)]
struct OneAllowed;

#[derive(Debug)]
struct Connection;

impl PooledGuard for Connection {}

impl Service<Checkout> for OneAllowed {
    type Response = Connection;
    type Error = PoolError;
    type Future = Ready<Result<Connection, PoolError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), PoolError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Checkout) -> Self::Future {
        ready(Ok(Connection))
    }
}

impl Inventory for OneAllowed {
    fn counts(&self) -> Counts {
        Counts::new(1, 0, 1, 0)
    }
}

fn holder(waited: Duration) -> Holder {
    let mut holder = Holder::bare(Checkout::new());
    holder.waited = waited;
    holder
}

/// Random arrivals of 100 per second that each hold the one connection for 7 ms on average.
struct OneConnection {
    recorder: Arc<Recorder>,
    times: Times,
    waiting: VecDeque<(Instant, u32)>,
    held: Option<(u32, Instant)>,
    arrives: Instant,
}

impl OneConnection {
    async fn until(&mut self, until: Instant) {
        while self.arrives < until {
            match self.held {
                Some((key, ends)) if ends <= self.arrives => {
                    sleep_until(ends).await;
                    self.recorder.returned(key);
                    self.held = self.waiting.pop_front().map(|(since, waiter)| {
                        let queued = ends.saturating_duration_since(since);
                        let phases = Phases {
                            queued,
                            ..Phases::default()
                        };
                        let holder = holder(queued);
                        let key = self.recorder.granted(holder, Some(waiter), Some(&phases));
                        (key, ends + self.times.next(0.007))
                    });
                }
                _ => {
                    let arrives = self.arrives;
                    sleep_until(arrives).await;
                    if self.held.is_none() {
                        let phases = Some(Phases::default());
                        let key =
                            self.recorder
                                .granted(holder(Duration::ZERO), None, phases.as_ref());
                        self.held = Some((key, arrives + self.times.next(0.007)));
                    } else {
                        let (queued, nobody) = (Some(Phase::Queued), Borrower::default());
                        let checkout = Checkout::new();
                        let waiter = self.recorder.queued(checkout, arrives, queued, &nobody);
                        self.waiting.push_back((arrives, waiter.unwrap()));
                    }
                    self.arrives += self.times.next(0.01);
                }
            }
        }
        sleep_until(until).await;
    }
}

fn metric(recorder: &Arc<Recorder>) -> Vec<f64> {
    let mut families = FAMILIES.into_iter();
    let family = families.find(|family| family.name == "poolscope.advice.error");
    let Kind::Gauge(read) = family.unwrap().kind else {
        panic!("must be a gauge");
    };
    let mut values = Vec::new();
    read(recorder, &mut |value, attributes| {
        assert!(attributes.is_empty());
        values.push(value);
    });
    values
}

/// Waits until the separate thread has compared minute number `ended`.
fn compared(recorder: &Recorder, ended: u64) {
    let patience = std::time::Instant::now() + Duration::from_secs(120);
    while recorder.advisor.score().ended() < ended {
        recorder.accuracy();
        assert!(
            std::time::Instant::now() < patience,
            "the minute was never compared"
        );
        thread::sleep(Duration::from_millis(1));
    }
}

#[tokio::test(start_paused = true)]
async fn predictions_are_compared_and_exported_as_a_metric() {
    let pool = ObserveLayer::new("orders").layer(OneAllowed);
    let recorder = &pool.recorder;
    assert_eq!(metric(recorder), [0.0; 0], "nothing has been measured yet");
    let start = recorder.clock.start;
    let mut load = OneConnection {
        recorder: Arc::clone(recorder),
        times: Times(7),
        waiting: VecDeque::new(),
        held: None,
        arrives: start,
    };
    for minute in 1..=6 {
        load.until(start + Duration::from_secs(60 * minute + 1))
            .await;
        compared(recorder, minute);
    }
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
    assert_eq!(metric(recorder), [error / 100.0]);
    // No further minute has ended, so nothing is compared again.
    compared(recorder, 6);
    assert_eq!(recorder.accuracy(), Some(accuracy));
}
