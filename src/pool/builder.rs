//! [`PoolBuilder`]: what is in code only, and how the pool is built. The settings are in
//! `builder_settings.rs`, the app's functions in `builder_hooks.rs`.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, PoolError as DieselPoolError,
};
use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::{Span, Tracer, TracerProvider};
use tokio::runtime::Handle;
use tower_layer::Layer;

use super::handle::Pool;
use super::runtime_watch::RuntimeWatch;
use super::stack::{Built, Stack};
use crate::admit::AdmitLayer;
use crate::backend::{Backend, CredentialsProvider, Dial, DialOptions};
use crate::connection::{
    ConnectionPolicy, Hooks, Manager, Opener, PolicySettings, PoolService, limit_of_backend,
};
use crate::observe::ObserveLayer;
use crate::query::QueryOptions;
use crate::settings::{Problem, ResetOnReturn, Settings, SettingsError};

/// Builds a [`Pool`]. Returned by [`Pool::builder`].
///
/// Every setting has a method under the name of its field in [`Settings`]. Each method takes and
/// returns the builder, and the last call wins.
///
/// ```no_run
/// # #[cfg(feature = "sqlite")] mod doc {
/// use poolscope::{Pool, Settings};
/// use poolscope::backend::AsyncSqliteConnection;
///
/// # pub fn main() -> Result<(), poolscope::settings::SettingsError> {
/// // The environment, and a setting that has no variable.
/// let pool = Pool::<AsyncSqliteConnection>::builder(Settings::from_env()?)
///     .max_connecting(2)
///     .build()?;
/// # drop(pool); Ok(()) }
/// # } fn main() {}
/// ```
#[must_use]
pub struct PoolBuilder<C> {
    pub(super) settings: Settings,
    /// The name of the database URL in errors: of its field, or of its variable.
    url_name: Cow<'static, str>,
    layer: ObserveLayer,
    dial: Option<Arc<dyn Dial<C>>>,
    pub(super) credentials: Option<CredentialsProvider>,
    pub(super) hooks: Hooks<C>,
}

impl<C: Backend> PoolBuilder<C> {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            url_name: Cow::Borrowed("database_url"),
            layer: ObserveLayer::new(""),
            dial: None,
            credentials: None,
            hooks: Hooks::default(),
        }
    }

    /// Starts from the variables with a prefix. Errors name them.
    pub(super) fn from_env_prefixed(prefix: &str) -> Result<Self, SettingsError> {
        Ok(Self {
            url_name: Cow::Owned(format!("{prefix}DATABASE_URL")),
            ..Self::new(Settings::from_env_prefixed(prefix)?)
        })
    }

    /// Opens connections with this manager instead of the database URL. The information that
    /// poolscope reads from its own connections (the server's process id, exact transaction states)
    /// is then unknown.
    pub fn manager(mut self, manager: AsyncDieselConnectionManager<C>) -> Self
    where
        AsyncDieselConnectionManager<C>:
            bb8::ManageConnection<Connection = C, Error = DieselPoolError>,
    {
        self.dial = Some(Arc::new(manager));
        self
    }

    /// Opens connections with a diesel-async manager, built from this configuration and the
    /// database URL. See [`manager`](Self::manager).
    pub fn manager_config(self, config: ManagerConfig<C>) -> Self
    where
        AsyncDieselConnectionManager<C>:
            bb8::ManageConnection<Connection = C, Error = DieselPoolError>,
    {
        let url = self.settings.database_url.expose().to_owned();
        self.manager(AsyncDieselConnectionManager::new_with_config(url, config))
    }

    /// Records metrics with this provider. Defaults to the global one, even if it is set later.
    pub fn meter_provider(mut self, provider: impl MeterProvider + Send + Sync + 'static) -> Self {
        self.layer = self.layer.meter_provider(provider);
        self
    }

    /// Creates spans with this provider. Defaults to the global one, even if it is set later.
    pub fn tracer_provider<P>(mut self, provider: P) -> Self
    where
        P: TracerProvider + Send + Sync + 'static,
        P::Tracer: Tracer + Send + Sync + 'static,
        <P::Tracer as Tracer>::Span: Span + Send + Sync + 'static,
    {
        self.layer = self.layer.tracer_provider(provider);
        self
    }

    /// Builds the pool without connecting, so that the app starts even if the database is down.
    ///
    /// # Errors
    /// Returns one error that lists every invalid setting.
    ///
    /// # Panics
    /// Panics if called outside a tokio runtime.
    pub fn build(self) -> Result<Pool<C>, SettingsError> {
        let Self {
            settings,
            url_name,
            layer,
            dial,
            credentials,
            hooks,
        } = self;
        settings.validate()?;
        let dial = match dial {
            Some(_) if credentials.is_some() => {
                let expected =
                    "none beside a manager, which opens the connections itself".to_owned();
                return Err(Problem::wrong("credentials", "a provider", expected).into());
            }
            Some(dial) => dial,
            None => Arc::from(dialer::<C>(&settings, &url_name, credentials.clone())?),
        };
        let policy = ConnectionPolicy::new(
            PolicySettings::new(
                &settings,
                QueryOptions::new(C::KIND, &settings, dial.attributes()),
            ),
            Handle::current(),
        );
        let opener = Opener::new(
            dial,
            credentials,
            hooks,
            settings.connect_timeout,
            settings.database_url.clone(),
        );
        let manager = Manager::new(opener, Arc::clone(&policy));
        let service = PoolService::new(manager, &policy);
        let close = service.close_after_runtime();
        let admit = admission(&settings).layer(service);
        let gate = Arc::clone(admit.gate());
        let runtime_watch = RuntimeWatch::new(policy.runtime(), move || {
            gate.runtime_ended();
            close();
        });
        let name = settings
            .name
            .clone()
            .unwrap_or_else(|| "default".to_owned());
        let slow_wait = settings.slow_wait.unwrap_or(Duration::MAX);
        let leak_threshold = settings.leak_threshold;
        let request_metrics = settings.request_metrics;
        let nested_checkouts = settings.nested_checkouts;
        let stack = Stack {
            admit,
            built: Arc::new(Built {
                settings: Arc::new(settings),
                resizing: Mutex::default(),
                _runtime_watch: runtime_watch,
            }),
        };
        let warm_up = stack.built.settings.warm_up;
        let pool = Pool::over(
            layer
                .named(name)
                .slow_wait(slow_wait)
                .leak_threshold(leak_threshold)
                .request_metrics(request_metrics)
                .nested_checkouts(nested_checkouts)
                .layer(stack),
        );
        if let Some(deadline) = warm_up {
            pool.warm_up_in_background(deadline);
        }
        Ok(pool)
    }
}

fn admission(settings: &Settings) -> AdmitLayer {
    let layer = AdmitLayer::new(settings.max_connections(), settings.pool_timeout)
        .max_pending(settings.max_pending)
        .fail_when_suspended(settings.fail_when_suspended);
    match settings.queue_target {
        Some(target) => layer.shed(target, settings.queue_interval),
        None => layer,
    }
}

fn dialer<C: Backend>(
    settings: &Settings,
    url_name: &str,
    credentials: Option<CredentialsProvider>,
) -> Result<Box<dyn Dial<C>>, SettingsError> {
    let url = &settings.database_url;
    let options = DialOptions {
        application_name: settings.application_name,
        connect_timeout: limit_of_backend(settings.connect_timeout),
        credentials,
    };
    let wrong = |expected, hint: Option<String>| {
        SettingsError::from(Problem::wrong(url_name, &url.to_string(), expected).with_hint(hint))
    };
    match url.database_kind() {
        Some(kind) if kind == C::KIND => C::dialer(url, options)
            .map_err(|why| wrong(format!("a usable {} URL", C::KIND), Some(why))),
        _ => {
            let expected = format!(
                "a {0} URL, because this is a pool of {0} connections",
                C::KIND
            );
            Err(wrong(expected, None))
        }
    }
}

impl PolicySettings {
    fn new(settings: &Settings, queries: QueryOptions) -> Self {
        Self {
            pool_size: settings.pool_size,
            max_overflow: settings.max_overflow,
            max_connecting: settings.max_connecting,
            keepalive: settings.keepalive,
            recycle_jitter_pct: settings.recycle_jitter_pct,
            // Closing the connection of an in-memory database would delete the database.
            recycle: settings
                .pool_recycle
                .filter(|_| !settings.database_url.is_private_in_memory()),
            pre_ping: settings.pool_pre_ping,
            pre_ping_bypass: settings.pre_ping_bypass,
            pre_ping_timeout: settings.effective_pre_ping_timeout(),
            connect_timeout: settings.connect_timeout,
            raw_transactions: settings.raw_transactions,
            // The same holds here.
            reset_on_return: match settings.database_url.is_private_in_memory() {
                true => ResetOnReturn::Never,
                false => settings.reset_on_return,
            },
            queries: Arc::new(queries),
        }
    }
}

impl<C> fmt::Debug for PoolBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
