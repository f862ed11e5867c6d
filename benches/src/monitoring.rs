//! The latency and cost of the monitoring routes while the pool is exhausted.

use std::time::{Duration, Instant};

use http::Request;
use opentelemetry_sdk::trace::Sampler;
use poolscope_benches::load::closed;
use poolscope_benches::peers::{Ours, ours, warm_up};
use poolscope_benches::report::{Targets, ms, percent, progress, table};
use poolscope_benches::statistics::{Rounds, Sample};
use poolscope_benches::support::postgres::Postgres;
use poolscope_benches::{Scale, telemetry};
use tokio::time::{MissedTickBehavior, interval};
use tower::ServiceExt;

const TASKS: usize = 64;
const HOLD: Duration = Duration::from_millis(1);
/// The time between two requests to the monitor: 200 per second.
const PAUSE: Duration = Duration::from_millis(5);
const ROUTES: [&str; 6] = [
    "status",
    "health",
    "connections",
    "optimize",
    "healthcheck",
    "metrics",
];

pub(crate) fn run(scale: Scale, server: &Postgres) {
    let url = server.create_database("monitoring");
    crate::runtime(2).block_on(async {
        let pool = ours(&url, Duration::from_secs(30))
            .meter_provider(telemetry::metrics())
            .tracer_provider(telemetry::traces(Sampler::TraceIdRatioBased(0.01)))
            .build()
            .expect("a pool");
        warm_up(&pool).await;
        progress("monitoring");
        let time = scale.seconds(2.0);
        let (mut rounds, mut latencies) = (Rounds::default(), vec![Vec::new(); ROUTES.len()]);
        for _ in 0..scale.pick(11, 1) {
            let alone = closed(&pool, TASKS, HOLD, time).await.per_second();
            let load = closed(&pool, TASKS, HOLD, time);
            let (watched, new_latencies) = tokio::join!(load, request_routes(pool.clone(), time));
            rounds.0.push(vec![alone, watched.per_second()]);
            for (all, new) in latencies.iter_mut().zip(new_latencies) {
                all.extend(new);
            }
        }
        print_tables(&rounds, latencies);
    });
}

/// Requests all routes in turn, each request in its own task.
async fn request_routes(pool: Ours, time: Duration) -> Vec<Vec<Duration>> {
    let mut tick = interval(PAUSE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let start = Instant::now();
    let mut running = Vec::new();
    for route in (0..ROUTES.len()).cycle() {
        tick.tick().await;
        if start.elapsed() >= time {
            break;
        }
        let monitor = pool.monitor();
        let task = tokio::spawn(async move {
            let request = Request::get(format!("/{}", ROUTES[route])).body(());
            let start = Instant::now();
            let response = monitor.oneshot(request.expect("a request")).await;
            drop(response.expect("a response"));
            start.elapsed()
        });
        running.push((route, task));
    }
    let mut latencies = vec![Vec::new(); ROUTES.len()];
    for (route, task) in running {
        latencies[route].push(task.await.expect("no panic"));
    }
    latencies
}

fn print_tables(rounds: &Rounds, latencies: Vec<Vec<Duration>>) {
    let all = Sample::sorted(latencies.concat());
    let rows = ROUTES.iter().zip(latencies).map(|(route, times)| {
        let times = Sample::sorted(times);
        vec![
            format!("`{route}`"),
            times.len().to_string(),
            ms(times.quantile(0.5)),
            ms(times.quantile(0.99)),
            ms(times.max()),
        ]
    });
    table(
        "The monitor at 200 requests per second, 64 tasks looping over 8 connections",
        &["route", "requests", "p50", "p99", "max"],
        &rows.collect::<Vec<_>>(),
    );
    let mut targets = Targets::default();
    let p99 = all.quantile(0.99);
    targets.add(
        "p99 of all routes",
        "<= 10 ms",
        ms(p99),
        p99 <= Duration::from_millis(10),
    );
    let lost = 1.0 - rounds.ratio(1, 0);
    targets.add(
        "fewer checkouts per second, by",
        "<= 2 %",
        percent(lost),
        lost <= 0.02,
    );
    targets.print("Monitoring under exhaustion: targets");
}
