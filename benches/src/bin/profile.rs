//! One pool under one load, for a profiler: `perf record -g target/release/profile checkout unsampled`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use opentelemetry_sdk::trace::Sampler;
use poolscope_benches::peers::{Peer, Ping, bb8, ours, warm_up};
use poolscope_benches::support::postgres::{Options, Postgres};
use poolscope_benches::telemetry;

const PATIENCE: Duration = Duration::from_secs(30);
/// Of `checkout`; `TIMES` changes it. Given for `select`, one task sends so many queries on one thread:
/// an instruction counter takes the difference of two lengths.
const CHECKOUTS: u32 = 2_000_000;
/// Of `select`; `TASKS` changes it.
const TASKS: u32 = 16;
const SECONDS: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let [load @ ("checkout" | "select"), pool] = arguments[..] else {
        eprintln!("profile checkout|select bb8|deadpool|metrics|unsampled|usual|sampled");
        return ExitCode::FAILURE;
    };
    let server = Postgres::start(Options::new());
    let url = server.create_database("profile");
    let mut runtime = match (load, variable("TIMES")) {
        ("select", Some(_)) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = runtime.worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async {
        if pool == "bb8" {
            return work(bb8(&url, Ping::Never, PATIENCE).await, load).await;
        }
        #[cfg(feature = "peers")]
        if pool == "deadpool" {
            let pool = poolscope_benches::peers::deadpool(&url, Ping::Never, PATIENCE);
            return work(pool, load).await;
        }
        let builder = ours(&url, PATIENCE).meter_provider(telemetry::metrics());
        let builder = match pool {
            "unsampled" => builder.tracer_provider(telemetry::traces(Sampler::AlwaysOff)),
            "usual" => {
                builder.tracer_provider(telemetry::traces(Sampler::TraceIdRatioBased(0.01)))
            }
            "sampled" => builder.tracer_provider(telemetry::made_spans()),
            _ => builder,
        };
        work(builder.build().expect("a pool"), load).await;
    });
    ExitCode::SUCCESS
}

async fn work<P: Peer>(pool: P, load: &str) {
    warm_up(&pool).await;
    let start = Instant::now();
    if load == "checkout" {
        let times = variable("TIMES").unwrap_or(CHECKOUTS);
        for _ in 0..times {
            drop(pool.checkout().await.expect("a connection"));
        }
        println!("{:?} a checkout", start.elapsed() / times);
        return;
    }
    if let Some(times) = variable("TIMES") {
        for _ in 0..times {
            let mut guard = pool.checkout().await.expect("a connection");
            P::select(&mut guard).await;
        }
        println!("{:?} a query", start.elapsed() / times);
        return;
    }
    let tasks = variable("TASKS").unwrap_or(TASKS);
    let tasks = (0..tasks).map(|_| {
        let pool = pool.clone();
        tokio::spawn(async move {
            let mut queries = 0_u32;
            while start.elapsed() < SECONDS {
                let mut guard = pool.checkout().await.expect("a connection");
                P::select(&mut guard).await;
                queries += 1;
            }
            queries
        })
    });
    let counts = join_all(tasks).await;
    let queries: u32 = counts.into_iter().map(|it| it.expect("no panic")).sum();
    println!(
        "{:.0} queries a second",
        f64::from(queries) / start.elapsed().as_secs_f64()
    );
}

fn variable(name: &str) -> Option<u32> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().expect("a number"))
}
