use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::global::BoxedTracer;
use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::{Span, Tracer, TracerProvider};
use tower_layer::Layer;

use crate::metrics::durations::Metrics;
use crate::metrics::provider::Provider;
use crate::observe::service::Observe;
use crate::record::inventory::Inventory;
use crate::record::leaks::Leaks;
use crate::record::nested::Nested;
use crate::record::pool_events::PoolEvents;
use crate::record::recorder::{Recorder, RecorderOptions};
use crate::settings::NestedCheckouts;
use crate::telemetry::Tracing;
use crate::telemetry::scope;

/// Observes every checkout of a [`Service<Checkout>`](tower_service::Service).
#[derive(Clone)]
pub struct ObserveLayer {
    name: Arc<str>,
    meters: Option<Provider>,
    /// Creates tracers, because a tracer cannot be cloned.
    tracers: Option<Arc<dyn Fn() -> BoxedTracer + Send + Sync>>,
    slow_wait: Duration,
    leak_threshold: Option<Duration>,
    request_metrics: bool,
    nested_checkouts: NestedCheckouts,
}

impl ObserveLayer {
    /// Creates a layer that observes a pool under this name, `db.client.connection.pool.name` in
    /// telemetry. Each pool of an app needs a different name.
    #[must_use]
    pub fn new(name: impl AsRef<str>) -> Self {
        Self {
            name: Arc::from(name.as_ref()),
            meters: None,
            tracers: None,
            slow_wait: Duration::from_millis(50),
            leak_threshold: Some(Duration::from_secs(60)),
            request_metrics: false,
            nested_checkouts: NestedCheckouts::Warn,
        }
    }

    pub(crate) fn named(mut self, name: String) -> Self {
        self.name = Arc::from(name);
        self
    }

    /// Sets the provider that metrics are recorded with. Defaults to the global one, which may also be
    /// set later.
    #[must_use]
    pub fn meter_provider(mut self, provider: impl MeterProvider + Send + Sync + 'static) -> Self {
        self.meters = Some(Provider::given(provider));
        self
    }

    /// Sets the provider that spans are created with. Defaults to the global one, which may also be set
    /// later.
    #[must_use]
    pub fn tracer_provider<P>(mut self, provider: P) -> Self
    where
        P: TracerProvider + Send + Sync + 'static,
        P::Tracer: Tracer + Send + Sync + 'static,
        <P::Tracer as Tracer>::Span: Span + Send + Sync + 'static,
    {
        self.tracers = Some(Arc::new(move || {
            BoxedTracer::new(Box::new(provider.tracer_with_scope(scope())))
        }));
        self
    }

    /// Logs waits longer than this as a `tracing` event. Defaults to 50 ms.
    #[must_use]
    pub fn slow_wait(mut self, threshold: Duration) -> Self {
        self.slow_wait = threshold;
        self
    }

    /// Reports a connection held for longer than this as a possible leak: in `health`, in the metrics,
    /// and as a `tracing` event, once when it passes the threshold and once when it is returned. The
    /// connection itself is left alone. Defaults to 60 s; `None` or zero turns it off.
    #[must_use]
    pub fn leak_threshold(mut self, threshold: impl Into<Option<Duration>>) -> Self {
        self.leak_threshold = threshold.into();
        self
    }

    /// Sets whether the use of the pool per request is in the metrics, as five histograms: 71 series
    /// for each route and method. Defaults to false.
    #[must_use]
    pub fn request_metrics(mut self, recorded: bool) -> Self {
        self.request_metrics = recorded;
        self
    }

    /// Sets what happens to a checkout of a request that already holds a connection while the pool is
    /// full. Defaults to [`NestedCheckouts::Warn`].
    #[must_use]
    pub fn nested_checkouts(mut self, policy: NestedCheckouts) -> Self {
        self.nested_checkouts = policy;
        self
    }
}

impl<S: Inventory + Clone> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        let recorder = Recorder::new(
            Arc::clone(&self.name),
            Tracing::new(self.tracers.as_ref().map(|tracer| tracer())),
            Box::new(Metrics::new(self.meters.clone())),
            RecorderOptions {
                slow_wait: self.slow_wait,
                leaks: Leaks::new(self.leak_threshold),
                request_metrics: self.request_metrics,
                nested: Nested::new(self.nested_checkouts),
            },
            Box::new(inner.clone()),
        );
        let observer: Arc<dyn PoolEvents> = recorder.clone();
        inner.report_to(Arc::downgrade(&observer));
        Observe { inner, recorder }
    }
}

impl fmt::Debug for ObserveLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObserveLayer")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
