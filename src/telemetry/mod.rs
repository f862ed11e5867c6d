//! Traces, metrics and logs over OTLP, by the standard `OTEL_*` variables.
//!
//! The way of a span, a log record, a data point:
//!
//! ```text
//! tracing ─▶ layers.rs ─▶ provider ─▶ processor.rs ─▶ the SDK's ─▶ exporter.rs ─▶ the OTLP ─▶ receiver
//!                         (pipeline.rs) counts what     queue        counts what    exporter
//!                                       finds no place               was sent       over http.rs or tonic,
//!                                                                    and what not   by connect.rs, on line.rs
//! ```
//!
//! The counts are in `exports.rs`, where `health` finds them, and `news.rs` tells the log.

mod connect;
mod destination;
mod error;
mod exporter;
#[cfg(test)]
mod heard;
mod http;
mod lane;
mod layers;
mod line;
mod losses;
mod news;
mod pipeline;
mod processor;
mod rejected;
mod resource;
mod settings;
mod shutdown;
mod tls;
mod variables;

use std::ffi::OsString;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use opentelemetry::global;
use opentelemetry::propagation::{TextMapCompositePropagator, TextMapPropagator};
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use tracing::Subscriber;
use tracing::dispatcher::{self, Dispatch};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

pub use self::error::TelemetryError;
pub use self::shutdown::Unsent;

use self::layers::Events;
use self::pipeline::Pipeline;
use self::settings::{Propagators, Settings};
use crate::exports::Exports;

/// No end takes longer, so that no clock overflows.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// An app's telemetry: traces, metrics and logs, sent over OTLP.
///
/// One call at the start and one at the end:
///
/// ```no_run
/// # #[cfg(feature = "otlp")] mod doc {
/// use poolscope::Telemetry;
/// use std::time::Duration;
///
/// # pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let telemetry = Telemetry::from_env()?.install()?;
/// // … the app …
/// telemetry.shutdown(Duration::from_secs(5)).await;
/// # Ok(()) }
/// # } fn main() {}
/// ```
///
/// Without an endpoint in the environment nothing is exported, and nothing costs anything; the log
/// on stderr is there all the same. There it departs from the standard, by which
/// `localhost` would be tried.
///
/// Whatever the receiver does, the app is not slowed: what it does not take waits in a queue that
/// is bounded, and what finds no place there is dropped and counted, see [`Exports`].
///
/// Dropped without [`shutdown`](Self::shutdown) it goes on exporting, and what is in the queues when
/// the process ends is lost.
#[must_use = "without `shutdown` at the end the last spans and log records are lost"]
pub struct Telemetry {
    pipeline: Option<Pipeline>,
    /// Made before the global providers are set, lest the SDK adds metrics about itself.
    events: Mutex<Option<Events>>,
}

/// Telemetry that is not started yet.
#[must_use = "it does nothing until `install` or `start`"]
pub struct TelemetryBuilder {
    settings: Settings,
}

impl Telemetry {
    /// Reads the `OTEL_*` variables.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them, in one error; no header's value is in it.
    pub fn from_env() -> Result<TelemetryBuilder, TelemetryError> {
        Self::from_lookup(|name| std::env::var_os(name))
    }

    /// Reads the variables from wherever `lookup` finds them: a test, a vault, a map.
    ///
    /// # Errors
    ///
    /// As [`from_env`](Self::from_env).
    ///
    /// ```
    /// # #[cfg(feature = "otlp")] {
    /// use poolscope::Telemetry;
    ///
    /// // No endpoint: nothing is exported.
    /// let telemetry = Telemetry::from_lookup(|_| None)?.start()?;
    /// assert!(!telemetry.is_exporting());
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_lookup(
        lookup: impl Fn(&str) -> Option<OsString>,
    ) -> Result<TelemetryBuilder, TelemetryError> {
        let settings = Settings::read(&lookup)?;
        Ok(TelemetryBuilder { settings })
    }

    /// The layer for an app that has a `tracing` subscriber of its own: spans and events at `INFO`
    /// and above. `None` where nothing is exported, which a subscriber takes as well.
    ///
    /// ```
    /// # #[cfg(feature = "otlp")] {
    /// use poolscope::Telemetry;
    /// use tracing_subscriber::layer::SubscriberExt;
    ///
    /// let telemetry = Telemetry::from_lookup(|_| None)?.start()?;
    /// let subscriber = tracing_subscriber::registry()
    ///     .with(tracing_subscriber::fmt::layer().compact())
    ///     .with(telemetry.layer());
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn layer<S>(&self) -> Option<impl Layer<S> + Send + Sync + use<S>>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        self.is_exporting().then(|| {
            let spans = self.span_layer::<S>();
            let events = self.event_layer::<S>();
            let spans = spans.map(|layer| layer.with_filter(layers::USUAL).boxed());
            let events = events.map(|layer| layer.with_filter(layers::USUAL).boxed());
            [spans, events].into_iter().flatten().collect::<Vec<_>>()
        })
    }

    /// As [`layer`](Self::layer), spans only and at every level, for an app that filters by itself.
    #[must_use]
    pub fn span_layer<S>(&self) -> Option<impl Layer<S> + Send + Sync + use<S>>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let pipeline = self.pipeline.as_ref()?;
        pipeline.tracer_provider.as_ref().map(layers::spans)
    }

    /// As [`layer`](Self::layer), events only and at every level, for an app that filters by itself.
    #[must_use]
    pub fn event_layer<S>(&self) -> Option<impl Layer<S> + Send + Sync + use<S>>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let provider = self.pipeline.as_ref()?.logger_provider.as_ref()?;
        let mut events = self.events.lock().expect("nothing panics under this lock");
        Some(events.take().unwrap_or_else(|| layers::events(provider)))
    }

    /// Whether anything is exported: an endpoint is set, and telemetry is not switched off.
    #[must_use]
    pub fn is_exporting(&self) -> bool {
        self.pipeline.is_some()
    }

    /// What was exported so far, and what was lost. `None` where nothing is exported.
    #[must_use]
    pub fn exports(&self) -> Option<Exports> {
        let pipeline = self.pipeline.as_ref()?;
        Some(pipeline.tally.read())
    }

    /// Sends what is left, for so long at most, and ends exporting. What could not be sent is
    /// returned, and said in the log.
    ///
    /// It blocks no thread of the runtime. Called again, it has nothing to do.
    pub async fn shutdown(&self, deadline: Duration) -> Unsent {
        let Some(pipeline) = &self.pipeline else {
            return Unsent::nothing();
        };
        let unsent = pipeline.shut_down(deadline.min(LONGEST)).await;
        pipeline.tally.deactivate();
        if !unsent.is_none() {
            tracing::warn!("telemetry could not be sent before the end: {unsent}");
        }
        unsent
    }
}

impl TelemetryBuilder {
    /// Starts exporting, and installs everything in the process: the global providers of traces and
    /// metrics, W3C propagation, and a `tracing` subscriber. That one logs to stderr what `RUST_LOG`
    /// allows (`info` by default), exports the same as log records, and exports spans at `INFO` and
    /// above.
    ///
    /// # Errors
    ///
    /// When there is a subscriber already, or the system gives no thread.
    pub fn install(self) -> Result<Telemetry, TelemetryError> {
        let telemetry = self.build()?;
        let filter = &self.settings.filter;
        let spans = telemetry.span_layer();
        let events = telemetry.event_layer();
        tracing_subscriber::registry()
            .with(layers::stderr(filter))
            .with(spans.map(|layer| layer.with_filter(layers::USUAL)))
            .with(events.map(|layer| layer.with_filter(layers::env_filter(filter))))
            .try_init()
            .map_err(|_| TelemetryError::SubscriberInstalled)?;
        telemetry.make_global(self.settings.propagators);
        Ok(telemetry)
    }

    /// As [`install`](Self::install), but for the subscriber: the app adds
    /// [`Telemetry::layer`] to its own.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(self) -> Result<Telemetry, TelemetryError> {
        let telemetry = self.build()?;
        telemetry.make_global(self.settings.propagators);
        Ok(telemetry)
    }

    fn build(&self) -> Result<Telemetry, TelemetryError> {
        let pipeline = match self.settings.is_on() {
            true => Some(Pipeline::build(&self.settings)?),
            false => None,
        };
        let logs = pipeline.as_ref().and_then(|it| it.logger_provider.as_ref());
        let events = Mutex::new(logs.map(layers::events));
        Ok(Telemetry { pipeline, events })
    }
}

impl Telemetry {
    fn make_global(&self, propagators: Propagators) {
        if self.pipeline.is_some() || propagators.asked_for {
            global::set_text_map_propagator(propagators.composite());
        }
        let Some(pipeline) = &self.pipeline else {
            return;
        };
        // It says in the log that it is done, which nobody asks.
        dispatcher::with_default(&Dispatch::none(), || {
            if let Some(provider) = &pipeline.tracer_provider {
                global::set_tracer_provider(provider.clone());
            }
            if let Some(provider) = &pipeline.meter_provider {
                global::set_meter_provider(provider.clone());
            }
        });
        pipeline.tally.activate();
    }
}

impl Propagators {
    fn composite(self) -> TextMapCompositePropagator {
        let mut propagators: Vec<Box<dyn TextMapPropagator + Send + Sync>> = Vec::new();
        if self.trace_context {
            propagators.push(Box::new(TraceContextPropagator::new()));
        }
        if self.baggage {
            propagators.push(Box::new(BaggagePropagator::new()));
        }
        TextMapCompositePropagator::new(propagators)
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry")
            .field("exports", &self.exports())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TelemetryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelemetryBuilder")
            .field("settings", &self.settings)
            .finish()
    }
}
