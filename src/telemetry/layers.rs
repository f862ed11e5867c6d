//! The layers that take `tracing`'s spans and events to OpenTelemetry.

use std::io::{self, IsTerminal};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::logs::{SdkLogger, SdkLoggerProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing::dispatcher::{self, Dispatch};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, fmt};

/// The name of the tracer of an app's own `tracing` spans.
const TRACER: &str = "tracing";

/// Spans. Their context is current while they are entered, so that what goes straight through the
/// OpenTelemetry API nests under them.
pub(super) fn spans<S>(provider: &SdkTracerProvider) -> impl Layer<S> + Send + Sync + use<S>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    tracing_opentelemetry::layer()
        .with_context_activation(true)
        .with_tracer(provider.tracer(TRACER))
}

/// Events, as log records with the trace and the span that are current.
pub(super) type Events = OpenTelemetryTracingBridge<SdkLoggerProvider, SdkLogger>;

pub(super) fn events(provider: &SdkLoggerProvider) -> Events {
    // The SDK wonders in the log that its logger has no name: each event has its target.
    dispatcher::with_default(&Dispatch::none(), || Events::new(provider))
}

/// The log on stderr.
pub(super) fn stderr<S>(filter: &str) -> impl Layer<S> + Send + Sync + use<S>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_filter(env_filter(filter))
}

/// What is exported of an app that has not said: as much as is usually logged.
pub(super) const USUAL: LevelFilter = LevelFilter::INFO;

/// It was checked when it was read.
pub(super) fn env_filter(directives: &str) -> EnvFilter {
    EnvFilter::new(directives)
}
