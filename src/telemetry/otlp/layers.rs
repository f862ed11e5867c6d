//! The layers that pass the spans and events of `tracing` to OpenTelemetry.

use std::io::{self, IsTerminal};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::logs::{SdkLogger, SdkLoggerProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::dispatcher::{self, Dispatch};
use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::{Filter, Layer};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, fmt};

/// The name of the tracer of an app's own `tracing` spans.
const TRACER: &str = "tracing";

/// Returns the layer of spans. Their context is current while they are entered, so that spans made with the
/// OpenTelemetry API become their children.
pub(super) fn spans<S>(provider: &SdkTracerProvider) -> impl Layer<S> + Send + Sync + use<S>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    tracing_opentelemetry::layer()
        .with_context_activation(true)
        .with_tracer(provider.tracer(TRACER))
}

/// Returns the layer of events. They become log records with the current trace and span.
pub(super) type Events = OpenTelemetryTracingBridge<SdkLoggerProvider, SdkLogger>;

pub(super) fn events(provider: &SdkLoggerProvider) -> Events {
    // The SDK logs a warning because its logger has no name. The name is not needed: each event has a target.
    dispatcher::with_default(&Dispatch::none(), || Events::new(provider))
}

/// Returns the layer that logs to stderr.
pub(super) fn stderr<S>(filter: &str) -> impl Layer<S> + Send + Sync + use<S>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_filter(env_filter(filter))
}

/// The default level of exported spans and events.
pub(super) const USUAL: LevelFilter = LevelFilter::INFO;

/// The driver, which logs statements and bind values at `debug`.
const DRIVER: &str = "tokio_postgres";

/// Returns the filter of these directives, which were checked when they were read. It excludes bind values,
/// unless the directives name the driver that logs them.
pub(super) fn env_filter<S: Subscriber>(directives: &str) -> impl Filter<S> + Send + Sync + use<S> {
    let is_named = directives.contains(DRIVER);
    let without_values = filter_fn(move |event| {
        is_named || *event.level() <= Level::INFO || !event.target().starts_with(DRIVER)
    });
    EnvFilter::new(directives).and(without_values)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::Event;
    use tracing_subscriber::layer::{Context, SubscriberExt as _};

    use super::*;

    /// Records the targets and levels of the events that pass.
    #[derive(Clone, Default)]
    struct Passed(Arc<Mutex<Vec<(String, Level)>>>);

    impl<S: Subscriber> Layer<S> for Passed {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let metadata = event.metadata();
            let mut passed = self.0.lock().unwrap();
            passed.push((metadata.target().to_owned(), *metadata.level()));
        }
    }

    fn passed(directives: &str) -> usize {
        let passed = Passed::default();
        let layer = passed.clone().with_filter(env_filter(directives));
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!(target: "app", "1");
            tracing::debug!(target: "tokio_postgres::query", "with parameters: 2");
            tracing::info!(target: "tokio_postgres::connection", "3");
        });
        passed.0.lock().unwrap().len()
    }

    #[test]
    fn a_drivers_bind_values_pass_only_when_it_is_named() {
        assert_eq!(passed("debug"), 2);
        assert_eq!(passed("debug,tokio_postgres=debug"), 3);
        assert_eq!(passed("info"), 1);
        assert_eq!(passed("warn"), 0);
    }
}
