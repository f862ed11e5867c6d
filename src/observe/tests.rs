//! Compares the windows, and the holders and waiters, with reference models that remember everything,
//! for random sequences of events.

use std::collections::VecDeque;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use proptest::prelude::*;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use crate::checkout::{Checkout, PooledGuard};
use crate::error::PoolError;
use crate::observe::{Observe, ObserveLayer, Observed};
use crate::record::clock::SECOND;
use crate::record::inventory::{Counts, Inventory};
use crate::record::timeline::Size;
use crate::record::traffic::GaugeValues;
use crate::record::windows::{Span, Windows};

/// An event of the windows.
#[derive(Debug, Clone, Copy)]
enum Event {
    Passes(u64),
    Arrives,
    Level(u32),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let passes = |millis: Range<u64>| millis.prop_map(|ms| Event::Passes(ms * SECOND / 1000));
    let event = prop_oneof![
        6 => passes(0..3000),
        2 => Just(Event::Passes(SECOND)),
        2 => passes(3000..90_000),
        1 => passes(290_000..320_000),
        1 => Just(Event::Passes(100_000 * SECOND)),
        6 => Just(Event::Arrives),
        6 => (0_u32..20).prop_map(Event::Level),
    ];
    prop::collection::vec(event, 0..120)
}

/// Reference model of the windows: all events.
#[derive(Debug)]
struct Memory {
    arrivals: Vec<u64>,
    /// Each level, with the time at which it began.
    levels: Vec<(u64, u32)>,
}

impl Memory {
    fn arrivals_since(&self, since: u64) -> u64 {
        self.arrivals.iter().filter(|&&at| at >= since).count() as u64
    }

    /// Returns the integral of the level, and the highest level reached.
    fn between(&self, from: u64, until: u64) -> (u64, u32) {
        let ends = self.levels.iter().skip(1).map(|&(at, _)| at).chain([until]);
        let (mut integral, mut peak) = (0, 0);
        for (&(begins, level), ends) in self.levels.iter().zip(ends) {
            let within = ends.saturating_sub(begins.max(from));
            integral += within * u64::from(level);
            if within > 0 || begins >= from {
                peak = peak.max(level);
            }
        }
        (integral, peak)
    }

    /// Compares the windows with the model. A window covers the time in its name in whole slots, plus
    /// the current second.
    fn compare(&self, windows: &mut Windows, now: u64) -> Result<(), TestCaseError> {
        for (span, least, most) in [
            (Span::TenSeconds, 10, 11),
            (Span::Minute, 56, 61),
            (Span::FiveMinutes, 296, 301),
        ] {
            let ago = |seconds: u64| now.saturating_sub(seconds * SECOND);
            let slot = windows.read(now, span).traffic;
            let (fewest, highest) = (
                self.arrivals_since(ago(least)),
                self.arrivals_since(ago(most)),
            );
            prop_assert!(
                (fewest..=highest).contains(&slot.arrivals),
                "{span:?}: {} of {fewest} to {highest}",
                slot.arrivals
            );
            prop_assert!(slot.observed <= most * SECOND);
            prop_assert!(slot.observed >= now.min(least * SECOND));

            let (integral, peak) = self.between(now - slot.observed, now);
            prop_assert_eq!(slot.checked_out_time, integral, "{:?}", span);
            prop_assert_eq!(slot.peak.checked_out, peak, "{:?}", span);
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn the_windows_agree_with_the_model(events in events()) {
        let mut now = 0;
        let mut windows = Windows::new(Size::default());
        let mut memory = Memory { arrivals: Vec::new(), levels: vec![(0, 0)] };
        for event in events {
            match event {
                Event::Passes(time) => now += time,
                Event::Arrives => {
                    windows.at(now).traffic.arrivals += 1;
                    memory.arrivals.push(now);
                }
                Event::Level(checked_out) => {
                    windows.set_level(now, GaugeValues { checked_out, ..GaugeValues::default() });
                    memory.levels.push((now, checked_out));
                }
            }
            memory.compare(&mut windows, now)?;
        }
    }
}

/// A pool whose checkouts are completed manually, in any order.
#[derive(Clone, Default)]
struct ByHand {
    asked: Arc<Mutex<VecDeque<oneshot::Sender<Answer>>>>,
}

type Answer = Result<Connection, PoolError>;

#[derive(Debug)]
struct Connection;

impl PooledGuard for Connection {}

impl Service<Checkout> for ByHand {
    type Response = Connection;
    type Error = PoolError;
    type Future = BoxFuture<'static, Answer>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), PoolError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Checkout) -> Self::Future {
        let (sender, answer) = oneshot::channel();
        self.asked.lock().unwrap().push_back(sender);
        Box::pin(answer.map(|answer| answer.expect("each checkout is answered or dropped")))
    }
}

impl Inventory for ByHand {
    fn counts(&self) -> Counts {
        Counts::default()
    }
}

/// An event of a checkout; the index chooses one of the current checkouts.
#[derive(Debug, Clone, Copy)]
enum Step {
    Ask,
    AskAndForget,
    Grant(prop::sample::Index),
    Fail(prop::sample::Index),
    TimeOut(prop::sample::Index),
    GoAway(prop::sample::Index),
    Return(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one = any::<prop::sample::Index>;
    let step = prop_oneof![
        6 => Just(Step::Ask),
        1 => Just(Step::AskAndForget),
        4 => one().prop_map(Step::Grant),
        1 => one().prop_map(Step::Fail),
        1 => one().prop_map(Step::TimeOut),
        1 => one().prop_map(Step::GoAway),
        3 => one().prop_map(Step::Return),
    ];
    prop::collection::vec(step, 0..200)
}

type Asking = Pin<Box<dyn Future<Output = Result<Observed<Connection>, PoolError>>>>;

/// Reference model: lists of the waiters and the holders, each with the time since when.
struct Model {
    pool: Observe<ByHand>,
    waiting: Vec<(Instant, Asking, oneshot::Sender<Answer>)>,
    held: Vec<(Instant, Observed<Connection>)>,
    /// Counts of checkouts, errors, timeouts and cancellations.
    totals: [u64; 4],
}

impl Model {
    fn step(&mut self, step: Step) {
        match step {
            Step::AskAndForget => drop(self.pool.get()),
            Step::Ask => {
                let mut asking: Asking = Box::pin(self.pool.get());
                assert!(asking.as_mut().now_or_never().is_none());
                let sender = self.pool.get_ref().asked.lock().unwrap().pop_back();
                let sender = sender.expect("a connection was requested");
                self.waiting.push((Instant::now(), asking, sender));
            }
            Step::Grant(one) => {
                if let Some(Ok(held)) = self.answer(one, Ok(Connection)) {
                    self.held.push((Instant::now(), held));
                    self.totals[0] += 1;
                }
            }
            Step::Fail(one) => {
                let failure = PoolError::Other("by hand".into());
                self.totals[1] += u64::from(self.answer(one, Err(failure)).is_some());
            }
            Step::TimeOut(one) => {
                let timeout = PoolError::timed_out(Duration::ZERO);
                self.totals[2] += u64::from(self.answer(one, Err(timeout)).is_some());
            }
            Step::GoAway(one) => {
                if !self.waiting.is_empty() {
                    drop(self.waiting.swap_remove(one.index(self.waiting.len())));
                    self.totals[3] += 1;
                }
            }
            Step::Return(one) => {
                if !self.held.is_empty() {
                    self.held.swap_remove(one.index(self.held.len()));
                }
            }
        }
    }

    fn answer(
        &mut self,
        one: prop::sample::Index,
        answer: Answer,
    ) -> Option<Result<Observed<Connection>, PoolError>> {
        if self.waiting.is_empty() {
            return None;
        }
        let (_, asking, sender) = self.waiting.swap_remove(one.index(self.waiting.len()));
        sender.send(answer).expect("the checkout waits");
        asking.now_or_never()
    }

    fn compare(&self) -> Result<(), TestCaseError> {
        let state = self.pool.recorder.state();
        let (waiters, holders) = (&state.ledger.waiters, &state.ledger.holders);
        prop_assert_eq!(waiters.len() as usize, self.waiting.len());
        prop_assert_eq!(waiters.iter().count(), self.waiting.len());
        prop_assert_eq!(holders.len() as usize, self.held.len());
        prop_assert_eq!(holders.iter().count(), self.held.len());
        let since = |holder: &crate::record::ledger::Holder| holder.since;
        let held = self.held.iter().map(|held| held.0);
        prop_assert_eq!(state.ledger.longest_holder().map(since), held.clone().min());
        prop_assert_eq!(state.ledger.newest_hold(), held.max());
        prop_assert_eq!(
            state.ledger.longest_waiter().map(|waiter| waiter.since),
            self.waiting.iter().map(|waiting| waiting.0).min()
        );
        let totals = state.totals;
        let totals = [
            totals.checkouts,
            totals.errors,
            totals.timeouts,
            totals.canceled,
        ];
        prop_assert_eq!(totals, self.totals);
        Ok(())
    }
}

proptest! {
    #[test]
    fn holders_and_waiters_agree_with_the_model(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let pool = ObserveLayer::new("model").layer(ByHand::default());
            let mut model = Model { pool, waiting: Vec::new(), held: Vec::new(), totals: [0; 4] };
            for step in steps {
                tokio::time::advance(Duration::from_millis(1)).await;
                model.step(step);
                model.compare()?;
            }
            model.waiting.clear();
            model.held.clear();
            let state = model.pool.recorder.state();
            prop_assert_eq!((state.ledger.waiters.len(), state.ledger.holders.len()), (0, 0));
            Ok(())
        })?;
    }
}
