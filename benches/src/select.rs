//! The throughput of `SELECT 1` by many tasks on a few connections.

use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, join_all};
use opentelemetry_sdk::trace::Sampler;
use poolscope::{PoolBuilder, Telemetry};
use poolscope_benches::peers::{Peer, Ping, bb8, ours, warm_up};
use poolscope_benches::report::{Targets, note, percent, progress, table, times};
use poolscope_benches::statistics::{Rounds, order};
use poolscope_benches::support::postgres::Postgres;
use poolscope_benches::{Scale, telemetry};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Measures queries per second, by this number of tasks for this long.
type Work = Box<dyn Fn(usize, Duration) -> BoxFuture<'static, f64>>;

pub(crate) fn run(scale: Scale, server: &Postgres) {
    let url = server.create_database("selects");
    crate::runtime(2).block_on(async {
        let otlp = telemetry::otlp();
        let compared = compared(&url).await;
        let mut targets = Targets::default();
        for tasks in [16, 64] {
            let before = otlp.exports();
            measure(scale, &compared, tasks, &mut targets).await;
            note_dropped_spans(&otlp, before);
        }
        targets.print("`SELECT 1`: targets");
        otlp.shutdown(Duration::from_secs(5)).await;
    });
}

const RAW: usize = 0;
const WITHOUT_PING: usize = 1;
const SAMPLED_1_PERCENT: usize = 3;
const SAMPLED_AND_DISCARDED: usize = 4;
const SAMPLED_AND_SENT: usize = 5;

async fn compared(url: &str) -> Vec<(&'static str, Work)> {
    let pool = |change: fn(PoolBuilder<_>) -> PoolBuilder<_>| {
        let builder = ours(url, TIMEOUT).meter_provider(telemetry::metrics());
        change(builder).build().expect("a pool")
    };
    let silent = pool(|it| it.tracer_provider(telemetry::traces(Sampler::AlwaysOff)));
    let usual = pool(|it| it.tracer_provider(telemetry::traces(Sampler::TraceIdRatioBased(0.01))));
    let sunk = pool(|it| it.tracer_provider(telemetry::traces(Sampler::AlwaysOn)));
    let sent = ours(url, TIMEOUT).build().expect("a pool");
    #[allow(unused_mut, reason = "a feature adds the peers")]
    let mut all = vec![
        (
            "bb8 with diesel-async, default settings",
            work(bb8(url, Ping::Always, TIMEOUT).await).await,
        ),
        (
            "the same without ping",
            work(bb8(url, Ping::Never, TIMEOUT).await).await,
        ),
        ("poolscope, no trace sampled", work(silent).await),
        (
            "poolscope, everything on, 1 % of traces sampled",
            work(usual).await,
        ),
        (
            "poolscope, every trace sampled, batches discarded",
            work(sunk).await,
        ),
        (
            "poolscope, every trace sampled, sent over OTLP to a receiver in the same process",
            work(sent).await,
        ),
    ];
    #[cfg(feature = "peers")]
    {
        use poolscope_benches::peers::{deadpool, sqlx};
        for (ping, on_deadpool, on_sqlx) in [
            (Ping::Never, "deadpool Fast", "sqlx without ping"),
            (Ping::Always, "deadpool Verified", "sqlx, default settings"),
        ] {
            all.push((on_deadpool, work(deadpool(url, ping, TIMEOUT)).await));
            all.push((on_sqlx, work(sqlx(url, ping, TIMEOUT).await).await));
        }
    }
    all
}

async fn work<P: Peer>(pool: P) -> Work {
    warm_up(&pool).await;
    Box::new(move |tasks, time| {
        let pool = pool.clone();
        Box::pin(async move {
            let start = Instant::now();
            let running = (0..tasks).map(|_| {
                let pool = pool.clone();
                tokio::spawn(async move {
                    let mut queries = 0_u64;
                    while start.elapsed() < time {
                        let mut guard = pool.checkout().await.expect("a connection");
                        P::select(&mut guard).await;
                        queries += 1;
                    }
                    queries
                })
            });
            let counts = join_all(running).await;
            let queries: u64 = counts.into_iter().map(|it| it.expect("no panic")).sum();
            queries as f64 / start.elapsed().as_secs_f64()
        })
    })
}

async fn measure(scale: Scale, compared: &[(&str, Work)], tasks: usize, targets: &mut Targets) {
    progress(format!("SELECT 1 by {tasks} tasks"));
    let mut rounds = Rounds::default();
    for number in 0..scale.pick(21, 1) {
        let mut round = vec![0.0; compared.len()];
        for column in order(number, compared.len()) {
            let (_, work) = &compared[column];
            round[column] = work(tasks, scale.seconds(0.3)).await;
        }
        rounds.0.push(round);
    }
    let rows = compared.iter().enumerate().map(|(column, (name, _))| {
        vec![
            (*name).to_owned(),
            format!("{:.0}", rounds.median_of(column)),
            times(rounds.ratio(column, RAW)),
            times(rounds.ratio(column, WITHOUT_PING)),
        ]
    });
    table(
        &format!("`SELECT 1` by {tasks} tasks on 8 connections"),
        &["pool", "per second", "/ raw bb8", "/ raw bb8 without ping"],
        &rows.collect::<Vec<_>>(),
    );
    for (what, column, to, of, least) in [
        (
            "everything on, 1 % sampled",
            SAMPLED_1_PERCENT,
            RAW,
            "raw bb8",
            1.7,
        ),
        (
            "everything on, 1 % sampled",
            SAMPLED_1_PERCENT,
            WITHOUT_PING,
            "raw bb8 without ping",
            0.96,
        ),
        (
            "every trace sampled, discarded in batches",
            SAMPLED_AND_DISCARDED,
            WITHOUT_PING,
            "raw bb8 without ping",
            0.85,
        ),
        (
            "every trace sampled, sent over OTLP",
            SAMPLED_AND_SENT,
            WITHOUT_PING,
            "raw bb8 without ping",
            0.85,
        ),
    ] {
        let ratio = rounds.ratio(column, to);
        targets.add(
            format!("{tasks} tasks, {what}, / {of}"),
            format!(">= {}", times(least)),
            times(ratio),
            ratio >= least,
        );
    }
}

/// Reports the spans that did not fit into the queue: a benchmark makes more than an app would export.
fn note_dropped_spans(otlp: &Telemetry, before: Option<poolscope::telemetry::Exports>) {
    let (Some(before), Some(after)) = (before, otlp.exports()) else {
        return;
    };
    let sent = after.traces.exported - before.traces.exported;
    let lost = (after.traces.dropped + after.traces.failed)
        - (before.traces.dropped + before.traces.failed);
    note(format!(
        "{} of the spans for OTLP were dropped because the queue (`OTEL_BSP_MAX_QUEUE_SIZE`) was full.",
        percent(lost as f64 / (sent + lost).max(1) as f64)
    ));
}
