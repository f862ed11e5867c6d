//! The cost of query telemetry, as ratios of throughput within one run: `cargo bench --bench queries`.
//! Starts its own PostgreSQL.
//!
//! `SELECT 1` on 8 connections by 16 tasks. All variants run in turn, many times. The report is the median
//! of each variant's throughput relative to bb8 without ping in the same round.

use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel_async::pooled_connection::bb8::Pool as Bb8Pool;
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::future::{BoxFuture, join_all};
use http::{Request, Response};
use http_body_util::Empty;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter};
use poolscope::{Pool, RequestLayer, Settings};
use poolscope::settings::QuerySpans;
use poolscope::service::Route;
use tower::{Layer, ServiceExt, service_fn};

#[path = "../tests/support/mod.rs"]
#[allow(unreachable_pub, reason = "a benchmark has no API")]
mod support;

const ROUNDS: usize = 21;
const TASKS: usize = 16;
const CONNECTIONS: u32 = 8;
const QUERIES: u32 = 400;

type Work = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// Discards every batch.
#[derive(Debug)]
struct Sink;

impl SpanExporter for Sink {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}

#[tokio::main]
async fn main() {
    let url = support::postgres::shared().create_database("bench_queries");
    let raw = raw(&url).await;
    let mut variants: Vec<(&str, Work)> = vec![("bb8 without ping", raw)];
    let pool = |spans: bool, sampler: Option<Sampler>| {
        let mut builder = Pool::<AsyncPgConnection>::builder(Settings::new(url.as_str()))
            .pool_size(CONNECTIONS)
            .max_overflow(0)
            .query_spans(if spans { QuerySpans::Text } else { QuerySpans::Off });
        if let Some(sampler) = sampler {
            let provider = SdkTracerProvider::builder()
                .with_sampler(sampler)
                .with_batch_exporter(Sink)
                .build();
            builder = builder.tracer_provider(provider);
        }
        builder.build().expect("a pool")
    };
    variants.push(("query spans off", queries(pool(false, None))));
    variants.push(("no tracer provider", queries(pool(true, None))));
    variants.push((
        "no trace sampled",
        queries(pool(true, Some(Sampler::AlwaysOff))),
    ));
    variants.push((
        "1 % of traces sampled",
        queries(pool(true, Some(Sampler::TraceIdRatioBased(0.01)))),
    ));
    variants.push((
        "every trace sampled",
        queries(pool(true, Some(Sampler::AlwaysOn))),
    ));
    variants.push((
        "in a RequestLayer, no trace sampled",
        requests(pool(true, Some(Sampler::AlwaysOff))),
    ));

    let mut rounds: Vec<Vec<f64>> = vec![Vec::new(); variants.len()];
    for _ in 0..ROUNDS {
        let mut rates = Vec::new();
        for (_, work) in &variants {
            rates.push(rate(work).await);
        }
        for (round, rate) in rounds.iter_mut().zip(&rates) {
            round.push(rate / rates[0]);
        }
    }
    for ((name, _), ratios) in variants.iter().zip(&mut rounds) {
        ratios.sort_by(f64::total_cmp);
        println!(
            "{name}: {:.2}x (from {:.2} to {:.2} in {ROUNDS} rounds)",
            ratios[ROUNDS / 2],
            ratios[0],
            ratios[ROUNDS - 1]
        );
    }
}

/// Queries per second.
async fn rate(work: &Work) -> f64 {
    let start = Instant::now();
    let tasks = (0..TASKS).map(|_| {
        let work = Arc::clone(work);
        tokio::spawn(async move {
            for _ in 0..QUERIES {
                work().await;
            }
        })
    });
    for task in join_all(tasks).await {
        task.expect("no panic");
    }
    let queries = f64::from(QUERIES) * TASKS as f64;
    queries / start.elapsed().max(Duration::from_micros(1)).as_secs_f64()
}

async fn select(conn: &mut AsyncPgConnection) {
    let one = diesel::select(diesel::dsl::sql::<diesel::sql_types::Integer>("1"));
    one.execute(conn).await.expect("a result");
}

async fn raw(url: &str) -> Work {
    let mut config = ManagerConfig::default();
    config.recycling_method = RecyclingMethod::Fast;
    let manager = AsyncDieselConnectionManager::<AsyncPgConnection>::new_with_config(url, config);
    let pool: Bb8Pool<AsyncPgConnection> = Bb8Pool::builder()
        .max_size(CONNECTIONS)
        .test_on_check_out(false)
        .build(manager)
        .await
        .expect("a bb8 pool");
    Arc::new(move || {
        let pool = pool.clone();
        Box::pin(async move { select(&mut pool.get().await.expect("a connection")).await })
    })
}

fn queries(pool: Pool<AsyncPgConnection>) -> Work {
    Arc::new(move || {
        let pool = pool.clone();
        Box::pin(async move { select(&mut pool.get().await.expect("a connection")).await })
    })
}

/// Runs each query in its own request, attributed to a route.
fn requests(pool: Pool<AsyncPgConnection>) -> Work {
    let service = RequestLayer::new().layer(service_fn(move |_: Request<()>| {
        let pool = pool.clone();
        async move {
            select(&mut pool.get().await.expect("a connection")).await;
            Ok::<_, std::convert::Infallible>(Response::new(Empty::<bytes::Bytes>::new()))
        }
    }));
    let route = Route::new("/one");
    Arc::new(move || {
        let service = service.clone();
        let request = Request::builder().extension(route.clone()).body(());
        Box::pin(async move {
            let request = request.expect("a request");
            drop(service.oneshot(request).await.expect("a result"));
        })
    })
}
