//! What a pool is told before it is built: `DATABASE_URL`, the `DB_*` variables, a preset, a
//! config file, or code.
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
//! # Ok::<(), poolscope::SettingsError>(())
//! ```
//!
//! The way of a value, which is also the order to read the files in:
//!
//! ```text
//! environment ──▶ environment.rs ─┐                  ┌─▶ value.rs           text → value, bounds
//!                                 ├─▶ read.rs ───────┤
//! config file ──▶ config_file.rs ─┘   every setting  └─▶ contradictions.rs  values that clash
//!                                     of variables.rs
//! ```
//!
//! A new setting is a field here and a row in `variables.rs`; the tests then ask for its line in
//! `.env.example` and in `docs/configuration.md`.

mod config_file;
mod contradictions;
mod database_url;
#[cfg(test)]
mod documented;
mod duration;
mod environment;
mod error;
#[cfg(test)]
mod hostile;
mod preset;
mod read;
mod secret;
mod suggest;
mod thresholds;
mod value;
mod variables;

use std::time::Duration;

pub use self::database_url::{DatabaseKind, DatabaseUrl};
pub use self::error::{Problem, SettingsError};
pub use self::preset::Preset;
pub use self::secret::Secret;
pub use self::suggest::UnknownVariable;
pub use self::thresholds::Thresholds;
pub use self::variables::Variable;

/// Everything that a pool is told before it is built.
///
/// The names and their meaning are SQLAlchemy's where it has them. Read them from the environment
/// ([`from_env`](Self::from_env)), from a config file (it implements `serde::Deserialize`), or
/// start from [`Settings::new`] and set the fields.
///
/// From a config file the fields have the names below. All but `database_url` may be left out; a
/// `preset` may be named; durations are numbers of seconds or texts such as `"250ms"`; an unknown
/// field is an error. The errors are the environment's, and like them never show the URL.
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
    /// Where the database is, with its password, which is never shown. `DATABASE_URL`; required.
    pub database_url: DatabaseUrl,

    /// The pool's name in telemetry: 1 to 64 characters out of `A-Z a-z 0-9 _ . -`.
    /// `DB_POOL_NAME`; none by default, and the pool then calls itself `default`.
    pub name: Option<String>,

    /// How many connections stay open, 1 to 10000. `DB_POOL_SIZE`; 10 by default.
    pub pool_size: u32,

    /// How many more are opened under load, and closed again at check-in, 0 to 10000.
    /// `DB_MAX_OVERFLOW`; 20 by default.
    pub max_overflow: u32,

    /// How long a checkout may take in all: queueing, connecting and pinging.
    /// `DB_POOL_TIMEOUT`; 30 s by default.
    pub pool_timeout: Duration,

    /// The age at which a connection is replaced, at its next checkout; `None` for never.
    /// `DB_POOL_RECYCLE`, where -1 is never; 3600 s by default.
    pub pool_recycle: Option<Duration>,

    /// Whether a connection is pinged before it is handed out, so that a dead one is replaced
    /// without the caller seeing an error. `DB_POOL_PRE_PING`; true by default.
    pub pool_pre_ping: bool,

    /// A connection that was used so recently is handed out without a ping; zero pings always.
    /// `DB_POOL_PRE_PING_BYPASS`; 500 ms by default.
    pub pre_ping_bypass: Duration,

    /// How long the answer to a ping may take before the connection is thrown away. See
    /// [`effective_pre_ping_timeout`](Self::effective_pre_ping_timeout).
    /// `DB_POOL_PRE_PING_TIMEOUT`; 2 s by default.
    pub pre_ping_timeout: Duration,

    /// How long opening one connection may take. `DB_POOL_CONNECT_TIMEOUT`; 10 s by default.
    pub connect_timeout: Duration,

    /// How many connections may be being opened at the same time. `DB_POOL_MAX_CONNECTING`.
    pub max_connecting: u32,

    /// By how much each connection's `pool_recycle` is shortened at most, in percent of it, so that
    /// a pool's connections don't all end at once. `DB_POOL_RECYCLE_JITTER_PCT`.
    pub recycle_jitter_pct: f64,

    /// How long a connection may be idle before it is pinged in the background; `None` for never.
    /// `DB_POOL_KEEPALIVE`.
    pub keepalive: Option<Duration>,

    /// In which time `pool_size` connections are opened in the background at the start; `None`:
    /// they are opened when they are needed. `DB_POOL_WARM_UP`.
    pub warm_up: Option<Duration>,

    /// How many checkouts may wait at the same time; `None` for any number. `DB_POOL_MAX_PENDING`.
    pub max_pending: Option<u32>,

    /// When the time that checkouts queue stays above this for a whole `queue_interval`, load is
    /// shed; `None` for never. `DB_POOL_QUEUE_TARGET`.
    pub queue_target: Option<Duration>,

    /// How long the queue may stay slow before load is shed. `DB_POOL_QUEUE_INTERVAL`.
    pub queue_interval: Duration,

    /// Whether checkouts fail at once while the pool is suspended, instead of waiting.
    /// `DB_POOL_FAIL_WHEN_SUSPENDED`.
    pub fail_when_suspended: bool,

    /// Whether each statement is logged, without its bind values. `DB_ECHO`; false by default.
    pub echo: bool,

    /// Whether `echo` shows the bind values too: they may be secrets. Nothing without `echo`.
    /// `DB_ECHO_BINDS`; false by default.
    pub echo_binds: bool,

    /// A connection held longer than this is reported as a possible leak; `None` for off.
    /// `DB_POOL_LEAK_THRESHOLD`, where 0 is off; 60 s by default.
    pub leak_threshold: Option<Duration>,

    /// A checkout that waited longer than this is an event in the log; `None` for off.
    /// `DB_POOL_SLOW_WAIT`, where 0 is off; 50 ms by default.
    pub slow_wait: Option<Duration>,

    /// Whether `connections` shows the query texts of this pool's own sessions, and `health` those
    /// of statements sent again and again. Never another application's. `DB_POOL_QUERY_TEXT`; false
    /// by default.
    pub query_text: bool,

    /// Whether the first word of each statement is looked at, on MySQL and SQLite, so that a
    /// `BEGIN` sent as plain SQL is seen and its connection not handed on inside a transaction
    /// (on Postgres this is always seen). `DB_POOL_DETECT_RAW_TRANSACTIONS`; true by default.
    pub raw_transactions: bool,

    /// Whether Postgres sessions carry `service@instance` as their `application_name`, unless the
    /// URL sets one. To be turned off behind a pooler that refuses it.
    /// `DB_POOL_APPLICATION_NAME`; true by default.
    pub application_name: bool,

    /// Whether each query has a span. `DB_POOL_QUERY_SPANS`; true by default.
    pub query_spans: bool,

    /// Whether a query's span has its statement, without bind values and literals, as
    /// `db.query.text`. `DB_POOL_QUERY_SPAN_TEXT`; true by default.
    pub query_span_text: bool,

    /// Whether a query's span is named by what it does (`SELECT orders`), or only `query`.
    /// `DB_POOL_QUERY_SPAN_SUMMARY`; true by default.
    pub query_span_summary: bool,

    /// The same statement more often than this in one request is told as an N+1; `None` for off.
    /// `DB_POOL_N_PLUS_ONE`, where 0 is off; 10 by default.
    pub n_plus_one: Option<u32>,

    /// The wait for a connection that 95 of 100 checkouts should stay below: what alerts and advice
    /// aim at. `DB_POOL_TARGET_WAIT`; 5 ms by default.
    pub target_wait: Duration,

    /// How many more arrivals than were measured the advice makes ready for, in percent, 0 to 1000.
    /// `DB_POOL_ADVICE_HEADROOM_PCT`; 20 by default.
    pub advice_headroom_pct: f64,

    /// How many replicas of this service share what the server can grant; `None`: they are counted
    /// from the server's own sessions. `DB_POOL_REPLICAS`, where 0 is none.
    pub replicas: Option<u32>,

    /// What a request to the monitoring routes must carry as `Authorization: Bearer …`, all but
    /// `healthcheck`: 16 to 256 characters out of `A-Z a-z 0-9 - . _ ~ + / =`. `None`: the routes are
    /// open. `DB_POOL_MONITOR_TOKEN`; none by default.
    pub monitor_token: Option<Secret>,

    /// Whether the monitoring routes name the source lines that take connections. Logs, spans and
    /// reports from code always do. `DB_POOL_MONITOR_SOURCE_LINES`; true by default.
    pub monitor_source_lines: bool,

    /// Whether `healthcheck` is the only monitoring route. `DB_POOL_MONITOR_ONLY_HEALTHCHECK`; false
    /// by default.
    pub monitor_only_healthcheck: bool,

    /// What `health` warns about. The `DB_POOL_WARN_*` variables.
    pub thresholds: Thresholds,
}

impl Settings {
    /// Most connections that a pool may be allowed, overflow included.
    ///
    /// Far above what a server grants; it catches a typing error before the server does.
    pub const MAX_CONNECTIONS: u32 = 10_000;

    /// The defaults, for the database at `url`.
    ///
    /// A URL that cannot be used is not noticed here but by [`validate`](Self::validate), as every
    /// other mistake.
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
            keepalive: None,
            warm_up: None,
            max_pending: None,
            queue_target: None,
            queue_interval: Duration::from_millis(100),
            fail_when_suspended: false,
            echo: false,
            echo_binds: false,
            leak_threshold: Some(Duration::from_secs(60)),
            slow_wait: Some(Duration::from_millis(50)),
            query_text: false,
            raw_transactions: true,
            application_name: true,
            query_spans: true,
            query_span_text: true,
            query_span_summary: true,
            n_plus_one: Some(10),
            target_wait: Duration::from_millis(5),
            advice_headroom_pct: 20.0,
            replicas: None,
            monitor_token: None,
            monitor_source_lines: true,
            monitor_only_healthcheck: false,
            thresholds: Thresholds::default(),
        }
    }

    /// Sets what the preset is about, and leaves everything else as it is.
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

    /// Checks every value and every contradiction between them; a pool does so before it is built.
    ///
    /// # Errors
    ///
    /// All problems at once, each under the name of its field.
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

    /// Checks a token that code gives to a monitor.
    pub(crate) fn check_token(token: &Secret) -> Result<(), SettingsError> {
        let mut settings = Self::new("sqlite://app.db");
        settings.monitor_token = Some(token.clone());
        settings.validate()
    }

    /// The most connections that the pool opens: size and overflow together.
    #[must_use]
    pub fn max_connections(&self) -> u32 {
        self.pool_size.saturating_add(self.max_overflow)
    }

    /// How long a ping really waits: never longer than the checkout that it is part of.
    ///
    /// With a `pool_timeout` of 100 ms the default `pre_ping_timeout` of 2 s is no mistake that
    /// somebody should have to correct, so it is shortened and not refused.
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
    use super::*;

    #[test]
    fn the_most_connections_never_overflow() {
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
