//! One run: arrivals that do not wait for each other, on a pool of one size.

use std::future::poll_fn;
use std::pin::pin;
use std::time::{Duration, Instant};

use fastrand::Rng;
use futures_util::future::join_all;
use poolscope_benches::peers::{Ours, ours};
use tokio::runtime::Handle;

use super::loads::{Arrival, Load};
use super::work::Server;

/// Nobody waits longer, so that a run of too few connections ends.
const PATIENCE: Duration = Duration::from_secs(5);

/// What became of one arrival; times from the start of the run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record {
    /// When it was to arrive.
    pub(crate) due: Duration,
    /// When it asked for a connection.
    pub(crate) asked: Duration,
    /// How long it waited for its turn; zero if it was served at once.
    pub(crate) queued: Duration,
    /// How long it had the connection; zero if it got none in time.
    pub(crate) held: Duration,
    /// Of that, the time of its queries.
    pub(crate) queries: Duration,
    pub(crate) served: bool,
}

/// A pool of so many connections, all of them open, and no more under load.
pub(crate) async fn pool(url: &str, connections: u32) -> Ours {
    let pool = ours(url, PATIENCE)
        .pool_size(connections)
        // A ping is no waiting for one's turn.
        .pool_pre_ping(false)
        .settings(|settings| {
            settings.slow_wait = None;
            // A sweep has no more arrivals than there were.
            settings.advice_headroom_pct = 0.0;
        })
        .build()
        .expect("a pool");
    // Not by checkouts, which would be part of what is learned.
    let warm_up = pool.warm_up(Duration::from_secs(10)).await;
    assert!(warm_up.is_complete(), "{warm_up:?}");
    pool
}

/// Has them arrive, each when it is due, whatever became of those before: one that is late makes no
/// other late. Ends when the last is served.
pub(crate) async fn run(pool: &Ours, server: &Server, plan: Vec<Arrival>) -> Vec<Record> {
    let (runtime, pool, server) = (Handle::current(), pool.clone(), server.clone());
    // On a thread of its own: tokio's clock ticks in milliseconds, and would bunch them.
    let arriving = tokio::task::spawn_blocking(move || {
        let start = Instant::now();
        plan.into_iter()
            .map(|arrival| {
                std::thread::sleep(arrival.due.saturating_sub(start.elapsed()));
                runtime.spawn(arrive(pool.clone(), server.clone(), start, arrival))
            })
            .collect::<Vec<_>>()
    });
    let tasks = arriving.await.expect("arrivals");
    let records = join_all(tasks).await.into_iter();
    records.map(|record| record.expect("no panic")).collect()
}

async fn arrive(pool: Ours, server: Server, start: Instant, arrival: Arrival) -> Record {
    let asked = Instant::now();
    let mut checkout = pin!(pool.get());
    let mut polls = 0;
    let answer = poll_fn(|context| {
        polls += 1;
        checkout.as_mut().poll(context)
    })
    .await;
    let now = Instant::now();
    let mut record = Record {
        due: arrival.due,
        asked: asked - start,
        queued: if polls > 1 {
            now - asked
        } else {
            Duration::ZERO
        },
        held: Duration::ZERO,
        queries: Duration::ZERO,
        served: answer.is_ok(),
    };
    if let Ok(mut connection) = answer {
        record.queries = arrival
            .job
            .run(&mut connection, &server)
            .await
            .expect("no error");
        drop(connection);
        record.held = now.elapsed();
    }
    record
}

/// How much is served a second when each of the pool's connections is always in use.
pub(crate) async fn capacity(pool: &Ours, load: &Load, server: &Server, time: Duration) -> f64 {
    let start = Instant::now();
    let tasks = (0..pool.settings().pool_size).map(|task| {
        let (pool, work, server) = (pool.clone(), load.work, server.clone());
        tokio::spawn(async move {
            let mut random = Rng::with_seed(u64::from(task));
            let mut served = 0.0;
            while start.elapsed() < time {
                let mut connection = pool.get().await.expect("a connection");
                let job = work.draw(&mut random);
                job.run(&mut connection, &server).await.expect("no error");
                served += 1.0;
            }
            served
        })
    });
    let served: f64 = join_all(tasks)
        .await
        .into_iter()
        .map(|served| served.expect("no panic"))
        .sum();
    served / start.elapsed().as_secs_f64()
}
