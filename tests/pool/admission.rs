//! Admission: limits, suspension, resizing and shedding, on whole pools and on the gate alone with a paused clock.

use std::convert::Infallible;
use std::ops::Deref;
use std::time::Duration;

use bytes::Bytes;
use diesel_async::pooled_connection::ManagerConfig;
use diesel_async::{AsyncConnection, AsyncMysqlConnection, AsyncPgConnection};
use futures_util::FutureExt as _;
use futures_util::future::try_join_all;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use poolscope::backend::AsyncSqliteConnection;
use poolscope::error::Rejection;
use poolscope::service::{Admit, AdmitLayer, Admitted, PooledGuard, Route};
use poolscope::{Checkout, Pool, PoolError, RequestLayer, Settings};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::databases::{Database, Tested, on_each_database};
use crate::in_memory_exporters::{Meters, Reading, Spans, attribute};
use crate::monitor_client::{get, until};
use crate::support::waiting::{PATIENCE, within_patience};

type Sqlite = AsyncSqliteConnection;

fn pool(name: &str, change: impl FnOnce(&mut Settings)) -> (Database, Pool<Sqlite>) {
    let database = Sqlite::database(name);
    let pool = database
        .pool::<Sqlite>()
        .name("orders")
        .pool_size(1)
        .max_overflow(0)
        .settings(change);
    (database, pool.build().unwrap())
}

/// Polls a future once, so that it has its place in the queue.
macro_rules! polled {
    ($asks:expr) => {{
        let mut asks = Box::pin($asks);
        assert!(asks.as_mut().now_or_never().is_none());
        asks
    }};
}

#[tokio::test]
async fn a_suspended_pool_admits_no_checkout_until_it_is_resumed() {
    let (_database, pool) = pool("suspended", |_| ());
    let held = pool.get().await.unwrap();
    pool.suspend();
    // Connections in use stay in use, and come back.
    drop(held);
    let waits = polled!(pool.get());
    assert!(matches!(
        pool.try_get(),
        Err(PoolError::Rejected(Rejection::WouldWait))
    ));
    let status = pool.status();
    assert_eq!((status.pending, status.waiting_for.queued), (1, 1));
    let healthcheck = get(pool.monitor(), "healthcheck").await;
    assert_eq!(healthcheck.status, StatusCode::SERVICE_UNAVAILABLE);
    let health = pool.health().await;
    assert!(health.reason.unwrap().contains("suspended"));
    assert_eq!(
        get(pool.monitor(), "status").await.json()["state"],
        "suspended"
    );

    pool.resume();
    drop(waits.await.unwrap());
    assert!(pool.healthcheck().await.is_ok());
    assert_eq!(pool.status().checked_out, 0);
}

#[tokio::test]
async fn a_suspended_pool_rejects_at_once_when_so_configured() {
    let (_database, pool) = pool("fails_suspended", |s| s.fail_when_suspended = true);
    let held = pool.get().await.unwrap();
    let waits = polled!(pool.get());
    pool.suspend();
    for answer in [waits.await, pool.get().await] {
        let error = answer.unwrap_err();
        assert!(matches!(error, PoolError::Suspended), "{error}");
        assert_eq!(error.retry_after(), Duration::from_secs(5));
    }
    pool.resume();
    drop(held);
    drop(pool.get().await.unwrap());
    assert_eq!(pool.status().totals.rejected, 2);
}

#[tokio::test]
async fn a_suspended_pool_can_be_closed() {
    let (_database, pool) = pool("closed_suspended", |_| ());
    pool.suspend();
    let waits = polled!(pool.get());
    assert!(pool.close(Duration::from_secs(5)).await);
    assert!(matches!(waits.await, Err(PoolError::Closed)));
}

/// The answer to a request of this route, whose handler needs a connection.
async fn request(pool: &Pool<Sqlite>, route: &'static str) -> Response<Bytes> {
    let work = service_fn(|_: Request<()>| async {
        let answer = match pool.get().await {
            Ok(_) => Response::new(axum::body::Body::empty()),
            Err(error) => axum::response::IntoResponse::into_response(error),
        };
        Ok::<_, Infallible>(answer)
    });
    let request = Request::builder().extension(Route::new(route)).body(());
    let answer = RequestLayer::new()
        .layer(work)
        .oneshot(request.unwrap())
        .await
        .unwrap();
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Response::from_parts(parts, body)
}

#[tokio::test]
async fn a_shed_checkout_is_a_503_and_counted_by_route() {
    let meters = Meters::new();
    let database = Sqlite::database("max_pending");
    let pool = database
        .pool::<Sqlite>()
        .name("orders")
        .pool_size(1)
        .max_overflow(0)
        .meter_provider(meters.provider.clone())
        .settings(|s| s.max_pending = Some(1))
        .build()
        .unwrap();
    let held = pool.get().await.unwrap();
    let waits = polled!(pool.get());
    for route in ["/orders", "/orders", "/users"] {
        let answer = request(&pool, route).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()["retry-after"], "1");
    }
    let error = pool.get().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "checkout rejected: the queue is full: 1 waiting, the limit set by DB_POOL_MAX_PENDING"
    );
    drop(held);
    drop(waits.await.unwrap());

    let health = pool.health().await;
    assert_eq!(health.status.totals.shed, 4);
    assert_eq!((health.shed.last_1m, health.shed.total), (4, 4));
    let routes: Vec<_> = health
        .shed
        .routes
        .iter()
        .map(|r| (r.route.as_deref(), r.total))
        .collect();
    assert_eq!(
        routes,
        [(Some("/orders"), 2), (None, 1), (Some("/users"), 1)]
    );
    let warning = "load shed: 4 checkouts were rejected in the last minute; \
                   in the last five minutes by route: /orders (2), outside of a request (1), /users (1)";
    assert!(
        health.warnings.iter().any(|w| w == warning),
        "{:?}",
        health.warnings
    );

    let shed = &meters.read()["poolscope.checkouts.failed"];
    let count = |route: Option<&str>| {
        let point = shed.points.iter().find(|(attributes, _)| {
            attributes["poolscope.checkout.outcome"] == "shed"
                && attributes.get("http.route").map(String::as_str) == route
        });
        match point.unwrap().1 {
            Reading::Number(number) => number,
            _ => panic!(),
        }
    };
    assert_eq!(
        (count(Some("/orders")), count(Some("/users")), count(None)),
        (2, 1, 1)
    );
    let page = get(pool.monitor(), "metrics").await.text();
    let line = "poolscope_checkouts_failed_total{db_client_connection_pool_name=\"orders\",http_route=\"/orders\",poolscope_checkout_outcome=\"shed\"} 2";
    assert!(page.lines().any(|l| l == line), "{page}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_split_into_its_phases() {
    let (spans, meters) = (Spans::new(), Meters::new());
    let database = Sqlite::database("phases");
    let pool = database
        .pool::<Sqlite>()
        .name("orders")
        .pool_size(1)
        .max_overflow(0)
        .pre_ping_bypass(Duration::ZERO)
        .tracer_provider(spans.provider.clone())
        .meter_provider(meters.provider.clone())
        .on_connect(|_| {
            Box::pin(async {
                sleep(Duration::from_millis(70)).await;
                Ok(())
            })
        })
        .build()
        .unwrap();
    let first = polled!(pool.get());
    assert_eq!(pool.status().waiting_for.connecting, 1);
    let held = first.await.unwrap();
    let second = polled!(pool.get());
    sleep(Duration::from_millis(300)).await;
    drop(held);
    drop(second.await.unwrap());

    let minute = pool.health().await.windows.last_1m;
    let phases = minute.phases.unwrap();
    assert_eq!((phases.queued.count, phases.connecting.count), (1, 1));
    assert!(phases.queued.max_ms.unwrap() >= 300.0);
    assert!((70.0..300.0).contains(&phases.connecting.max_ms.unwrap()));

    // On a clock that stands still a ping takes no time, and has no attribute.
    let checkouts = spans.checkouts();
    let waited = |index: usize, phase: &str| -> f64 {
        let key = format!("poolscope.checkout.{phase}_time");
        attribute(&checkouts[index], &key).parse().unwrap_or(0.0)
    };
    assert!(waited(0, "connecting") >= 0.07 && waited(0, "queued") == 0.0);
    assert!(waited(1, "queued") >= 0.3 && waited(1, "connecting") == 0.0);
    assert!(checkouts.iter().all(|span| span.events.is_empty()));
    let times = &meters.read()["poolscope.checkout.phase_time"];
    assert_eq!(times.unit, "s");
    let phase = |name: &str| {
        let point = times
            .points
            .iter()
            .find(|(a, _)| a["poolscope.checkout.phase"] == name);
        match &point.unwrap().1 {
            Reading::Histogram { count, sum, .. } => (*count, *sum),
            Reading::Number(_) => panic!(),
        }
    };
    assert!(phase("queued").0 == 1 && phase("queued").1 >= 0.3);
    assert!(phase("connecting").0 == 1 && phase("connecting").1 >= 0.07);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_says_what_it_waited_for() {
    let (_database, pool) = pool("timeout_phases", |s| {
        s.pool_timeout = Duration::from_secs(2)
    });
    let _held = pool.get().await.unwrap();
    let error = pool.get().await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("timed out after 2.0s waiting for a connection (queued 2.0s) from pool"),
        "{text}"
    );
    let PoolError::TimedOut(timeout) = error else {
        panic!()
    };
    assert!(timeout.phases().unwrap().queued >= Duration::from_secs(2));
}

/// A response of the service behind the gate.
#[derive(Debug)]
struct Conn;

impl Deref for Conn {
    type Target = ();

    fn deref(&self) -> &() {
        &()
    }
}

impl PooledGuard for Conn {}

type Gated = Admit<Backend>;

/// A type and not a closure, because the gate's type names it.
#[derive(Debug, Clone)]
struct Backend;

impl Service<Checkout> for Backend {
    type Response = Conn;
    type Error = PoolError;
    type Future = std::future::Ready<Result<Conn, PoolError>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), PoolError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Checkout) -> Self::Future {
        std::future::ready(Ok(Conn))
    }
}

fn gate(capacity: u32, change: impl FnOnce(AdmitLayer) -> AdmitLayer) -> Gated {
    change(AdmitLayer::new(capacity, Duration::from_secs(30))).layer(Backend)
}

async fn enter(gate: &Gated) -> Result<Admitted<Conn>, PoolError> {
    gate.clone().oneshot(Checkout::new()).await
}

fn spawn(gate: &Gated) -> JoinHandle<Result<Admitted<Conn>, PoolError>> {
    let gate = gate.clone();
    tokio::spawn(async move { enter(&gate).await })
}

#[tokio::test(start_paused = true)]
async fn resizing_serves_the_queue_and_takes_back_returned_permits() {
    let gate = gate(2, |layer| layer);
    let held = [enter(&gate).await.unwrap(), enter(&gate).await.unwrap()];
    let waiting: Vec<_> = (0..3).map(|_| spawn(&gate)).collect();
    tokio::task::yield_now().await;
    assert_eq!(gate.gate().pending(), 3);

    gate.gate().resize(4);
    let mut more = Vec::new();
    let mut waiting = waiting.into_iter();
    for _ in 0..2 {
        more.push(waiting.next().unwrap().await.unwrap().unwrap());
    }
    assert_eq!((gate.gate().admitted(), gate.gate().pending()), (4, 1));

    // Four are in use and one is allowed: three must return before the next is admitted.
    gate.gate().resize(1);
    drop((held, more.pop()));
    tokio::task::yield_now().await;
    assert_eq!((gate.gate().admitted(), gate.gate().pending()), (1, 1));
    drop(more);
    drop(waiting.next().unwrap().await.unwrap().unwrap());
    assert_eq!((gate.gate().admitted(), gate.gate().capacity()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn overload_keeps_admitted_checkouts_fast_and_rejects_the_rest() {
    const SERVICE: Duration = Duration::from_millis(10);
    let target = Duration::from_millis(20);
    let gate = gate(4, |layer| layer.shed(target, Duration::from_millis(100)));
    let start = Instant::now();
    // 600 a second, where 400 can be served, for ten seconds.
    let mut tasks = Vec::new();
    for arrival in 0..6000_u32 {
        let gate = gate.clone();
        tasks.push(tokio::spawn(async move {
            sleep(arrival * Duration::from_micros(1_666)).await;
            let requested = Instant::now();
            let answer = enter(&gate).await;
            let waited = requested.elapsed();
            if answer.is_ok() {
                sleep(SERVICE).await;
            }
            (answer.map(drop), waited)
        }));
    }
    let (mut served, mut shed) = (Vec::new(), Vec::new());
    for task in tasks {
        match task.await.unwrap() {
            (Ok(()), waited) => served.push(waited),
            (Err(PoolError::Rejected(Rejection::Shed { .. })), waited) => shed.push(waited),
            (Err(error), _) => panic!("{error}"),
        }
    }
    let took = start.elapsed();
    served.sort();
    let p99 = served[served.len() * 99 / 100];
    assert!(p99 <= 2 * target + SERVICE, "{p99:?}");
    // Timers round up to the next millisecond, so 10 ms are 11.
    let capacity = 4.0 / 0.011 * took.as_secs_f64();
    assert!(
        served.len() as f64 >= 0.95 * capacity,
        "{} of {capacity}",
        served.len()
    );
    assert!(!shed.is_empty());
    let slowest = shed.iter().max().unwrap();
    assert!(*slowest <= Duration::from_millis(250), "{slowest:?}");
    let at_once = shed.iter().filter(|waited| waited.is_zero()).count();
    assert!(at_once * 2 > shed.len(), "{at_once} of {}", shed.len());
    assert_eq!((gate.gate().admitted(), gate.gate().pending()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn checkouts_are_shed_before_the_timeout_when_nothing_returns() {
    let target = Duration::from_millis(20);
    let gate = gate(1, |layer| layer.shed(target, Duration::from_millis(100)));
    let _held = enter(&gate).await.unwrap();
    let requested = Instant::now();
    let error = enter(&gate).await.unwrap_err();
    assert!(matches!(error, PoolError::Rejected(Rejection::Shed { .. })));
    assert!(
        requested.elapsed() <= Duration::from_millis(250),
        "{:?}",
        requested.elapsed()
    );
    assert_eq!(gate.gate().pending(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_short_burst_is_served_completely() {
    let gate = gate(4, |layer| {
        layer.shed(Duration::from_millis(50), Duration::from_millis(100))
    });
    let burst = (0..30).map(|_| {
        let gate = gate.clone();
        tokio::spawn(async move {
            let held = enter(&gate).await;
            sleep(Duration::from_millis(10)).await;
            held.map(drop)
        })
    });
    let burst: Vec<_> = burst.collect();
    for task in burst {
        task.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_canceled_waiter_passes_its_permit_to_the_next() {
    let gate = gate(1, |layer| layer);
    let held = enter(&gate).await.unwrap();
    let first = polled!(enter(&gate));
    let second = spawn(&gate);
    tokio::task::yield_now().await;
    // The permit goes to the first waiter, which never takes it.
    drop(held);
    drop(first);
    drop(second.await.unwrap().unwrap());
    assert_eq!((gate.gate().admitted(), gate.gate().pending()), (0, 0));
}

on_each_database!(a_resized_pool_has_the_new_size_and_interrupts_no_holder);

async fn a_resized_pool_has_the_new_size_and_interrupts_no_holder<C: Tested>(name: &str) {
    let database = C::database(name);
    let pool = database
        .pool::<C>()
        .pool_size(2)
        .max_overflow(0)
        .build()
        .unwrap();
    let mut held = try_join_all([pool.get(), pool.get()]).await.unwrap();
    let waiting: Vec<_> = (0..3).map(|_| pool.get()).map(tokio::spawn).collect();
    until("three wait", async || pool.status().pending, |n| *n == 3).await;

    pool.resize(3, 2).unwrap();
    for waiter in waiting {
        held.push(waiter.await.unwrap().unwrap());
    }
    let health = pool.health().await;
    assert_eq!((health.status.checked_out, health.status.overflow), (5, 2));
    assert_eq!(health.configuration.pool_size, 3);
    assert_eq!(health.configuration.max_overflow, 2);

    // All five are in use and stay so; they close at check-in.
    pool.resize(1, 0).unwrap();
    for conn in &mut held {
        assert_eq!(conn.select(7).await.unwrap(), 7);
    }
    let next = polled!(pool.get());
    let last = held.pop();
    drop(held);
    until(
        "four are closed",
        async || pool.status(),
        |s| s.total_connections == 1,
    )
    .await;
    let status = pool.status();
    assert_eq!(
        (status.checked_out, status.pending, status.max_connections),
        (1, 1, 1)
    );
    drop(last);
    let mut conn = next.await.unwrap();
    assert_eq!(conn.select(8).await.unwrap(), 8);
    drop(conn);
    let status = pool.status();
    assert_eq!((status.idle, status.total_connections), (1, 1));
    assert_eq!(status.totals.connections_closed.resize, 4);

    let error = pool.resize(0, 3).unwrap_err().to_string();
    assert!(error.contains("pool_size=\"0\""), "{error}");
    assert_eq!(pool.status().max_connections, 1);
}

#[tokio::test]
async fn shrinking_a_pool_closes_idle_connections_at_once() {
    let (_database, pool) = pool("shrunk_idle", |settings| settings.pool_size = 4);
    drop(try_join_all((0..4).map(|_| pool.get())).await.unwrap());
    pool.resize(1, 0).unwrap();
    until(
        "they are closed",
        async || pool.status().idle,
        |idle| *idle == 1,
    )
    .await;
    assert_eq!(pool.status().totals.connections_closed.resize, 3);
}

// On one thread, because the probe is a task: on another thread it could end before the test waits for it.
#[tokio::test]
async fn each_connection_is_replaced_after_a_suspension() {
    replaced_after_a_suspension::<Sqlite>("suspended_sqlite").await;
    replaced_after_a_suspension::<AsyncPgConnection>("suspended_postgres").await;
    replaced_after_a_suspension::<AsyncMysqlConnection>("suspended_mariadb").await;
}

async fn replaced_after_a_suspension<C: Tested>(name: &str) {
    let database = C::database(name);
    let pool = database.pool::<C>().build().unwrap();
    let held = pool.get().await.unwrap();
    drop(pool.get().await.unwrap());
    pool.suspend();
    pool.resume();
    let closed = || pool.status().totals.connections_closed.invalidated;
    assert_eq!((pool.status().total_connections, closed()), (1, 1));
    drop(held);
    assert_eq!((pool.status().total_connections, closed()), (0, 2));
}

#[tokio::test]
async fn draining_an_empty_gate_ends() {
    let gate = gate(1, |layer| layer);
    let waits = {
        let gate = gate.clone();
        tokio::spawn(async move { gate.gate().drained().await })
    };
    tokio::task::yield_now().await;
    gate.gate().close();
    within_patience("it resolves", waits).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_infinite_interval_sheds_nothing() {
    let gate = gate(1, |layer| {
        layer.shed(Duration::from_millis(10), Duration::MAX)
    });
    let _held = enter(&gate).await.unwrap();
    assert!(enter(&gate).await.unwrap_err().is_timeout());
}

/// A waker may own the last handle of its task, and with it a permit of the same gate.
#[test]
fn a_waker_is_not_dropped_under_the_lock() {
    struct Owner(#[expect(dead_code, reason = "only its drop matters")] Admitted<Conn>);
    impl std::task::Wake for Owner {
        fn wake(self: std::sync::Arc<Self>) {}
    }
    let (finish, finished) = std::sync::mpsc::channel();
    // In a thread of its own, because a deadlock would never end it.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let _in = runtime.enter();
        let gate = gate(1, |layer| layer);
        let held = enter(&gate).now_or_never().unwrap().unwrap();
        let mut waits = Box::pin(enter(&gate));
        let waker = std::task::Waker::from(std::sync::Arc::new(Owner(held)));
        let mut context = std::task::Context::from_waker(&waker);
        assert!(waits.as_mut().poll(&mut context).is_pending());
        drop(waker);
        let noop = futures_util::task::noop_waker();
        // The old waker is dropped here, and the permit with it.
        let mut context = std::task::Context::from_waker(&noop);
        let _ = waits.as_mut().poll(&mut context);
        assert!(waits.now_or_never().unwrap().is_ok());
        finish.send(()).unwrap();
    });
    finished.recv_timeout(PATIENCE).expect("no deadlock");
}

#[test]
fn a_pool_can_be_resized_from_outside_its_runtime() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (_database, pool) = runtime.block_on(async {
        let (database, pool) = pool("outside", |settings| settings.pool_size = 3);
        drop(try_join_all((0..3).map(|_| pool.get())).await.unwrap());
        (database, pool)
    });
    pool.resize(1, 0).unwrap();
    assert_eq!(pool.status().idle, 1);
}

#[tokio::test]
async fn a_warm_up_without_a_deadline_ends_when_all_connections_are_open() {
    let (_database, pool) = pool("warm_up_endless", |settings| settings.pool_size = 3);
    assert!(pool.warm_up(Duration::MAX).await.is_complete());
}

/// A pool whose first connect succeeds and whose later ones never end.
fn with_slow_connects(name: &str) -> (Database, Pool<Sqlite>) {
    let database = Sqlite::database(name);
    let path = database.url.trim_start_matches("sqlite://").to_owned();
    let dials = std::sync::atomic::AtomicU32::new(0);
    let mut config = ManagerConfig::<Sqlite>::default();
    config.custom_setup = Box::new(move |_| {
        let is_first = dials.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        let path = path.clone();
        async move {
            if !is_first {
                std::future::pending::<()>().await;
            }
            Sqlite::establish(&path).await
        }
        .boxed()
    });
    let pool = database
        .pool::<Sqlite>()
        .pool_size(2)
        .max_overflow(0)
        .manager_config(config)
        .build()
        .unwrap();
    (database, pool)
}

/// One checkout has a permit and waits for its connect, the others wait for a permit. There is one connection.
#[tokio::test]
async fn a_checkout_that_waits_for_a_slow_connect_is_not_overtaken() {
    let (_database, pool) = with_slow_connects("slow_dial");
    let held = pool.get().await.unwrap();
    let (served, mut order) = tokio::sync::mpsc::unbounded_channel();
    for number in 0..6 {
        let (asks, served) = (pool.clone(), served.clone());
        let before = pool.status().pending;
        tokio::spawn(async move {
            let conn = asks.get().await.unwrap();
            served.send(number).unwrap();
            tokio::task::yield_now().await;
            drop(conn);
        });
        until(
            "it waits",
            async || pool.status().pending,
            |now| *now > before,
        )
        .await;
    }
    drop(held);
    for expected in 0..6 {
        let next = within_patience("all are served", order.recv()).await;
        assert_eq!(next, Some(expected));
    }
}
