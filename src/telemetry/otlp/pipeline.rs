//! Builds the providers, each with its queue and its exporter.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, MetricExporter, Protocol as Encoding, SpanExporter,
    WithExportConfig, WithHttpConfig, WithTonicConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{self, BatchLogProcessor, SdkLoggerProvider};
use opentelemetry_sdk::metrics::{Instrument, PeriodicReader, SdkMeterProvider, Stream};
use opentelemetry_sdk::trace::{self, BatchSpanProcessor, SdkTracerProvider};
use tonic::transport::{Channel, Endpoint};

use super::connection::{Connector, LastError};
use super::error::TelemetryError;
use super::export_runtime::ExportRuntime;
use super::exporter::{ExportContext, ObservedExporter};
use super::queue::{Counted, Queue};
use super::settings::{ExportSettings, Protocol, Settings, resource};
use super::stats::{ExportStats, Signal};
use crate::telemetry::scope;

/// Maximum number of series of each metric of this crate; the measurements of further ones share the
/// series `otel.metric.overflow`. The SDK's own limit, 2,000, is for one pool in an app, and is reached by
/// 222 pools: each has nine series of `poolscope.connection.closed`.
const SERIES: usize = 20_000;

/// The providers of the signals that are exported.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) tracer_provider: Option<SdkTracerProvider>,
    pub(super) meter_provider: Option<SdkMeterProvider>,
    pub(super) logger_provider: Option<SdkLoggerProvider>,
    pub(super) queues: Vec<Arc<Queue>>,
    pub(super) shared: Arc<ExportContext>,
}

/// Builds the exporter of a signal. A macro, because the builders share no trait.
macro_rules! exporter {
    ($builder:expr, $to:expr, $queue:expr, $shared:expr) => {{
        let last_error = LastError::default();
        let connector = Connector::new($to, last_error.clone());
        let exporter = match $to.protocol {
            Protocol::Http => $builder
                .with_http()
                // The limit is in `export_runtime.rs`.
                .with_http_client(HyperClient::new(connector, Duration::MAX, None))
                .with_endpoint($to.uri.to_string())
                .with_protocol(Encoding::HttpBinary)
                .with_timeout($to.timeout)
                .build(),
            Protocol::Grpc => $builder
                .with_tonic()
                .with_channel(channel($to, connector, &$shared.runtime))
                .with_timeout($to.timeout)
                .build(),
        };
        ObservedExporter::new(exporter?, $shared, $queue, $to.timeout, last_error)
    }};
}

impl Pipeline {
    pub(super) fn build(settings: &Settings) -> Result<Self, TelemetryError> {
        let [traces, metrics, logs] = &settings.exports;
        let each = || settings.exports.each_ref().map(Option::as_ref);
        let shared = &Arc::new(ExportContext {
            runtime: ExportRuntime::start().map_err(TelemetryError::Thread)?,
            stats: ExportStats::new(
                each().map(|to| to.map(ExportSettings::shown)),
                each().map(|to| to.map_or_else(String::new, ExportSettings::origin)),
            ),
        });
        let mut pipeline = Self {
            tracer_provider: None,
            meter_provider: None,
            logger_provider: None,
            queues: Vec::new(),
            shared: Arc::clone(shared),
        };
        let resource = resource();
        if let Some(to) = traces {
            pipeline.trace(to, resource.clone(), shared)?;
        }
        if let Some(to) = metrics {
            pipeline.measure(to, resource.clone(), shared)?;
        }
        if let Some(to) = logs {
            pipeline.log(to, resource, shared)?;
        }
        Ok(pipeline)
    }

    fn trace(
        &mut self,
        to: &ExportSettings,
        resource: Resource,
        shared: &Arc<ExportContext>,
    ) -> Built {
        let queue = self.queue(Signal::Traces, to);
        let exporter = exporter!(SpanExporter::builder(), to, &queue, shared);
        let config = trace::BatchConfigBuilder::default()
            .with_max_queue_size(to.queue)
            .with_max_export_batch_size(to.batch)
            .with_scheduled_delay(to.interval)
            .build();
        let processor = BatchSpanProcessor::builder(exporter)
            .with_batch_config(config)
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Counted { processor, queue })
            .with_resource(resource);
        self.tracer_provider = Some(provider.build());
        Ok(())
    }

    fn measure(
        &mut self,
        to: &ExportSettings,
        resource: Resource,
        shared: &Arc<ExportContext>,
    ) -> Built {
        let queue = self.queue(Signal::Metrics, to);
        let exporter = exporter!(MetricExporter::builder(), to, &queue, shared);
        let reader = PeriodicReader::builder(exporter).with_interval(to.interval);
        let provider = SdkMeterProvider::builder()
            .with_reader(reader.build())
            .with_view(limit_series)
            .with_resource(resource);
        self.meter_provider = Some(provider.build());
        Ok(())
    }

    fn log(
        &mut self,
        to: &ExportSettings,
        resource: Resource,
        shared: &Arc<ExportContext>,
    ) -> Built {
        let queue = self.queue(Signal::Logs, to);
        let exporter = exporter!(LogExporter::builder(), to, &queue, shared);
        let config = logs::BatchConfigBuilder::default()
            .with_max_queue_size(to.queue)
            .with_max_export_batch_size(to.batch)
            .with_scheduled_delay(to.interval)
            .build();
        let processor = BatchLogProcessor::builder(exporter)
            .with_batch_config(config)
            .build();
        let provider = SdkLoggerProvider::builder()
            .with_log_processor(Counted { processor, queue })
            .with_resource(resource);
        self.logger_provider = Some(provider.build());
        Ok(())
    }

    fn queue(&mut self, signal: Signal, to: &ExportSettings) -> Arc<Queue> {
        let queue = Queue::new(signal, &self.shared.stats, to.queue);
        self.queues.push(Arc::clone(&queue));
        queue
    }
}

/// Sets the maximum number of series of the metrics of this crate. The app's own keep the SDK's limit.
fn limit_series(instrument: &Instrument) -> Option<Stream> {
    let stream = Stream::builder().with_cardinality_limit(SERIES).build();
    (instrument.scope().name() == scope().name()).then_some(stream.ok())?
}

type Built = Result<(), TelemetryError>;

impl From<ExporterBuildError> for TelemetryError {
    fn from(error: ExporterBuildError) -> Self {
        Self::Exporter(error.to_string())
    }
}

/// Returns a channel that connects on first use, and reconnects when needed.
fn channel(to: &ExportSettings, connector: Connector, runtime: &ExportRuntime) -> Channel {
    // The connector decides whether to encrypt. tonic gets a plain URL to connect to, because it refuses
    // `https` unless its own TLS is enabled. The requests contain the real URL.
    let mut plain = to.uri.clone().into_parts();
    plain.scheme = Some(Scheme::HTTP);
    let plain = Uri::from_parts(plain).expect("a URL with another scheme is a URL");
    let endpoint = Endpoint::from(plain).origin(to.uri.clone());
    let _entered = runtime.handle.enter();
    endpoint.connect_with_connector_lazy(connector)
}

#[cfg(test)]
mod tests {
    use opentelemetry::KeyValue;
    use opentelemetry::metrics::MeterProvider;
    use opentelemetry_sdk::metrics::InMemoryMetricExporter;
    use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};

    use super::*;

    #[test]
    fn the_metrics_of_this_crate_may_have_more_series_than_those_of_the_app() {
        let exporter = InMemoryMetricExporter::default();
        let provider = SdkMeterProvider::builder()
            .with_periodic_exporter(exporter.clone())
            .with_view(limit_series)
            .build();
        for meter in [provider.meter_with_scope(scope()), provider.meter("app")] {
            let histogram = meter
                .f64_histogram("seconds")
                .with_boundaries(vec![1.0])
                .build();
            for series in 0..5000 {
                histogram.record(0.5, &[KeyValue::new("pool", series)]);
            }
        }
        provider.force_flush().unwrap();
        let exported = exporter.get_finished_metrics().unwrap();
        let scopes = exported.iter().flat_map(|it| it.scope_metrics());
        let mut series: Vec<_> = scopes
            .flat_map(|scope| {
                scope
                    .metrics()
                    .map(|metric| (scope.scope().name(), metric.data()))
            })
            .map(|(scope, data)| match data {
                AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
                    (scope, histogram.data_points().count())
                }
                other => panic!("{other:?}"),
            })
            .collect();
        series.sort_unstable();
        assert_eq!(series, [("app", 2001), ("poolscope", 5000)]);
    }
}
