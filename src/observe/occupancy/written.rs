//! What a pool's book tells the record of each checkout, whatever becomes of it.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::time::{Instant, advance};

use super::*;
use crate::checkout::Checkout;
use crate::inventory::{Counts, Inventory};
use crate::lifecycle::Lifecycle;
use crate::observe::checkouts::Refusal;
use crate::observe::leaks::Leaks;
use crate::observe::ledger::Holder;
use crate::observe::metrics::Metrics;
use crate::observe::recorder::Recorder;
use crate::observe::span::Tracing;
use crate::phase::{Phase, Phases};

const MS: Duration = Duration::from_millis(1);

#[derive(Clone)]
struct Sized(Arc<AtomicU32>);

impl Inventory for Sized {
    fn counts(&self) -> Counts {
        Counts::new(0, 0, self.0.load(Ordering::Relaxed), 0)
    }
}

fn recorder() -> (Arc<Recorder>, Sized) {
    let size = Sized(Arc::new(AtomicU32::new(5)));
    let recorder = Recorder::new(
        Arc::from("orders"),
        Tracing::new(None),
        Metrics::new(None),
        Duration::MAX,
        Leaks::new(None),
        Box::new(size.clone()),
    );
    (recorder, size)
}

fn grant(
    recorder: &Arc<Recorder>,
    waited: Duration,
    waiter: Option<u32>,
    phases: Option<Phases>,
) -> u32 {
    let holder = Holder {
        waited,
        ..Holder::bare(Checkout::new())
    };
    recorder.granted(holder, waiter, phases)
}

#[tokio::test(start_paused = true)]
async fn each_is_demand_once_whatever_becomes_of_it() {
    let (recorder, _) = recorder();
    let asked = Instant::now();
    let wait = || recorder.queued(asked, Some(Phase::Queued));
    let waiting: [u32; 6] = std::array::from_fn(|_| wait());
    advance(20 * MS).await;
    let phases = Phases {
        queued: 15 * MS,
        connecting: 5 * MS,
        ..Phases::default()
    };
    grant(&recorder, 20 * MS, Some(waiting[0]), Some(phases));
    let before = recorder.loads([]).0.minute;
    assert_eq!((before.arrivals, before.unserved), (6, 0));
    assert_eq!(
        before.queued.quantile(1.0),
        Some(15 * MS),
        "to connect is not to queue"
    );
    grant(&recorder, 20 * MS, Some(waiting[1]), None);
    let refused = |refusal, waiter| recorder.refused(refusal, waiter, asked, None);
    refused(Refusal::TimedOut, Some(waiting[2]));
    refused(Refusal::Shed, Some(waiting[3]));
    refused(Refusal::Canceled, Some(waiting[4]));
    refused(Refusal::Rejected, Some(waiting[5]));
    let all_waited = recorder.loads([]).0.minute;
    assert_eq!((all_waited.arrivals, all_waited.unserved), (6, 2));
    assert_eq!(
        all_waited.queued.count(),
        4,
        "who gave up would have waited longer"
    );
    assert_eq!(all_waited.queued.quantile(1.0), Some(20 * MS));
    for refusal in [
        Refusal::TimedOut,
        Refusal::Shed,
        Refusal::Overloaded,
        Refusal::Failed,
        Refusal::Canceled,
        Refusal::Rejected,
    ] {
        refused(refusal, None);
    }
    grant(&recorder, MS, None, None);
    let all = recorder.loads([]).0.minute;
    assert_eq!(
        (all.arrivals, all.unserved),
        (12, 5),
        "a closed pool meets no demand"
    );
    assert_eq!(all.queued.count(), 6);
    assert!(all.queued.quantile(0.1) <= Some(MS / 1000));
}

#[tokio::test(start_paused = true)]
async fn holds_and_levels_are_those_of_the_ledger() {
    let (recorder, _) = recorder();
    let one = grant(&recorder, Duration::ZERO, None, None);
    advance(10 * MS).await;
    let two = grant(&recorder, Duration::ZERO, None, None);
    advance(30 * MS).await;
    recorder.returned(one);
    advance(10 * MS).await;
    recorder.returned(two);
    recorder.returned(two);
    let load = recorder.loads([]).0.minute;
    let at = |level: usize| (load.levels[level].completions, load.levels[level].holds);
    assert_eq!((at(1), at(2)), ((1, 0), (1, 2)));
    assert!((load.levels[1].seconds - 0.02).abs() < 1e-9);
    assert!((load.levels[2].seconds - 0.03).abs() < 1e-9);
    assert_eq!((load.held.count, load.held.mean()), (2, Some(0.04)));
    assert_eq!((load.arrivals, load.limit), (2, Some(5)));
    let reading = recorder.occupancy();
    let minutes = |reading: &Reading| (reading.minutes.len(), reading.ended);
    assert_eq!((minutes(&reading), reading.current.arrivals), ((0, 0), 2));
    advance(Duration::from_secs(60)).await;
    let reading = recorder.occupancy();
    assert_eq!((minutes(&reading), reading.current.arrivals), ((1, 1), 0));
    assert_eq!(reading.minutes[0].arrivals, 2);
}

#[tokio::test(start_paused = true)]
async fn a_pool_resized_to_and_fro_between_two_looks_has_no_one_limit() {
    let (recorder, size) = recorder();
    advance(MS).await;
    assert_eq!(recorder.loads([]).0.minute.limit, Some(5));
    for limit in [9, 5] {
        size.0.store(limit, Ordering::Relaxed);
        Lifecycle::resized(&*recorder);
    }
    advance(MS).await;
    assert_eq!(recorder.loads([]).0.minute.limit, None);
    advance(Duration::from_secs(120)).await;
    assert_eq!(recorder.loads([]).0.minute.limit, Some(5));
}
