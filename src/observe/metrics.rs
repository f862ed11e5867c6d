//! The pool's OpenTelemetry instruments, as the semantic conventions name them.
//!
//! Gauges are absolute readings of the inventory and the ledger, made when the reader asks:
//! nothing is incremented that could be forgotten.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use opentelemetry::metrics::{BoundHistogram, Meter, MeterProvider};
use opentelemetry::{KeyValue, global};
use opentelemetry_semantic_conventions::attribute::{
    DB_CLIENT_CONNECTION_POOL_NAME, DB_CLIENT_CONNECTION_STATE,
};
use opentelemetry_semantic_conventions::metric::{
    DB_CLIENT_CONNECTION_COUNT, DB_CLIENT_CONNECTION_CREATE_TIME, DB_CLIENT_CONNECTION_IDLE_MAX,
    DB_CLIENT_CONNECTION_IDLE_MIN, DB_CLIENT_CONNECTION_MAX, DB_CLIENT_CONNECTION_PENDING_REQUESTS,
    DB_CLIENT_CONNECTION_TIMEOUTS, DB_CLIENT_CONNECTION_USE_TIME, DB_CLIENT_CONNECTION_WAIT_TIME,
};

use super::recorder::Recorder;
use super::scope::scope;

/// Bucket boundaries of the three histograms, in seconds: those of
/// `db.client.operation.duration`, with 100 µs below, for a pool is faster than a query, and 30 s
/// above, for that is the default timeout.
const BOUNDARIES: [f64; 12] = [
    0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0,
];

pub(crate) type SharedMeterProvider = Arc<dyn MeterProvider + Send + Sync>;

/// The instruments of one pool.
pub(crate) struct Metrics {
    /// `None`: the global provider, whichever it is at the time.
    provider: Option<SharedMeterProvider>,
    bound: ArcSwapOption<Bound>,
}

struct Bound {
    provider: SharedMeterProvider,
    wait: BoundHistogram<f64>,
    held: BoundHistogram<f64>,
    create: BoundHistogram<f64>,
}

impl Metrics {
    pub(crate) fn new(provider: Option<SharedMeterProvider>) -> Self {
        Self {
            provider,
            bound: ArcSwapOption::empty(),
        }
    }

    /// Makes the instruments, again when the global provider has been replaced: instruments made
    /// before `global::set_meter_provider` would stay silent for ever.
    pub(crate) fn bind(&self, recorder: &Arc<Recorder>) {
        let provider = self.provider.clone().unwrap_or_else(global::meter_provider);
        let bound = self.bound.load();
        if bound
            .as_ref()
            .is_some_and(|bound| Arc::ptr_eq(&bound.provider, &provider))
        {
            return;
        }
        let meter = provider.meter_with_scope(scope());
        let pool = KeyValue::new(DB_CLIENT_CONNECTION_POOL_NAME, recorder.name.to_string());
        gauges(&meter, &pool, &Arc::downgrade(recorder));
        let histogram = |name, description| {
            meter
                .f64_histogram(name)
                .with_unit("s")
                .with_description(description)
                .with_boundaries(BOUNDARIES.to_vec())
                .build()
                .bind(std::slice::from_ref(&pool))
        };
        let wait = histogram(
            DB_CLIENT_CONNECTION_WAIT_TIME,
            "The time it took to obtain an open connection from the pool",
        );
        let held = histogram(
            DB_CLIENT_CONNECTION_USE_TIME,
            "The time between borrowing a connection and returning it to the pool",
        );
        let create = histogram(
            DB_CLIENT_CONNECTION_CREATE_TIME,
            "The time it took to create a new connection",
        );
        drop(meter);
        self.bound.store(Some(Arc::new(Bound {
            provider,
            wait,
            held,
            create,
        })));
    }

    pub(crate) fn waited(&self, time: Duration) {
        if let Some(bound) = &*self.bound.load() {
            bound.wait.record(time.as_secs_f64());
        }
    }

    pub(crate) fn held(&self, time: Duration) {
        if let Some(bound) = &*self.bound.load() {
            bound.held.record(time.as_secs_f64());
        }
    }

    pub(crate) fn created(&self, time: Duration) {
        if let Some(bound) = &*self.bound.load() {
            bound.create.record(time.as_secs_f64());
        }
    }
}

fn gauges(meter: &Meter, pool: &KeyValue, recorder: &Weak<Recorder>) {
    type Read = fn(&Recorder) -> i64;
    let gauge = |name: &'static str, unit: &'static str, description: &'static str, read: Read| {
        let (pool, recorder) = (pool.clone(), Weak::clone(recorder));
        meter
            .i64_observable_up_down_counter(name)
            .with_unit(unit)
            .with_description(description)
            .with_callback(move |observer| {
                if let Some(recorder) = recorder.upgrade() {
                    observer.observe(read(&recorder), std::slice::from_ref(&pool));
                }
            })
            .build();
    };
    gauge(
        DB_CLIENT_CONNECTION_MAX,
        "{connection}",
        "The maximum number of open connections allowed: pool size and overflow",
        |r| i64::from(r.counts().max_connections()),
    );
    gauge(
        DB_CLIENT_CONNECTION_IDLE_MAX,
        "{connection}",
        "The maximum number of idle open connections allowed: the pool size",
        |r| i64::from(r.counts().pool_size),
    );
    gauge(
        DB_CLIENT_CONNECTION_IDLE_MIN,
        "{connection}",
        "The minimum number of idle open connections allowed: none are opened ahead of need",
        |_| 0,
    );
    gauge(
        DB_CLIENT_CONNECTION_PENDING_REQUESTS,
        "{request}",
        "The number of current pending requests for an open connection",
        |r| i64::from(r.book().ledger.waiters.len()),
    );

    let (states, of) = (
        ["idle", "used"].map(|state| {
            [
                pool.clone(),
                KeyValue::new(DB_CLIENT_CONNECTION_STATE, state),
            ]
        }),
        Weak::clone(recorder),
    );
    meter
        .i64_observable_up_down_counter(DB_CLIENT_CONNECTION_COUNT)
        .with_unit("{connection}")
        .with_description("The number of connections that are currently in the state given")
        .with_callback(move |observer| {
            if let Some(recorder) = of.upgrade() {
                let counts = recorder.counts();
                observer.observe(i64::from(counts.idle), &states[0]);
                observer.observe(i64::from(counts.checked_out()), &states[1]);
            }
        })
        .build();

    let (pool, of) = (pool.clone(), Weak::clone(recorder));
    meter
        .u64_observable_counter(DB_CLIENT_CONNECTION_TIMEOUTS)
        .with_unit("{timeout}")
        .with_description("The number of connection timeouts that have occurred trying to obtain a connection from the pool")
        .with_callback(move |observer| {
            if let Some(recorder) = of.upgrade() {
                observer.observe(recorder.book().totals.timeouts, std::slice::from_ref(&pool));
            }
        })
        .build();
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("global", &self.provider.is_none())
            .finish_non_exhaustive()
    }
}
