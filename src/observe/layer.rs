use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::global::BoxedTracer;
use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::{Span, Tracer, TracerProvider};
use tower_layer::Layer;

use super::leaks::Leaks;
use super::metrics::{Metrics, SharedMeterProvider};
use super::recorder::Recorder;
use super::service::Observe;
use super::span::Tracing;
use crate::inventory::Inventory;
use crate::lifecycle::Lifecycle;
use crate::telemetry::scope;

/// Writes down every checkout of a [`Service<Checkout>`](tower_service::Service).
#[derive(Clone)]
pub struct ObserveLayer {
    name: Arc<str>,
    meters: Option<SharedMeterProvider>,
    /// A way to make tracers, for a tracer can't be cloned.
    tracers: Option<Arc<dyn Fn() -> BoxedTracer + Send + Sync>>,
    slow_wait: Duration,
    leak_threshold: Option<Duration>,
}

impl ObserveLayer {
    /// Observes under this name: `db.client.connection.pool.name` in telemetry. Two pools of one
    /// app need two names.
    #[must_use]
    pub fn new(name: impl AsRef<str>) -> Self {
        Self {
            name: Arc::from(name.as_ref()),
            meters: None,
            tracers: None,
            slow_wait: Duration::from_millis(50),
            leak_threshold: Some(Duration::from_secs(60)),
        }
    }

    pub(crate) fn named(mut self, name: String) -> Self {
        self.name = Arc::from(name);
        self
    }

    /// Records into this provider. Defaults to the global one, also when it is set later.
    #[must_use]
    pub fn meter_provider(mut self, provider: impl MeterProvider + Send + Sync + 'static) -> Self {
        self.meters = Some(Arc::new(provider));
        self
    }

    /// Makes spans with this provider. Defaults to the global one, also when it is set later.
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

    /// Waits longer than this are told as a `tracing` event. Defaults to 50 ms.
    #[must_use]
    pub fn slow_wait(mut self, threshold: Duration) -> Self {
        self.slow_wait = threshold;
        self
    }

    /// A connection held for longer than this is told as a possible leak: by `tracing` events, once
    /// and again when it comes back, in `health` and in the metrics. Nothing is done about it.
    /// Defaults to 60 s; `None` or zero for off.
    #[must_use]
    pub fn leak_threshold(mut self, threshold: impl Into<Option<Duration>>) -> Self {
        self.leak_threshold = threshold.into();
        self
    }
}

impl<S: Inventory + Clone> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        let recorder = Recorder::new(
            Arc::clone(&self.name),
            Tracing::new(self.tracers.as_ref().map(|tracer| tracer())),
            Metrics::new(self.meters.clone()),
            self.slow_wait,
            Leaks::new(self.leak_threshold),
            Box::new(inner.clone()),
        );
        let observer: Arc<dyn Lifecycle> = recorder.clone();
        inner.report_to(Arc::downgrade(&observer));
        Observe::new(inner, recorder)
    }
}

impl fmt::Debug for ObserveLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObserveLayer")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
