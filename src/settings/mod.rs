//! The settings of a pool, from `DATABASE_URL` and the `DB_*` variables, a preset, a config file,
//! or code.
//!
//! ```
//! use poolscope::Settings;
//! use std::time::Duration;
//!
//! let mut settings = Settings::new("postgres://app:secret@localhost/shop");
//! settings.pool_size = 5;
//! settings.pool_timeout = Duration::from_secs(3);
//! settings.validate()?;
//!
//! assert_eq!(settings.max_connections(), 25); // 5, and the default overflow of 20
//! assert!(!format!("{settings:?}").contains("secret"));
//! # Ok::<(), poolscope::settings::SettingsError>(())
//! ```
//!
//! The path of a value, and the order in which to read the files:
//!
//! ```text
//! environment ──▶ environment.rs ─┐                  ┌─▶ value.rs           text → value, bounds
//!                                 ├─▶ read.rs ───────┤
//! config file ──▶ config_file.rs ─┘   every setting  └─▶ contradictions.rs  values that clash
//!                                     of variables.rs
//! ```
//!
//! A new setting is a field here, a row in `variables.rs` and a method of `PoolBuilder`. The tests then
//! require its line in `docs/configuration.md`, and in `.env.example` if it has a variable.

mod config_file;
mod contradictions;
mod database_url;
mod duration;
mod environment;
mod error;
mod former;
mod nested_checkouts;
mod preset;
mod query_spans;
mod read;
mod reset_on_return;
mod secret;
mod suggest;
mod thresholds;
mod value;
mod variables;

use std::time::Duration;

pub use self::database_url::{DatabaseKind, DatabaseUrl};
pub use self::error::{Problem, SettingsError};
pub use self::nested_checkouts::NestedCheckouts;
pub use self::preset::Preset;
pub use self::query_spans::QuerySpans;
pub use self::reset_on_return::ResetOnReturn;
pub use self::secret::Secret;
pub use self::suggest::UnknownVariable;
pub use self::thresholds::Thresholds;
pub use self::variables::Variable;

/// The settings from which a pool is built.
///
/// Names and meanings are those of SQLAlchemy where it has the setting. Read the settings from the
/// environment ([`from_env`](Self::from_env)) or from a config file (`Settings` implements
/// `serde::Deserialize`), or start with [`Settings::new`] and set the fields. A config file and code
/// have every setting, the environment has those whose variable is named below.
///
/// A config file uses the field names below. Only `database_url` is required. The file may also
/// name a `preset`. Durations are numbers of seconds or texts such as `"250ms"`. An unknown field
/// is an error. The errors are the same as those of the environment and never show the password.
///
/// ```
/// use poolscope::Settings;
/// use std::time::Duration;
///
/// let settings: Settings = serde_json::from_str(
///     r#"{ "database_url": "sqlite://app.db", "preset": "small", "pool_timeout": "1.5s",
///          "thresholds": { "utilization_pct": 90 } }"#,
/// )?;
/// assert_eq!(settings.pool_size, 5);
/// assert_eq!(settings.pool_timeout, Duration::from_millis(1500));
/// assert_eq!(settings.thresholds.utilization_pct, 90.0);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The URL of the database. Its password is never shown. `DATABASE_URL`; required.
    pub database_url: DatabaseUrl,

    /// The pool's name in telemetry: 1 to 64 characters out of `A-Z a-z 0-9 _ . -`.
    /// `DB_POOL_NAME`; `None` by default, in which case the pool is named `default`.
    pub name: Option<String>,

    /// The number of connections to keep open, 1 to 10000. `DB_POOL_SIZE`; 10 by default.
    pub pool_size: u32,

    /// The number of connections that may be opened beyond `pool_size` under load, 0 to 10000. They
    /// are closed at check-in.
    /// `DB_MAX_OVERFLOW`; 20 by default.
    pub max_overflow: u32,

    /// The maximum total time of a checkout: queueing, connecting and pinging.
    /// `DB_POOL_TIMEOUT`; 30 s by default.
    pub pool_timeout: Duration,

    /// The maximum age of a connection; an older one is replaced at its next checkout. `None`: never.
    /// `DB_POOL_RECYCLE`, where -1 means never; 3600 s by default.
    pub pool_recycle: Option<Duration>,

    /// Whether to ping a connection before it is handed out, so that a dead one is replaced without
    /// an error for the caller. `DB_POOL_PRE_PING`; true by default.
    pub pool_pre_ping: bool,

    /// Skips the pre-ping if the connection was used within this time; zero always pings.
    /// 500 ms by default.
    pub pre_ping_bypass: Duration,

    /// The maximum time for the answer to a ping, and for a hook with a reset, after which the
    /// connection is closed. See
    /// [`effective_pre_ping_timeout`](Self::effective_pre_ping_timeout).
    /// 2 s by default.
    pub pre_ping_timeout: Duration,

    /// The maximum time to open one connection. `DB_POOL_CONNECT_TIMEOUT`; 10 s by default.
    pub connect_timeout: Duration,

    /// The maximum number of connections being opened at the same time. 8 by default.
    pub max_connecting: u32,

    /// The maximum random reduction of each connection's `pool_recycle`, in percent, 0 to 50, so
    /// that a pool's connections do not all expire at once. 10 by default.
    pub recycle_jitter_pct: f64,

    /// When to reset the session of a returned connection. On Postgres a reset is one round trip in
    /// the background; elsewhere the connection is closed instead. `DB_POOL_RESET_ON_RETURN`, where
    /// the values are never, when_dirty and always; [`ResetOnReturn::WhenDirty`] by default.
    pub reset_on_return: ResetOnReturn,

    /// The time a connection may be idle before it is pinged in the background; `None`: never.
    /// `DB_POOL_KEEPALIVE`, where 0 means never; `None` by default.
    pub keepalive: Option<Duration>,

    /// The time in which to open `pool_size` connections in the background at start; `None`:
    /// connections are opened on demand. `DB_POOL_WARM_UP`, where 0 means on demand; `None` by default.
    pub warm_up: Option<Duration>,

    /// The maximum number of waiting checkouts; `None`: no limit. `DB_POOL_MAX_PENDING`, where 0
    /// means no limit; `None` by default.
    pub max_pending: Option<u32>,

    /// The queue-time target (CoDel). If every checkout admitted during one `queue_interval` queued
    /// longer than this, those that queued twice as long are rejected; `None`: never.
    /// `DB_POOL_QUEUE_TARGET`, where 0 means never; `None` by default.
    pub queue_target: Option<Duration>,

    /// The time for which queue times must exceed `queue_target` before load is shed.
    /// 100 ms by default.
    pub queue_interval: Duration,

    /// Whether checkouts fail at once, instead of waiting, while the pool is suspended.
    /// False by default.
    pub fail_when_suspended: bool,

    /// What happens to a checkout of a request that already holds a connection while the pool is full.
    /// [`NestedCheckouts::Warn`] by default.
    pub nested_checkouts: NestedCheckouts,

    /// Whether to log each statement, without its bind values. `DB_ECHO`; false by default.
    pub echo: bool,

    /// Whether `echo` also logs the bind values, which may be secrets. No effect without `echo`.
    /// `DB_ECHO_BINDS`; false by default.
    pub echo_binds: bool,

    /// The hold time above which a connection is reported as a possible leak; `None`: never.
    /// `DB_POOL_LEAK_THRESHOLD`, where 0 means never; 60 s by default.
    pub leak_threshold: Option<Duration>,

    /// The wait above which a checkout is logged; `None`: never.
    /// `DB_POOL_SLOW_WAIT`, where 0 means never; 50 ms by default.
    pub slow_wait: Option<Duration>,

    /// Whether `connections` shows the query texts of this pool's own sessions, and `health` those
    /// of repeated statements. Texts of other applications are never shown. `DB_POOL_QUERY_TEXT`;
    /// false by default.
    pub query_text: bool,

    /// Whether to inspect the first word of each statement on MySQL and SQLite, to detect a `BEGIN`
    /// sent as plain SQL, so that the connection is not reused inside its transaction. On Postgres
    /// a transaction is always detected. True by default.
    pub raw_transactions: bool,

    /// Whether Postgres sessions carry `service@instance` as their `application_name`, unless the
    /// URL sets one. Turn it off behind a pooler that refuses it.
    /// `DB_POOL_APPLICATION_NAME`; true by default.
    pub application_name: bool,

    /// The spans of queries. `DB_POOL_QUERY_SPANS`, where the values are off, summary and text;
    /// [`QuerySpans::Text`] by default.
    pub query_spans: QuerySpans,

    /// The number of runs of one statement in one request above which it is reported as an N+1;
    /// `None`: never. `DB_POOL_N_PLUS_ONE`, where 0 means never; 10 by default.
    pub n_plus_one: Option<u32>,

    /// The target for the wait of 95 of 100 checkouts, used by alerts and advice.
    /// `DB_POOL_TARGET_WAIT`; 5 ms by default.
    pub target_wait: Duration,

    /// The growth of the measured arrival rate that the advice plans for, in percent, 0 to 1000.
    /// 20 by default.
    pub advice_headroom_pct: f64,

    /// The number of replicas of this service that share the server's connections; `None`: counted
    /// from the server's sessions. `DB_POOL_REPLICAS`, where 0 means counted; `None` by default.
    pub replicas: Option<u32>,

    /// The token that requests to the monitoring routes must carry as `Authorization: Bearer …`,
    /// except to `healthcheck`: 16 to 256 characters out of `A-Z a-z 0-9 - . _ ~ + / =`. `None`: the
    /// routes are open. `DB_POOL_MONITOR_TOKEN`; `None` by default.
    pub monitor_token: Option<Secret>,

    /// Whether the use of the pool per request is in the metrics, as five histograms: 71 series for
    /// each route and method. False by default.
    pub request_metrics: bool,

    /// Whether the monitoring routes show the source lines that check out connections. Logs, spans
    /// and reports read from code always show them. True by default.
    pub monitor_source_lines: bool,

    /// Whether `healthcheck` is the only monitoring route. False by default.
    pub monitor_only_healthcheck: bool,

    /// The limits above which `health` warns. See [`Thresholds`].
    pub thresholds: Thresholds,
}

impl Settings {
    /// The maximum number of connections that a pool may be allowed, overflow included.
    ///
    /// It is far above what servers grant, and catches a typing error before the server does.
    pub const MAX_CONNECTIONS: u32 = 10_000;

    /// Creates the default settings for the database at `url`.
    ///
    /// It does not check the URL. [`validate`](Self::validate) reports every mistake.
    #[must_use]
    pub fn new(url: impl Into<DatabaseUrl>) -> Self {
        Self {
            database_url: url.into(),
            name: None,
            pool_size: 10,
            max_overflow: 20,
            pool_timeout: Duration::from_secs(30),
            pool_recycle: Some(Duration::from_secs(3600)),
            pool_pre_ping: true,
            pre_ping_bypass: Duration::from_millis(500),
            pre_ping_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(10),
            max_connecting: 8,
            recycle_jitter_pct: 10.0,
            reset_on_return: ResetOnReturn::WhenDirty,
            keepalive: None,
            warm_up: None,
            max_pending: None,
            queue_target: None,
            queue_interval: Duration::from_millis(100),
            fail_when_suspended: false,
            nested_checkouts: NestedCheckouts::Warn,
            echo: false,
            echo_binds: false,
            leak_threshold: Some(Duration::from_secs(60)),
            slow_wait: Some(Duration::from_millis(50)),
            query_text: false,
            raw_transactions: true,
            application_name: true,
            query_spans: QuerySpans::Text,
            n_plus_one: Some(10),
            target_wait: Duration::from_millis(5),
            advice_headroom_pct: 20.0,
            replicas: None,
            monitor_token: None,
            request_metrics: false,
            monitor_source_lines: true,
            monitor_only_healthcheck: false,
            thresholds: Thresholds::default(),
        }
    }

    /// Sets the fields that presets define, and leaves all others unchanged.
    ///
    /// ```
    /// use poolscope::{Preset, Settings};
    ///
    /// let settings = Settings::new("sqlite://app.db").preset(Preset::Large);
    /// assert_eq!((settings.pool_size, settings.max_overflow), (30, 60));
    /// ```
    #[must_use]
    pub fn preset(mut self, preset: Preset) -> Self {
        preset.apply(&mut self);
        self
    }

    /// Checks every value, and that the values do not contradict each other. Building a pool calls it.
    ///
    /// # Errors
    ///
    /// Returns one error with all problems, each under the name of its field.
    ///
    /// ```
    /// use poolscope::Settings;
    ///
    /// let mut settings = Settings::new("sqlite://app.db");
    /// settings.pool_size = 0;
    /// let error = settings.validate().unwrap_err().to_string();
    /// assert!(error.contains(r#"pool_size="0": expected a whole number from 1 to 10000"#));
    /// ```
    pub fn validate(&self) -> Result<(), SettingsError> {
        read::check(self)
    }

    /// Checks a token that code passes to a monitor.
    pub(crate) fn check_token(token: &Secret) -> Result<(), SettingsError> {
        let mut settings = Self::new("sqlite://app.db");
        settings.monitor_token = Some(token.clone());
        settings.validate()
    }

    /// Returns the maximum number of connections that the pool opens: size plus overflow.
    #[must_use]
    pub fn max_connections(&self) -> u32 {
        self.pool_size.saturating_add(self.max_overflow)
    }

    /// Returns the effective timeout of a ping, which is at most the timeout of its checkout.
    ///
    /// With a `pool_timeout` of 100 ms, the default `pre_ping_timeout` of 2 s is shortened rather
    /// than rejected, because the default is no mistake of the user.
    #[must_use]
    pub fn effective_pre_ping_timeout(&self) -> Duration {
        self.pre_ping_timeout.min(self.pool_timeout)
    }
}

/// Runs the examples of the guide as doctests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/configuration.md")]
struct ConfigurationGuide;

#[cfg(test)]
mod tests {
    mod documented;
    mod fuzz;

    use super::*;

    #[test]
    fn max_connections_does_not_overflow() {
        let mut settings = Settings::new("sqlite://app.db");
        settings.pool_size = u32::MAX;
        assert_eq!(settings.max_connections(), u32::MAX);
    }

    #[test]
    fn a_ping_waits_no_longer_than_its_checkout() {
        let mut settings = Settings::new("sqlite://app.db");
        assert_eq!(
            settings.effective_pre_ping_timeout(),
            Duration::from_secs(2)
        );
        settings.pool_timeout = Duration::from_millis(100);
        assert!(settings.validate().is_ok());
        assert_eq!(
            settings.effective_pre_ping_timeout(),
            Duration::from_millis(100)
        );
    }
}
