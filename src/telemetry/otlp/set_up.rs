//! [`Telemetry`]: one call at the start of the app, and one at its end.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use opentelemetry::global;
use tracing::Subscriber;
use tracing::dispatcher::{self, Dispatch};
use tracing::subscriber::NoSubscriber;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use super::TARGET;
use super::error::TelemetryError;
use super::layers::{self, Events};
use super::pipeline::Pipeline;
use super::settings::Settings;
use super::shutdown::Unsent;
use crate::telemetry::exports::Exports;

/// The longest accepted deadline. A longer one could overflow the clock.
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
/// Without an endpoint in the environment, nothing is exported and exporting costs nothing; only the log
/// on stderr is installed. The OpenTelemetry specification differs: it defaults to `localhost`.
///
/// The receiver never slows the app down. Items wait in a bounded queue, and an item that does not fit is
/// dropped and counted; see [`Exports`].
///
/// Dropping this value does not stop the export. Without [`shutdown`](Self::shutdown), the items that are
/// in the queues when the process ends are lost.
#[must_use = "without `shutdown` at the end the last spans and log records are lost"]
pub struct Telemetry {
    pipeline: Option<Pipeline>,
    /// Created before the global providers are set. Otherwise the SDK would add metrics about itself.
    events: Mutex<Option<Events>>,
}

/// Telemetry that has been configured and not started.
#[derive(Debug)]
#[must_use = "it does nothing until `install` or `start`"]
pub struct TelemetryBuilder {
    settings: Settings,
}

impl Telemetry {
    /// Reads the `OTEL_*` variables.
    ///
    /// A value that cannot be used is ignored. `install` and `start` log a warning with the variable and its
    /// value, without header values and passwords. Without an endpoint that is a URL, or if a certificate
    /// cannot be read, the signals are not exported.
    ///
    /// # Errors
    ///
    /// None at present: a platform may set any value for all its apps, and telemetry must not keep an app from
    /// starting.
    pub fn from_env() -> Result<TelemetryBuilder, TelemetryError> {
        let settings = Settings::read(&|name| std::env::var_os(name));
        Ok(TelemetryBuilder { settings })
    }

    /// Returns the layer for an app that has its own `tracing` subscriber. The layer exports spans and
    /// events at `INFO` and above. It is `None` if nothing is exported, and `with` accepts that, too.
    ///
    /// ```
    /// # #[cfg(feature = "otlp")] {
    /// use poolscope::Telemetry;
    /// use tracing_subscriber::layer::SubscriberExt;
    ///
    /// let telemetry = Telemetry::from_env()?.start()?;
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

    /// Returns the part of [`layer`](Self::layer) that exports spans, without a filter.
    #[must_use]
    pub fn span_layer<S>(&self) -> Option<impl Layer<S> + Send + Sync + use<S>>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let pipeline = self.pipeline.as_ref()?;
        pipeline.tracer_provider.as_ref().map(layers::spans)
    }

    /// Returns the part of [`layer`](Self::layer) that exports events, without a filter.
    #[must_use]
    pub fn event_layer<S>(&self) -> Option<impl Layer<S> + Send + Sync + use<S>>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let provider = self.pipeline.as_ref()?.logger_provider.as_ref()?;
        let mut events = self.events.lock().expect("nothing panics under this lock");
        Some(events.take().unwrap_or_else(|| layers::events(provider)))
    }

    /// Returns whether anything is exported: an endpoint is set, and telemetry is not disabled.
    #[must_use]
    pub fn is_exporting(&self) -> bool {
        self.pipeline.is_some()
    }

    /// Returns the counts of exported and lost items; `None` if nothing is exported.
    #[must_use]
    pub fn exports(&self) -> Option<Exports> {
        let pipeline = self.pipeline.as_ref()?;
        Some(pipeline.shared.stats.read())
    }

    /// Exports what is queued and the current readings of the metrics, for at most `deadline`, and goes on.
    /// Returns the items that were lost meanwhile or are still not sent.
    ///
    /// For a function that is frozen between requests, such as one on AWS Lambda: what is queued then is sent
    /// when it is thawed, or never. Flush at the end of each request. This blocks no thread of the runtime.
    ///
    /// ```
    /// # #[cfg(feature = "otlp")] {
    /// use poolscope::Telemetry;
    /// use std::time::Duration;
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    /// # runtime.block_on(async {
    /// let telemetry = Telemetry::from_env()?.start()?;
    /// // … answer a request …
    /// let unsent = telemetry.flush(Duration::from_millis(500)).await;
    /// assert!(unsent.is_none(), "not sent in time: {unsent}");
    /// # Ok::<(), poolscope::telemetry::TelemetryError>(()) })?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn flush(&self, deadline: Duration) -> Unsent {
        match &self.pipeline {
            Some(pipeline) => pipeline.flush(deadline.min(LONGEST)).await,
            None => Unsent::default(),
        }
    }

    /// Sends the remaining items for at most `deadline`, and stops exporting. Returns the items that could
    /// not be sent, and logs them.
    ///
    /// This blocks no thread of the runtime. A second call does nothing.
    pub async fn shutdown(&self, deadline: Duration) -> Unsent {
        let Some(pipeline) = &self.pipeline else {
            return Unsent::default();
        };
        let unsent = pipeline.shut_down(deadline.min(LONGEST)).await;
        pipeline.shared.stats.deactivate();
        if !unsent.is_none() {
            tracing::warn!(target: TARGET, "telemetry could not be sent before the end: {unsent}");
        }
        unsent
    }
}

impl TelemetryBuilder {
    /// Starts exporting, and installs the global providers of traces and metrics, W3C propagation, and a
    /// `tracing` subscriber.
    ///
    /// The subscriber logs to stderr what `RUST_LOG` allows (`info` by default), exports the same events as
    /// log records, and exports spans at `INFO` and above. An app that installs a subscriber of its own,
    /// before or after, calls [`start`](Self::start) instead.
    ///
    /// # Errors
    ///
    /// Returns an error if the process has a subscriber already, or if the system cannot start a thread.
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
        self.make_global(&telemetry);
        Ok(telemetry)
    }

    /// Starts exporting like [`install`](Self::install), and installs no subscriber. The app adds
    /// [`Telemetry::layer`] to its own.
    ///
    /// # Errors
    ///
    /// Returns an error if the system cannot start a thread.
    pub fn start(self) -> Result<Telemetry, TelemetryError> {
        let telemetry = self.build()?;
        self.make_global(&telemetry);
        Ok(telemetry)
    }

    fn build(&self) -> Result<Telemetry, TelemetryError> {
        // The SDK and the exporters log warnings before a subscriber exists. Our own warnings replace them.
        dispatcher::with_default(&Dispatch::none(), || {
            let is_on = self.settings.is_on();
            let pipeline = is_on.then(|| Pipeline::build(&self.settings)).transpose()?;
            let logs = pipeline.as_ref().and_then(|it| it.logger_provider.as_ref());
            let events = Mutex::new(logs.map(layers::events));
            Ok(Telemetry { pipeline, events })
        })
    }

    fn make_global(self, telemetry: &Telemetry) {
        if let Some(propagators) = self.settings.propagators {
            global::set_text_map_propagator(propagators);
        }
        if let Some(pipeline) = &telemetry.pipeline {
            // Otherwise OpenTelemetry logs that the provider was set.
            dispatcher::with_default(&Dispatch::none(), || {
                if let Some(provider) = &pipeline.tracer_provider {
                    global::set_tracer_provider(provider.clone());
                }
                if let Some(provider) = &pipeline.meter_provider {
                    global::set_meter_provider(provider.clone());
                }
            });
            pipeline.shared.stats.activate();
        }
        // An app that calls `start` may have no subscriber yet.
        let has_no_subscriber = dispatcher::get_default(|log| log.is::<NoSubscriber>());
        for problem in &self.settings.warnings {
            match has_no_subscriber {
                true => eprintln!("poolscope: ignored: {problem}"),
                false => tracing::warn!(target: TARGET, "ignored: {problem}"),
            }
        }
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry")
            .field("exports", &self.exports())
            .finish_non_exhaustive()
    }
}
