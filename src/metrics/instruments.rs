//! The OpenTelemetry instruments of a meter provider, built from the list of
//! [`families`](crate::metrics::catalog). All pools of the provider share them.

use std::sync::{Arc, OnceLock};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};
use opentelemetry_semantic_conventions::attribute::DB_CLIENT_CONNECTION_POOL_NAME;

use crate::metrics::catalog::FAMILIES;
use crate::metrics::family::{Emit, Family, Kind, Read};
use crate::metrics::histograms;
use crate::record::inventory::Availability;
use crate::record::living::Living;
use crate::record::recorder::Recorder;

/// The instruments of one provider. Only the histograms are kept, because all other instruments are read
/// by callbacks, which the provider keeps.
pub(super) struct Instruments {
    /// The pools that are exported.
    pub(super) pools: Arc<Living>,
    pub(super) wait: Histogram<f64>,
    pub(super) held: Histogram<f64>,
    pub(super) create: Histogram<f64>,
    pub(super) phase: Histogram<f64>,
    pub(super) query: Histogram<f64>,
    per_request: OnceLock<[Histogram<f64>; 5]>,
}

impl Instruments {
    /// Creates the instruments. The provider cannot forget a callback, so this is done once for each
    /// provider, and the callbacks read the pools that are alive at that time.
    pub(super) fn new(meter: &Meter) -> Arc<Self> {
        let histogram = |family| histogram(meter, family);
        let instruments = Arc::new(Self {
            pools: Arc::default(),
            wait: histogram(&histograms::WAIT_TIME),
            held: histogram(&histograms::USE_TIME),
            create: histogram(&histograms::CREATE_TIME),
            phase: histogram(&histograms::PHASE_TIME),
            query: histogram(&histograms::OPERATION_DURATION),
            per_request: OnceLock::new(),
        });
        for family in &FAMILIES {
            observable(meter, family, &instruments);
        }
        instruments
    }

    /// Returns the histograms of the use per request, which most apps do not have.
    pub(super) fn per_request(&self, meter: &Meter) -> [Histogram<f64>; 5] {
        let create = || histograms::REQUEST.map(|family| histogram(meter, &family));
        self.per_request.get_or_init(create).clone()
    }
}

/// Returns the attribute with a pool's name.
pub(super) fn pool_name(recorder: &Recorder) -> KeyValue {
    KeyValue::new(
        DB_CLIENT_CONNECTION_POOL_NAME,
        Arc::<str>::clone(&recorder.name),
    )
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
fn observable(meter: &Meter, family: &'static Family, instruments: &Arc<Instruments>) {
    let instruments = Arc::clone(instruments);
    let gauge = matches!(family.kind, Kind::UpDown(_) | Kind::Gauge(_));
    // Observes each reading of each pool, with its own attributes and the pool's name.
    let each = move |read: Read, observe: Emit<'_>| {
        let mut all = Vec::new();
        for pool in instruments.pools.pools() {
            // An app that shuts down cleanly exports for the last time after its pool is closed, and a
            // collector shows that export for minutes. Without its gauges it reports no replica that
            // cannot serve.
            if gauge && pool.inventory.availability() == Availability::Closed {
                continue;
            }
            let name = pool_name(&pool);
            read(&pool, &mut |value, attributes| {
                all.clear();
                all.extend_from_slice(attributes);
                all.push(name.clone());
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
