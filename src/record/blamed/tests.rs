//! Compares what is recorded with a model that adds up each instant.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use futures_util::future::{Ready, ready};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use std::task::{Context, Poll};
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use super::*;
use crate::ObserveLayer;
use crate::checkout::wait_phase::{Phase, Phases};
use crate::checkout::{Checkout, PooledGuard};
use crate::error::PoolError;
use crate::record::checkouts::NotGranted;
use crate::record::inventory::{Counts, Inventory};
use crate::record::nested::Borrower;

#[derive(Debug)]
struct Connection;

impl PooledGuard for Connection {}

/// A pool whose checkouts are recorded by hand.
#[derive(Clone, Default)]
struct ByHand {
    suspended: Arc<AtomicBool>,
    out: Arc<AtomicU32>,
}

impl Service<Checkout> for ByHand {
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

/// The size of the pool.
const SIZE: u32 = 4;

impl Inventory for ByHand {
    fn counts(&self) -> Counts {
        Counts::new(SIZE, SIZE - self.out.load(Relaxed).min(SIZE), SIZE, 0)
    }

    fn availability(&self) -> Availability {
        match self.suspended.load(Relaxed) {
            true => Availability::Suspended,
            false => Availability::Open,
        }
    }
}

fn a() -> Checkout {
    Checkout::new().label("a")
}

fn b() -> Checkout {
    Checkout::new().label("b")
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Passes(u64),
    Queues(Option<Phase>, bool),
    Moves(usize, Option<Phase>),
    Granted(usize, bool),
    GivesUp(usize, bool),
    Returns(usize),
    Suspends(bool),
    Reads,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let phase = || {
        prop_oneof![
            4 => Just(Some(Phase::Queued)),
            1 => Just(Some(Phase::Connecting)),
            1 => Just(Some(Phase::Pinging)),
            1 => Just(None),
        ]
    };
    let step = prop_oneof![
        8 => (1_u64..50).prop_map(Step::Passes),
        1 => (1000_u64..30_000).prop_map(Step::Passes),
        1 => (300_000_u64..900_000).prop_map(Step::Passes),
        6 => (phase(), any::<bool>()).prop_map(|(phase, which)| Step::Queues(phase, which)),
        2 => (any::<usize>(), phase()).prop_map(|(who, phase)| Step::Moves(who, phase)),
        5 => (any::<usize>(), any::<bool>()).prop_map(|(who, which)| Step::Granted(who, which)),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(who, late)| Step::GivesUp(who, late)),
        4 => any::<usize>().prop_map(Step::Returns),
        1 => any::<bool>().prop_map(Step::Suspends),
        1 => Just(Step::Reads),
    ];
    prop::collection::vec(step, 1..400)
}

/// What the model knows of a waiter: its key, its phase, the time that it has queued behind holds, and
/// whether it did nothing else.
struct Waits {
    key: u32,
    phase: Option<Phase>,
    queued: f64,
    only_queued: bool,
}

/// What the model knows of a hold: its key, its label, and what it owes.
struct Holds {
    key: u32,
    label: &'static str,
}

#[derive(Default)]
struct Model {
    waiters: Vec<Waits>,
    holders: Vec<Holds>,
    owed: HashMap<&'static str, f64>,
    nobodys: f64,
}

impl Model {
    fn passes(&mut self, seconds: f64, suspended: bool) {
        let full = self.holders.len() as u32 >= SIZE;
        let queue = self.waiters.iter_mut();
        let queue =
            queue.filter(|it| it.phase == Some(Phase::Queued) || it.phase.is_none() && full);
        let mut all = 0.0;
        for waiter in queue {
            if !self.holders.is_empty() && !suspended {
                waiter.queued += seconds;
            }
            all += seconds;
        }
        if self.holders.is_empty() || suspended {
            self.nobodys += all;
            return;
        }
        for holder in &self.holders {
            *self.owed.entry(holder.label).or_default() += all / self.holders.len() as f64;
        }
    }

    fn compare(&self, recorder: &Recorder) -> Result<(), TestCaseError> {
        let [owing] = recorder.owing([Over::Life]);
        let near =
            |is: Owed, expected: f64| (is.seconds() - expected).abs() <= 1e-6 * (1e-3 + expected);
        prop_assert!(
            near(owing.nobodys, self.nobodys),
            "{:?} {}",
            owing.nobodys,
            self.nobodys
        );
        for label in ["a", "b"] {
            let of_label = owing
                .sites
                .iter()
                .filter(|(site, _)| site.label == Some(label));
            let is: Owed = of_label.map(|(_, debt)| debt.owed).sum();
            let expected = self.owed.get(label).copied().unwrap_or_default();
            prop_assert!(near(is, expected), "{label}: {is:?} {expected}");
        }
        Ok(())
    }
}

async fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let pool = ByHand::default();
    let recorder = ObserveLayer::new("blamed").layer(pool.clone()).recorder;
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Passes(millis) => {
                tokio::time::advance(Duration::from_millis(millis)).await;
                model.passes(millis as f64 / 1e3, pool.suspended.load(Relaxed));
            }
            Step::Queues(phase, which) => {
                let checkout = if which { a() } else { b() };
                let nobody = Borrower::default();
                let key = recorder.queued(checkout, Instant::now(), phase, &nobody);
                let key = key.expect("no other is held");
                model.waiters.push(Waits {
                    key,
                    phase,
                    queued: 0.0,
                    only_queued: phase == Some(Phase::Queued),
                });
            }
            Step::Moves(who, phase) if !model.waiters.is_empty() => {
                let who = who % model.waiters.len();
                recorder.waits_for(model.waiters[who].key, phase);
                model.waiters[who].phase = phase;
                model.waiters[who].only_queued &= phase == Some(Phase::Queued);
            }
            Step::Granted(who, which) => {
                let at_once = model.waiters.is_empty() || who % 3 == 0;
                let index = who % model.waiters.len().max(1);
                let waiter = (!at_once).then(|| model.waiters.swap_remove(index));
                let checkout = if which { a() } else { b() };
                let holder = Holder::bare(checkout);
                let key = waiter.map(|waiter| waiter.key);
                // As bb8, it counts the connection before the hold begins.
                pool.out.fetch_add(1, Relaxed);
                let key = recorder.granted(holder, key, Some(&Phases::default()));
                let label = if which { "a" } else { "b" };
                model.holders.push(Holds { key, label });
            }
            Step::GivesUp(who, late) if !model.waiters.is_empty() => {
                let waiter = model.waiters.swap_remove(who % model.waiters.len());
                let refusal = if late {
                    NotGranted::TimedOut
                } else {
                    NotGranted::Canceled
                };
                recorder.refused(refusal, Some(waiter.key), Instant::now(), None);
            }
            Step::Returns(who) if !model.holders.is_empty() => {
                let hold = model.holders.swap_remove(who % model.holders.len());
                pool.out.fetch_sub(1, Relaxed);
                recorder.returned(hold.key);
            }
            Step::Suspends(is) => {
                pool.suspended.store(is, Relaxed);
                recorder.availability_changed();
            }
            Step::Reads => model.compare(&recorder)?,
            Step::Moves(..) | Step::GivesUp(..) | Step::Returns(_) => {}
        }
    }
    model.compare(&recorder)?;
    // What is owed to one waiter is the time that it has queued.
    for waiter in model.waiters.iter().filter(|waiter| waiter.only_queued) {
        let culprits = recorder.culprits(waiter.key, Instant::now());
        let owed: Owed = culprits.sites.iter().map(|(_, debt)| debt.owed).sum();
        let near = (owed.seconds() - waiter.queued).abs() <= 1e-6 * (1e-3 + waiter.queued);
        prop_assert!(near, "{owed:?} {}", waiter.queued);
    }
    Ok(())
}

fn paused() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.unwrap()
}

proptest! {
    #![proptest_config(Config { rng_seed: RngSeed::Fixed(15), ..Config::with_cases(200) })]

    #[test]
    fn the_record_blames_as_the_model(steps in steps()) {
        paused().block_on(run(steps))?;
    }
}

/// Two holds of one place and one of another, of which one waits for each part of its time.
#[tokio::test(start_paused = true)]
async fn a_wait_is_divided_among_its_holds() {
    let recorder = ObserveLayer::new("blamed")
        .layer(ByHand::default())
        .recorder;
    let pass = |seconds| tokio::time::advance(Duration::from_secs(seconds));
    let none = Phases::default();
    let (first, second) = [a(), b()]
        .map(|it| recorder.granted(Holder::bare(it), None, Some(&none)))
        .into();
    let nobody = Borrower::default();
    let queued = Some(Phase::Queued);
    let waiter = recorder
        .queued(b(), Instant::now(), queued, &nobody)
        .unwrap();
    pass(4).await;
    recorder.returned(first);
    pass(6).await;
    let culprits = recorder.culprits(waiter, Instant::now());
    let labels = culprits
        .sites
        .iter()
        .map(|(site, debt)| (site.label, debt.owed.seconds()));
    assert_eq!(
        labels.collect::<Vec<_>>(),
        [(Some("b"), 8.0), (Some("a"), 2.0)]
    );
    let most = culprits.most_blamed().unwrap();
    assert!((most.share - 0.8).abs() < 1e-9);
    assert_eq!(most.idle_share, None, "not measured");
    recorder.returned(second);
    pass(600).await;

    let [minute, five_minutes, life] =
        recorder.owing([Over::Minute, Over::FiveMinutes, Over::Life]);
    let owed = |owing: &Owing, label| {
        let of_label = owing
            .sites
            .iter()
            .filter(|(site, _)| site.label == Some(label));
        of_label.map(|(_, debt)| debt.owed.seconds()).sum::<f64>()
    };
    assert_eq!((owed(&life, "a"), owed(&life, "b")), (2.0, 8.0));
    assert_eq!(
        (owed(&five_minutes, "a"), owed(&five_minutes, "b")),
        (0.0, 0.0)
    );
    // It has queued on while nobody held a connection.
    assert_eq!(life.nobodys.seconds(), 600.0);
    assert!(
        (60.0..=65.0).contains(&minute.nobodys.seconds()),
        "{:?}",
        minute.nobodys
    );
    let pairs: Vec<_> = life
        .pairs
        .iter()
        .map(|((waiting, holding), owed)| (waiting.label, holding.label, owed.seconds()))
        .collect();
    assert_eq!(pairs.len(), 2);
    assert!(
        pairs.contains(&(Some("b"), Some("b"), 8.0))
            && pairs.contains(&(Some("b"), Some("a"), 2.0))
    );
}

#[tokio::test(start_paused = true)]
async fn a_long_hold_counts_in_each_window_by_what_it_owes_there() {
    let recorder = ObserveLayer::new("blamed")
        .layer(ByHand::default())
        .recorder;
    let pass = |seconds| tokio::time::advance(Duration::from_secs(seconds));
    let hold = recorder.granted(Holder::bare(a()), None, Some(&Phases::default()));
    let nobody = Borrower::default();
    recorder
        .queued(b(), Instant::now(), Some(Phase::Queued), &nobody)
        .unwrap();
    pass(1000).await;
    recorder.returned(hold);
    let [minute, five_minutes, life] =
        recorder.owing([Over::Minute, Over::FiveMinutes, Over::Life]);
    let owed = |owing: &Owing| {
        owing
            .sites
            .values()
            .map(|debt| debt.owed)
            .sum::<Owed>()
            .seconds()
    };
    assert!((60.0..=65.0).contains(&owed(&minute)), "{}", owed(&minute));
    assert!((300.0..=305.0).contains(&owed(&five_minutes)));
    assert_eq!(owed(&life), 1000.0);
}
