//! The pool's metrics, read through the SDK.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::try_join_all;
use poolscope::backend::AsyncSqliteConnection;

use crate::databases::{Tested, on_each_database};
use crate::in_memory_exporters::{Kind, Meters, Reading, attributes};

const COUNT: &str = "db.client.connection.count";
const MAX: &str = "db.client.connection.max";
const IDLE_MAX: &str = "db.client.connection.idle.max";
const PENDING: &str = "db.client.connection.pending_requests";
const TIMEOUTS: &str = "db.client.connection.timeouts";
const CREATE_TIME: &str = "db.client.connection.create_time";
const WAIT_TIME: &str = "db.client.connection.wait_time";
const USE_TIME: &str = "db.client.connection.use_time";

on_each_database!(gauges_and_histograms_agree_with_the_status);

async fn gauges_and_histograms_agree_with_the_status<C: Tested>(name: &str) {
    let (database, meters) = (C::database(name), Meters::new());
    let pool = database
        .pool::<C>()
        .name("orders")
        .pool_size(2)
        .max_overflow(1)
        .meter_provider(meters.provider.clone())
        .build()
        .unwrap();
    let agree = |pending: i64| {
        let status = pool.status();
        let read = |name, state| meters.number(name, "orders", state);
        let read = (
            read(COUNT, Some("idle")),
            read(COUNT, Some("used")),
            read(MAX, None),
            read(IDLE_MAX, None),
            read(PENDING, None),
        );
        let said = (
            Some(status.idle.into()),
            Some(status.checked_out.into()),
            Some(status.max_connections.into()),
            Some(status.pool_size.into()),
            Some(status.pending.into()),
        );
        assert_eq!((read, i64::from(status.pending)), (said, pending));
    };
    agree(0);

    let mut held = try_join_all((0..3).map(|_| pool.get())).await.unwrap();
    let mut waiting = Box::pin(pool.get());
    assert!(waiting.as_mut().now_or_never().is_none());
    agree(1);
    held.pop();
    held.push(waiting.await.unwrap());
    agree(0);
    assert_eq!(meters.histogram(WAIT_TIME, "orders").0, 4);
    assert_eq!(meters.histogram(USE_TIME, "orders").0, 1);
    // A returned connection was handed on or, with enough of them idle, closed and opened again.
    let opened = pool.status().totals.connections_opened;
    let (created, seconds) = meters.histogram(CREATE_TIME, "orders");
    assert_eq!(created, opened);
    assert!(seconds > 0.0 && seconds < 60.0, "{seconds}");

    held.clear();
    agree(0);
    assert_eq!(meters.histogram(USE_TIME, "orders").0, 4);
}

#[tokio::test]
async fn a_closed_pool_has_no_gauges_and_keeps_its_counters() {
    let database = AsyncSqliteConnection::database("closed_gauges");
    let meters = Meters::new();
    let pool = database
        .pool::<AsyncSqliteConnection>()
        .name("orders")
        .meter_provider(meters.provider.clone())
        .build()
        .unwrap();
    drop(pool.get().await.unwrap());
    assert_eq!(
        meters.number("poolscope.pool.serving", "orders", None),
        Some(1)
    );
    assert!(pool.close(std::time::Duration::from_secs(30)).await);
    assert_eq!(
        meters.number("poolscope.pool.serving", "orders", None),
        None
    );
    assert_eq!(meters.number(MAX, "orders", None), None);
    assert_eq!(meters.number(TIMEOUTS, "orders", None), Some(0));
    assert_eq!(meters.histogram(WAIT_TIME, "orders").0, 1);
}

#[tokio::test]
async fn instruments_follow_the_semantic_conventions() {
    let database = AsyncSqliteConnection::database("instruments");
    let meters = Meters::new();
    let pool = database
        .pool::<AsyncSqliteConnection>()
        .name("orders")
        .meter_provider(meters.provider.clone())
        .build()
        .unwrap();
    drop(pool.get().await.unwrap());

    let (scopes, mut instruments) = meters.read_with_scopes();
    // The guide's table covers the crate's other instruments; `documented.rs` compares it with what is emitted.
    instruments.retain(|name, _| name.starts_with("db.client.connection."));
    let described: Vec<_> = instruments
        .iter()
        .map(|(name, of)| (name.as_str(), of.kind, of.unit.as_str()))
        .collect();
    assert_eq!(
        described,
        [
            (COUNT, Kind::UpDownCounter, "{connection}"),
            (CREATE_TIME, Kind::Histogram, "s"),
            (IDLE_MAX, Kind::UpDownCounter, "{connection}"),
            (MAX, Kind::UpDownCounter, "{connection}"),
            (PENDING, Kind::UpDownCounter, "{request}"),
            (TIMEOUTS, Kind::Counter, "{timeout}"),
            (USE_TIME, Kind::Histogram, "s"),
            (WAIT_TIME, Kind::Histogram, "s"),
        ]
    );
    for (name, instrument) in &instruments {
        assert!(!instrument.description.is_empty(), "{name}");
        let states: &[_] = match name.as_str() {
            COUNT => &[Some("idle"), Some("used")],
            _ => &[None],
        };
        let mut of: Vec<_> = instrument.points.iter().map(|(of, _)| of.clone()).collect();
        of.sort();
        let expected: Vec<_> = states.iter().map(|&s| attributes("orders", s)).collect();
        assert_eq!(of, expected, "{name}");
    }
    for name in [CREATE_TIME, USE_TIME, WAIT_TIME] {
        let Reading::Histogram { bounds, count, .. } = &instruments[name].points[0].1 else {
            panic!("{name} is no histogram")
        };
        assert_eq!(*count, 1, "{name}");
        // The bounds are in seconds; the SDK's defaults are for milliseconds.
        let expected = [
            0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0,
        ];
        assert_eq!(bounds, &expected, "{name}");
    }

    let [scope] = &scopes[..] else {
        panic!("{scopes:?}")
    };
    assert_eq!(scope.name(), "poolscope");
    assert_eq!(scope.version(), Some(env!("CARGO_PKG_VERSION")));
    assert!(
        scope
            .schema_url()
            .unwrap()
            .contains("opentelemetry.io/schemas/")
    );
}

#[tokio::test]
async fn every_gauge_and_counter_exists_before_the_first_checkout() {
    let database = AsyncSqliteConnection::database("from_the_start");
    let meters = Meters::new();
    let _pool = database
        .pool::<AsyncSqliteConnection>()
        .name("fresh")
        .pool_size(4)
        .max_overflow(3)
        .meter_provider(meters.provider.clone())
        .build()
        .unwrap();
    let read = |name, state| meters.number(name, "fresh", state);
    assert_eq!(read(TIMEOUTS, None), Some(0));
    assert_eq!(read(PENDING, None), Some(0));
    assert_eq!(read(COUNT, Some("idle")), Some(0));
    assert_eq!(read(COUNT, Some("used")), Some(0));
    assert_eq!(read(MAX, None), Some(7));
    assert_eq!(read(IDLE_MAX, None), Some(4));
}

#[tokio::test]
async fn two_pools_can_share_a_provider() {
    let database = AsyncSqliteConnection::database("two_names");
    let meters = Meters::new();
    let build = |name: &str, size| {
        let builder = database.pool::<AsyncSqliteConnection>();
        let builder = builder.meter_provider(meters.provider.clone());
        builder.name(name).pool_size(size).build().unwrap()
    };
    let (orders, reports) = (build("orders", 1), build("reports", 7));
    drop(orders.get().await.unwrap());
    let _held = (reports.get().await.unwrap(), reports.get().await.unwrap());

    let read = |pool| {
        (
            meters.number(COUNT, pool, Some("used")),
            meters.number(COUNT, pool, Some("idle")),
            meters.number(IDLE_MAX, pool, None),
            meters.number(TIMEOUTS, pool, None),
            meters.histogram(WAIT_TIME, pool).0,
            meters.histogram(USE_TIME, pool).0,
        )
    };
    assert_eq!(read("orders"), (Some(0), Some(1), Some(1), Some(0), 1, 1));
    assert_eq!(read("reports"), (Some(2), Some(0), Some(7), Some(0), 2, 0));

    // A dropped pool is no longer reported.
    drop(orders);
    assert_eq!(meters.number(TIMEOUTS, "orders", None), None);
    assert_eq!(meters.number(TIMEOUTS, "reports", None), Some(0));
}

#[tokio::test]
async fn timeouts_are_counted_and_are_not_in_the_wait_time() {
    let database = AsyncSqliteConnection::database("timeouts");
    let meters = Meters::new();
    let pool = database
        .pool::<AsyncSqliteConnection>()
        .name("small")
        .pool_size(1)
        .max_overflow(0)
        .pool_timeout(Duration::from_millis(20))
        .meter_provider(meters.provider.clone())
        .build()
        .unwrap();
    let held = loop {
        // On a busy machine opening the file may take longer.
        if let Ok(held) = pool.get().await {
            break held;
        }
    };
    let before = meters.number(TIMEOUTS, "small", None).unwrap();
    for n in 1..=3 {
        assert!(pool.get().await.unwrap_err().is_timeout());
        assert_eq!(meters.number(TIMEOUTS, "small", None), Some(before + n));
    }
    drop(held);
    assert_eq!(meters.histogram(WAIT_TIME, "small").0, 1);
    assert_eq!(meters.number(PENDING, "small", None), Some(0));
    let timeouts = i64::try_from(pool.status().totals.timeouts).unwrap();
    assert_eq!(timeouts, before + 3);
}

/// On a paused clock, sums are exact.
#[tokio::test(start_paused = true)]
async fn waits_and_holds_are_summed_in_seconds() {
    let database = AsyncSqliteConnection::database("sums");
    let meters = Meters::new();
    let pool = database
        .pool::<AsyncSqliteConnection>()
        .name("exact")
        .pool_size(1)
        .max_overflow(0)
        .meter_provider(meters.provider.clone())
        .build()
        .unwrap();
    let held = pool.get().await.unwrap();
    let mut next = Box::pin(pool.get());
    assert!(next.as_mut().now_or_never().is_none());
    tokio::time::advance(Duration::from_millis(2500)).await;
    drop(held);
    let held = next.await.unwrap();
    tokio::time::advance(Duration::from_millis(500)).await;
    drop(held);

    let near = |(count, sum): (u64, f64), expected: f64| {
        assert_eq!(count, 2);
        assert!((sum - expected).abs() < 0.02, "{sum} for {expected}");
    };
    near(meters.histogram(USE_TIME, "exact"), 3.0);
    near(meters.histogram(WAIT_TIME, "exact"), 2.5);
}
