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

/// The maximum wait, so that a run with too few connections ends.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The resources of one run.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) pool: Ours,
    pub(crate) server: Server,
    /// The row that it locks; concurrent runs lock different rows.
    pub(crate) row: i32,
}

/// The outcome of one checkout; times since the start of the run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record {
    /// When it was due.
    pub(crate) due: Duration,
    /// When it started.
    pub(crate) asked: Duration,
    /// When it got a connection, or timed out.
    pub(crate) answered: Duration,
    /// Whether it queued.
    pub(crate) queued: bool,
    pub(crate) route: Route,
    /// `None` if it timed out.
    pub(crate) hold: Option<Hold>,
}

/// The use of a connection; times since the start of the run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hold {
    pub(crate) first_query_begun: Duration,
    pub(crate) last_query_ended: Duration,
    /// The time during which a query ran.
    pub(crate) busy: Duration,
    pub(crate) returned: Duration,
}

impl Record {
    /// The time in the queue; zero if it was served at once.
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
    /// Opens a pool with this number of connections, all of them open, and no overflow.
    pub(crate) async fn open(url: &str, connections: u32, server: Server, row: i32) -> Self {
        let pool = ours(url, TIMEOUT)
            .pool_size(connections)
            // A ping is not queue time.
            .pool_pre_ping(false)
            .settings(|settings| {
                settings.slow_wait = None;
                // A sweep has the same arrivals as the observation.
                settings.advice_headroom_pct = 0.0;
            })
            .build()
            .expect("a pool");
        // Without checkouts, which would be recorded as load.
        let warm_up = pool.warm_up(Duration::from_secs(10)).await;
        assert!(warm_up.is_complete(), "{warm_up:?}");
        Self { pool, server, row }
    }

    pub(crate) async fn close(self) {
        self.pool.close(Duration::from_secs(5)).await;
    }

    /// Starts each arrival when it is due, independent of earlier ones: a late one delays no other. Ends
    /// when the last one is served.
    pub(crate) async fn arrivals(&self, plan: Vec<Arrival>) -> Vec<Record> {
        let (runtime, setup) = (Handle::current(), self.clone());
        // On its own thread, because tokio's clock has millisecond ticks, which would bunch arrivals.
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

    /// Runs clients until the time is over, each on its own thread for the same reason. Returns the
    /// checkouts ordered by their start.
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

    /// The throughput per second when every connection is always in use.
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
                // Before the next checkout takes it, so that recorded holds never exceed the connections.
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

type CheckoutResult = Result<PooledConnection<AsyncPgConnection>, PoolError>;

/// The pool identifies a route by its source line, so each has its own.
async fn first_route(pool: &Ours) -> (CheckoutResult, bool) {
    with_queued(pool.get()).await
}

async fn second_route(pool: &Ours) -> (CheckoutResult, bool) {
    with_queued(pool.get()).await
}

/// Returns whether the checkout queued: one that is served at once is ready at its first poll.
async fn with_queued(checkout: impl Future<Output = CheckoutResult>) -> (CheckoutResult, bool) {
    let mut checkout = pin!(checkout);
    let mut polls = 0;
    let answer = poll_fn(|context| {
        polls += 1;
        checkout.as_mut().poll(context)
    })
    .await;
    (answer, polls > 1)
}
