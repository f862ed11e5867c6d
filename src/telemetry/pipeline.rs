//! Builds the providers, each over its queue and its exporter.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Uri};
use opentelemetry_otlp::{
    Compression, ExporterBuildError, LogExporter, MetricExporter, Protocol as Encoding,
    SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig,
};
use opentelemetry_sdk::logs::{self, BatchLogProcessor, SdkLoggerProvider};
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{self, BatchSpanProcessor, SdkTracerProvider};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};

use super::connect::{Connector, Trouble};
use super::destination::{Destination, Protocol};
use super::error::TelemetryError;
use super::exporter::{Watch, Watched};
use super::http::Http;
use super::lane::Lane;
use super::line::Line;
use super::news::News;
use super::processor::Counted;
use super::settings::Settings;
use crate::exports::{Signal, Tally};

/// Everything that exports. The providers are those that are switched on.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) tracer_provider: Option<SdkTracerProvider>,
    pub(super) meter_provider: Option<SdkMeterProvider>,
    pub(super) logger_provider: Option<SdkLoggerProvider>,
    pub(super) lanes: Vec<Arc<Lane>>,
    pub(super) line: Arc<Line>,
    pub(super) tally: Arc<Tally>,
}

/// Puts an exporter's settings into one of the builders, which have no type in common.
macro_rules! build {
    ($builder:expr, $to:expr, $line:expr, $trouble:expr) => {
        match $to.protocol {
            Protocol::Http => {
                let connector = Connector::new($to, $trouble.clone());
                let builder = $builder
                    .with_http()
                    .with_http_client(Http::new(connector, $trouble.clone()))
                    .with_endpoint($to.uri.to_string())
                    .with_protocol(Encoding::HttpBinary)
                    .with_timeout($to.timeout)
                    .with_headers(text_headers($to));
                match $to.gzip {
                    true => builder.with_compression(Compression::Gzip).build(),
                    false => builder.build(),
                }
            }
            Protocol::Grpc => {
                let builder = $builder
                    .with_tonic()
                    .with_channel(channel($to, $line, $trouble.clone()))
                    .with_timeout($to.timeout)
                    .with_metadata(metadata($to));
                match $to.gzip {
                    true => builder.with_compression(Compression::Gzip).build(),
                    false => builder.build(),
                }
            }
        }
    };
}

impl Pipeline {
    pub(super) fn build(settings: &Settings) -> Result<Self, TelemetryError> {
        let destinations = [
            settings.traces.as_ref().map(|(to, ..)| to),
            settings.metrics.as_ref().map(|(to, ..)| to),
            settings.logs.as_ref().map(|(to, _)| to),
        ];
        let line = Arc::new(Line::start().map_err(TelemetryError::Thread)?);
        let tally = Tally::new(destinations.map(|to| to.map(Destination::shown)));
        let origins = destinations.map(|to| to.map_or_else(String::new, Destination::origin));
        let news = Arc::new(News::new(origins));
        let mut pipeline = Self {
            tracer_provider: None,
            meter_provider: None,
            logger_provider: None,
            lanes: Vec::new(),
            line,
            tally,
        };
        pipeline.build_traces(settings, &news)?;
        pipeline.build_metrics(settings, &news)?;
        pipeline.build_logs(settings, &news)?;
        Ok(pipeline)
    }

    fn build_traces(&mut self, settings: &Settings, news: &Arc<News>) -> Built {
        let Some((to, queue, sampler)) = &settings.traces else {
            return Ok(());
        };
        let lane = self.lane(Signal::Traces, queue.size);
        let watch = self.watch(&lane, news, to.timeout.min(queue.timeout));
        let exporter = build!(SpanExporter::builder(), to, &self.line, watch.trouble)?;
        let config = trace::BatchConfigBuilder::default()
            .with_max_queue_size(queue.size)
            .with_max_export_batch_size(queue.batch)
            .with_scheduled_delay(queue.delay)
            .build();
        let processor = BatchSpanProcessor::builder(Watched::new(exporter, watch))
            .with_batch_config(config)
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Counted { processor, lane })
            .with_sampler(sampler.clone())
            .with_resource(settings.resource.clone());
        self.tracer_provider = Some(provider.build());
        Ok(())
    }

    fn build_metrics(&mut self, settings: &Settings, news: &Arc<News>) -> Built {
        let Some((to, intervals, temporality)) = &settings.metrics else {
            return Ok(());
        };
        // There is no queue: metrics are read when they are sent.
        let lane = self.lane(Signal::Metrics, 0);
        let watch = self.watch(&lane, news, to.timeout.min(intervals.timeout));
        let exporter = build!(
            MetricExporter::builder().with_temporality(*temporality),
            to,
            &self.line,
            watch.trouble
        )?;
        let reader = PeriodicReader::builder(Watched::new(exporter, watch))
            .with_interval(intervals.interval)
            .build();
        let provider = SdkMeterProvider::builder()
            .with_reader(reader)
            .with_resource(settings.resource.clone());
        self.meter_provider = Some(provider.build());
        Ok(())
    }

    fn build_logs(&mut self, settings: &Settings, news: &Arc<News>) -> Built {
        let Some((to, queue)) = &settings.logs else {
            return Ok(());
        };
        let lane = self.lane(Signal::Logs, queue.size);
        let watch = self.watch(&lane, news, to.timeout.min(queue.timeout));
        let exporter = build!(LogExporter::builder(), to, &self.line, watch.trouble)?;
        let config = logs::BatchConfigBuilder::default()
            .with_max_queue_size(queue.size)
            .with_max_export_batch_size(queue.batch)
            .with_scheduled_delay(queue.delay)
            .build();
        let processor = BatchLogProcessor::builder(Watched::new(exporter, watch))
            .with_batch_config(config)
            .build();
        let provider = SdkLoggerProvider::builder()
            .with_log_processor(Counted { processor, lane })
            .with_resource(settings.resource.clone());
        self.logger_provider = Some(provider.build());
        Ok(())
    }

    fn lane(&mut self, signal: Signal, places: usize) -> Arc<Lane> {
        let lane = Lane::new(signal, &self.tally, places);
        self.lanes.push(Arc::clone(&lane));
        lane
    }

    fn watch(&self, lane: &Arc<Lane>, news: &Arc<News>, timeout: Duration) -> Watch {
        Watch::new(lane, &self.line, &self.tally, news, timeout)
    }
}

type Built = Result<(), TelemetryError>;

impl From<ExporterBuildError> for TelemetryError {
    fn from(error: ExporterBuildError) -> Self {
        Self::Exporter(error.to_string())
    }
}

fn text_headers(to: &Destination) -> HashMap<String, String> {
    // They were made of text, see `destination.rs`.
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = to.headers.iter();
    headers
        .map(|(name, value)| (name.to_string(), text(value)))
        .collect()
}

fn metadata(to: &Destination) -> MetadataMap {
    MetadataMap::from_headers(to.headers.iter().cloned().collect::<HeaderMap>())
}

/// A channel that connects when it is first used, and again whenever that is needed.
fn channel(to: &Destination, line: &Line, trouble: Trouble) -> Channel {
    // The connector knows whether to encrypt. tonic is told of a plain connection, as it would
    // refuse any other without TLS of its own; requests name the real URL.
    let mut plain = to.uri.clone().into_parts();
    plain.scheme = Some(http::uri::Scheme::HTTP);
    let plain = Uri::from_parts(plain).expect("a URL with another scheme is a URL");
    let endpoint = Endpoint::from(plain).origin(to.uri.clone());
    line.enter(|| endpoint.connect_with_connector_lazy(Connector::new(to, trouble)))
}
