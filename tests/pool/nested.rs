//! Requests that wait for a connection while they hold one: a full pool on which they wait for themselves.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::pooled_connection::bb8::Pool as TheirPool;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::Full;
use opentelemetry::Context;
use opentelemetry::trace::{
    FutureExt as _, SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState,
};
use poolscope::backend::AsyncSqliteConnection;
use poolscope::error::{HeldBy, Rejection};
use poolscope::service::Route;
use poolscope::settings::NestedCheckouts;
use poolscope::{Checkout, ObserveLayer, Pool, PoolError, PoolService, RequestLayer};
use tower::{Layer, ServiceExt, service_fn};

use crate::databases::{Database, Tested, on_each_database};
use crate::log_capture;
use crate::monitor_client::get;
use crate::support::waiting::{PATIENCE, soon};

type Sqlite = AsyncSqliteConnection;

const LINE: &str = "a checkout waits for a connection, and this";
/// Long enough to look at a checkout that waits, and to wait for its end.
const SHORT: Duration = Duration::from_millis(300);

/// Returns a pool whose one connection is open, because on a busy machine that may take longer than the
/// timeout.
async fn pool<C: Tested>(
    name: &str,
    policy: NestedCheckouts,
    timeout: Duration,
) -> (Database, Pool<C>) {
    let database = C::database(name);
    let builder = database.pool().name(name).nested_checkouts(policy);
    let builder = builder.pool_size(1).max_overflow(0).pool_timeout(timeout);
    let pool: Pool<C> = builder.build().unwrap();
    while pool.get().await.is_err() {}
    (database, pool)
}

/// Does the work as a request of `/orders`.
async fn in_a_request<W: Future<Output = ()>>(work: impl Fn() -> W + Clone) {
    let work = service_fn(|_: Request<()>| {
        let work = work();
        async move {
            work.await;
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
        }
    });
    let request = Request::builder().extension(Route::new("/orders")).body(());
    let answer = RequestLayer::new().layer(work).oneshot(request.unwrap());
    answer.await.unwrap();
}

/// The lines of the log about this pool's nested checkouts.
fn lines(name: &str) -> Vec<String> {
    let pool = format!(" pool=\"{name}\"");
    let mut lines = log_capture::capture().ours();
    lines.retain(|line| line.contains(LINE) && line.contains(&pool));
    lines
}

async fn warnings<C: Tested>(pool: &Pool<C>) -> Vec<String> {
    let mut warnings = pool.health().await.warnings;
    warnings.retain(|warning| warning.contains("already holds a connection"));
    warnings
}

on_each_database!(
    a_request_that_waits_for_itself_is_named,
    a_request_that_would_wait_for_itself_is_denied,
    a_task_that_waits_for_itself_is_named,
);

async fn a_request_that_waits_for_itself_is_named<C: Tested>(name: &str) {
    log_capture::capture();
    let (_database, pool) = pool::<C>(name, NestedCheckouts::Warn, SHORT).await;
    in_a_request(|| async {
        let (labelled, held) = (Checkout::new().label("first"), line!());
        let mut first = pool.checkout(labelled).await.unwrap();
        first.select(1).await.unwrap();
        let (mut second, waits) = (pin!(pool.get()), line!());
        assert!(second.as_mut().now_or_never().is_none());

        // At once, and where.
        let taken = format!(
            "this request already holds a connection, taken at {}:{held} (first)",
            file!()
        );
        let [line] = &lines(name)[..] else {
            panic!("{:?}", lines(name))
        };
        for part in [
            &*taken,
            "route=\"/orders\"",
            "held_by=\"request\"",
            &format!("caller=\"{}:{waits}\"", file!()),
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
        let [warning] = &warnings(&pool).await[..] else {
            panic!("{:?}", pool.health().await.warnings)
        };
        assert!(
            warning.contains(&format!("{}:{waits} waits, and {taken}", file!())),
            "{warning}"
        );
        let health = pool.health().await;
        // On a busy machine the wait may already be as long as the timeout, which is more urgent.
        let mut all = health.warnings.iter();
        let most_urgent = all.find(|warning| !warning.starts_with("stalled: "));
        assert!(
            most_urgent.is_some_and(|it| it.starts_with("nested checkouts: 1 waiting: ")),
            "the most urgent first: {:?}",
            health.warnings
        );
        let nested = health.longest_holders[0].nested_checkout.as_ref().unwrap();
        assert_eq!(
            (&*nested.caller, nested.by),
            (&*format!("{}:{waits}", file!()), "request")
        );
        // Where the routes show no source lines, there are none.
        let hidden = get(pool.monitor().source_lines(false), "health")
            .await
            .text();
        assert!(
            hidden.contains(
                "a checkout waits, and this request already holds a connection: /orders (first) for"
            ),
            "{hidden}"
        );
        assert!(!hidden.contains(file!()), "{hidden}");

        let error = second.await.unwrap_err();
        assert!(error.is_timeout());
        assert!(error.to_string().contains(&taken), "{error}");
        let PoolError::TimedOut(timeout) = &error else {
            panic!("{error:?}")
        };
        let held = timeout.scene().unwrap().already_held.unwrap();
        assert_eq!((held.by, held.label), (HeldBy::Request, Some("first")));
        assert_eq!(warnings(&pool).await, [""; 0], "it waits no more");

        // Once, however often it is tried within a second.
        assert!(pool.get().now_or_never().is_none());
        assert_eq!(lines(name).len(), 1);
        drop(first);
        drop(pool.get().await.unwrap());
    })
    .await;

    // A request that waits for another one is not such a case.
    let held = pool.get().await.unwrap();
    in_a_request(|| async {
        let error = pool.get().await.unwrap_err().to_string();
        assert!(!error.contains("already holds"), "{error}");
    })
    .await;
    drop(held);
    assert_eq!(lines(name).len(), 1);
}

async fn a_request_that_would_wait_for_itself_is_denied<C: Tested>(name: &str) {
    let (_database, pool) = pool::<C>(name, NestedCheckouts::Deny, PATIENCE).await;
    in_a_request(|| async {
        let (first, held) = (pool.get().await.unwrap(), line!());
        // It leaves the queue at once, even if its future is kept.
        let mut second = pin!(pool.get());
        let error = soon("the second", second.as_mut()).await.unwrap_err();
        let PoolError::Rejected(Rejection::Nested(own)) = &error else {
            panic!("{error:?}")
        };
        assert_eq!((own.by, own.caller.line()), (HeldBy::Request, held));
        let taken = format!(
            "this request already holds a connection, taken at {}:{held}",
            file!()
        );
        assert!(error.to_string().contains(&taken), "{error}");
        assert_eq!(error.error_type(), "rejected");
        let status = pool.status();
        assert_eq!((status.pending, status.totals.rejected), (0, 1));
        assert_eq!(pool.as_service().get_ref().gate().pending(), 0);
        drop(first);
        drop(soon("the next", pool.get()).await.unwrap());
    })
    .await;

    // Another request waits for its turn.
    let held = pool.get().await.unwrap();
    in_a_request(|| async {
        let mut waiting = pin!(pool.get());
        assert!(waiting.as_mut().now_or_never().is_none());
        assert_eq!(pool.status().pending, 1);
    })
    .await;
    drop(held);
    assert_eq!(pool.status().totals.rejected, 1);
}

/// Without a `RequestLayer`. The policy `deny` needs more than that.
async fn a_task_that_waits_for_itself_is_named<C: Tested>(name: &str) {
    log_capture::capture();
    let (_database, pool) = pool::<C>(name, NestedCheckouts::Deny, SHORT).await;
    let (its, own) = (pool.clone(), name.to_owned());
    let task = tokio::spawn(async move {
        let (_first, held) = (its.get().await.unwrap(), line!());
        let mut second = pin!(its.get());
        assert!(second.as_mut().now_or_never().is_none());
        let taken = format!(
            "this task already holds a connection, taken at {}:{held} ",
            file!()
        );
        let [line] = &lines(&own)[..] else {
            panic!("{:?}", lines(&own))
        };
        assert!(line.contains(&taken), "{line}");
        let warnings = warnings(&its).await;
        assert!(warnings[0].contains(&taken), "{warnings:?}");
        let error = second.await.unwrap_err();
        assert!(
            error.is_timeout() && error.to_string().contains(&taken),
            "{error}"
        );
    });
    task.await.unwrap();

    // Another task.
    let held = pool.get().await.unwrap();
    let error = tokio::spawn(async move { pool.get().await.unwrap_err() });
    let error = error.await.unwrap().to_string();
    assert!(!error.contains("already holds"), "{error}");
    drop(held);
    assert_eq!(lines(name).len(), 1);
}

#[tokio::test]
async fn nothing_is_said_if_it_is_off() {
    log_capture::capture();
    let name = "nothing_is_said_if_it_is_off";
    let (_database, pool) = pool::<Sqlite>(name, NestedCheckouts::Off, SHORT).await;
    in_a_request(|| async {
        let _first = pool.get().await.unwrap();
        let mut second = pin!(pool.get());
        assert!(second.as_mut().now_or_never().is_none());
        assert_eq!(warnings(&pool).await, [""; 0]);
        let error = second.await.unwrap_err();
        assert!(
            error.is_timeout() && !error.to_string().contains("already holds"),
            "{error}"
        );
    })
    .await;
    assert_eq!(lines(name), [""; 0]);
}

/// The context of a span of another service.
fn trace(number: u128) -> Context {
    let (trace, span) = (TraceId::from(number), SpanId::from(7));
    let flags = TraceFlags::default();
    let span = SpanContext::new(trace, span, flags, true, TraceState::default());
    Context::new().with_remote_span_context(span)
}

#[tokio::test]
async fn the_trace_is_evidence_too() {
    log_capture::capture();
    let name = "the_trace_is_evidence_too";
    let (_database, pool) = pool::<Sqlite>(name, NestedCheckouts::Warn, SHORT).await;
    let held = pool.get().with_context(trace(1)).await.unwrap();
    let of_another = pool.clone();
    let other = async move { of_another.get().with_context(trace(2)).await.unwrap_err() };
    let other = tokio::spawn(other).await.unwrap().to_string();
    assert!(!other.contains("already holds"), "{other}");
    assert_eq!(lines(name), [""; 0]);

    let its = pool.clone();
    let error = async move { its.get().with_context(trace(1)).await.unwrap_err() };
    let error = tokio::spawn(error).await.unwrap().to_string();
    let taken = "this trace already holds a connection, taken at ";
    assert!(error.contains(taken), "{error}");
    assert_eq!(lines(name).len(), 1);
    drop(held);
}

/// A task may do several things at a time, each on a connection of its own.
#[tokio::test]
async fn a_task_whose_connections_are_at_work_does_not_wait_for_itself() {
    log_capture::capture();
    let name = "a_task_whose_connections_are_at_work";
    let (_database, pool) = pool::<AsyncPgConnection>(name, NestedCheckouts::Warn, SHORT).await;
    let task = tokio::spawn(async move {
        let mut first = pool.get().await.unwrap();
        let work = first.run("SELECT pg_sleep(600)");
        let error = tokio::select! {
            biased;
            _ = work => panic!("ten minutes are over"),
            second = pool.get() => second.unwrap_err(),
        };
        assert!(
            error.is_timeout() && !error.to_string().contains("already holds"),
            "{error}"
        );
    });
    task.await.unwrap();
    assert_eq!(lines(name), [""; 0]);
}

#[tokio::test]
async fn a_suspended_pool_makes_nobody_wait_for_itself() {
    log_capture::capture();
    let name = "a_suspended_pool_makes_nobody_wait";
    let (_database, pool) = pool::<Sqlite>(name, NestedCheckouts::Deny, PATIENCE).await;
    in_a_request(|| async {
        let first = pool.get().await.unwrap();
        pool.suspend();
        let mut second = pin!(pool.get());
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        pool.resume();
        drop(second.await.unwrap());
    })
    .await;
    assert_eq!(lines(name), [""; 0]);
}

#[tokio::test]
async fn it_is_found_over_an_existing_pool() {
    log_capture::capture();
    let database = Sqlite::database("nested_over_an_existing_pool");
    let manager = AsyncDieselConnectionManager::<Sqlite>::new(&database.url);
    let builder = TheirPool::builder()
        .max_size(2)
        .connection_timeout(PATIENCE);
    let theirs = builder.build(manager).await.unwrap();
    let name = "nested_over_an_existing_pool";
    let layer = ObserveLayer::new(name);
    let warns = layer.clone().layer(PoolService::from(theirs.clone()));
    let denies = layer.nested_checkouts(NestedCheckouts::Deny);
    let denies = denies.layer(PoolService::from(theirs));
    in_a_request(|| async {
        // A connection that is only opened is worth no word.
        let _first = denies.get().await.unwrap();
        let second = denies.get().await.unwrap();
        let error = soon("the third", denies.get()).await.unwrap_err();
        assert!(
            error.to_string().contains("this request already holds"),
            "{error}"
        );
        drop(second);
        let _third = warns.get().await.unwrap();
        assert!(warns.get().now_or_never().is_none());
    })
    .await;
    assert_eq!(lines(name).len(), 1);
}
