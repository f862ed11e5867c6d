//! Load on a pool: tasks that loop, or arrivals at a rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::peers::Peer;
use crate::statistics::Sample;

/// The outcome of one task of a closed loop.
#[derive(Debug, Clone, Default)]
pub struct TaskOutcome {
    pub waits: Vec<Duration>,
    pub timeouts: u64,
    /// How long it had been waiting at the end.
    pub waiting: Duration,
}

/// The outcome of all tasks of a closed loop.
#[derive(Debug)]
pub struct Closed {
    pub tasks: Vec<TaskOutcome>,
    pub took: Duration,
}

impl Closed {
    pub fn per_second(&self) -> f64 {
        let served: usize = self.tasks.iter().map(|task| task.waits.len()).sum();
        served as f64 / self.took.as_secs_f64()
    }

    pub fn timeouts(&self) -> u64 {
        self.tasks.iter().map(|task| task.timeouts).sum()
    }

    /// The minimum, mean and maximum number of checkouts served to a task.
    pub fn served(&self) -> (usize, f64, usize) {
        let counts = || self.tasks.iter().map(|task| task.waits.len());
        let mean = counts().sum::<usize>() as f64 / self.tasks.len() as f64;
        (
            counts().min().unwrap_or(0),
            mean,
            counts().max().unwrap_or(0),
        )
    }

    pub fn waits(&self) -> Sample {
        Sample::sorted(
            self.tasks
                .iter()
                .flat_map(|task| task.waits.clone())
                .collect(),
        )
    }

    /// The longest wait, including unfinished ones: starved tasks hardly affect a percentile, because they
    /// have few waits.
    pub fn longest(&self) -> Duration {
        let waiting = self.tasks.iter().map(|task| task.waiting).max();
        self.waits().max().max(waiting.unwrap_or_default())
    }

    /// A percentile of each task's waits: the lowest and the highest among the tasks.
    pub fn by_task(&self, q: f64) -> (Duration, Duration) {
        let each = self.tasks.iter().map(|task| {
            let mut waits = task.waits.clone();
            waits.push(task.waiting);
            Sample::sorted(waits).quantile(q)
        });
        let all: Vec<_> = each.collect();
        let (low, high) = (all.iter().min(), all.iter().max());
        (
            low.copied().unwrap_or_default(),
            high.copied().unwrap_or_default(),
        )
    }
}

/// Runs tasks that repeatedly take a connection and hold it for `hold`.
pub async fn closed<P: Peer>(pool: &P, tasks: usize, hold: Duration, time: Duration) -> Closed {
    let stop = Arc::new(AtomicBool::new(false));
    let start = Instant::now();
    let running: Vec<_> = (0..tasks)
        .map(|_| {
            let (pool, stop) = (pool.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut outcome = TaskOutcome::default();
                while !stop.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    let guard = pool.checkout().await;
                    let waited = asked.elapsed();
                    if stop.load(Ordering::Relaxed) {
                        outcome.waiting = waited;
                        break;
                    }
                    match guard {
                        None => outcome.timeouts += 1,
                        Some(_guard) => {
                            outcome.waits.push(waited);
                            sleep(hold).await;
                        }
                    }
                }
                outcome
            })
        })
        .collect();
    sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    let took = start.elapsed();
    let tasks = join_all(running).await;
    Closed {
        tasks: tasks
            .into_iter()
            .map(|task| task.expect("no panic"))
            .collect(),
        took,
    }
}

/// The outcome of arrivals at a rate.
#[derive(Debug)]
pub struct Open {
    pub arrivals: usize,
    /// The waits of served arrivals.
    pub served: Sample,
    /// The waits of refused arrivals.
    pub refused: Sample,
    pub took: Duration,
}

impl Open {
    /// Arrivals served per second.
    pub fn goodput(&self) -> f64 {
        self.served.len() as f64 / self.took.as_secs_f64()
    }
}

/// Starts `rate` arrivals per second, each served by the server within `service` once it has a connection.
/// Afterwards waits for those still in the queue, and counts their waits.
pub async fn open<P: Peer>(pool: &P, rate: f64, service: Duration, time: Duration) -> Open {
    let mut tick = interval(Duration::from_millis(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let start = Instant::now();
    let mut running = Vec::new();
    while start.elapsed() < time {
        tick.tick().await;
        let due = (start.elapsed().as_secs_f64() * rate) as usize;
        while running.len() < due {
            let pool = pool.clone();
            running.push(tokio::spawn(async move {
                let asked = Instant::now();
                let guard = pool.checkout().await;
                let waited = asked.elapsed();
                if let Some(mut guard) = guard {
                    P::sleep(&mut guard, service).await;
                    return (waited, Some(start.elapsed()));
                }
                (waited, None)
            }));
        }
    }
    let arrivals = running.len();
    let (mut served, mut refused, mut end) = (Vec::new(), Vec::new(), start.elapsed());
    for task in join_all(running).await {
        match task.expect("no panic") {
            (waited, Some(at)) => {
                served.push(waited);
                end = end.max(at);
            }
            (waited, None) => refused.push(waited),
        }
    }
    Open {
        arrivals,
        served: Sample::sorted(served),
        refused: Sample::sorted(refused),
        took: end,
    }
}
