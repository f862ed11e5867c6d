//! Many tasks loop over few connections: finds starvation.

use std::time::Duration;

use opentelemetry_sdk::trace::Sampler;
use poolscope_benches::load::{Closed, closed};
use poolscope_benches::peers::{Peer, Ping, bb8, ours, warm_up};
use poolscope_benches::report::{Targets, ms, note, percent, progress, table, times};
use poolscope_benches::support::postgres::Postgres;
use poolscope_benches::{Scale, telemetry};

const TASKS: usize = 64;
const HOLD: Duration = Duration::from_millis(1);
/// Short, so that starvation shows within a benchmark; most pools default to 30 s.
const TIMEOUT: Duration = Duration::from_secs(3);

pub(crate) fn run(scale: Scale, server: &Postgres) {
    let url = server.create_database("starving");
    let time = scale.seconds(8.0);
    let mut rows = Vec::new();
    let mut theirs = Vec::new();
    for workers in [1, 2, 4] {
        progress(format!("starvation, {workers} workers"));
        let runtime = crate::runtime(workers);
        runtime.block_on(async {
            let ours = measure(&poolscope(&url), time).await;
            rows.push(row("poolscope", workers, &ours));
            let bb8 = bb8(&url, Ping::Never, TIMEOUT).await;
            let bb8 = measure(&bb8, time).await;
            rows.push(row("bb8 without ping", workers, &bb8));
            #[cfg(feature = "peers")]
            {
                use poolscope_benches::peers::{deadpool, sqlx};
                let deadpool = deadpool(&url, Ping::Never, TIMEOUT);
                let deadpool = measure(&deadpool, time).await;
                rows.push(row("deadpool Fast", workers, &deadpool));
                let sqlx = sqlx(&url, Ping::Never, TIMEOUT).await;
                rows.push(row(
                    "sqlx without ping",
                    workers,
                    &measure(&sqlx, time).await,
                ));
                if workers == 2 {
                    theirs.push(("deadpool", deadpool.per_second()));
                }
            }
            if workers == 2 {
                theirs.push(("bb8", bb8.per_second()));
                check_targets(&ours, &theirs);
            }
        });
    }
    table(
        "Starvation: 64 looping tasks, 8 connections, 1 ms hold",
        &[
            "pool",
            "workers",
            "per second",
            "checkouts per task: min / mean / max",
            "timeouts of 3 s",
            "p50",
            "p99",
            "p99.9",
            "max",
            "p99 of one task: best / worst",
        ],
        &rows,
    );
    note("The maximum includes waits that are unfinished at the end. So does the p99 of one task.");
}

fn poolscope(url: &str) -> poolscope_benches::peers::Ours {
    let builder = ours(url, TIMEOUT).meter_provider(telemetry::metrics());
    let sampled = telemetry::traces(Sampler::TraceIdRatioBased(0.01));
    builder.tracer_provider(sampled).build().expect("a pool")
}

async fn measure<P: Peer>(pool: &P, time: Duration) -> Closed {
    warm_up(pool).await;
    closed(pool, TASKS, HOLD, time).await
}

fn row(pool: &str, workers: usize, of: &Closed) -> Vec<String> {
    let (least, mean, most) = of.served();
    let waits = of.waits();
    let (best, worst) = of.by_task(0.99);
    vec![
        pool.to_owned(),
        workers.to_string(),
        format!("{:.0}", of.per_second()),
        format!("{least} / {mean:.0} / {most}"),
        of.timeouts().to_string(),
        ms(waits.quantile(0.5)),
        ms(waits.quantile(0.99)),
        ms(waits.quantile(0.999)),
        ms(of.longest()),
        format!("{} / {}", ms(best), ms(worst)),
    ]
}

fn check_targets(ours: &Closed, theirs: &[(&str, f64)]) {
    let mut targets = Targets::default();
    targets.add("timeouts", "none", ours.timeouts(), ours.timeouts() == 0);
    let (least, mean, most) = ours.served();
    let off = (mean - least as f64).max(most as f64 - mean) / mean;
    targets.add(
        "largest deviation from the mean checkouts per task",
        "<= 10 %",
        percent(off),
        off <= 0.1,
    );
    let waits = ours.waits();
    let spread = waits.quantile(0.999).as_secs_f64() / waits.quantile(0.5).as_secs_f64();
    targets.add(
        "p99.9 wait / p50 wait",
        "<= 1.50x",
        times(spread),
        spread <= 1.5,
    );
    for (name, rate) in theirs {
        let ratio = ours.per_second() / rate;
        // Less than 1 % is noise.
        targets.add(
            format!("throughput / {name}"),
            "equal (>= 0.99x)",
            times(ratio),
            ratio >= 0.99,
        );
    }
    targets.print("Starvation: targets");
}
