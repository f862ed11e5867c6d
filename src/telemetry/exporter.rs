//! Wraps an exporter: limits how long it takes, and writes down what became of each batch.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{LogBatch, LogExporter};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ResourceMetrics};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tracing::Dispatch;

use super::connect::Trouble;
use super::lane::Lane;
use super::line::{Cut, Line};
use super::news::News;
use super::rejected::Rejected;
use crate::exports::Tally;

/// An exporter whose losses are known.
pub(super) struct Watched<E> {
    exporter: E,
    watch: Watch,
}

/// What is needed to know them.
pub(super) struct Watch {
    pub(super) lane: Arc<Lane>,
    pub(super) line: Arc<Line>,
    pub(super) tally: Arc<Tally>,
    pub(super) news: Arc<News>,
    pub(super) trouble: Trouble,
    pub(super) timeout: Duration,
    rejected: Rejected,
    log: Dispatch,
}

impl<E> Watched<E> {
    pub(super) fn new(exporter: E, watch: Watch) -> Self {
        Self { exporter, watch }
    }
}

impl Watch {
    pub(super) fn new(
        lane: &Arc<Lane>,
        line: &Arc<Line>,
        tally: &Arc<Tally>,
        news: &Arc<News>,
        timeout: Duration,
    ) -> Self {
        let rejected = Rejected::default();
        Self {
            lane: Arc::clone(lane),
            line: Arc::clone(line),
            tally: Arc::clone(tally),
            news: Arc::clone(news),
            trouble: Trouble::default(),
            timeout,
            log: rejected.log(),
            rejected,
        }
    }

    /// Sends a batch. The SDK is not told of a failure, for it would log each one.
    async fn send<F>(&self, items: u64, export: F) -> OTelSdkResult
    where
        F: Future<Output = OTelSdkResult> + Send,
    {
        let signal = self.lane.signal;
        if self.line.is_cut_off() {
            self.tally.dropped(signal, items);
            return Ok(());
        }
        self.trouble.take();
        let sent = self.line.run(export, self.timeout, &self.log).await;
        let heard = self.rejected.take();
        let trouble = self.trouble.take();
        let error = match sent {
            Ok(Ok(())) => {
                let rejected = heard.items.min(items);
                self.tally.exported(signal, items - rejected);
                self.news.succeeded(signal, &self.tally);
                if rejected > 0 {
                    let error = match heard.reason.as_str() {
                        "" => "rejected in part, without a reason".to_owned(),
                        reason => format!("rejected in part: {reason}"),
                    };
                    self.tally.rejected(signal, rejected, &error);
                    self.news.rejected(signal, &error);
                }
                return Ok(());
            }
            Ok(Err(error)) => trouble.unwrap_or_else(|| in_words(&error)),
            Err(Cut::TimedOut) => {
                let limit = self.timeout.as_secs_f64();
                match trouble {
                    Some(trouble) => format!("{trouble}, for {limit} s"),
                    None => format!("no answer within {limit} s"),
                }
            }
            Err(Cut::Ended) => match trouble {
                Some(trouble) => format!("{trouble}, until the app ended"),
                None => "no answer until the app ended".to_owned(),
            },
        };
        self.tally.failed(signal, items, &error);
        self.news.failed(signal, items, &error, &self.tally);
        Ok(())
    }
}

/// What the exporter's own words come down to.
fn in_words(error: &OTelSdkError) -> String {
    let OTelSdkError::InternalFailure(text) = error else {
        return error.to_string();
    };
    match text.split_once("gRPC code: ") {
        Some((_, code)) => format!("the answer was gRPC status {code}"),
        None => text.clone(),
    }
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let items = batch.len() as u64;
        self.watch.lane.taken(items);
        self.watch.send(items, self.exporter.export(batch)).await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        let ended = self.exporter.shutdown_with_timeout(timeout);
        self.watch.lane.finish();
        ended
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: LogExporter> LogExporter for Watched<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let items = batch.iter().count() as u64;
        self.watch.lane.taken(items);
        self.watch.send(items, self.exporter.export(batch)).await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        let ended = self.exporter.shutdown_with_timeout(timeout);
        self.watch.lane.finish();
        ended
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Watched<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let items = data_points(metrics);
        self.watch.send(items, self.exporter.export(metrics)).await
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        let ended = self.exporter.shutdown_with_timeout(timeout);
        self.watch.lane.finish();
        ended
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

impl<E> fmt::Debug for Watched<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched")
            .field("signal", &self.watch.lane.signal)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_come_down_to_what_matters() {
        let failure = |text: &str| in_words(&OTelSdkError::InternalFailure(text.to_owned()));
        assert_eq!(
            failure("TonicTracesClient export failed with gRPC code: Unauthenticated"),
            "the answer was gRPC status Unauthenticated"
        );
        assert_eq!(failure("request body too large"), "request body too large");
    }
}
