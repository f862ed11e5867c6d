//! The pool's `tracing` events.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use poolscope::backend::AsyncSqliteConnection;
use poolscope::{Checkout, Pool, Settings};
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::databases::Tested;

type Sqlite = AsyncSqliteConnection;

/// The crate's own events on this thread, which also runs the test's runtime.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Line>>>);

#[derive(Clone, Debug)]
struct Line {
    level: Level,
    fields: BTreeMap<&'static str, String>,
}

impl Log {
    fn listen() -> (Self, DefaultGuard) {
        let log = Self::default();
        let subscriber = tracing_subscriber::registry().with(log.clone());
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn with_message(&self, start: &str) -> Vec<Line> {
        let mut lines = self.0.lock().unwrap().clone();
        lines.retain(|line| line.of("message").starts_with(start));
        lines
    }
}

impl Line {
    fn of(&self, field: &str) -> &str {
        self.fields.get(field).map_or("", String::as_str)
    }
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target().starts_with("poolscope") {
            let mut line = Line {
                level: *event.metadata().level(),
                fields: BTreeMap::new(),
            };
            event.record(&mut line);
            self.0.lock().unwrap().push(line);
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_wait_is_logged_with_its_caller() {
    let (log, _listening) = Log::listen();
    let database = Sqlite::database("slow_wait");
    let pool = database
        .pool::<Sqlite>()
        .name("orders")
        .pool_size(1)
        .max_overflow(0)
        .settings(|settings| settings.slow_wait = Some(Duration::from_millis(200)))
        .build()
        .unwrap();
    let wait = async |time: Duration| {
        let held = pool.get().await.unwrap();
        let mut waiting = Box::pin(pool.checkout(Checkout::new().label("report")));
        assert!(waiting.as_mut().now_or_never().is_none());
        tokio::time::advance(time).await;
        drop(held);
        drop(waiting.await.unwrap());
    };
    wait(Duration::from_millis(100)).await;
    assert_eq!(log.with_message("slow wait").len(), 0);
    wait(Duration::from_millis(300)).await;

    let logged = log.with_message("slow wait");
    let [line] = &logged[..] else {
        panic!("{logged:?}")
    };
    assert_eq!((line.level, line.of("pool")), (Level::WARN, "orders"));
    let waited: u64 = line.of("waited_ms").parse().unwrap();
    assert!((300..400).contains(&waited), "{waited}");
    assert!(line.of("caller").starts_with(file!()), "{line:?}");
    assert_eq!(line.of("label"), "report");
}

#[tokio::test]
async fn a_connect_failure_is_logged_with_its_kind_and_no_password() {
    let (log, _listening) = Log::listen();
    let settings = Settings::new("postgres://nobody:hush-hush@127.0.0.1:1/nothing");
    let pool = Pool::<diesel_async::AsyncPgConnection>::builder(settings)
        .name("absent")
        .build()
        .unwrap();
    assert!(pool.get().await.is_err());
    let logged = log.with_message("could not open a connection");
    let [line] = &logged[..] else {
        panic!("{logged:?}")
    };
    assert_eq!((line.level, line.of("pool")), (Level::WARN, "absent"));
    assert_eq!(line.of("error.type"), "unreachable");
    assert!(line.of("message").contains("refused"), "{line:?}");
    assert!(!format!("{logged:?}").contains("hush-hush"));
}

#[tokio::test]
async fn a_closed_connection_is_logged_with_the_reason() {
    let (log, _listening) = Log::listen();
    let database = Sqlite::database("closed_events");
    let pool = database
        .pool::<Sqlite>()
        .name("orders")
        .pool_size(1)
        .max_overflow(1)
        .pool_recycle(Duration::from_millis(1))
        .build()
        .unwrap();
    let closed = |reason: &str| -> Vec<_> {
        let lines = log.with_message("connection closed");
        let lines = lines.iter().filter(|line| line.of("reason") == reason);
        lines
            .map(|line| (line.level, line.of("pool").to_owned()))
            .collect()
    };
    drop(pool.get().await.unwrap());
    // Wait until the maximum age has passed.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let mut dirty = pool.get().await.unwrap();
    // On a slow machine the next connection may have become too old as well.
    let recycled = closed("recycle");
    assert!(!recycled.is_empty());
    assert!(
        recycled
            .iter()
            .all(|it| *it == (Level::DEBUG, "orders".to_owned())),
        "{recycled:?}"
    );
    dirty.run("BEGIN").await.unwrap();
    drop(dirty);
    assert_eq!(closed("broken"), [(Level::INFO, "orders".to_owned())]);
    drop((pool.get().await.unwrap(), pool.get().await.unwrap()));
    assert_eq!(closed("overflow"), [(Level::DEBUG, "orders".to_owned())]);
}
