//! Tests the handling of connections with scripted connects and pings, in paused time.

mod housekeeping;
mod outages;
mod sizes;
mod suspects;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use diesel_async::AsyncConnection;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tower_service::Service;

use super::{ConnectionPolicy, Hooks, Lease, Manager, Opener, PolicySettings, PoolService};
use crate::backend::{
    AsyncSqliteConnection, ConnectError, ConnectErrorKind, Credentials, Dial, Dialed,
};
use crate::checkout::Checkout;
use crate::error::PoolError;
use crate::query::QueryOptions;
use crate::record::inventory::Inventory;
use crate::record::pool_events::{CloseReason, PoolEvents};
use crate::settings::{DatabaseKind, Settings};

type Connection = AsyncSqliteConnection;
type Step = BoxFuture<'static, Result<(), ConnectError>>;

/// The time limit for opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A [`Dial`] whose connects and pings do what the script says.
#[derive(Clone)]
struct Scripted(Arc<Script>);

struct Script {
    dial: Mutex<Box<dyn Fn() -> Step + Send>>,
    ping: Mutex<Box<dyn Fn() -> Step + Send>>,
    dials: AtomicU32,
    pings: AtomicU32,
}

impl Scripted {
    fn new() -> Self {
        Self(Arc::new(Script {
            dial: Mutex::new(Box::new(succeeds)),
            ping: Mutex::new(Box::new(succeeds)),
            dials: AtomicU32::new(0),
            pings: AtomicU32::new(0),
        }))
    }

    fn dials_that(&self, step: impl Fn() -> Step + Send + 'static) {
        *self.0.dial.lock().unwrap() = Box::new(step);
    }

    fn pings_that(&self, step: impl Fn() -> Step + Send + 'static) {
        *self.0.ping.lock().unwrap() = Box::new(step);
    }

    fn dials(&self) -> u32 {
        self.0.dials.load(Ordering::SeqCst)
    }

    fn pings(&self) -> u32 {
        self.0.pings.load(Ordering::SeqCst)
    }
}

fn succeeds() -> Step {
    Box::pin(async { Ok(()) })
}

fn hang() -> Step {
    Box::pin(std::future::pending())
}

fn after(time: Duration) -> impl Fn() -> Step + Send + 'static {
    move || {
        Box::pin(async move {
            tokio::time::sleep(time).await;
            Ok(())
        })
    }
}

fn fail(kind: ConnectErrorKind) -> impl Fn() -> Step + Send + 'static {
    move || Box::pin(async move { Err(ConnectError::new(kind, kind.as_str(), None)) })
}

fn refuse() -> Step {
    fail(ConnectErrorKind::Unreachable)()
}

impl Dial<Connection> for Scripted {
    fn dial<'a>(
        &'a self,
        _: Option<&'a Credentials>,
    ) -> BoxFuture<'a, Result<Dialed<Connection>, ConnectError>> {
        self.0.dials.fetch_add(1, Ordering::SeqCst);
        let step = self.0.dial.lock().unwrap()();
        Box::pin(async {
            step.await?;
            let connection = Connection::establish(":memory:").await.unwrap();
            Ok(Dialed {
                connection,
                session: None,
                asked_read_only: false,
            })
        })
    }

    fn ping<'a>(&'a self, _: &'a mut Connection) -> BoxFuture<'a, Result<(), ConnectError>> {
        self.0.pings.fetch_add(1, Ordering::SeqCst);
        self.0.ping.lock().unwrap()()
    }
}

/// An observer that records its events.
#[derive(Default)]
struct Events {
    opened: AtomicU32,
    failed: AtomicU32,
    waiting: AtomicU32,
    resized: AtomicU32,
    closed: Mutex<Vec<CloseReason>>,
}

impl Events {
    fn closed(&self) -> Vec<&'static str> {
        let closed = self.closed.lock().unwrap();
        closed.iter().map(|reason| reason.as_str()).collect()
    }
}

impl PoolEvents for Events {
    fn opened(&self, _: Duration) {
        self.opened.fetch_add(1, Ordering::SeqCst);
    }

    fn connect_failed(&self, _: &ConnectError) {
        self.failed.fetch_add(1, Ordering::SeqCst);
    }

    fn resized(&self) {
        self.resized.fetch_add(1, Ordering::SeqCst);
    }

    fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::SeqCst)
    }

    fn closed(&self, reason: CloseReason) {
        self.closed.lock().unwrap().push(reason);
    }
}

struct Tested {
    service: PoolService<Manager<Connection>>,
    script: Scripted,
    events: Arc<Events>,
}

impl Tested {
    fn new(change: impl FnOnce(&mut PolicySettings)) -> Self {
        let settings = Settings::new(":memory:");
        let queries = QueryOptions::new(DatabaseKind::Sqlite, &settings, Vec::new());
        let mut policy = PolicySettings {
            pool_size: 10,
            max_overflow: 20,
            max_connecting: 8,
            recycle: None,
            recycle_jitter_pct: 10.0,
            keepalive: None,
            pre_ping: true,
            pre_ping_bypass: Duration::from_secs(3600),
            pre_ping_timeout: Duration::from_secs(2),
            connect_timeout: CONNECT_TIMEOUT,
            raw_transactions: false,
            reset_on_return: settings.reset_on_return,
            queries: Arc::new(queries),
        };
        change(&mut policy);
        let policy = ConnectionPolicy::new(policy, Handle::current());
        let (script, events) = (Scripted::new(), Arc::<Events>::default());
        let opener = Opener::new(
            Arc::new(script.clone()),
            None,
            Hooks::default(),
            CONNECT_TIMEOUT,
            settings.database_url,
        );
        let service = PoolService::new(Manager::new(opener, Arc::clone(&policy)), &policy);
        let observer: Arc<dyn PoolEvents> = Arc::clone(&events) as _;
        service.report_to(Arc::downgrade(&observer));
        Self {
            service,
            script,
            events,
        }
    }

    fn suspect_all(&self) {
        self.service.policy().policy.suspect_all();
    }

    fn get(&self) -> BoxFuture<'static, Result<Lease<Connection>, PoolError>> {
        self.checkout(Checkout::new())
    }

    fn checkout(
        &self,
        checkout: Checkout,
    ) -> BoxFuture<'static, Result<Lease<Connection>, PoolError>> {
        Box::pin(self.service.clone().call(checkout))
    }

    async fn held(&self, number: usize) -> Vec<Lease<Connection>> {
        let all = (0..number).map(|_| self.get());
        futures_util::future::try_join_all(all).await.unwrap()
    }

    /// Returns `(open, idle)`.
    fn counts(&self) -> (u32, u32) {
        let counts = self.service.counts();
        (counts.open, counts.idle)
    }

    /// Checks out a connection, which must fail. Returns the kind, the text and the time until the
    /// failure.
    async fn failure(&self) -> (ConnectErrorKind, String, Duration) {
        let start = Instant::now();
        match self.get().await {
            Err(PoolError::ConnectFailed(error)) => {
                (error.kind(), error.to_string(), start.elapsed())
            }
            other => panic!("{other:?}"),
        }
    }
}
