//! Provides reports with the pool under an observed stack.

use std::sync::Arc;
use std::task::{Context, Poll};

use serde::Serialize;
use tower_layer::Layer;
use tower_service::Service;

use crate::backend::MonitorConnection;
use crate::checkout::{Checkout, ConnectionFacts};
use crate::record::inventory::{Counts, Inventory};
use crate::settings::{DatabaseKind, Settings};

/// A pool that reports can describe: it counts its connections and can open the monitoring
/// connection. Implemented by [`PoolService`](crate::PoolService) over an existing pool and by the
/// stack of [`Pool`](crate::Pool). For a stack with other layers in between, use [`SourceLayer`].
pub trait Source: Inventory {
    /// Returns the data that reports need in addition to the counts.
    #[doc(hidden)]
    fn facts(&self) -> SourceFacts;
}

/// The data of a pool that reports need in addition to its counts.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct SourceFacts {
    pub(crate) kind: DatabaseKind,
    pub(crate) monitor: Arc<MonitorConnection>,
    pub(crate) configuration: Configuration,
    /// The open connections; `None` for an existing pool, which does not show them.
    pub(crate) connections: Option<Vec<Arc<dyn ConnectionFacts>>>,
    /// The pool's settings; an existing pool has the defaults.
    pub(crate) settings: Arc<Settings>,
    /// Whether the pool has an overflow setting.
    pub(crate) overflows: bool,
    /// Whether the report may show source lines. Only reports of the routes may be restricted.
    pub(crate) source_lines: bool,
}

/// The names of the settings in recommendations.
#[derive(Debug)]
pub(crate) struct SettingNames {
    pub(crate) size: &'static str,
    /// The settings that allow more connections.
    pub(crate) more: &'static str,
    /// The settings that together are the most connections.
    pub(crate) most: &'static str,
    pub(crate) timeout: &'static str,
    pub(crate) leak_threshold: &'static str,
    /// How to say how many replicas there are.
    pub(crate) say_replicas: &'static str,
}

impl SettingNames {
    /// The variables of this crate's pool.
    pub(crate) const VARIABLES: Self = Self {
        size: "DB_POOL_SIZE",
        more: "DB_POOL_SIZE or DB_MAX_OVERFLOW",
        most: "DB_POOL_SIZE + DB_MAX_OVERFLOW",
        timeout: "DB_POOL_TIMEOUT",
        leak_threshold: "DB_POOL_LEAK_THRESHOLD",
        say_replicas: "set DB_POOL_REPLICAS",
    };

    /// What an existing pool has, which no variable sets.
    const EXISTING: Self = Self {
        size: "max_size",
        more: "max_size",
        most: "max_size",
        timeout: "connection_timeout",
        leak_threshold: "ObserveLayer::leak_threshold",
        say_replicas: "ask with ?replicas=",
    };
}

impl SourceFacts {
    /// Returns the server's session ids of the pool's connections. `None` if there are connections and all
    /// of their ids are unknown, and for an existing pool.
    pub(crate) fn process_ids(&self) -> Option<Vec<u64>> {
        let open = self.connections.as_ref()?;
        let ids: Vec<_> = open.iter().filter_map(|it| it.process_id()).collect();
        (open.is_empty() || !ids.is_empty()).then_some(ids)
    }

    pub(crate) fn names(&self) -> &'static SettingNames {
        match self.overflows {
            true => &SettingNames::VARIABLES,
            false => &SettingNames::EXISTING,
        }
    }
}

/// The settings in force; `null` for those that an existing pool does not expose.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Configuration {
    /// Number of connections kept open.
    pub pool_size: u32,
    /// Number of connections opened beyond `pool_size` under load.
    pub max_overflow: u32,
    /// Timeout of a checkout, in seconds.
    pub pool_timeout: Option<f64>,
    /// Age at which a connection is replaced, in seconds; -1 for never.
    pub pool_recycle: Option<f64>,
    /// Whether connections are pinged before use.
    pub pool_pre_ping: Option<bool>,
}

/// Provides the [`Source`] of a stack that has foreign layers between
/// [`Observe`](crate::service::Observe) and the pool.
///
/// ```
/// # #[cfg(feature = "sqlite")] mod doc {
/// # use diesel_async::pooled_connection::{AsyncDieselConnectionManager, bb8::Pool};
/// # use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
/// # use poolscope::{ObserveLayer, PoolService};
/// # use poolscope::service::SourceLayer;
/// # use tower::{ServiceBuilder, limit::ConcurrencyLimitLayer};
/// # type Sqlite = SyncConnectionWrapper<diesel::SqliteConnection>;
/// # #[tokio::main] pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let theirs: Pool<Sqlite> = Pool::builder().max_size(1).build(AsyncDieselConnectionManager::new(":memory:")).await?;
/// let pool = PoolService::from(theirs);
/// let stack = ServiceBuilder::new()
///     .layer(ObserveLayer::new("orders"))
///     .layer(SourceLayer::new(pool.clone()))
///     .layer(ConcurrencyLimitLayer::new(64))
///     .service(pool);
/// drop(stack.get().await?);
/// assert_eq!(stack.status().totals.checkouts, 1);
/// # Ok(()) }
/// # } #[cfg(feature = "sqlite")] fn main() { doc::main().unwrap() } #[cfg(not(feature = "sqlite"))] fn main() {}
/// ```
#[derive(Debug, Clone)]
pub struct SourceLayer<P> {
    source: P,
}

impl<P: Source + Clone> SourceLayer<P> {
    /// Creates a layer for the pool at the bottom of the stack.
    #[must_use]
    pub fn new(source: P) -> Self {
        Self { source }
    }
}

impl<S, P: Clone> Layer<S> for SourceLayer<P> {
    type Service = WithSource<S, P>;

    fn layer(&self, inner: S) -> WithSource<S, P> {
        WithSource {
            inner,
            source: self.source.clone(),
        }
    }
}

/// A service with the [`Source`] below it.
#[derive(Debug, Clone)]
pub struct WithSource<S, P> {
    inner: S,
    source: P,
}

impl<S: Service<Checkout>, P> Service<Checkout> for WithSource<S, P> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, checkout: Checkout) -> S::Future {
        self.inner.call(checkout)
    }
}

impl<S: Send + Sync + 'static, P: Inventory> Inventory for WithSource<S, P> {
    fn counts(&self) -> Counts {
        self.source.counts()
    }

    fn inner(&self) -> Option<&dyn Inventory> {
        Some(&self.source)
    }
}

impl<S: Send + Sync + 'static, P: Source> Source for WithSource<S, P> {
    fn facts(&self) -> SourceFacts {
        self.source.facts()
    }
}
