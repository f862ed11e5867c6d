//! Counts the items in the SDK's queues. The SDK drops items that do not fit, and logs their number only at
//! the end. So an item that does not fit is counted here, and not passed on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogProcessor, SdkLogRecord};
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use tokio::sync::watch;

use super::stats::{ExportStats, Signal};

/// The queue of one signal.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) signal: Signal,
    stats: Arc<ExportStats>,
    places: u64,
    closed: AtomicBool,
    /// Set when the last export has ended.
    pub(super) finished: watch::Sender<bool>,
}

impl Queue {
    pub(super) fn new(signal: Signal, stats: &Arc<ExportStats>, places: usize) -> Arc<Self> {
        Arc::new(Self {
            signal,
            stats: Arc::clone(stats),
            places: places as u64,
            closed: AtomicBool::new(false),
            finished: watch::Sender::new(false),
        })
    }

    fn queued(&self) -> &AtomicU64 {
        &self.stats.queued[self.signal as usize]
    }

    /// Occupies a place, or counts the item as dropped if there is none.
    fn admit(&self) -> bool {
        if !self.closed.load(Relaxed) {
            if self.queued().fetch_add(1, SeqCst) < self.places {
                return true;
            }
            self.queued().fetch_sub(1, SeqCst);
        }
        self.stats.add_dropped(self.signal, 1);
        false
    }

    /// Records that items have left the queue to be sent.
    pub(super) fn taken(&self, items: u64) {
        self.queued().fetch_sub(items, SeqCst);
    }

    /// Admits no more items.
    pub(super) fn close(&self) {
        self.closed.store(true, SeqCst);
    }

    /// Counts the remaining items as dropped, because they will not be sent.
    pub(super) fn abandon(&self) {
        let left = self.queued().swap(0, SeqCst);
        self.stats.add_dropped(self.signal, left);
    }
}

/// A batch processor whose queue is counted.
#[derive(Debug)]
pub(super) struct Counted<P> {
    pub(super) processor: P,
    pub(super) queue: Arc<Queue>,
}

impl<P: SpanProcessor> SpanProcessor for Counted<P> {
    fn on_start(&self, span: &mut Span, cx: &Context) {
        self.processor.on_start(span, cx);
    }

    fn on_end(&self, span: SpanData) {
        if self.queue.admit() {
            self.processor.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.processor.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.processor.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.processor.set_resource(resource);
    }
}

impl<P: LogProcessor> LogProcessor for Counted<P> {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        if self.queue.admit() {
            self.processor.emit(record, scope);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.processor.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.processor.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.processor.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_that_does_not_fit_is_counted() {
        let stats = ExportStats::new([const { None }; 3], Default::default());
        let queue = Queue::new(Signal::Traces, &stats, 3);
        let dropped = || stats.read().traces.dropped;
        let admitted = (0..5).filter(|_| queue.admit()).count();
        assert_eq!((admitted, dropped()), (3, 2));
        queue.taken(2);
        assert!(queue.admit());
        queue.close();
        assert!(!queue.admit());
        assert_eq!(dropped(), 3);
        queue.abandon();
        assert_eq!(dropped(), 5);
    }
}
