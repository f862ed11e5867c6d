//! Probes an unreachable database in the background until it is back.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{BoxFuture, poll_fn};
use tokio::time::{Instant, sleep_until};

use super::jitter;
use super::own_pool::OwnShared;
use crate::backend::{Backend, ConnectError, Dialed};

/// The pause after a failed attempt while a request waits, and the first pause while none does.
const PAUSE: Duration = Duration::from_millis(100);

/// The longest time between two attempts. The first success is due within one second of the
/// database's return, so this leaves the same time for the attempt.
const LONGEST: Duration = Duration::from_millis(500);

/// The maximum number of attempts in flight, in case they hang.
const MOST: usize = 4;

/// The random reduction of all times, in percent, so that the replicas of an app do not connect at
/// the same instants.
const JITTER: f64 = 20.0;

/// Probes until the outage with this number is over, or the pool is dropped or closed.
pub(super) fn run<C: Backend>(own: Arc<OwnShared<C>>, number: u64) -> impl Future<Output = ()> {
    // Ends the outage however the prober stops, even if it never starts because the pool's runtime
    // has shut down: no request may wait for a prober that does not run.
    let abandoned = Abandon {
        own: Arc::clone(&own),
        number,
    };
    async move {
        let _abandoned = abandoned;
        probe_until_over(own, number).await;
    }
}

async fn probe_until_over<C: Backend>(own: Arc<OwnShared<C>>, number: u64) {
    let mut limiter: Vec<Probe<C>> = Vec::new();
    let mut pace = Pace::new(Instant::now());
    loop {
        let Some(demanded) = own.breaker.goes_on(number) else {
            return;
        };
        if own.pool().is_none() {
            return;
        }
        let due = pace.next(!limiter.is_empty(), demanded);
        match next(&mut limiter, due, own.breaker.demanded()).await {
            ProbeEvent::Demand => {}
            ProbeEvent::Due => {
                let now = Instant::now();
                // The oldest attempt may use its whole time limit, because the server may only be
                // slow. The next oldest is cancelled for a new one, which gets through where an old
                // one waits for a lost packet.
                if limiter.len() == MOST {
                    drop(limiter.remove(1));
                }
                let dialing = Arc::clone(&own);
                limiter.push(Probe {
                    began: now,
                    dial: Box::pin(async move { dialing.probe().await }),
                });
                own.breaker.tries(now);
                pace.began(now);
            }
            ProbeEvent::Ended(_, Ok(dialed)) => {
                own.policy.limiter.succeeded();
                own.recovered(dialed);
                return;
            }
            ProbeEvent::Ended(began, Err(error)) if error.is_absence() => {
                pace.failed(Instant::now());
                own.breaker.failed(began, error);
            }
            ProbeEvent::Ended(began, Err(error)) => {
                own.policy.limiter.refused(error.clone());
                own.breaker.refused(began, error);
                return;
            }
        }
    }
}

struct Abandon<C: Backend> {
    own: Arc<OwnShared<C>>,
    number: u64,
}

impl<C: Backend> Drop for Abandon<C> {
    fn drop(&mut self) {
        self.own.breaker.abandon(self.number);
    }
}

struct Probe<C> {
    began: Instant,
    dial: BoxFuture<'static, Result<Dialed<C>, ConnectError>>,
}

enum ProbeEvent<C> {
    /// An attempt that began at this instant has ended.
    Ended(Instant, Result<Dialed<C>, ConnectError>),
    /// The next attempt is due.
    Due,
    /// A request begins to wait.
    Demand,
}

async fn next<C>(
    limiter: &mut Vec<Probe<C>>,
    due: Instant,
    demand: impl Future<Output = ()>,
) -> ProbeEvent<C> {
    let (mut due, mut demand) = (pin!(sleep_until(due)), pin!(demand));
    poll_fn(|cx| {
        for index in 0..limiter.len() {
            if let Poll::Ready(outcome) = Pin::new(&mut limiter[index].dial).poll(cx) {
                return Poll::Ready(ProbeEvent::Ended(limiter.remove(index).began, outcome));
            }
        }
        if due.as_mut().poll(cx).is_ready() {
            return Poll::Ready(ProbeEvent::Due);
        }
        demand.as_mut().poll(cx).map(|()| ProbeEvent::Demand)
    })
    .await
}

/// Computes when the next attempt is due.
#[derive(Debug)]
struct Pace {
    began: Instant,
    failed: Instant,
    backoff: Duration,
    /// The pause after a failure while a request waits; like the next two, drawn at random for each
    /// wait.
    pause: Duration,
    /// The pause after a failure while no request waits.
    wait: Duration,
    /// The time between the begins of two attempts while one is in flight.
    step: Duration,
}

impl Pace {
    fn new(now: Instant) -> Self {
        let pause = jitter::shortened(PAUSE, JITTER);
        Self {
            began: now,
            failed: now,
            backoff: PAUSE,
            pause,
            wait: pause,
            step: LONGEST,
        }
    }

    fn began(&mut self, now: Instant) {
        self.began = now;
        self.step = jitter::shortened(LONGEST, JITTER);
    }

    fn failed(&mut self, now: Instant) {
        self.failed = now;
        self.backoff = (self.backoff * 2).min(LONGEST);
        self.pause = jitter::shortened(PAUSE, JITTER);
        self.wait = jitter::shortened(self.backoff, JITTER);
    }

    fn next(&self, in_flight: bool, demanded: bool) -> Instant {
        match (in_flight, demanded) {
            (true, _) => self.began + self.step,
            (false, true) => self.failed + self.pause,
            (false, false) => self.failed + self.wait,
        }
    }
}
