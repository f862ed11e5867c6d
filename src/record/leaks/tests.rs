use std::collections::BTreeMap;
use std::fmt;

use tokio::runtime::{Builder, Runtime};
use tokio::time::{advance, sleep};
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Layer, SubscriberExt};

use super::*;
use crate::checkout::{Checkout, ConnectionFacts, TransactionState};
use crate::metrics::durations::Metrics;
use crate::record::inventory::{Counts, Inventory};
use crate::record::nested::Nested;
use crate::record::recorder::RecorderOptions;
use crate::request::attribution::Attribution;
use crate::settings::NestedCheckouts;
use crate::telemetry::Tracing;

const MINUTE: Duration = Duration::from_secs(60);

struct TenAllowed;

impl Inventory for TenAllowed {
    fn counts(&self) -> Counts {
        Counts::new(0, 0, 10, 0)
    }
}

fn recorder(threshold: impl Into<Option<Duration>>) -> Arc<Recorder> {
    Recorder::new(
        Arc::from("orders"),
        Tracing::new(None),
        Box::new(Metrics::new(None)),
        RecorderOptions {
            slow_wait: Duration::MAX,
            leaks: Leaks::new(threshold.into()),
            request_metrics: false,
            nested: Nested::new(NestedCheckouts::Warn),
        },
        Box::new(TenAllowed),
    )
}

fn hold(recorder: &Arc<Recorder>, checkout: Checkout) -> u32 {
    recorder.granted(Holder::bare(checkout), None, None)
}

/// The fields of the events logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<BTreeMap<&'static str, String>>>>);

impl Log {
    fn listen() -> (Self, DefaultGuard) {
        let log = Self::default();
        let subscriber = tracing_subscriber::registry().with(log.clone());
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// Returns the messages since the last call, without the source line and anything after it.
    fn lines(&self) -> Vec<String> {
        let events = std::mem::take(&mut *self.0.lock().unwrap());
        let message = |event: &BTreeMap<_, String>| event["message"].clone();
        let short = |text: String| text.split(" by ").next().map(str::to_owned);
        events.iter().map(message).filter_map(short).collect()
    }
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        if event.metadata().target() == TARGET {
            assert_eq!(*event.metadata().level(), Level::WARN);
            let mut fields = Fields(BTreeMap::new());
            event.record(&mut fields);
            self.0.lock().unwrap().push(fields.0);
        }
    }
}

struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_leak_is_logged_once_and_when_it_is_returned() {
    let (log, _listening) = Log::listen();
    let recorder = recorder(MINUTE);
    let first = hold(&recorder, Checkout::new());
    sleep(MINUTE / 2).await;
    let second = hold(&recorder, Checkout::new());
    sleep(MINUTE / 2).await;
    assert_eq!((log.lines(), recorder.leaking()), (vec![], Some(0)));

    sleep(2 * TICK).await;
    assert_eq!(log.lines(), ["possible connection leak: held for 60.0 s"]);
    assert_eq!(recorder.leaking(), Some(1));
    sleep(MINUTE / 2).await;
    assert_eq!(log.lines(), ["possible connection leak: held for 60.0 s"]);
    assert_eq!((recorder.leaking(), recorder.totals().leaks), (Some(2), 2));

    sleep(100 * MINUTE).await;
    assert_eq!(log.lines(), [""; 0]);
    recorder.returned(second);
    assert_eq!(log.lines(), ["leaked connection returned after 6060.0 s"]);
    recorder.returned(first);
    assert_eq!(log.lines(), ["leaked connection returned after 6090.0 s"]);
    assert_eq!((recorder.leaking(), recorder.totals().leaks), (Some(0), 2));
}

#[tokio::test(start_paused = true)]
async fn a_connection_returned_in_time_is_not_a_leak() {
    let (log, _listening) = Log::listen();
    let recorder = recorder(MINUTE);
    for seconds in 0..120 {
        let key = hold(&recorder, Checkout::new());
        sleep(Duration::from_secs(seconds / 2)).await;
        recorder.returned(key);
    }
    assert_eq!((log.lines(), recorder.totals().leaks), (vec![], 0));
}

#[tokio::test(start_paused = true)]
async fn without_a_threshold_no_task_runs() {
    let (log, _listening) = Log::listen();
    let alive = tokio::runtime::Handle::current().metrics();
    for off in [None, Some(Duration::ZERO)] {
        let recorder = recorder(off);
        let key = hold(&recorder, Checkout::new());
        assert_eq!(alive.num_alive_tasks(), 0);
        sleep(1000 * MINUTE).await;
        recorder.returned(key);
        assert_eq!((recorder.leaking(), recorder.totals().leaks), (None, 0));
    }
    assert_eq!(log.lines(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_pool() {
    let alive = tokio::runtime::Handle::current().metrics();
    let recorder = recorder(Duration::MAX);
    for _ in 0..3 {
        recorder.returned(hold(&recorder, Checkout::new()));
        advance(2 * MINUTE).await;
    }
    assert_eq!(alive.num_alive_tasks(), 1);
    drop(recorder);
    tokio::task::yield_now().await;
    assert_eq!(alive.num_alive_tasks(), 0);
}

#[test]
fn a_leak_that_no_scan_found_is_logged_at_its_end() {
    let (log, _listening) = Log::listen();
    // No task runs outside of a runtime.
    let recorder = recorder(Duration::from_nanos(1));
    let key = hold(&recorder, Checkout::new());
    while recorder.leaking() == Some(0) {}
    recorder.returned(key);
    assert_eq!(recorder.totals().leaks, 1);
    assert_eq!(
        log.lines(),
        [
            "possible connection leak: held for 0.0 s",
            "leaked connection returned after 0.0 s"
        ]
    );
}

fn paused() -> Runtime {
    let mut runtime = Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap()
}

#[test]
fn another_runtime_takes_over_when_the_first_is_shut_down() {
    let (log, _listening) = Log::listen();
    let first = paused();
    let recorder = first.block_on(async { recorder(MINUTE) });
    first.block_on(async { recorder.returned(hold(&recorder, Checkout::new())) });
    drop(first);
    paused().block_on(async {
        sleep(MINUTE).await;
        hold(&recorder, Checkout::new());
        sleep(MINUTE + 2 * TICK).await;
        assert_eq!(log.lines().len(), 1);
    });
}

#[derive(Debug)]
struct Facts;

impl ConnectionFacts for Facts {
    fn process_id(&self) -> Option<u64> {
        Some(4711)
    }

    fn transaction(&self) -> Option<TransactionState> {
        Some(TransactionState::Failed)
    }

    fn queries_in_flight(&self) -> Option<u32> {
        Some(0)
    }

    fn last_query(&self) -> Option<String> {
        Some("SELECT users".to_owned())
    }
}

#[test]
fn the_message_has_all_known_fields() {
    let route = Arc::from("/export/{id}");
    let mut holder = Holder {
        request: Some(Attribution::new("GET", Some(route))),
        facts: Some(Arc::new(Facts)),
        ..Holder::bare(Checkout::new().label("nightly"))
    };
    let text = |holder: &Holder| {
        let last_query = holder.facts.as_ref().and_then(|facts| facts.last_query());
        describe(holder, MINUTE, last_query.as_deref())
    };
    let place = format!("{}:{}", file!(), holder.caller().line());
    assert_eq!(
        text(&holder),
        format!(
            "60.0 s by {place} (nightly) for /export/{{id}}; idle in a transaction, server process \
             4711; last query: SELECT users"
        )
    );
    (holder.facts, holder.request) = (None, None);
    assert_eq!(text(&holder), format!("60.0 s by {place} (nightly)"));
}
