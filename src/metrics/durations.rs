//! Records the durations of a pool in the histograms of its meter provider.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundHistogram, Histogram};

use crate::checkout::query_context::QueryFailure;
use crate::checkout::wait_phase::{Phase, Phases};
use crate::metrics::histograms::PHASE;
use crate::metrics::instruments::pool_name;
use crate::metrics::provider::Provider;
use crate::record::duration_sink::DurationSink;
use crate::record::living::Entered;
use crate::record::queries::attributes;
use crate::record::recorder::Recorder;
use crate::record::requests::Key;
use crate::request::attribution::{Attribution, Tally};

/// The metrics of one pool.
pub(crate) enum Metrics {
    /// With the provider set on the layer.
    Given(Provider, OnceLock<Box<Bound>>),
    /// With the current global provider.
    Global(ArcSwapOption<Bound>),
}

/// A pool's series in the histograms of its provider, and its entry among the pools whose other metrics
/// the provider reads.
pub(crate) struct Bound {
    provider: Provider,
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
    _entered: Entered,
}

impl Metrics {
    pub(crate) fn new(provider: Option<Provider>) -> Self {
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
    /// Binds the pool to its provider, and again after the global provider was replaced: what was bound
    /// before `global::set_meter_provider` would never export anything.
    fn bind(&self, recorder: &Arc<Recorder>) {
        match self {
            Self::Given(provider, bound) => {
                bound.get_or_init(|| Box::new(Bound::new(provider.clone(), recorder)));
            }
            Self::Global(bound) => {
                let provider = Provider::global();
                let same = |bound: &Arc<Bound>| bound.provider.is(&provider);
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
    fn new(provider: Provider, recorder: &Arc<Recorder>) -> Self {
        let instruments = provider.instruments();
        let pool = pool_name(recorder);
        let of_pool = std::slice::from_ref(&pool);
        let mut of_query = vec![pool.clone()];
        of_query.extend_from_slice(&recorder.database);
        Self {
            wait: instruments.wait.bind(of_pool),
            held: instruments.held.bind(of_pool),
            create: instruments.create.bind(of_pool),
            phases: Phase::ALL.map(|phase| {
                let phase = KeyValue::new(PHASE, phase.as_str());
                instruments.phase.bind(&[pool.clone(), phase])
            }),
            query: instruments.query.bind(&of_query),
            failed_query: instruments.query.clone(),
            per_request: recorder
                .request_metrics
                .then(|| instruments.per_request(&provider.meter())),
            _entered: instruments.pools.enter(recorder),
            pool,
            provider,
        }
    }
}
