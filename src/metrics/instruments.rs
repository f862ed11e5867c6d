//! The pool's OpenTelemetry instruments, built from the list of [`families`](crate::metrics::catalog).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use opentelemetry::metrics::{BoundHistogram, Histogram, Meter, MeterProvider};
use opentelemetry::{KeyValue, global};
use opentelemetry_semantic_conventions::attribute::DB_CLIENT_CONNECTION_POOL_NAME;

use crate::checkout::query_context::QueryFailure;
use crate::checkout::wait_phase::{Phase, Phases};
use crate::metrics::catalog::FAMILIES;
use crate::metrics::family::{Emit, Family, Kind, Read};
use crate::metrics::histograms::{self, PHASE};
use crate::record::duration_sink::DurationSink;
use crate::record::inventory::Availability;
use crate::record::queries::attributes;
use crate::record::recorder::Recorder;
use crate::record::requests::Key;
use crate::request::attribution::{Attribution, Tally};
use crate::telemetry::scope;

pub(crate) type SharedMeterProvider = Arc<dyn MeterProvider + Send + Sync>;

/// The instruments of one pool.
pub(crate) enum Metrics {
    /// Instruments of the provider set on the layer.
    Given(SharedMeterProvider, OnceLock<Box<Bound>>),
    /// Instruments of the current global provider.
    Global(ArcSwapOption<Bound>),
}

/// The histograms of one provider. Only these are kept, because all other instruments are read by
/// callbacks.
pub(crate) struct Bound {
    provider: SharedMeterProvider,
    pool: KeyValue,
    wait: BoundHistogram<f64>,
    held: BoundHistogram<f64>,
    create: BoundHistogram<f64>,
    phases: [BoundHistogram<f64>; 3],
    /// Successful queries. Failed ones have attributes of their own and use `failed_query`.
    query: BoundHistogram<f64>,
    failed_query: Histogram<f64>,
    /// `None` unless the setting `request_metrics` is on.
    per_request: Option<[Histogram<f64>; 5]>,
}

impl Metrics {
    pub(crate) fn new(provider: Option<SharedMeterProvider>) -> Self {
        match provider {
            Some(provider) => Self::Given(provider, OnceLock::new()),
            None => Self::Global(ArcSwapOption::empty()),
        }
    }

    fn with(&self, record: impl FnOnce(&Bound)) {
        match self {
            Self::Given(_, bound) => bound.get().map(|bound| record(bound)),
            Self::Global(bound) => bound.load().as_deref().map(record),
        };
    }
}

impl DurationSink for Metrics {
    /// Creates the instruments, and creates them again after the global provider was replaced:
    /// instruments created before `global::set_meter_provider` would never export anything.
    fn bind(&self, recorder: &Arc<Recorder>) {
        match self {
            Self::Given(provider, bound) => {
                bound.get_or_init(|| Box::new(Bound::new(Arc::clone(provider), recorder)));
            }
            Self::Global(bound) => {
                let provider = global::meter_provider();
                let same = |bound: &Arc<Bound>| Arc::ptr_eq(&bound.provider, &provider);
                if !bound.load().as_ref().is_some_and(same) {
                    bound.store(Some(Arc::new(Bound::new(provider, recorder))));
                }
            }
        }
    }

    fn waited(&self, time: Duration, phases: Option<&Phases>) {
        self.with(|bound| {
            bound.wait.record(time.as_secs_f64());
            let Some(phases) = phases else { return };
            for (phase, time) in phases.spent() {
                bound.phases[phase as usize].record(time.as_secs_f64());
            }
        });
    }

    fn held(&self, time: Duration) {
        self.with(|bound| bound.held.record(time.as_secs_f64()));
    }

    fn created(&self, time: Duration) {
        self.with(|bound| bound.create.record(time.as_secs_f64()));
    }

    fn query_ended(&self, took: Duration, database: &[KeyValue], failure: Option<&QueryFailure>) {
        self.with(|bound| match failure {
            None => bound.query.record(took.as_secs_f64()),
            Some(failure) => {
                let mut attributes = attributes(database, failure);
                attributes.push(bound.pool.clone());
                bound.failed_query.record(took.as_secs_f64(), &attributes);
            }
        });
    }

    fn request_ended(&self, request: &Attribution, tally: &Tally) {
        self.with(|bound| {
            let Some(histograms) = &bound.per_request else {
                return;
            };
            let mut attributes = Key::of(request).attributes();
            attributes.push(bound.pool.clone());
            for (histogram, value) in histograms.iter().zip(tally.used.values()) {
                histogram.record(value, &attributes);
            }
        });
    }
}

impl Bound {
    fn new(provider: SharedMeterProvider, recorder: &Arc<Recorder>) -> Self {
        let meter = provider.meter_with_scope(scope());
        let pool = KeyValue::new(
            DB_CLIENT_CONNECTION_POOL_NAME,
            Arc::<str>::clone(&recorder.name),
        );
        for family in &FAMILIES {
            observable(&meter, family, recorder, &pool);
        }
        let of_pool = |family| histogram(&meter, family).bind(std::slice::from_ref(&pool));
        let mut of_query = vec![pool.clone()];
        of_query.extend_from_slice(&recorder.database);
        let query = histogram(&meter, &histograms::OPERATION_DURATION);
        Self {
            wait: of_pool(&histograms::WAIT_TIME),
            held: of_pool(&histograms::USE_TIME),
            create: of_pool(&histograms::CREATE_TIME),
            phases: Phase::ALL.map(|phase| {
                histogram(&meter, &histograms::PHASE_TIME)
                    .bind(&[pool.clone(), KeyValue::new(PHASE, phase.as_str())])
            }),
            query: query.bind(&of_query),
            failed_query: query,
            per_request: recorder
                .request_metrics
                .then(|| histograms::REQUEST.map(|family| histogram(&meter, &family))),
            pool,
            provider,
        }
    }
}

fn histogram(meter: &Meter, family: &Family) -> Histogram<f64> {
    let builder = meter
        .f64_histogram(family.name)
        .with_unit(family.unit)
        .with_description(family.description);
    match family.kind {
        Kind::Histogram(boundaries, _) => builder.with_boundaries(boundaries.to_vec()).build(),
        _ => builder.build(),
    }
}

/// Creates an observable instrument, which is read on collection. Does nothing for a histogram.
fn observable(meter: &Meter, family: &'static Family, recorder: &Arc<Recorder>, pool: &KeyValue) {
    let (recorder, pool) = (Arc::downgrade(recorder), pool.clone());
    let gauge = matches!(family.kind, Kind::UpDown(_) | Kind::Gauge(_));
    // Observes each reading with its own attributes and the pool's name.
    let each = move |read: Read, observe: Emit<'_>| {
        // An app that shuts down cleanly exports for the last time after its pool is closed, and a
        // collector shows that export for minutes. Without its gauges it reports no replica that
        // cannot serve.
        let live = recorder
            .upgrade()
            .filter(|recorder| !gauge || recorder.inventory.availability() != Availability::Closed);
        if let Some(recorder) = live {
            let mut all = Vec::new();
            read(&recorder, &mut |value, attributes| {
                all.clear();
                all.extend_from_slice(attributes);
                all.push(pool.clone());
                observe(value, &all);
            });
        }
    };
    macro_rules! build {
        ($builder:ident, $read:expr, $number:ty) => {{
            let read = $read;
            meter
                .$builder(family.name)
                .with_unit(family.unit)
                .with_description(family.description)
                .with_callback(move |observer| {
                    each(read, &mut |value, attributes| {
                        observer.observe(value as $number, attributes);
                    });
                })
                .build();
        }};
    }
    match family.kind {
        Kind::UpDown(read) => build!(i64_observable_up_down_counter, read, i64),
        Kind::Gauge(read) => build!(f64_observable_gauge, read, f64),
        Kind::Counter(read) if family.unit == "s" => build!(f64_observable_counter, read, f64),
        Kind::Counter(read) => build!(u64_observable_counter, read, u64),
        Kind::Histogram(..) => {}
    }
}
