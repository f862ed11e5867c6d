//! A pool compared with a connection per request, on Postgres with password authentication (SCRAM).

use std::future::Future;
use std::time::{Duration, Instant};

use diesel_async::{AsyncConnection, AsyncPgConnection};
use futures_util::future::join_all;
use opentelemetry_sdk::trace::Sampler;
use poolscope_benches::peers::{Ours, Peer, ours, warm_up};
use poolscope_benches::report::{Targets, ms, note, percent, progress, table, times};
use poolscope_benches::statistics::Sample;
use poolscope_benches::support::postgres::Postgres;
use poolscope_benches::{Scale, telemetry};
use tokio::time::{MissedTickBehavior, interval};

/// Clients of the app that opens a connection for each request.
const CLIENTS: usize = 8;
/// The maximum of clients.
const MOST_CLIENTS: usize = 4096;

/// The time of a request, and its part until it had a connection.
type Timing = (Duration, Duration);

/// An app, by how its requests get their connections.
trait App: Clone + Send + Sync + 'static {
    fn request(&self) -> impl Future<Output = Timing> + Send;
}

#[derive(Clone)]
struct ConnectPerRequest(String);

impl App for ConnectPerRequest {
    async fn request(&self) -> Timing {
        use diesel::IntoSql;
        use diesel_async::RunQueryDsl;

        let start = Instant::now();
        let connection = AsyncPgConnection::establish(&self.0).await;
        let mut connection = connection.expect("a connection");
        let had = start.elapsed();
        let one = diesel::select(1.into_sql::<diesel::sql_types::Integer>());
        let answer: i32 = one.get_result(&mut connection).await.expect("a result");
        assert_eq!(answer, 1);
        (start.elapsed(), had)
    }
}

impl App for Ours {
    async fn request(&self) -> Timing {
        let start = Instant::now();
        let mut guard = self.get().await.expect("a connection");
        let had = start.elapsed();
        <Self as Peer>::select(&mut guard).await;
        (start.elapsed(), had)
    }
}

struct Outcome {
    whole: Sample,
    acquiring: Sample,
    per_second: f64,
}

pub(crate) fn run(scale: Scale, server: &Postgres) {
    let url = server.create_database("connection_per_request");
    crate::runtime(2).block_on(async {
        let pool = ours(&url, Duration::from_secs(30))
            .meter_provider(telemetry::metrics())
            .tracer_provider(telemetry::traces(Sampler::TraceIdRatioBased(0.01)))
            .build()
            .expect("a pool");
        warm_up(&pool).await;
        let each = ConnectPerRequest(url);
        progress("connection per request");
        let time = scale.seconds(4.0);
        let theirs = clients(&each, CLIENTS, time).await;
        let same = clients(&pool, CLIENTS, time).await;
        let p95 = theirs.whole.quantile(0.95);
        let capacity = capacity(scale, &pool, p95).await;
        let (most, at_most) = &capacity;

        // A rate that the app without a pool serves with ease.
        let rate = theirs.per_second / 2.0;
        let their_arrivals = arrivals(&each, rate, time).await;
        let arrivals = arrivals(&pool, rate, time).await;
        table(
            "A pool of 8, and a connection per request",
            &[
                "app",
                "load",
                "per second",
                "time to a connection: p50 / p99",
                "request: p50 / p95 / p99 / max",
            ],
            &[
                row("a connection per request", &format!("{CLIENTS} clients"), &theirs),
                row("poolscope", &format!("{CLIENTS} clients"), &same),
                row("poolscope", &format!("{most} clients"), at_most),
                row(
                    "a connection per request",
                    &format!("{rate:.0} arrivals per second"),
                    &their_arrivals,
                ),
                row(
                    "poolscope",
                    &format!("{rate:.0} arrivals per second"),
                    &arrivals,
                ),
            ],
        );
        let mut targets = Targets::default();
        let p99 = same.acquiring.quantile(0.99);
        targets.add(
            "p99 of the time to a connection",
            format!(
                "< 5 ms (connecting: {})",
                ms(theirs.acquiring.quantile(0.99))
            ),
            ms(p99),
            p99 < Duration::from_millis(5),
        );
        let more = *most as f64 / CLIENTS as f64;
        targets.add(
            format!("clients at the same p95 ({})", ms(p95)),
            ">= 5x",
            times(more),
            more >= 5.0,
        );
        let saved = 1.0 - ratio(arrivals.acquiring.mean(), their_arrivals.acquiring.mean());
        targets.add(
            "less time to a connection, at equal arrivals",
            ">= 95 %",
            percent(saved),
            saved >= 0.95,
        );
        let faster = 1.0
            - ratio(
                arrivals.whole.quantile(0.95),
                their_arrivals.whole.quantile(0.95),
            );
        targets.add(
            "lower p95, at equal arrivals",
            ">= 30 %",
            percent(faster),
            faster >= 0.3,
        );
        targets.print("A connection per request: targets");
        note(
            "Clients loop: each sends a request as soon as it has a response. Arrivals do not wait.",
        );
    });
}

fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}

fn row(app: &str, load: &str, of: &Outcome) -> Vec<String> {
    let (whole, acquiring) = (&of.whole, &of.acquiring);
    vec![
        app.to_owned(),
        load.to_owned(),
        format!("{:.0}", of.per_second),
        format!(
            "{} / {}",
            ms(acquiring.quantile(0.5)),
            ms(acquiring.quantile(0.99))
        ),
        format!(
            "{} / {} / {} / {}",
            ms(whole.quantile(0.5)),
            ms(whole.quantile(0.95)),
            ms(whole.quantile(0.99)),
            ms(whole.max())
        ),
    ]
}

/// Finds the most clients with at most this p95, by doubling and then bisecting.
async fn capacity(scale: Scale, pool: &Ours, p95: Duration) -> (usize, Outcome) {
    let time = scale.seconds(1.0);
    let (mut fits, mut too_many) = (CLIENTS, MOST_CLIENTS);
    let mut best = clients(pool, CLIENTS, time).await;
    let mut next = 2 * fits;
    while too_many - fits > fits / 8 {
        let tried = clients(pool, next, time).await;
        if tried.whole.quantile(0.95) <= p95 {
            (fits, best) = (next, tried);
        } else {
            too_many = next;
        }
        next = (2 * fits).min((fits + too_many) / 2);
    }
    (fits, best)
}

/// Runs clients that send a request as soon as they have a response.
async fn clients<A: App>(app: &A, number: usize, time: Duration) -> Outcome {
    let start = Instant::now();
    let running = (0..number).map(|_| {
        let app = app.clone();
        tokio::spawn(async move {
            let mut all = Vec::new();
            while start.elapsed() < time {
                all.push(app.request().await);
            }
            all
        })
    });
    let all = join_all(running).await;
    let all = all.into_iter().flat_map(|it| it.expect("no panic"));
    outcome(all.collect(), start.elapsed())
}

/// Starts `rate` requests per second.
async fn arrivals<A: App>(app: &A, rate: f64, time: Duration) -> Outcome {
    let mut tick = interval(Duration::from_millis(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let start = Instant::now();
    let mut running = Vec::new();
    while start.elapsed() < time {
        tick.tick().await;
        let due = (start.elapsed().as_secs_f64() * rate) as usize;
        while running.len() < due {
            let app = app.clone();
            running.push(tokio::spawn(async move { app.request().await }));
        }
    }
    let all = join_all(running).await;
    let all = all.into_iter().map(|it| it.expect("no panic"));
    outcome(all.collect(), start.elapsed())
}

fn outcome(all: Vec<Timing>, took: Duration) -> Outcome {
    Outcome {
        per_second: all.len() as f64 / took.as_secs_f64(),
        whole: Sample::sorted(all.iter().map(|(whole, _)| *whole).collect()),
        acquiring: Sample::sorted(all.iter().map(|(_, had)| *had).collect()),
    }
}
