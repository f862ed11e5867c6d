//! What an arrival does with its connection, and how long it spends in queries.

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
    /// A query that costs nothing, and work of the application's own: variable, so many
    /// milliseconds on average.
    Application { mean: f64 },
    /// A query that computes for so many milliseconds on average, on an idle processor.
    Computing { mean: f64 },
    /// Work of the application's own, variable; then a transaction that updates the one row, and
    /// holds its lock for so many milliseconds of the application's work.
    Row { outside: f64, inside: f64 },
    /// Queries that wait in the server, one of `one_in` for so many milliseconds, the others
    /// shortly.
    Sometimes { short: f64, long: f64, one_in: u32 },
}

/// One piece of it, drawn before the run begins.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Job {
    Application(Duration),
    Computing { ms: f64 },
    Row { outside: Duration, inside: Duration },
    Waiting(Duration),
}

impl Work {
    pub(crate) fn draw(self, random: &mut Rng) -> Job {
        match self {
            // Of two parts, each exponential: less variable than an exponential time.
            Self::Application { mean } => {
                let parts = exponential(random) + exponential(random);
                Job::Application(ms(mean * parts / 2.0))
            }
            Self::Computing { mean } => Job::Computing {
                ms: mean * (0.5 + random.f64()),
            },
            Self::Row { outside, inside } => Job::Row {
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
                Job::Waiting(ms(time))
            }
        }
    }
}

impl Job {
    /// Does it, and says how long its queries took.
    pub(crate) async fn run(
        self,
        connection: &mut AsyncPgConnection,
        server: &Server,
    ) -> QueryResult<Duration> {
        let start = Instant::now();
        let mut elsewhere = Duration::ZERO;
        match self {
            Self::Application(time) => {
                diesel::select(diesel::dsl::sql::<Integer>("1"))
                    .get_result::<i32>(connection)
                    .await?;
                elsewhere = pause(time).await;
            }
            Self::Computing { ms } => compute(connection, server.rows(ms)).await?,
            Self::Row { outside, inside } => {
                elsewhere = pause(outside).await;
                elsewhere += connection
                    .transaction(async |connection| {
                        diesel::sql_query("UPDATE hot SET counter = counter + 1 WHERE id = 1")
                            .execute(connection)
                            .await?;
                        QueryResult::Ok(pause(inside).await)
                    })
                    .await?;
            }
            Self::Waiting(time) => {
                diesel::sql_query("SELECT pg_sleep($1)")
                    .bind::<Double, _>(time.as_secs_f64())
                    .execute(connection)
                    .await?;
            }
        }
        Ok(start.elapsed().saturating_sub(elsewhere))
    }
}

/// What the work needs of the database.
pub(crate) async fn prepare(connection: &mut AsyncPgConnection) -> QueryResult<()> {
    connection
        .batch_execute(
            "CREATE TABLE hot (id integer PRIMARY KEY, counter bigint NOT NULL);
             INSERT INTO hot VALUES (1, 0)",
        )
        .await
}

/// How fast the server computes.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    /// On an idle processor, when it was measured.
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

    /// So many take so long, by the processors' speed now.
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

/// Of mean one.
pub(crate) fn exponential(random: &mut Rng) -> f64 {
    -(1.0 - random.f64()).ln()
}
