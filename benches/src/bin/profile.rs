//! Runs one pool under one load, for a profiler: `perf record -g target/release/profile checkout unsampled`.
//!
//! With `TIMES` it serves an instruction counter: one task on one thread repeats the work within `counted`,
//! and every run takes the same path.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::{Span as _, SpanBuilder, SpanKind, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use poolscope_benches::peers::{Peer, Ping, bb8, layered, ours, warm_up};
use poolscope_benches::support::postgres::{Options, Postgres};
use poolscope_benches::telemetry;
use tokio::runtime::{Builder, Runtime};

const TIMEOUT: Duration = Duration::from_secs(30);
/// The repetitions of `checkout`, unless `TIMES` is set.
const CHECKOUTS: u32 = 2_000_000;
/// The tasks of `select`, unless `TASKS` is set.
const TASKS: u32 = 16;
const SECONDS: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let (load, pool) = match arguments[..] {
        [load @ ("checkout" | "select"), pool] => (load, pool),
        ["sdk", what @ ("metrics" | "unsampled" | "sampled")] => return sdk(what),
        _ => {
            eprintln!(
                "profile checkout|select bb8|deadpool|layered|metrics|unsampled|usual|sampled"
            );
            eprintln!("profile sdk metrics|unsampled|sampled");
            return ExitCode::FAILURE;
        }
    };
    let server = Postgres::start(Options::new());
    let url = server.create_database("profile");
    let mut runtime = match variable("TIMES") {
        Some(_) => Builder::new_current_thread(),
        None => Builder::new_multi_thread(),
    };
    let runtime = runtime.worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let raw = || runtime.block_on(bb8(&url, Ping::Never, TIMEOUT));
    let builder = || {
        let _inside = runtime.enter();
        ours(&url, TIMEOUT).meter_provider(telemetry::metrics())
    };
    let traced = |provider| builder().tracer_provider(provider);
    let builder = match pool {
        "bb8" => return work(&runtime, raw(), load),
        #[cfg(feature = "peers")]
        "deadpool" => {
            let pool = poolscope_benches::peers::deadpool(&url, Ping::Never, TIMEOUT);
            return work(&runtime, pool, load);
        }
        "layered" => return work(&runtime, layered(raw()), load),
        "unsampled" => traced(telemetry::traces(Sampler::AlwaysOff)),
        "usual" => traced(telemetry::traces(Sampler::TraceIdRatioBased(0.01))),
        "sampled" => traced(telemetry::made_spans()),
        _ => builder(),
    };
    let pool = runtime.block_on(async { builder.build().expect("a pool") });
    work(&runtime, pool, load)
}

fn work<P: Peer>(runtime: &Runtime, pool: P, load: &str) -> ExitCode {
    runtime.block_on(warm_up(&pool));
    let start = Instant::now();
    match (load, variable("TIMES")) {
        ("select", None) => {
            let queries = runtime.block_on(selects(pool, start));
            let seconds = start.elapsed().as_secs_f64();
            println!("{:.0} queries per second", f64::from(queries) / seconds);
        }
        (_, times) => {
            let times = times.unwrap_or(CHECKOUTS);
            counted(runtime, &pool, load == "select", times);
            println!("{:?} per {load}", start.elapsed() / times);
        }
    }
    ExitCode::SUCCESS
}

/// A separate function, so that a counter can start and stop with it.
#[inline(never)]
fn counted<P: Peer>(runtime: &Runtime, pool: &P, select: bool, times: u32) {
    runtime.block_on(async {
        for _ in 0..times {
            let mut guard = pool.checkout().await.expect("a connection");
            if select {
                P::select(&mut guard).await;
            }
        }
    });
}

/// The cost of OpenTelemetry's SDK alone for the telemetry of a checkout: two histograms, or a span without
/// attributes.
fn sdk(what: &str) -> ExitCode {
    let times = variable("TIMES").unwrap_or(CHECKOUTS);
    let start = Instant::now();
    match what {
        "metrics" => counted_histograms(times),
        "unsampled" => counted_spans(&telemetry::traces(Sampler::AlwaysOff), times),
        _ => counted_spans(&telemetry::made_spans(), times),
    }
    println!("{:?} each", start.elapsed() / times);
    ExitCode::SUCCESS
}

#[inline(never)]
fn counted_spans(provider: &SdkTracerProvider, times: u32) {
    let tracer = provider.tracer("profile");
    for _ in 0..times {
        let span = SpanBuilder::from_name("checkout").with_kind(SpanKind::Client);
        tracer.build_with_context(span, &Context::new()).end();
    }
}

#[inline(never)]
fn counted_histograms(times: u32) {
    let meters = telemetry::metrics();
    let meter = meters.meter("profile");
    let pool = [KeyValue::new("db.client.connection.pool.name", "profile")];
    let histogram = |name| meter.f64_histogram(name).build().bind(&pool);
    let (waits, uses) = (histogram("waits"), histogram("uses"));
    for _ in 0..times {
        waits.record(0.001);
        uses.record(0.001);
    }
}

async fn selects<P: Peer>(pool: P, start: Instant) -> u32 {
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
    counts.into_iter().map(|it| it.expect("no panic")).sum()
}

fn variable(name: &str) -> Option<u32> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().expect("a number"))
}
