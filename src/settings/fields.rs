//! The fields of [`Settings`].

use std::time::Duration;

use super::{DatabaseUrl, NestedCheckouts, QuerySpans, ResetOnReturn, Secret, Thresholds};

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
