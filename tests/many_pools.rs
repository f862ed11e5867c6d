//! One pool for each tenant of an app. A binary of its own, because it counts the bytes that are allocated.
#![allow(unreachable_pub, reason = "a test binary has no API")]

#[path = "support/mod.rs"]
mod support;

use std::alloc::System;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use diesel::sql_query;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, Metric, MetricData};
use opentelemetry_sdk::metrics::{
    InMemoryMetricExporter, InMemoryMetricExporterBuilder, Instrument, MeterProviderBuilder,
    PeriodicReader, SdkMeterProvider, Stream, Temporality,
};
use poolscope::backend::{AsyncSqliteConnection, Backend};
use poolscope::{Pool, Settings};
use stats_alloc::{INSTRUMENTED_SYSTEM, Stats, StatsAlloc};
use tokio::sync::Mutex;

use support::postgres;
use support::waiting::until;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The tests count the bytes of the process, so they run one after the other.
static ALONE: Mutex<()> = Mutex::const_new(());

type Tenant = Pool<AsyncSqliteConnection>;

const POOL: &str = "db.client.connection.pool.name";

/// Bytes in use.
fn in_use() -> i64 {
    let Stats {
        bytes_allocated,
        bytes_deallocated,
        ..
    } = ALLOCATOR.stats();
    // These two include reallocations.
    bytes_allocated as i64 - bytes_deallocated as i64
}

/// A provider whose metrics are collected on demand.
struct Meters {
    provider: SdkMeterProvider,
    exporter: InMemoryMetricExporter,
}

impl Meters {
    fn new(
        temporality: Temporality,
        configure: fn(MeterProviderBuilder) -> MeterProviderBuilder,
    ) -> Self {
        let exporter = InMemoryMetricExporterBuilder::new()
            .with_temporality(temporality)
            .build();
        let reader =
            PeriodicReader::builder(exporter.clone()).with_interval(Duration::from_secs(86_400));
        let provider = configure(SdkMeterProvider::builder().with_reader(reader.build())).build();
        Self { provider, exporter }
    }

    fn pools(&self, tenants: Range<usize>) -> Vec<Tenant> {
        self.pools_of("sqlite::memory:", tenants)
    }

    fn pools_of<C: Backend>(&self, url: &str, tenants: Range<usize>) -> Vec<Pool<C>> {
        let pool = |tenant| {
            Pool::builder(Settings::new(url))
                .name(format!("tenant-{tenant}"))
                .pool_size(1)
                .max_overflow(0)
                .meter_provider(self.provider.clone())
                .build()
                .unwrap()
        };
        tenants.map(pool).collect()
    }

    /// The attributes of all series, by metric.
    fn collect(&self) -> BTreeMap<String, Vec<Vec<KeyValue>>> {
        self.exporter.reset();
        self.provider.force_flush().unwrap();
        let exported = self.exporter.get_finished_metrics().unwrap();
        self.exporter.reset();
        let scopes = exported.iter().flat_map(|it| it.scope_metrics());
        let metrics = scopes.flat_map(|scope| scope.metrics());
        metrics
            .map(|it| (it.name().to_owned(), series(it)))
            .collect()
    }
}

/// The names of the pools that have a series.
fn pools(series: &[Vec<KeyValue>]) -> BTreeSet<String> {
    let names = series.iter().flatten().filter(|it| it.key.as_str() == POOL);
    names.map(|it| it.value.to_string()).collect()
}

/// The metrics in which several pools share a series.
fn overflowing(metrics: &BTreeMap<String, Vec<Vec<KeyValue>>>) -> Vec<&String> {
    let overflow = |it: &KeyValue| it.key.as_str() == "otel.metric.overflow";
    let metrics = metrics.iter();
    let overflowing = metrics.filter(|(_, series)| series.iter().flatten().any(overflow));
    overflowing.map(|(name, _)| name).collect()
}

fn series(metric: &Metric) -> Vec<Vec<KeyValue>> {
    fn of<T: Copy>(data: &MetricData<T>) -> Vec<Vec<KeyValue>> {
        match data {
            MetricData::Sum(it) => it
                .data_points()
                .map(|it| it.attributes().cloned().collect())
                .collect(),
            MetricData::Gauge(it) => it
                .data_points()
                .map(|it| it.attributes().cloned().collect())
                .collect(),
            MetricData::Histogram(it) => it
                .data_points()
                .map(|it| it.attributes().cloned().collect())
                .collect(),
            MetricData::ExponentialHistogram(_) => panic!("no instrument has this type"),
        }
    }
    match metric.data() {
        AggregatedMetrics::F64(data) => of(data),
        AggregatedMetrics::I64(data) => of(data),
        AggregatedMetrics::U64(data) => of(data),
    }
}

fn is_histogram(name: &str) -> bool {
    [
        "wait_time",
        "use_time",
        "create_time",
        "phase_time",
        "duration",
    ]
    .iter()
    .any(|end| name.ends_with(end))
}

/// Each pool runs one query.
async fn query(pools: &[Tenant]) {
    for pool in pools {
        let mut connection = pool.get().await.unwrap();
        sql_query("SELECT 1")
            .execute(&mut connection)
            .await
            .unwrap();
    }
}

/// Waits until the tasks of dropped pools have ended. Returns the bytes in use.
async fn settled(meters: &Meters) -> i64 {
    tokio::time::sleep(Duration::from_secs(120)).await;
    // The second collection finds what has not changed since the first.
    meters.collect();
    meters.collect();
    in_use()
}

async fn left_behind(meters: &Meters, tenants: Range<usize>) -> i64 {
    let before = settled(meters).await;
    let (count, pools) = (tenants.len() as i64, meters.pools(tenants));
    query(&pools).await;
    meters.collect();
    drop(pools);
    (settled(meters).await - before) / count
}

#[tokio::test(start_paused = true)]
async fn dropped_pools_leave_nothing() {
    let _alone = ALONE.lock().await;
    let meters = Meters::new(Temporality::Cumulative, |provider| provider);
    left_behind(&meters, 0..500).await;
    let metrics = meters.collect();
    for (name, series) in &metrics {
        let dropped = pools(series);
        assert!(
            is_histogram(name) || dropped.is_empty(),
            "{name}: {dropped:?}"
        );
    }
    // The SDK keeps the series of histograms, and a pool of the same name continues them.
    assert!(metrics.keys().any(|name| is_histogram(name)));
    let again = left_behind(&meters, 0..500).await;
    let others = left_behind(&meters, 500..1000).await;
    println!("left behind: {again} bytes by a pool whose name existed, {others} by another");
    assert!(again < 256, "{again} bytes");
    assert!(others < 5 * 1024, "{others} bytes");
}

#[tokio::test]
async fn dropped_pools_of_a_server_leave_nothing() {
    let _alone = ALONE.lock().await;
    let url = postgres::shared().create_database("tenants");
    let meters = Meters::new(Temporality::Cumulative, |provider| provider);
    let come_and_go = async || {
        let pools = meters.pools_of::<AsyncPgConnection>(&url, 0..20);
        for pool in &pools {
            let mut connection = pool.get().await.unwrap();
            let query = sql_query("SELECT 1").execute(&mut connection);
            query.await.unwrap();
        }
        meters.collect();
    };
    come_and_go().await;
    let before = in_use();
    for _ in 0..5 {
        come_and_go().await;
    }
    let left = async || {
        meters.collect();
        (in_use() - before) / 100
    };
    until("the memory of 100 pools is free", left, |bytes| {
        *bytes < 256
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn dropped_pools_leave_no_histograms_with_delta_temporality() {
    let _alone = ALONE.lock().await;
    let meters = Meters::new(Temporality::Delta, |provider| provider);
    left_behind(&meters, 0..200).await;
    assert!(meters.collect().is_empty());
    let others = left_behind(&meters, 200..400).await;
    println!("left behind: {others} bytes");
    assert!(others < 256, "{others} bytes");
    assert!(meters.collect().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_pool_costs_memory_for_what_it_has_recorded() {
    let _alone = ALONE.lock().await;
    let meters = Meters::new(Temporality::Cumulative, |provider| provider);
    left_behind(&meters, 0..8).await;
    let before = settled(&meters).await;
    let pools = meters.pools(0..8);
    let each = |what: &str| {
        let bytes = (in_use() - before) / 8;
        println!("{what}: {bytes} bytes a pool");
        bytes
    };
    let unused = each("unused");
    query(&pools).await;
    let opened = each("one connection");
    for _ in 0..310 {
        query(&pools).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let light = each("five minutes with a query a second");
    for _ in 310..3610 {
        query(&pools).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let hour = each("an hour with a query a second");
    for _ in 0..130 {
        meters.collect();
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let idle = each("two idle hours");
    assert!(unused < 20 * 1024, "{unused}");
    assert!(opened < 32 * 1024, "{opened}");
    assert!(light < 80 * 1024, "{light}");
    assert!(hour < 220 * 1024, "{hour}");
    // The busiest time of the day is kept.
    assert!(idle < hour + 16 * 1024, "{idle}");
}

#[tokio::test]
async fn hundreds_of_live_pools_have_series_of_their_own() {
    let _alone = ALONE.lock().await;
    // The limit of the SDK is 2,000 series, and a pool has nine of `poolscope.connection.closed`.
    let meters = Meters::new(Temporality::Cumulative, |provider| provider);
    let mut some = meters.pools(0..222);
    query(&some).await;
    assert_eq!(overflowing(&meters.collect()), [""; 0]);
    some.extend(meters.pools(222..230));
    assert_eq!(
        overflowing(&meters.collect()),
        ["poolscope.connection.closed"]
    );
    drop((some, meters));

    // As in the guide.
    let meters = Meters::new(Temporality::Cumulative, |provider| {
        provider.with_view(|instrument: &Instrument| {
            let limit = Stream::builder().with_cardinality_limit(20_000).build();
            (instrument.scope().name() == "poolscope").then_some(limit.ok())?
        })
    });
    let all = meters.pools(0..500);
    query(&all).await;
    let metrics = meters.collect();
    assert_eq!(overflowing(&metrics), [""; 0]);
    for name in [
        "db.client.connection.count",
        "db.client.connection.wait_time",
        "poolscope.connection.closed",
    ] {
        assert_eq!(pools(&metrics[name]).len(), 500, "{name}");
    }
}
