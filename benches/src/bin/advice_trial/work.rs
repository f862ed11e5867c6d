//! The work of an arrival with its connection, and its time in queries.

use std::time::{Duration, Instant};

use diesel::QueryResult;
use diesel::sql_types::{Double, Integer};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use fastrand::Rng;
use tokio::time::sleep;

use super::speed::Speed;

/// The kind of work of a load.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Work {
    /// A trivial query, then application work of `mean` milliseconds on average (gamma distribution, shape 2).
    Application { mean: f64 },
    /// The same with a lognormal distribution, truncated at `most` milliseconds.
    HeavyTailed { mean: f64, sigma: f64, most: f64 },
    /// A query that computes for `mean` milliseconds on average on an idle processor.
    Computing { mean: f64 },
    /// Application work (exponential distribution), then a transaction that updates the run's row and holds
    /// its lock for `inside` milliseconds of application work.
    Row { outside: f64, inside: f64 },
    /// Queries that sleep in the server for `short` milliseconds, or one in `one_in` for `long`.
    Sometimes { short: f64, long: f64, one_in: u32 },
    /// Two routes, the first with this percentage of arrivals.
    TwoRoutes {
        first_pct: u32,
        first: &'static Work,
        second: &'static Work,
    },
}

/// One job, drawn before the run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job {
    pub(crate) route: Route,
    task: Task,
}

/// The place in the application that takes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    First,
    Second,
}

#[derive(Debug, Clone, Copy)]
enum Task {
    Application(Duration),
    Computing { ms: f64 },
    Row { outside: Duration, inside: Duration },
    Waiting(Duration),
}

impl Work {
    pub(crate) fn draw(self, random: &mut Rng) -> Job {
        let (route, work) = match self {
            Self::TwoRoutes {
                first_pct, first, ..
            } if random.u32(..100) < first_pct => (Route::First, *first),
            Self::TwoRoutes { second, .. } => (Route::Second, *second),
            work => (Route::First, work),
        };
        Job {
            route,
            task: work.task(random),
        }
    }

    fn task(self, random: &mut Rng) -> Task {
        match self {
            // The sum of two exponential parts is a gamma distribution of shape 2.
            Self::Application { mean } => {
                let parts = exponential(random) + exponential(random);
                Task::Application(ms(mean * parts / 2.0))
            }
            Self::HeavyTailed { mean, sigma, most } => {
                // Its mean is exp(mu + sigma² / 2).
                let mu = mean.ln() - sigma * sigma / 2.0;
                let time = (mu + sigma * normal(random)).exp();
                Task::Application(ms(time.min(most)))
            }
            Self::Computing { mean } => Task::Computing {
                ms: mean * (0.5 + random.f64()),
            },
            Self::Row { outside, inside } => Task::Row {
                outside: ms(outside * exponential(random)),
                inside: ms(inside),
            },
            Self::Sometimes {
                short,
                long,
                one_in,
            } => {
                let time = if random.u32(..one_in) == 0 {
                    long
                } else {
                    short
                };
                Task::Waiting(ms(time))
            }
            Self::TwoRoutes { first, .. } => first.task(random),
        }
    }
}

/// When the queries of a job started and ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Queries {
    pub(crate) first_begun: Instant,
    pub(crate) last_ended: Instant,
    /// The time in between during which a query ran.
    pub(crate) busy: Duration,
}

impl Job {
    /// Runs the job, and returns when its queries ran.
    pub(crate) async fn run(
        self,
        connection: &mut AsyncPgConnection,
        server: &Server,
        row: i32,
    ) -> QueryResult<Queries> {
        match self.task {
            Task::Application(time) => {
                let begun = Instant::now();
                diesel::select(diesel::dsl::sql::<Integer>("1"))
                    .get_result::<i32>(connection)
                    .await?;
                let queries = Queries::since(begun, Duration::ZERO);
                pause(time).await;
                Ok(queries)
            }
            Task::Computing { ms } => {
                let begun = Instant::now();
                compute(connection, server.rows(ms)).await?;
                Ok(Queries::since(begun, Duration::ZERO))
            }
            Task::Row { outside, inside } => {
                pause(outside).await;
                let begun = Instant::now();
                let paused = connection
                    .transaction(async |connection| {
                        diesel::sql_query("UPDATE hot SET counter = counter + 1 WHERE id = $1")
                            .bind::<Integer, _>(row)
                            .execute(connection)
                            .await?;
                        QueryResult::Ok(pause(inside).await)
                    })
                    .await?;
                Ok(Queries::since(begun, paused))
            }
            Task::Waiting(time) => {
                let begun = Instant::now();
                diesel::sql_query("SELECT pg_sleep($1)")
                    .bind::<Double, _>(time.as_secs_f64())
                    .execute(connection)
                    .await?;
                Ok(Queries::since(begun, Duration::ZERO))
            }
        }
    }
}

impl Queries {
    /// The last query ends now. `paused` is the time without a query since the first began.
    fn since(first_begun: Instant, paused: Duration) -> Self {
        let last_ended = Instant::now();
        Self {
            first_begun,
            last_ended,
            busy: (last_ended - first_begun).saturating_sub(paused),
        }
    }
}

/// Creates the table: one row for each concurrent run.
pub(crate) async fn prepare(connection: &mut AsyncPgConnection) -> QueryResult<()> {
    connection
        .batch_execute(
            "CREATE TABLE hot (id integer PRIMARY KEY, counter bigint NOT NULL);
             INSERT INTO hot SELECT id, 0 FROM generate_series(1, 100) AS id",
        )
        .await
}

/// The computing speed of the server.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    /// Measured on an idle processor.
    rows_per_ms: f64,
    speed: Speed,
}

impl Server {
    pub(crate) async fn measure(connection: &mut AsyncPgConnection) -> QueryResult<Self> {
        const ROWS: i32 = 10_000;
        let mut fastest = f64::INFINITY;
        for _ in 0..20 {
            let start = Instant::now();
            compute(connection, ROWS).await?;
            fastest = fastest.min(start.elapsed().as_secs_f64() * 1e3);
        }
        Ok(Self {
            rows_per_ms: f64::from(ROWS) / fastest,
            speed: Speed::start(),
        })
    }

    /// The rows that take this time at the current processor speed.
    fn rows(&self, ms: f64) -> i32 {
        (ms * self.rows_per_ms * self.speed.now()) as i32
    }
}

async fn compute(connection: &mut AsyncPgConnection, rows: i32) -> QueryResult<()> {
    diesel::sql_query("SELECT max(md5(i::text)) FROM generate_series(1, $1) AS i")
        .bind::<Integer, _>(rows)
        .execute(connection)
        .await
        .map(drop)
}

async fn pause(time: Duration) -> Duration {
    let start = Instant::now();
    sleep(time).await;
    start.elapsed()
}

fn ms(time: f64) -> Duration {
    Duration::from_secs_f64(time / 1e3)
}

/// Exponential with mean one.
pub(crate) fn exponential(random: &mut Rng) -> f64 {
    -(1.0 - random.f64()).ln()
}

/// Normal with mean zero and variance one (Box and Muller).
fn normal(random: &mut Rng) -> f64 {
    (2.0 * exponential(random)).sqrt() * (std::f64::consts::TAU * random.f64()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: u32 = 200_000;

    fn mean_and_most(work: Work) -> (f64, f64) {
        let mut random = Rng::with_seed(3);
        let times = (0..DRAWS).map(|_| match work.draw(&mut random).task {
            Task::Application(time) => time.as_secs_f64() * 1e3,
            other => panic!("{other:?}"),
        });
        let (sum, most) = times.fold((0.0, 0.0_f64), |(sum, most), time| {
            (sum + time, most.max(time))
        });
        (sum / f64::from(DRAWS), most)
    }

    #[test]
    fn a_gamma_distribution_has_the_requested_mean() {
        let (mean, _) = mean_and_most(Work::Application { mean: 20.0 });
        assert!((mean - 20.0).abs() < 0.2, "{mean}");
    }

    #[test]
    fn a_lognormal_distribution_has_the_requested_mean_before_truncation() {
        let work = |most| Work::HeavyTailed {
            mean: 20.0,
            sigma: 1.5,
            most,
        };
        let (whole, _) = mean_and_most(work(f64::INFINITY));
        assert!((whole - 20.0).abs() < 0.6, "{whole}");
        let (cut, most) = mean_and_most(work(1000.0));
        assert!(cut > 19.2 && cut <= whole, "{cut} of {whole}");
        assert!(most <= 1000.0, "{most}");
    }

    #[test]
    fn each_route_has_its_share_and_its_work() {
        let work = Work::TwoRoutes {
            first_pct: 30,
            first: &Work::Row {
                outside: 10.0,
                inside: 6.0,
            },
            second: &Work::Application { mean: 15.0 },
        };
        let mut random = Rng::with_seed(3);
        let jobs: Vec<_> = (0..DRAWS).map(|_| work.draw(&mut random)).collect();
        let first = jobs.iter().filter(|job| job.route == Route::First);
        let share = first.clone().count() as f64 / f64::from(DRAWS);
        assert!((share - 0.3).abs() < 0.01, "{share}");
        assert!(
            first
                .into_iter()
                .all(|job| matches!(job.task, Task::Row { .. }))
        );
    }
}
