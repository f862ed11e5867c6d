//! The cost of a checkout and its return, without a message to the server.

use std::time::{Duration, Instant};

use diesel_async::RunQueryDsl;
use futures_util::future::BoxFuture;
use opentelemetry_sdk::trace::Sampler;
use poolscope::backend::AsyncSqliteConnection;
use poolscope::{Pool, Settings};
use poolscope_benches::peers::{Ours, Peer, Ping, bb8, layered, ours, warm_up};
use poolscope_benches::report::{Targets, note, ns, progress, table, times};
use poolscope_benches::statistics::{Rounds, order};
use poolscope_benches::support::postgres::Postgres;
use poolscope_benches::{Scale, telemetry};
use rustix::time::{ClockId, clock_gettime};

const TIMEOUT: Duration = Duration::from_secs(30);
const QUERIES: u32 = 300;

/// Repeats a checkout, and returns the cost of one.
type Work = Box<dyn Fn(u32) -> BoxFuture<'static, Cost>>;

/// Nanoseconds of wall-clock time, and of processor time of the measuring thread. On a shared machine, only
/// the second is the pool's own cost.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    wall: f64,
    processor: f64,
}

#[derive(Debug, Default)]
struct Costs {
    wall: Rounds,
    processor: Rounds,
}

/// Times one task, which stays on the thread of the benchmark.
struct Stopwatch(Instant, Duration);

impl Stopwatch {
    fn start() -> Self {
        Self(Instant::now(), processor_time())
    }

    fn each(&self, times: u32) -> Cost {
        let of = |time: Duration| time.as_nanos() as f64 / f64::from(times);
        Cost {
            wall: of(self.0.elapsed()),
            processor: of(processor_time() - self.1),
        }
    }
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

pub(crate) fn run(scale: Scale, server: &Postgres) {
    let runtime = crate::runtime(2);
    runtime.block_on(checkouts(scale, &server.create_database("checkouts")));
    runtime.block_on(raw_transactions(scale));
}

async fn checkouts(scale: Scale, url: &str) {
    let raw = bb8(url, Ping::Never, TIMEOUT).await;
    let layered = layered(raw.clone());
    let pool = |change: fn(poolscope::PoolBuilder<_>) -> poolscope::PoolBuilder<_>| {
        let builder = ours(url, TIMEOUT).meter_provider(telemetry::metrics());
        change(builder).build().expect("a pool")
    };
    let metrics: Ours = pool(|it| it);
    let unsampled = pool(|it| it.tracer_provider(telemetry::traces(Sampler::AlwaysOff)));
    let sampled = pool(|it| it.tracer_provider(telemetry::made_spans()));
    let batched = pool(|it| it.tracer_provider(telemetry::traces(Sampler::AlwaysOn)));
    #[allow(unused_mut, reason = "a feature adds the peers")]
    let mut compared: Vec<(&str, Work)> = vec![
        ("raw bb8, without ping", work(raw).await),
        ("`ObserveLayer` over that bb8, metrics", work(layered).await),
        ("`Pool`, metrics", work(metrics.clone()).await),
        (
            "`Pool`, metrics, traces not sampled",
            work(unsampled.clone()).await,
        ),
        (
            "`Pool`, metrics, every trace sampled",
            work(sampled.clone()).await,
        ),
        (
            "`Pool`, metrics, every trace sampled and given to the batch exporter",
            work(batched).await,
        ),
    ];
    #[cfg(feature = "peers")]
    {
        use poolscope_benches::peers::{deadpool, sqlx};
        let deadpool = deadpool(url, Ping::Never, TIMEOUT);
        compared.push(("deadpool Fast", work(deadpool).await));
        let sqlx = sqlx(url, Ping::Never, TIMEOUT).await;
        compared.push(("sqlx, without ping", work(sqlx).await));
    }

    progress("one task, no database");
    let costs = rounds(&compared, scale.pick(51, 2), scale.pick(10_000, 100)).await;
    let rows = compared.iter().enumerate().map(|(column, (name, _))| {
        let over = match column {
            0 => String::new(),
            _ => format!("{:+.0} ns", costs.processor.difference(column, 0)),
        };
        vec![
            (*name).to_owned(),
            ns(costs.wall.median_of(column)),
            ns(costs.processor.median_of(column)),
            over,
            times(costs.processor.ratio(column, 0)),
        ]
    });
    table(
        "A checkout: one task, no database",
        &[
            "pool",
            "wall-clock time",
            "processor time",
            "over raw bb8",
            "ratio",
        ],
        &rows.collect::<Vec<_>>(),
    );

    let mut targets = Targets::default();
    for (what, column, most) in [
        (
            "full observation (gate, metrics, windows, ledger)",
            2,
            250.0,
        ),
        ("the same, its span not sampled", 3, 250.0),
        ("the same, its span sampled", 4, 400.0),
    ] {
        let over = costs.processor.difference(column, 0);
        targets.add(
            format!("{what}, over raw bb8"),
            format!("<= {}", ns(most)),
            ns(over),
            over <= most,
        );
    }
    targets.print("A checkout: targets");
    note(
        "Differences and ratios are of the processor time of the measuring thread. sqlx returns \
         connections in a separate task, on another thread.",
    );
}

/// Opens all connections first.
async fn work<P: Peer>(pool: P) -> Work {
    warm_up(&pool).await;
    Box::new(move |times| {
        let pool = pool.clone();
        Box::pin(async move {
            let stopwatch = Stopwatch::start();
            for _ in 0..times {
                drop(pool.checkout().await.expect("a connection"));
            }
            stopwatch.each(times)
        })
    })
}

/// Runs all in turn, many times.
async fn rounds(compared: &[(&str, Work)], rounds: usize, times: u32) -> Costs {
    let mut all = Costs::default();
    for number in 0..rounds {
        let mut round = vec![Cost::default(); compared.len()];
        for column in order(number, compared.len()) {
            let (_, work) = &compared[column];
            round[column] = work(times).await;
        }
        all.wall.0.push(round.iter().map(|it| it.wall).collect());
        all.processor
            .0
            .push(round.iter().map(|it| it.processor).collect());
    }
    all
}

/// The cost of detecting raw transactions by SQL text, without a wire.
async fn raw_transactions(scale: Scale) {
    progress("raw transactions on SQLite");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = format!("sqlite://{}", folder.path().join("bench.db").display());
    let pool = |look: bool| {
        Pool::<AsyncSqliteConnection>::builder(Settings::new(url.as_str()))
            .raw_transactions(look)
            .build()
            .expect("a pool")
    };
    let work = |pool: Pool<AsyncSqliteConnection>| -> Work {
        Box::new(move |times| {
            let pool = pool.clone();
            Box::pin(async move {
                let stopwatch = Stopwatch::start();
                for _ in 0..times {
                    let mut conn = pool.get().await.expect("a connection");
                    diesel::select(diesel::dsl::sql::<diesel::sql_types::Integer>("1"))
                        .execute(&mut conn)
                        .await
                        .expect("a result");
                }
                stopwatch.each(times)
            })
        })
    };
    let compared = [("with", work(pool(true))), ("without", work(pool(false)))];
    let rounds = rounds(&compared, scale.pick(31, 2), QUERIES).await;
    note(format!(
        "A query on SQLite with detection of raw transactions (`raw_transactions`), to one without: {}.",
        times(rounds.wall.ratio(0, 1))
    ));
}
