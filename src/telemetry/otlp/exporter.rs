//! Wraps an exporter: limits how long it takes, and counts what was sent and what was not.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{LogBatch, LogExporter};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ResourceMetrics};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tracing::{Dispatch, dispatcher};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry;

use super::connection::LastError;
use super::export_runtime::{Cut, ExportRuntime};
use super::queue::Queue;
use super::rejected::ExporterLog;
use super::stats::ExportStats;

/// What the exporters of a set-up share.
#[derive(Debug)]
pub(super) struct ExportContext {
    pub(super) runtime: ExportRuntime,
    pub(super) stats: Arc<ExportStats>,
}

/// An exporter whose items are counted.
#[derive(Debug)]
pub(super) struct ObservedExporter<E> {
    exporter: E,
    shared: Arc<ExportContext>,
    queue: Arc<Queue>,
    timeout: Duration,
    last_error: LastError,
    exporter_log: ExporterLog,
    dispatch: Dispatch,
}

impl<E> ObservedExporter<E> {
    pub(super) fn new(
        exporter: E,
        shared: &Arc<ExportContext>,
        queue: &Arc<Queue>,
        timeout: Duration,
        last_error: LastError,
    ) -> Self {
        let exporter_log = ExporterLog::default();
        Self {
            exporter,
            shared: Arc::clone(shared),
            queue: Arc::clone(queue),
            timeout,
            last_error,
            dispatch: Dispatch::new(registry().with(exporter_log.clone())),
            exporter_log,
        }
    }

    /// Sends a batch. The SDK gets no error, because it would log each one.
    fn send(&self, items: u64, export: impl Future<Output = OTelSdkResult>) -> OTelSdkResult {
        let signal = self.queue.signal;
        let ExportContext { runtime, stats } = &*self.shared;
        if runtime.is_cut_off() {
            stats.add_dropped(signal, items);
            return Ok(());
        }
        self.last_error.send_replace(None);
        stats.begin_sending(signal, items);
        let run = || runtime.run(export, self.timeout);
        let sent = dispatcher::with_default(&self.dispatch, run);
        stats.end_sending(signal, items);
        let rejected = self.exporter_log.take();
        let last_error = self.last_error.send_replace(None);
        let limit = self.timeout.as_secs_f64();
        let error = match (sent, last_error) {
            (Ok(Ok(())), _) => {
                let reason = match &*rejected.reason {
                    "" => "rejected in part, without a reason".to_owned(),
                    reason => format!("rejected in part: {reason}"),
                };
                stats.add_exported(signal, items, rejected.items.min(items), &reason);
                return Ok(());
            }
            (Ok(Err(_)), Some(error)) => error,
            (Ok(Err(error)), None) => in_words(&error),
            (Err(Cut::TimedOut), Some(error)) => format!("{error}, for {limit} s"),
            (Err(Cut::TimedOut), None) => format!("no answer within {limit} s"),
            (Err(Cut::Ended), Some(error)) => format!("{error}, until the app ended"),
            (Err(Cut::Ended), None) => "no answer until the app ended".to_owned(),
        };
        stats.add_failed(signal, items, &error);
        Ok(())
    }

    fn finish(&self, shut_down: OTelSdkResult) -> OTelSdkResult {
        self.queue.finished.send_replace(true);
        shut_down
    }
}

/// The part of an exporter's error that matters.
fn in_words(error: &OTelSdkError) -> String {
    let OTelSdkError::InternalFailure(text) = error else {
        return error.to_string();
    };
    if let Some((_, code)) = text.split_once("gRPC code: ") {
        return format!("the answer was gRPC status {code}");
    }
    let code = text
        .split_once("status code: ")
        .map(|(_, code)| code.as_bytes());
    match code.map(StatusCode::from_bytes) {
        Some(Ok(status)) => format!("the answer was {status}"),
        _ => text.clone(),
    }
}

impl<E: SpanExporter> SpanExporter for ObservedExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let items = batch.len() as u64;
        self.queue.taken(items);
        self.send(items, self.exporter.export(batch))
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.finish(self.exporter.shutdown_with_timeout(timeout))
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: LogExporter> LogExporter for ObservedExporter<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let items = batch.iter().count() as u64;
        self.queue.taken(items);
        self.send(items, self.exporter.export(batch))
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.finish(self.exporter.shutdown_with_timeout(timeout))
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for ObservedExporter<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.send(data_points(metrics), self.exporter.export(metrics))
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.finish(self.exporter.shutdown_with_timeout(timeout))
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

fn data_points(metrics: &ResourceMetrics) -> u64 {
    fn of<T>(data: &MetricData<T>) -> usize {
        match data {
            MetricData::Gauge(gauge) => gauge.data_points().count(),
            MetricData::Sum(sum) => sum.data_points().count(),
            MetricData::Histogram(histogram) => histogram.data_points().count(),
            MetricData::ExponentialHistogram(histogram) => histogram.data_points().count(),
        }
    }
    let metrics = metrics.scope_metrics().flat_map(|scope| scope.metrics());
    let points = metrics.map(|metric| match metric.data() {
        AggregatedMetrics::F64(data) => of(data),
        AggregatedMetrics::U64(data) => of(data),
        AggregatedMetrics::I64(data) => of(data),
    });
    points.sum::<usize>() as u64
}
