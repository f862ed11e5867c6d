//! The cost of a checkout, as ratios within one run: `cargo bench --bench overhead`.
//!
//! Both sides of a pair run alternately, many times. The report is the median of the ratios, because a
//! busy machine affects both sides of a pair.

use std::time::{Duration, Instant};

use diesel_async::RunQueryDsl;
use diesel_async::pooled_connection::bb8::Pool as Bb8Pool;
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod,
};
use poolscope::{ObserveLayer, Pool, PoolService, Settings};
use poolscope::backend::AsyncSqliteConnection;
use tower::Layer;

const ROUNDS: usize = 31;
const CHECKOUTS: u32 = 20_000;
const QUERIES: u32 = 300;

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = format!("sqlite://{}", folder.path().join("bench.db").display());

    let mut config = ManagerConfig::default();
    config.recycling_method = RecyclingMethod::Fast;
    let manager =
        AsyncDieselConnectionManager::<AsyncSqliteConnection>::new_with_config(":memory:", config);
    let raw: Bb8Pool<AsyncSqliteConnection> = Bb8Pool::builder()
        .max_size(1)
        .build(manager)
        .await
        .expect("a bb8 pool");
    let layered = ObserveLayer::new("layered").layer(PoolService::from(raw.clone()));
    let pool = build(&url, true);
    let without = build(&url, false);

    compare(
        "checkout: ObserveLayer over bb8 / raw bb8",
        CHECKOUTS,
        async || drop(layered.get().await.expect("a connection")),
        async || drop(raw.get().await.expect("a connection")),
    )
    .await;
    compare(
        "checkout: Pool / raw bb8",
        CHECKOUTS,
        async || drop(pool.get().await.expect("a connection")),
        async || drop(raw.get().await.expect("a connection")),
    )
    .await;
    compare(
        "SQLite query: with / without detection of raw transactions",
        QUERIES,
        async || query(&pool).await,
        async || query(&without).await,
    )
    .await;
    if let Ok(url) = std::env::var("BENCH_MYSQL_URL") {
        let pool = |detect: bool| {
            Pool::<diesel_async::AsyncMysqlConnection>::builder(Settings::new(url.as_str()))
                .raw_transactions(detect)
                .build()
                .expect("a pool")
        };
        let (with, without) = (pool(true), pool(false));
        let query = async |pool: &Pool<diesel_async::AsyncMysqlConnection>| {
            let mut conn = pool.get().await.expect("a connection");
            diesel::select(diesel::dsl::sql::<diesel::sql_types::Integer>("1"))
                .execute(&mut conn)
                .await
                .expect("a result");
        };
        compare(
            "MySQL query: with / without detection of raw transactions",
            QUERIES,
            async || query(&with).await,
            async || query(&without).await,
        )
        .await;
    }
}

fn build(url: &str, raw_transactions: bool) -> Pool<AsyncSqliteConnection> {
    Pool::builder(Settings::new(url))
        .raw_transactions(raw_transactions)
        .build()
        .expect("a pool")
}

async fn query(pool: &Pool<AsyncSqliteConnection>) {
    let mut conn = pool.get().await.expect("a connection");
    diesel::select(diesel::dsl::sql::<diesel::sql_types::Integer>("1"))
        .execute(&mut conn)
        .await
        .expect("a result");
}

async fn compare(what: &str, times: u32, ours: impl AsyncFn(), theirs: impl AsyncFn()) {
    let time = async |work: &dyn AsyncWork| {
        let start = Instant::now();
        work.repeat(times).await;
        start.elapsed() / times
    };
    let mut pairs = Vec::new();
    let (ours, theirs) = (Work(ours), Work(theirs));
    for _ in 0..ROUNDS {
        pairs.push((time(&ours).await, time(&theirs).await));
    }
    pairs.sort_by(|a, b| ratio(*a).total_cmp(&ratio(*b)));
    let (a, b) = pairs[pairs.len() / 2];
    println!(
        "{what}: {:.2}x ({a:?} / {b:?}, median of {ROUNDS} pairs)",
        ratio((a, b))
    );
}

fn ratio((a, b): (Duration, Duration)) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}

struct Work<F>(F);

trait AsyncWork {
    fn repeat(&self, times: u32) -> std::pin::Pin<Box<dyn Future<Output = ()> + '_>>;
}

impl<F: AsyncFn()> AsyncWork for Work<F> {
    fn repeat(&self, times: u32) -> std::pin::Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(async move {
            for _ in 0..times {
                (self.0)().await;
            }
        })
    }
}
