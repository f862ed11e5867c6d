//! The latency of served checkouts while more arrive than can be served.

use std::time::Duration;

use opentelemetry_sdk::trace::Sampler;
use poolscope_benches::load::{Open, open};
use poolscope_benches::peers::{Ours, Peer, Ping, bb8, ours, warm_up};
use poolscope_benches::report::{Targets, ms, note, percent, progress, table};
use poolscope_benches::support::postgres::Postgres;
use poolscope_benches::{CONNECTIONS, Scale, telemetry};

const TIMEOUT: Duration = Duration::from_secs(30);
/// The server's time for one query.
const SERVICE: Duration = Duration::from_millis(5);
const OVERLOAD: f64 = 1.5;
/// The settings for which the targets are checked.
const TARGET: Duration = Duration::from_millis(50);
const INTERVAL: Duration = Duration::from_millis(100);

pub(crate) fn run(scale: Scale, server: &Postgres) {
    let url = server.create_database("overload");
    crate::runtime(2).block_on(async {
        let (capacity, service) = capacity(scale, &url).await;
        note(format!(
            "Capacity: {capacity:.0} per second, by {CONNECTIONS} connections with `pg_sleep(0.005)`, each of \
             which takes {}.",
            ms(service)
        ));
        let mut rows = Vec::new();
        let mut add = |name: &str, seconds: f64, of: &Open| rows.push(row(name, seconds, capacity, of));

        progress("overload, shedding");
        let seconds = scale.seconds(30.0);
        let rate = OVERLOAD * capacity;
        let shed = arrive(&pool(&url, Some((TARGET, INTERVAL))), rate, seconds).await;
        add("poolscope, shedding (target 50 ms, interval 100 ms)", seconds.as_secs_f64(), &shed);
        check_targets(&shed, capacity, service);

        progress("overload, without shedding");
        let seconds = scale.seconds(10.0);
        let all = arrive(&pool(&url, None), rate, seconds).await;
        add("poolscope, without shedding", seconds.as_secs_f64(), &all);
        let bb8 = bb8(&url, Ping::Never, TIMEOUT).await;
        add("bb8 without ping", seconds.as_secs_f64(), &arrive(&bb8, rate, seconds).await);
        #[cfg(feature = "peers")]
        {
            let deadpool = poolscope_benches::peers::deadpool(&url, Ping::Never, TIMEOUT);
            add("deadpool Fast", seconds.as_secs_f64(), &arrive(&deadpool, rate, seconds).await);
        }
        table("Arrivals at 1.5 times the capacity", COLUMNS, &rows);
        sweep(scale, &url, capacity).await;
    });
}

const COLUMNS: &[&str] = &[
    "pool",
    "seconds",
    "arrivals",
    "served",
    "goodput / capacity",
    "wait if served: p50 / p99 / max",
    "wait if refused: max",
];

fn pool(url: &str, shedding: Option<(Duration, Duration)>) -> Ours {
    ours(url, TIMEOUT)
        .meter_provider(telemetry::metrics())
        .tracer_provider(telemetry::traces(Sampler::TraceIdRatioBased(0.01)))
        .settings(|settings| {
            if let Some((target, interval)) = shedding {
                settings.queue_target = Some(target);
                settings.queue_interval = interval;
            }
        })
        .build()
        .expect("a pool")
}

/// Returns the queries served per second by a saturated pool, and the mean time of one.
async fn capacity(scale: Scale, url: &str) -> (f64, Duration) {
    progress("overload, capacity");
    let pool = pool(url, None);
    warm_up(&pool).await;
    // More than can be served. The arrivals alone must not exhaust the machine.
    let most = f64::from(CONNECTIONS) / SERVICE.as_secs_f64();
    let capacity = open(&pool, OVERLOAD * most, SERVICE, scale.seconds(4.0))
        .await
        .goodput();
    (
        capacity,
        Duration::from_secs_f64(f64::from(CONNECTIONS) / capacity),
    )
}

async fn arrive<P: Peer>(pool: &P, rate: f64, time: Duration) -> Open {
    warm_up(pool).await;
    open(pool, rate, SERVICE, time).await
}

fn row(name: &str, seconds: f64, capacity: f64, of: &Open) -> Vec<String> {
    vec![
        name.to_owned(),
        format!("{seconds:.0}"),
        of.arrivals.to_string(),
        of.served.len().to_string(),
        percent(of.goodput() / capacity),
        format!(
            "{} / {} / {}",
            ms(of.served.quantile(0.5)),
            ms(of.served.quantile(0.99)),
            ms(of.served.max())
        ),
        ms(of.refused.max()),
    ]
}

fn check_targets(of: &Open, capacity: f64, service: Duration) {
    let mut targets = Targets::default();
    let (p99, most) = (of.served.quantile(0.99), 2 * TARGET + service);
    targets.add(
        "p99 wait if served",
        format!("<= {} (2x the target plus one query)", ms(most)),
        ms(p99),
        p99 <= most,
    );
    let good = of.goodput() / capacity;
    targets.add(
        "goodput",
        ">= 95 % of capacity",
        percent(good),
        good >= 0.95,
    );
    let longest = of.served.max().max(of.refused.max());
    targets.add(
        "longest wait",
        "below 30 s",
        ms(longest),
        longest < Duration::from_secs(30),
    );
    targets.print("Overload, 30 s with shedding: targets");
}

/// Compares settings, to recommend values.
async fn sweep(scale: Scale, url: &str, capacity: f64) {
    let mut rows = Vec::new();
    for target in [5, 10, 20, 50, 100, 200] {
        for interval in [100, 500, 1000] {
            progress(format!(
                "overload, target {target} ms, interval {interval} ms"
            ));
            let settings = (
                Duration::from_millis(target),
                Duration::from_millis(interval),
            );
            let pool = pool(url, Some(settings));
            let of = arrive(&pool, OVERLOAD * capacity, scale.seconds(4.0)).await;
            rows.push(vec![
                format!("{target} ms"),
                format!("{interval} ms"),
                percent(of.goodput() / capacity),
                format!(
                    "{} / {}",
                    ms(of.served.quantile(0.5)),
                    ms(of.served.quantile(0.99))
                ),
                ms(of.served.max().max(of.refused.max())),
            ]);
            if scale.quick {
                break;
            }
        }
    }
    table(
        "Targets and intervals, 4 s each",
        &[
            "`DB_POOL_QUEUE_TARGET`",
            "`queue_interval`",
            "goodput / capacity",
            "wait if served: p50 / p99",
            "longest wait",
        ],
        &rows,
    );
}
