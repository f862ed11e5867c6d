//! Run by `scripts/blame-trial`: random mixes of three routes on a real Postgres. Each mix is run as it is, and
//! with the holds of each route half as long, at the same time and with the same arrivals. Prints whether the
//! route to blame for most waiting was the best to shorten, and whether the effect was the predicted one.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use diesel::sql_query;
use diesel::sql_types::Double;
use fastrand::Rng;
use futures_util::future::join_all;
use poolscope::Checkout;
use poolscope_benches::peers::{Ours, ours};
use poolscope_benches::report::progress;
use poolscope_benches::support::postgres::{Options, Postgres};
use tokio::time::{sleep, sleep_until};

const ROUTES: usize = 3;
const LABELS: [&str; ROUTES] = ["first", "second", "third"];
/// Longer than any wait, so that each run serves the same checkouts.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A checkout: its route, when it is due, and how long it holds the connection.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    due: Duration,
    route: usize,
    held: f64,
}

/// A random mix.
struct Mix {
    connections: u32,
    arrivals: Vec<Arrival>,
}

impl Mix {
    fn random(random: &mut Rng, time: Duration) -> Self {
        let connections = random.u32(3..=8);
        // From 8 ms to 80 ms, so that the millisecond of a timer matters little.
        let means = [(); ROUTES].map(|()| 0.008 * 10_f64.powf(random.f64()));
        let parts = [(); ROUTES].map(|()| f64::from(random.u32(1..=4)));
        let all: f64 = parts.iter().sum();
        let held: f64 = means
            .iter()
            .zip(parts)
            .map(|(mean, part)| mean * part / all)
            .sum();
        let utilization = 0.78 + 0.12 * random.f64();
        let rate = utilization * f64::from(connections) / held;
        let mut arrivals = Vec::new();
        let mut due = 0.0;
        loop {
            due += exponential(random) / rate;
            if due >= time.as_secs_f64() {
                return Self {
                    connections,
                    arrivals,
                };
            }
            let mut drawn = random.f64() * all;
            let route = (0..ROUTES).find(|route| {
                drawn -= parts[*route];
                drawn < 0.0
            });
            let route = route.unwrap_or(ROUTES - 1);
            arrivals.push(Arrival {
                due: Duration::from_secs_f64(due),
                route,
                held: means[route] * exponential(random).min(5.0),
            });
        }
    }
}

fn exponential(random: &mut Rng) -> f64 {
    -(1.0 - random.f64()).ln()
}

/// The outcome of a run.
struct Outcome {
    /// Seconds queued by all checkouts.
    queued: f64,
    /// The label to blame for most, and the percentage by which halving its holds is predicted to cut the
    /// waiting.
    most: Option<usize>,
    predicted: Option<f64>,
    sentence: Option<String>,
}

/// Runs the arrivals, with the holds of one route half as long.
async fn run(url: &str, mix: &Mix, halved: Option<usize>) -> Outcome {
    let builder = ours(url, TIMEOUT)
        .pool_size(mix.connections)
        .pool_pre_ping(false);
    let builder = builder.settings(|settings| settings.slow_wait = None);
    let pool = builder.build().expect("a pool");
    let warm_up = pool.warm_up(Duration::from_secs(10)).await;
    assert!(warm_up.is_complete(), "{warm_up:?}");
    let start = Instant::now();
    let mut tasks = Vec::with_capacity(mix.arrivals.len());
    for arrival in &mix.arrivals {
        sleep_until((start + arrival.due).into()).await;
        let factor = if halved == Some(arrival.route) {
            0.5
        } else {
            1.0
        };
        tasks.push(tokio::spawn(serve(pool.clone(), *arrival, factor)));
    }
    for served in join_all(tasks).await {
        served.expect("no panic");
    }
    let blame = pool.health().await.blame.since_start;
    let advice = pool.optimize().await;
    let most = blame.call_sites.first().and_then(|site| site.label);
    let outcome = Outcome {
        queued: blame.queued_seconds,
        most: LABELS.iter().position(|label| Some(*label) == most),
        predicted: advice.halved.and_then(|halved| halved.cut_pct),
        sentence: advice
            .recommendations
            .into_iter()
            .find(|it| it.starts_with("Halving")),
    };
    pool.close(TIMEOUT).await;
    outcome
}

/// Half of each hold is a query, and half is other work.
async fn serve(pool: Ours, arrival: Arrival, factor: f64) {
    // Not in scope elsewhere, because it has a method `first` for everything.
    use diesel_async::RunQueryDsl;

    let half = arrival.held * factor / 2.0;
    let checkout = Checkout::new().label(LABELS[arrival.route]);
    let mut connection = pool.checkout(checkout).await.expect("a connection");
    let query = sql_query("SELECT pg_sleep($1)").bind::<Double, _>(half);
    query.execute(&mut connection).await.expect("no error");
    sleep(Duration::from_secs_f64(half)).await;
}

async fn trial(url: &str, mixes: usize, time: Duration) -> bool {
    let mut random = Rng::with_seed(15);
    let (mut right, mut exact) = (0, 0);
    println!(
        "| mix | connections | queued | left if halved | to blame | best | predicted cut | cut |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for number in 1..=mixes {
        let mix = Mix::random(&mut random, time);
        let variants = [None, Some(0), Some(1), Some(2)];
        let outcomes = join_all(variants.map(|halved| run(url, &mix, halved))).await;
        let (as_it_is, halved) = outcomes.split_first().expect("four runs");
        let best = (0..ROUTES).min_by(|a, b| halved[*a].queued.total_cmp(&halved[*b].queued));
        let most = as_it_is.most.expect("somebody queued");
        let cut = (1.0 - halved[most].queued / as_it_is.queued) * 100.0;
        let predicted = as_it_is.predicted.unwrap_or(f64::NAN);
        right += usize::from(best == Some(most));
        exact += usize::from((predicted - cut).abs() <= 0.25 * cut);
        let left: Vec<_> = halved
            .iter()
            .map(|it| format!("{:.1}", it.queued))
            .collect();
        println!(
            "| {number} | {} | {:.1} s | {} s | {} | {} | {predicted:.1} % | {cut:.1} % |",
            mix.connections,
            as_it_is.queued,
            left.join(", "),
            LABELS[most],
            LABELS[best.expect("three routes")],
        );
        progress(as_it_is.sentence.as_deref().unwrap_or("no advice"));
    }
    println!(
        "\n{right} of {mixes} named the best route, and {exact} of {mixes} predicted its effect within a fourth."
    );
    let most = |count: usize| count * 10 >= mixes * 9;
    most(right) && most(exact)
}

fn main() -> ExitCode {
    let mut numbers = std::env::args()
        .skip(1)
        .map(|it| it.parse().expect("a number"));
    let (mixes, seconds) = (numbers.next().unwrap_or(10), numbers.next().unwrap_or(40));
    let server = Postgres::start(Options::new().max_connections(100));
    let url = server.create_database("blame");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    match runtime.block_on(trial(&url, mixes as usize, Duration::from_secs(seconds))) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
