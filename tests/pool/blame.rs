//! Whose holds make checkouts queue: in `health`, in the warning, in the timeout, in the metrics and as links.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::Full;
use opentelemetry::Context;
use opentelemetry::trace::{FutureExt as _, TraceContextExt, Tracer, TracerProvider};
use poolscope::backend::AsyncSqliteConnection;
use poolscope::report::Health;
use poolscope::service::Route;
use poolscope::{Checkout, Pool, RequestLayer};
use tower::{Layer, ServiceExt, service_fn};

use crate::databases::{Database, Tested, on_each_database};
use crate::in_memory_exporters::Spans;
use crate::monitor_client::get;

type Sqlite = AsyncSqliteConnection;

/// Long enough to be a slow wait.
const SLOW: Duration = Duration::from_millis(100);

fn pool<C: Tested>(name: &str, size: u32, timeout: Duration) -> (Database, Pool<C>) {
    let database = C::database(name);
    let builder = database.pool().name(name).pool_size(size).max_overflow(0);
    let pool = builder.pool_timeout(timeout).build().unwrap();
    (database, pool)
}

/// Does the work as a request of the route.
async fn request<W: Future<Output = ()>>(route: &'static str, work: impl Fn() -> W + Clone) {
    let work = service_fn(|_: Request<()>| {
        let work = work();
        async move {
            work.await;
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
        }
    });
    let request = Request::builder().extension(Route::new(route)).body(());
    let answer = RequestLayer::new().layer(work).oneshot(request.unwrap());
    answer.await.unwrap();
}

/// Holds the only connection for one route, and lets another time out behind it. Returns the source line
/// that held, and the text of the timeout.
async fn wait_in_vain<C: Tested>(pool: &Pool<C>, meanwhile: impl AsyncFn(u32)) -> (u32, String) {
    let report = || pool.checkout(Checkout::new().label("nightly"));
    let line = line!() - 1;
    let text = std::sync::Mutex::default();
    request("/report", || async {
        let mut held = report().await.unwrap();
        held.select(1).await.unwrap();
        request("/orders", || async {
            let mut waiting = pin!(pool.get());
            assert!(waiting.as_mut().now_or_never().is_none());
            meanwhile(line).await;
            let error = waiting.await.unwrap_err();
            *text.lock().unwrap() = error.to_string();
        })
        .await;
    })
    .await;
    (line, text.into_inner().unwrap())
}

on_each_database!(
    the_holder_is_to_blame_for_all_of_a_wait,
    source_lines_are_hidden,
);

async fn the_holder_is_to_blame_for_all_of_a_wait<C: Tested>(name: &str) {
    let (_database, pool) = pool::<C>(name, 1, 3 * SLOW);
    let place = |line| format!("/report at {}:{line} (nightly)", file!());
    let (line, text) = wait_in_vain(&pool, async |line| {
        tokio::time::sleep(SLOW).await;
        let warnings = pool.health().await.warnings;
        let blamed = format!(
            "in the last minute 100 % of the waiting was behind {}",
            place(line)
        );
        let warning = warnings.iter().find(|it| it.starts_with("pool exhausted"));
        assert!(
            warning.is_some_and(|it| it.contains(&blamed)),
            "{warnings:?}"
        );
    })
    .await;
    let blamed = format!("; 100 % of the waiting was behind {}, ", place(line));
    assert!(
        text.contains(&blamed) && text.contains("of it while its connection was idle"),
        "{text}"
    );

    let blame = pool.health().await.blame;
    for window in [&blame.last_1m, &blame.last_5m, &blame.since_start] {
        let [site] = &window.call_sites[..] else {
            panic!("{blame:?}")
        };
        assert_eq!(
            (site.route.as_deref(), site.label, &*site.caller),
            (
                Some("/report"),
                Some("nightly"),
                &*format!("{}:{line}", file!())
            )
        );
        assert_eq!((site.share_pct, window.unattributed_seconds), (100.0, 0.0));
        assert_eq!(site.blamed_seconds, window.queued_seconds);
        assert!(site.blamed_seconds >= (2 * SLOW).as_secs_f64(), "{blame:?}");
        let idle = site.avoidable_seconds.unwrap();
        assert!(idle > 0.0 && idle <= site.blamed_seconds, "{blame:?}");
    }
    let [pair] = &blame.pairs[..] else {
        panic!("{blame:?}")
    };
    assert_eq!(
        (pair.waiting_route.as_deref(), pair.route.as_deref()),
        (Some("/orders"), Some("/report"))
    );
    // It is computed a moment before the end of the wait is recorded.
    let queued = blame.last_5m.queued_seconds;
    let all_of_it = (2 * SLOW).as_secs_f64()..=queued;
    assert!(all_of_it.contains(&pair.seconds), "{blame:?}");

    let page = get(pool.monitor(), "metrics").await;
    let page = String::from_utf8(page.body.to_vec()).unwrap();
    let mut series = page
        .lines()
        .filter(|line| line.starts_with("poolscope_use_blamed_time_seconds_total{"));
    let of_report = series
        .find(|line| line.contains("http_route=\"/report\""))
        .expect(&page);
    let value: f64 = of_report.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((value - queued).abs() < 1e-5, "{of_report}");
}

async fn source_lines_are_hidden<C: Tested>(name: &str) {
    let (_database, pool) = pool::<C>(name, 1, 2 * SLOW);
    wait_in_vain(&pool, async |_| {
        let hidden = get(pool.monitor().source_lines(false), "health").await;
        let text = String::from_utf8(hidden.body.to_vec()).unwrap();
        assert!(
            text.contains("100 % of the waiting was behind /report (nightly)"),
            "{text}"
        );
        assert!(!text.contains(file!()), "{text}");
    })
    .await;
    let hidden = get(pool.monitor().source_lines(false), "optimize").await;
    let text = String::from_utf8(hidden.body.to_vec()).unwrap();
    assert!(!text.contains(file!()), "{text}");
}

#[tokio::test]
async fn nobody_is_to_blame_while_the_pool_is_suspended() {
    let (_database, pool) = pool::<Sqlite>("suspended_blame", 1, 10 * SLOW);
    let held = pool.get().await.unwrap();
    pool.suspend();
    let mut waiting = pin!(pool.get());
    assert!(waiting.as_mut().now_or_never().is_none());
    tokio::time::sleep(SLOW).await;
    let owed = |health: &Health| {
        let life = &health.blame.since_start;
        life.queued_seconds - life.unattributed_seconds
    };
    let health = pool.health().await;
    assert!(health.blame.since_start.unattributed_seconds >= SLOW.as_secs_f64());
    assert!(owed(&health).abs() < 1e-5, "{:?}", health.blame);
    pool.resume();
    let before = pool.health().await.blame.since_start;
    tokio::time::sleep(SLOW).await;
    let after = pool.health().await;
    assert!(owed(&after) >= SLOW.as_secs_f64(), "{:?}", after.blame);
    let nobodys = after.blame.since_start.unattributed_seconds;
    assert!((nobodys - before.unattributed_seconds).abs() < 1e-5);
    drop(held);
    waiting.await.unwrap();
}

/// Connects at first use, on a pool with free places.
#[tokio::test]
async fn a_wait_that_is_not_in_the_queue_is_nobodys_blame() {
    let (_database, pool) = pool::<Sqlite>("connecting_blame", 4, 100 * SLOW);
    let held = join_all((0..4).map(|_| pool.get())).await;
    assert!(held.iter().all(Result::is_ok));
    let blame = pool.health().await.blame;
    assert_eq!(blame.since_start.queued_seconds, 0.0, "{blame:?}");
    assert!(blame.pairs.is_empty() && blame.since_start.call_sites.is_empty());
}

fn traced(spans: &Spans, name: &'static str) -> Context {
    Context::new().with_span(spans.provider.tracer("app").start(name))
}

#[tokio::test]
async fn a_slow_wait_links_to_the_holds_that_it_waited_for() {
    let spans = Spans::new();
    let database = Sqlite::database("links");
    let builder = database.pool::<Sqlite>().pool_size(6).max_overflow(0);
    let builder = builder.pool_timeout(20 * SLOW);
    let pool = builder
        .tracer_provider(spans.provider.clone())
        .build()
        .unwrap();
    let mut held = Vec::new();
    for _ in 0..6 {
        let report = async { pool.checkout(Checkout::new().label("report")).await };
        held.push(
            report
                .with_context(traced(&spans, "GET /report"))
                .await
                .unwrap(),
        );
    }
    let holders = spans.checkouts();
    spans.reset();
    let mut waiting = pin!(pool.get().with_context(traced(&spans, "GET /orders")));
    assert!(waiting.as_mut().now_or_never().is_none());
    tokio::time::sleep(SLOW).await;
    // Those of a hold that has ended, too. The others owe more.
    drop(held.remove(0));
    drop(waiting.await.unwrap());
    let [waited] = &spans.checkouts()[..] else {
        panic!("{:?}", spans.checkouts())
    };
    assert_eq!(waited.links.len(), 4, "{:?}", waited.links);
    let mut sum = 0.0;
    for link in waited.links.iter() {
        let to = &link.span_context;
        let hold = holders
            .iter()
            .find(|span| span.span_context.span_id() == to.span_id());
        assert_eq!(hold.expect("a hold").span_context.trace_id(), to.trace_id());
        assert_ne!(to.trace_id(), waited.span_context.trace_id());
        assert!(to.is_sampled() && !to.is_remote());
        let of = |key: &str| {
            let found = link.attributes.iter().find(|it| it.key.as_str() == key);
            found.map(|it| it.value.to_string()).unwrap_or_default()
        };
        assert_eq!(of("poolscope.checkout.label"), "report");
        assert!(
            of("poolscope.caller").starts_with(file!()),
            "{:?}",
            link.attributes
        );
        sum += of("poolscope.blamed_time").parse::<f64>().unwrap();
    }
    // Four of six equal shares.
    assert!(sum >= SLOW.as_secs_f64() * 4.0 / 6.0 - 1e-3, "{sum}");

    // A wait that is not slow has none.
    spans.reset();
    held.push(pool.get().await.unwrap());
    assert_eq!(spans.only_checkout().links.len(), 0);

    // A timeout has them.
    spans.reset();
    let error = pool.get().await.unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(spans.only_checkout().links.len(), 4);
}
