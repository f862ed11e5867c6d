//! The tables of all settings. The code reads them, and the documentation lists them.

use std::time::Duration;

use super::Settings;
use super::value::{SHORTEST, ValueKind};

/// A setting and its environment variable, for an app's `--help` or a settings page.
///
/// ```
/// use poolscope::Settings;
///
/// for variable in Settings::variables() {
///     println!("{:34} {}", variable.name(), variable.meaning());
/// }
/// ```
#[derive(Debug)]
pub struct Variable {
    name: &'static str,
    field: &'static str,
    default: Option<&'static str>,
    meaning: &'static str,
    kind: ValueKind,
    /// Hints for particular wrong values, such as SQLAlchemy's: value and hint.
    hints: &'static [(&'static str, &'static str)],
}

impl Variable {
    /// Returns the name of the variable without a prefix: `DB_POOL_SIZE`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the name of the setting in a config file: `pool_size`, `thresholds.utilization_pct`.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// Returns the default as it would be written; `None` if there is no default.
    #[must_use]
    pub fn default(&self) -> Option<&'static str> {
        self.default
    }

    /// Returns a description of one or two sentences.
    #[must_use]
    pub fn meaning(&self) -> &'static str {
        self.meaning
    }

    pub(super) fn kind(&self) -> &ValueKind {
        &self.kind
    }

    pub(super) fn hint(&self, value: &str) -> Option<&'static str> {
        // A zero set in code is a `Duration`, which is shown as `0s`.
        let value = if value == "0s" { "0" } else { value };
        self.hints
            .iter()
            .find(|(wrong, _)| wrong.eq_ignore_ascii_case(value))
            .map(|(_, hint)| *hint)
    }
}

impl Settings {
    /// Returns all variables that [`Settings::from_env`] reads, in the order of the documentation.
    ///
    /// The settings that have no variable are set by [`PoolBuilder`](crate::PoolBuilder) or in a
    /// config file.
    #[must_use]
    pub fn variables() -> &'static [Variable] {
        VARIABLES
    }
}

impl Settings {
    /// Returns each setting that has a variable and a value: its name, its value without secrets, and whether
    /// that is the default.
    pub(crate) fn in_force(&self) -> Vec<(&'static str, String, bool)> {
        let (mut own, mut default) = (self.clone(), Self::new(""));
        let shown = VARIABLES.iter().filter_map(|variable| {
            let value = variable.kind.text(&mut own)?;
            let is_default = variable.kind.text(&mut default).as_ref() == Some(&value);
            Some((variable.name, value, is_default))
        });
        shown.collect()
    }
}

/// Returns every setting: those with a variable, then those without.
pub(super) fn all() -> impl Iterator<Item = &'static Variable> {
    VARIABLES.iter().chain(WITHOUT_VARIABLE)
}

const fn row(
    name: &'static str,
    field: &'static str,
    default: &'static str,
    kind: ValueKind,
    meaning: &'static str,
) -> Variable {
    Variable {
        name,
        field,
        default: if default.is_empty() {
            None
        } else {
            Some(default)
        },
        meaning,
        kind,
        hints: &[],
    }
}

const fn hinted(mut row: Variable, hints: &'static [(&'static str, &'static str)]) -> Variable {
    row.hints = hints;
    row
}

const MOST: u32 = Settings::MAX_CONNECTIONS;

/// All variables in the order in which they are applied: the preset precedes those that override it.
#[rustfmt::skip]
static VARIABLES: &[Variable] = &[
    row("DATABASE_URL", "database_url", "", ValueKind::Url,
        "URL of the database: postgres://, mysql:// or sqlite://. Required."),
    row("DB_POOL_PRESET", "preset", "", ValueKind::Preset,
        "Preset of defaults: development, small, medium or large. Every other variable that is set takes precedence."),
    row("DB_POOL_NAME", "name", "", ValueKind::Name,
        "Name of the pool in telemetry, if an app has several."),
    hinted(row("DB_POOL_SIZE", "pool_size", "10", ValueKind::Count(|s| &mut s.pool_size, 1..=MOST),
        "Number of connections to keep open."),
        &[("0", "SQLAlchemy's 0 (\"no limit\") is not supported: set how many connections stay open")]),
    hinted(row("DB_MAX_OVERFLOW", "max_overflow", "20", ValueKind::Count(|s| &mut s.max_overflow, 0..=MOST),
        "Number of connections that may be opened beyond DB_POOL_SIZE under load; they are closed at check-in."),
        &[("-1", "SQLAlchemy's -1 (\"no limit\") is not supported: set how many connections the server can spare")]),
    hinted(row("DB_POOL_TIMEOUT", "pool_timeout", "30", ValueKind::Time(|s| &mut s.pool_timeout, SHORTEST),
        "Maximum total time of a checkout: queueing, connecting and pinging."),
        &[("0", "for a checkout that never waits, call the pool's `try_get`"),
          ("-1", "an unlimited wait is not supported: set a long timeout")]),
    hinted(row("DB_POOL_RECYCLE", "pool_recycle", "3600", ValueKind::TimeOr(|s| &mut s.pool_recycle, "-1", "never"),
        "Maximum age of a connection; an older one is replaced at its next checkout; -1 = never."),
        &[("0", "0 would open a new connection for each checkout; set -1 for never")]),
    row("DB_POOL_PRE_PING", "pool_pre_ping", "true", ValueKind::Flag(|s| &mut s.pool_pre_ping),
        "Ping a connection before it is handed out; a dead one is replaced without an error for the caller."),
    row("DB_POOL_CONNECT_TIMEOUT", "connect_timeout", "10", ValueKind::Time(|s| &mut s.connect_timeout, SHORTEST),
        "Maximum time to open one connection."),
    row("DB_POOL_RESET_ON_RETURN", "reset_on_return", "when_dirty", ValueKind::ResetOnReturn,
        "When to reset the session of a returned connection: never, when_dirty (a statement has changed it) or always. On MySQL and SQLite the connection is closed instead."),
    row("DB_POOL_KEEPALIVE", "keepalive", "0", ValueKind::TimeOr(|s| &mut s.keepalive, "0", "off"),
        "Ping a connection that has been idle for this time, so that firewalls do not drop it; 0 = off."),
    row("DB_POOL_WARM_UP", "warm_up", "0", ValueKind::TimeOr(|s| &mut s.warm_up, "0", "off"),
        "Open DB_POOL_SIZE connections in the background at start, and log the result after this time at the latest; 0 = open connections on demand."),
    row("DB_POOL_MAX_PENDING", "max_pending", "0", ValueKind::CountOr(|s| &mut s.max_pending, 1..=10_000_000, "no limit"),
        "Maximum number of waiting checkouts. A checkout that would exceed it fails at once; 0 = no limit."),
    row("DB_POOL_QUEUE_TARGET", "queue_target", "0", ValueKind::TimeOr(|s| &mut s.queue_target, "0", "off"),
        "Queue-time target (CoDel). If every checkout admitted during one `queue_interval` queued longer than this, those that queued twice as long are rejected; 0 = off."),
    row("DB_ECHO", "echo", "false", ValueKind::Flag(|s| &mut s.echo),
        "Log each statement, without its bind values."),
    row("DB_ECHO_BINDS", "echo_binds", "false", ValueKind::Flag(|s| &mut s.echo_binds),
        "With DB_ECHO, also log the bind values, and export them if logs are exported. They may be secrets."),
    row("DB_POOL_LEAK_THRESHOLD", "leak_threshold", "60", ValueKind::TimeOr(|s| &mut s.leak_threshold, "0", "off"),
        "Report a connection held longer than this as a possible leak; 0 = off."),
    row("DB_POOL_SLOW_WAIT", "slow_wait", "50ms", ValueKind::TimeOr(|s| &mut s.slow_wait, "0", "off"),
        "Log a checkout that waited longer than this; 0 = off."),
    row("DB_POOL_QUERY_TEXT", "query_text", "false", ValueKind::Flag(|s| &mut s.query_text),
        "Show query texts: in `connections` those of this pool's own sessions, in `health` those of repeated statements."),
    row("DB_POOL_APPLICATION_NAME", "application_name", "true", ValueKind::Flag(|s| &mut s.application_name),
        "Set the application_name of each Postgres session to the service and its instance, unless the URL sets one."),
    row("DB_POOL_QUERY_SPANS", "query_spans", "text", ValueKind::QuerySpans,
        "Spans of queries: off, summary (the span is named after its operation and table, SELECT orders) or text (it also records the statement, without bind values and literals)."),
    row("DB_POOL_N_PLUS_ONE", "n_plus_one", "10", ValueKind::CountOr(|s| &mut s.n_plus_one, 1..=MOST, "off"),
        "Report a statement that runs more often than this in one request as an N+1; 0 = off."),
    row("DB_POOL_TARGET_WAIT", "target_wait", "5ms", ValueKind::Time(|s| &mut s.target_wait, SHORTEST),
        "Target for the wait of 95 of 100 checkouts, used by alerts and advice."),
    row("DB_POOL_REPLICAS", "replicas", "0",
        ValueKind::CountOr(|s| &mut s.replicas, 1..=MOST, "counted from the server's sessions"),
        "Number of replicas of this service that share the server's connections; 0 = counted from the server's sessions."),
    row("DB_POOL_MONITOR_TOKEN", "monitor_token", "", ValueKind::Secret(|s| &mut s.monitor_token),
        "Token that requests to the monitoring routes must carry as `Authorization: Bearer …`, except to `healthcheck`. A secret; without it the routes are open."),
];

/// The settings that only [`PoolBuilder`](crate::PoolBuilder) and config files have, under the name
/// of their former variable, or of the variable that a user may try.
#[rustfmt::skip]
pub(super) static WITHOUT_VARIABLE: &[Variable] = &[
    row("DB_POOL_PRE_PING_BYPASS", "pre_ping_bypass", "500ms", ValueKind::Time(|s| &mut s.pre_ping_bypass, Duration::ZERO),
        "Skip the pre-ping if the connection was used within this time; 0 = always ping."),
    row("DB_POOL_PRE_PING_TIMEOUT", "pre_ping_timeout", "2", ValueKind::Time(|s| &mut s.pre_ping_timeout, SHORTEST),
        "Maximum time for the answer to a ping, and for a hook with a reset, after which the connection is closed. Never more than the rest of `pool_timeout`."),
    row("DB_POOL_MAX_CONNECTING", "max_connecting", "8", ValueKind::Count(|s| &mut s.max_connecting, 1..=MOST),
        "Maximum number of connections being opened at the same time, so that a recovering database is not overrun."),
    row("DB_POOL_RECYCLE_JITTER_PCT", "recycle_jitter_pct", "10", ValueKind::Number(|s| &mut s.recycle_jitter_pct, 0.0..=50.0),
        "Maximum random reduction of each connection's `pool_recycle`, in percent, so that a pool's connections do not all expire at once."),
    row("DB_POOL_QUEUE_INTERVAL", "queue_interval", "100ms", ValueKind::Time(|s| &mut s.queue_interval, SHORTEST),
        "Time for which queue times must exceed `queue_target` before load is shed."),
    row("DB_POOL_FAIL_WHEN_SUSPENDED", "fail_when_suspended", "false", ValueKind::Flag(|s| &mut s.fail_when_suspended),
        "While the pool is suspended, checkouts fail at once instead of waiting until it is resumed."),
    row("DB_POOL_NESTED_CHECKOUTS", "nested_checkouts", "warn", ValueKind::NestedCheckouts,
        "A request that holds a connection asks for another while the pool is full: off, warn (it waits; the log, `health` and the error of a timeout say so) or deny (it fails at once; requires `RequestLayer`)."),
    row("DB_POOL_DETECT_RAW_TRANSACTIONS", "raw_transactions", "true", ValueKind::Flag(|s| &mut s.raw_transactions),
        "On MySQL and SQLite, inspect the first word of each statement to detect a BEGIN sent as plain SQL. On Postgres it is always detected."),
    row("DB_POOL_ADVICE_HEADROOM_PCT", "advice_headroom_pct", "20",
        ValueKind::Number(|s| &mut s.advice_headroom_pct, 0.0..=1000.0),
        "Growth of the measured arrival rate that `optimize` plans for, in percent."),
    row("DB_POOL_REQUEST_METRICS", "request_metrics", "false", ValueKind::Flag(|s| &mut s.request_metrics),
        "Record the use of the pool per request in five histograms: 71 series for each route and method."),
    row("DB_POOL_MONITOR_SOURCE_LINES", "monitor_source_lines", "true", ValueKind::Flag(|s| &mut s.monitor_source_lines),
        "Show in the monitoring routes the source lines that check out connections. Logs and spans always show them."),
    row("DB_POOL_MONITOR_ONLY_HEALTHCHECK", "monitor_only_healthcheck", "false", ValueKind::Flag(|s| &mut s.monitor_only_healthcheck),
        "Serve only `healthcheck`, and no other monitoring route."),
    row("DB_POOL_WARN_UTILIZATION_PCT", "thresholds.utilization_pct", "80",
        ValueKind::Number(|s| &mut s.thresholds.utilization_pct, 0.0..=100.0),
        "Warn if more than this share of the connections is checked out, in percent."),
    row("DB_POOL_WARN_OVERFLOW_PCT", "thresholds.overflow_pct", "80",
        ValueKind::Number(|s| &mut s.thresholds.overflow_pct, 0.0..=100.0),
        "Warn if more than this share of the overflow is in use, in percent."),
    row("DB_POOL_WARN_TIMEOUTS_PER_MINUTE", "thresholds.timeouts_per_minute", "1",
        ValueKind::Number(|s| &mut s.thresholds.timeouts_per_minute, 0.0..=1_000_000.0),
        "Warn if more checkouts than this time out per minute."),
    row("DB_POOL_WARN_IDLE_IN_TRANSACTION", "thresholds.idle_in_transaction", "5",
        ValueKind::Count(|s| &mut s.thresholds.idle_in_transaction, 0..=MOST),
        "Warn if more sessions than this are idle in a transaction."),
    row("DB_POOL_WARN_AVERAGE_WAIT", "thresholds.average_wait", "50ms",
        ValueKind::Time(|s| &mut s.thresholds.average_wait, Duration::ZERO),
        "Warn if the average wait for a connection is longer than this."),
    row("DB_POOL_WARN_LONGEST_QUERY", "thresholds.longest_query", "30",
        ValueKind::Time(|s| &mut s.thresholds.longest_query, Duration::ZERO),
        "Warn if a query has been running for longer than this."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_without_a_default_has_none() {
        let row = hinted(row("DB_X", "x", "", ValueKind::Name, "x"), &[("0", "off")]);
        assert_eq!(
            (row.name(), row.field(), row.default(), row.meaning()),
            ("DB_X", "x", None, "x")
        );
        assert_eq!(row.hints, [("0", "off")]);
    }

    #[test]
    fn every_default_of_the_table_is_the_default_of_the_code() {
        let expected = Settings::new("sqlite://app.db");
        let mut settings = expected.clone();
        for variable in all() {
            if let Some(default) = variable.default() {
                variable.kind().set(&mut settings, default).unwrap();
                assert_eq!(settings, expected, "{}", variable.name());
            }
        }
    }

    #[test]
    fn every_row_sets_a_field_of_its_own() {
        // Writing another value through a row changes exactly one field.
        let fields = |settings: &Settings| {
            // One line per field, also for a `Some`.
            let text = format!("{settings:#?}")
                .replace("Some(\n        ", "Some(")
                .replace(",\n    ),", "),");
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        for variable in all().skip(3) {
            let before = Settings::new("app.db");
            let mut after = before.clone();
            let other = match variable.kind() {
                ValueKind::Flag(slot) => (!*slot(&mut after)).to_string(),
                ValueKind::QuerySpans | ValueKind::NestedCheckouts => "off".to_owned(),
                ValueKind::ResetOnReturn => "never".to_owned(),
                _ => "7".to_owned(),
            };
            variable.kind().set(&mut after, &other).unwrap();
            let (before, after) = (fields(&before), fields(&after));
            let changed: Vec<_> = before.iter().zip(&after).filter(|(a, b)| a != b).collect();
            assert_eq!(changed.len(), 1, "{}", variable.name());
            let name = variable.field().rsplit('.').next().unwrap();
            assert!(changed[0].0.contains(name), "{}", variable.name());
        }
    }

    #[test]
    fn names_are_in_capitals_and_unique() {
        for (at, variable) in all().enumerate() {
            let plain = |c: char| c.is_ascii_uppercase() || c == '_';
            assert!(variable.name().chars().all(plain), "{}", variable.name());
            for other in all().skip(at + 1) {
                assert_ne!(variable.name(), other.name());
                assert_ne!(variable.field(), other.field());
            }
        }
    }
}
