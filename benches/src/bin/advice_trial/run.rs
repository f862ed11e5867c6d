//! One run: a load on a pool of one size.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::{Duration, Instant};

use diesel_async::AsyncPgConnection;
use fastrand::Rng;
use futures_util::future::join_all;
use poolscope::{PoolError, PooledConnection};
use poolscope_benches::peers::{Ours, ours};
use tokio::runtime::Handle;

use super::demand::{Arrival, Clients};
use super::work::{Route, Server, Work, exponential};

/// Nobody waits longer, so that a run of too few connections ends.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a run has to itself.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) pool: Ours,
    pub(crate) server: Server,
    /// The row that it locks: side by side, no two runs wait for the same.
    pub(crate) row: i32,
}

/// What became of one checkout; times from the start of the run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record {
    /// When it was to ask for a connection.
    pub(crate) due: Duration,
    /// When it asked.
    pub(crate) asked: Duration,
    /// When it got one, or gave up.
    pub(crate) answered: Duration,
    /// Whether it had to wait for its turn.
    pub(crate) queued: bool,
    pub(crate) route: Route,
    /// `None` if it gave up.
    pub(crate) hold: Option<Hold>,
}

/// What was done with a connection; times from the start of the run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hold {
    pub(crate) first_query_begun: Duration,
    pub(crate) last_query_ended: Duration,
    /// The time in which a query was under way.
    pub(crate) busy: Duration,
    pub(crate) returned: Duration,
}

impl Record {
    /// How long it waited for its turn; zero if it was served at once.
    pub(crate) fn wait(&self) -> Duration {
        if self.queued {
            self.answered - self.asked
        } else {
            Duration::ZERO
        }
    }

    pub(crate) fn held(&self) -> Duration {
        let hold = self.hold.as_ref();
        hold.map_or(Duration::ZERO, |hold| hold.returned - self.answered)
    }
}

impl Setup {
    /// A pool of this many connections, all of them open, and no more under load.
    pub(crate) async fn open(url: &str, connections: u32, server: Server, row: i32) -> Self {
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
        Self { pool, server, row }
    }

    pub(crate) async fn close(self) {
        self.pool.close(Duration::from_secs(5)).await;
    }

    /// Has them arrive, each when it is due, whatever became of those before: one that is late makes
    /// no other late. Ends when the last is served.
    pub(crate) async fn arrivals(&self, plan: Vec<Arrival>) -> Vec<Record> {
        let (runtime, setup) = (Handle::current(), self.clone());
        // On a thread of its own: tokio's clock ticks in milliseconds, and would bunch them.
        let arriving = tokio::task::spawn_blocking(move || {
            let start = Instant::now();
            plan.into_iter()
                .map(|arrival| {
                    std::thread::sleep(arrival.due.saturating_sub(start.elapsed()));
                    runtime.spawn(setup.clone().serve(start, arrival))
                })
                .collect::<Vec<_>>()
        });
        let tasks = arriving.await.expect("arrivals");
        let records = join_all(tasks).await.into_iter();
        records.map(|record| record.expect("no panic")).collect()
    }

    /// Has clients think and ask until the time is over, each of them on a thread of its own, as
    /// above. In the order of asking.
    pub(crate) async fn clients(
        &self,
        clients: Clients,
        work: Work,
        seed: u64,
        time: Duration,
    ) -> Vec<Record> {
        let mut seeds = Rng::with_seed(seed);
        let start = Instant::now();
        let threads = (0..clients.number).map(|_| {
            let (runtime, setup) = (Handle::current(), self.clone());
            let mut random = seeds.fork();
            tokio::task::spawn_blocking(move || {
                let mut records = Vec::new();
                loop {
                    let think = clients.think * exponential(&mut random) / 1e3;
                    let due = start.elapsed() + Duration::from_secs_f64(think);
                    if due >= time {
                        return records;
                    }
                    let job = work.draw(&mut random);
                    std::thread::sleep(due.saturating_sub(start.elapsed()));
                    let served = runtime.spawn(setup.clone().serve(start, Arrival { due, job }));
                    records.push(runtime.block_on(served).expect("no panic"));
                }
            })
        });
        let clients = join_all(threads).await.into_iter();
        let mut records: Vec<_> = clients
            .flat_map(|records| records.expect("no panic"))
            .collect();
        records.sort_unstable_by_key(|record| record.asked);
        records
    }

    /// How much is served a second when each of the pool's connections is always in use.
    pub(crate) async fn capacity(&self, work: Work, time: Duration) -> f64 {
        let start = Instant::now();
        let tasks = (0..self.pool.settings().pool_size).map(|task| {
            let setup = self.clone();
            tokio::spawn(async move {
                let mut random = Rng::with_seed(u64::from(task));
                let mut served = 0.0;
                while start.elapsed() < time {
                    let mut connection = setup.pool.get().await.expect("a connection");
                    let job = work.draw(&mut random);
                    let queries = job.run(&mut connection, &setup.server, setup.row);
                    queries.await.expect("no error");
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

    async fn serve(self, start: Instant, arrival: Arrival) -> Record {
        let Arrival { due, job } = arrival;
        let asked = start.elapsed();
        let (answer, queued) = match job.route {
            Route::First => first_route(&self.pool).await,
            Route::Second => second_route(&self.pool).await,
        };
        let answered = start.elapsed();
        let mut hold = None;
        if let Ok(mut connection) = answer {
            let queries = job.run(&mut connection, &self.server, self.row);
            let queries = queries.await.expect("no error");
            hold = Some(Hold {
                first_query_begun: queries.first_begun - start,
                last_query_ended: queries.last_ended - start,
                busy: queries.busy,
                // Before it goes to the next one, so that no more are in use than there are.
                returned: start.elapsed(),
            });
        }
        Record {
            due,
            asked,
            answered,
            queued,
            route: job.route,
            hold,
        }
    }
}

type Answer = Result<PooledConnection<AsyncPgConnection>, PoolError>;

/// Poolscope tells routes apart by the source line that asks: each has its own.
async fn first_route(pool: &Ours) -> (Answer, bool) {
    and_whether_queued(pool.get()).await
}

async fn second_route(pool: &Ours) -> (Answer, bool) {
    and_whether_queued(pool.get()).await
}

/// A checkout that is served at once is ready when first polled.
async fn and_whether_queued(checkout: impl Future<Output = Answer>) -> (Answer, bool) {
    let mut checkout = pin!(checkout);
    let mut polls = 0;
    let answer = poll_fn(|context| {
        polls += 1;
        checkout.as_mut().poll(context)
    })
    .await;
    (answer, polls > 1)
}
