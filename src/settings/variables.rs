//! The table of all settings: what the code reads, and what the documentation lists.

use std::time::Duration;

use super::Settings;
use super::value::{Kind, SHORTEST};

/// One setting as the environment knows it, for an app's `--help` or a settings page.
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
    kind: Kind,
    /// What to say to values that are wrong in a way that has a history.
    hints: &'static [(&'static str, &'static str)],
}

impl Variable {
    /// The variable, without a prefix: `DB_POOL_SIZE`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The same setting in a config file: `pool_size`, `thresholds.utilization_pct`.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// The default as one would write it; `None` if there is none.
    #[must_use]
    pub fn default(&self) -> Option<&'static str> {
        self.default
    }

    /// What it means, in a sentence or two.
    #[must_use]
    pub fn meaning(&self) -> &'static str {
        self.meaning
    }

    pub(super) fn kind(&self) -> &Kind {
        &self.kind
    }

    pub(super) fn hint(&self, value: &str) -> Option<&'static str> {
        // In code a zero is a `Duration`, shown as `0s`.
        let value = value.strip_suffix('s').unwrap_or(value);
        self.hints
            .iter()
            .find(|(wrong, _)| *wrong == value)
            .map(|(_, hint)| *hint)
    }
}

impl Settings {
    /// All variables that [`Settings::from_env`] reads, in the order of the documentation.
    #[must_use]
    pub fn variables() -> &'static [Variable] {
        VARIABLES
    }
}

const fn row(
    name: &'static str,
    field: &'static str,
    default: &'static str,
    kind: Kind,
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

/// In the order in which they are applied: the preset comes before all that win over it.
#[rustfmt::skip]
static VARIABLES: &[Variable] = &[
    row("DATABASE_URL", "database_url", "", Kind::Url,
        "Where the database is: postgres://, mysql:// or sqlite://. Required."),
    row("DB_POOL_PRESET", "preset", "", Kind::Preset,
        "A starting point: development, small, medium or large. Every variable that is set wins over it."),
    row("DB_POOL_NAME", "name", "", Kind::Name,
        "The pool's name in telemetry, where an app has several."),
    hinted(row("DB_POOL_SIZE", "pool_size", "10", Kind::Count(|s| &mut s.pool_size, 1..=MOST),
        "Connections that stay open."),
        &[("0", "SQLAlchemy's 0 (\"no limit\") is not supported: set how many connections stay open")]),
    hinted(row("DB_MAX_OVERFLOW", "max_overflow", "20", Kind::Count(|s| &mut s.max_overflow, 0..=MOST),
        "More that are opened under load, and closed again at check-in."),
        &[("-1", "SQLAlchemy's -1 (\"no limit\") is not supported: set how many connections the server can spare")]),
    hinted(row("DB_POOL_TIMEOUT", "pool_timeout", "30", Kind::Time(|s| &mut s.pool_timeout, SHORTEST),
        "The longest that a checkout may take in all: queueing, connecting and pinging."),
        &[("0", "a checkout that never waits is a method of the pool, not a setting"),
          ("-1", "a wait without end is not supported: set a long one")]),
    hinted(row("DB_POOL_RECYCLE", "pool_recycle", "3600", Kind::TimeOr(|s| &mut s.pool_recycle, "-1", "never"),
        "The age at which a connection is replaced, at its next checkout; -1 = never."),
        &[("0", "0 would open a connection for each checkout; set -1 for never")]),
    row("DB_POOL_PRE_PING", "pool_pre_ping", "true", Kind::Flag(|s| &mut s.pool_pre_ping),
        "Ping a connection before it is handed out, and replace a dead one unseen."),
    row("DB_POOL_PRE_PING_BYPASS", "pre_ping_bypass", "500ms", Kind::Time(|s| &mut s.pre_ping_bypass, Duration::ZERO),
        "No ping for a connection used so recently; 0 = ping always."),
    row("DB_POOL_PRE_PING_TIMEOUT", "pre_ping_timeout", "2", Kind::Time(|s| &mut s.pre_ping_timeout, SHORTEST),
        "A connection that has not answered a ping by then is thrown away. Never more than what is left of DB_POOL_TIMEOUT."),
    row("DB_POOL_CONNECT_TIMEOUT", "connect_timeout", "10", Kind::Time(|s| &mut s.connect_timeout, SHORTEST),
        "The longest that opening one connection may take."),
    row("DB_POOL_MAX_CONNECTING", "max_connecting", "8", Kind::Count(|s| &mut s.max_connecting, 1..=MOST),
        "Connections being opened at the same time, so that a database that comes back is not stampeded."),
    row("DB_POOL_RECYCLE_JITTER_PCT", "recycle_jitter_pct", "10", Kind::Number(|s| &mut s.recycle_jitter_pct, 0.0..=50.0),
        "Each connection's DB_POOL_RECYCLE is shorter by up to this share of it, in percent, so that a pool's connections don't all end at once."),
    row("DB_POOL_KEEPALIVE", "keepalive", "0", Kind::TimeOr(|s| &mut s.keepalive, "0", "off"),
        "Ping a connection that has been idle for so long, for firewalls that drop what is silent; 0 = off."),
    row("DB_POOL_WARM_UP", "warm_up", "0", Kind::TimeOr(|s| &mut s.warm_up, "0", "off"),
        "Open DB_POOL_SIZE connections in the background at the start, and tell in the log what became of it by then; 0 = open them when they are needed."),
    row("DB_POOL_MAX_PENDING", "max_pending", "0", Kind::CountOr(|s| &mut s.max_pending, 1..=10_000_000, "no limit"),
        "A checkout that would have to wait while so many wait already fails at once; 0 = no limit."),
    row("DB_POOL_QUEUE_TARGET", "queue_target", "0", Kind::TimeOr(|s| &mut s.queue_target, "0", "off"),
        "Shed load: when for a whole DB_POOL_QUEUE_INTERVAL nobody was let in who had queued for less, those who have queued for twice as long fail at once; 0 = off."),
    row("DB_POOL_QUEUE_INTERVAL", "queue_interval", "100ms", Kind::Time(|s| &mut s.queue_interval, SHORTEST),
        "How long the queue may stay slower than DB_POOL_QUEUE_TARGET before load is shed."),
    row("DB_POOL_FAIL_WHEN_SUSPENDED", "fail_when_suspended", "false", Kind::Flag(|s| &mut s.fail_when_suspended),
        "While the pool is suspended, checkouts fail at once, instead of waiting until it is resumed."),
    row("DB_ECHO", "echo", "false", Kind::Flag(|s| &mut s.echo),
        "Log each statement, without its bind values."),
    row("DB_ECHO_BINDS", "echo_binds", "false", Kind::Flag(|s| &mut s.echo_binds),
        "With DB_ECHO, log the bind values too, and export them where logs are exported: they may be secrets."),
    row("DB_POOL_LEAK_THRESHOLD", "leak_threshold", "60", Kind::TimeOr(|s| &mut s.leak_threshold, "0", "off"),
        "A connection held longer is reported as a possible leak; 0 = off."),
    row("DB_POOL_SLOW_WAIT", "slow_wait", "50ms", Kind::TimeOr(|s| &mut s.slow_wait, "0", "off"),
        "A checkout that waited longer is an event in the log; 0 = off."),
    row("DB_POOL_QUERY_TEXT", "query_text", "false", Kind::Flag(|s| &mut s.query_text),
        "Show query texts: of this pool's own sessions in `connections`, and in `health` of statements sent again and again."),
    row("DB_POOL_DETECT_RAW_TRANSACTIONS", "raw_transactions", "true", Kind::Flag(|s| &mut s.raw_transactions),
        "On MySQL and SQLite look at each statement's first word, to see a BEGIN that was sent as plain SQL. On Postgres it is always seen."),
    row("DB_POOL_APPLICATION_NAME", "application_name", "true", Kind::Flag(|s| &mut s.application_name),
        "Name the service and its instance in each Postgres session's application_name, unless the URL sets one."),
    row("DB_POOL_QUERY_SPANS", "query_spans", "true", Kind::Flag(|s| &mut s.query_spans),
        "A span for each query."),
    row("DB_POOL_QUERY_SPAN_TEXT", "query_span_text", "true", Kind::Flag(|s| &mut s.query_span_text),
        "Put the statement on the query's span, without bind values and literals."),
    row("DB_POOL_QUERY_SPAN_SUMMARY", "query_span_summary", "true", Kind::Flag(|s| &mut s.query_span_summary),
        "Name the query's span by what it does (SELECT orders); else it is called query."),
    row("DB_POOL_N_PLUS_ONE", "n_plus_one", "10", Kind::CountOr(|s| &mut s.n_plus_one, 1..=MOST, "off"),
        "The same statement more often than this in one request is told as an N+1; 0 = off."),
    row("DB_POOL_TARGET_WAIT", "target_wait", "5ms", Kind::Time(|s| &mut s.target_wait, SHORTEST),
        "The wait that 95 of 100 checkouts should stay below: what alerts and advice aim at."),
    row("DB_POOL_ADVICE_HEADROOM_PCT", "advice_headroom_pct", "20",
        Kind::Number(|s| &mut s.advice_headroom_pct, 0.0..=1000.0),
        "How many more arrivals than were measured `optimize` makes ready for, in percent."),
    row("DB_POOL_REPLICAS", "replicas", "0",
        Kind::CountOr(|s| &mut s.replicas, 1..=MOST, "counted from the server's sessions"),
        "How many replicas of this service share what the server can grant; 0 = counted from the server's sessions."),
    row("DB_POOL_MONITOR_TOKEN", "monitor_token", "", Kind::Secret(|s| &mut s.monitor_token),
        "What a request to the monitoring routes, all but `healthcheck`, must carry as `Authorization: Bearer …`. A secret; none leaves them open."),
    row("DB_POOL_MONITOR_SOURCE_LINES", "monitor_source_lines", "true", Kind::Flag(|s| &mut s.monitor_source_lines),
        "Name the source lines that take connections in the monitoring routes. Logs and spans always do."),
    row("DB_POOL_MONITOR_ONLY_HEALTHCHECK", "monitor_only_healthcheck", "false", Kind::Flag(|s| &mut s.monitor_only_healthcheck),
        "Serve no monitoring route but `healthcheck`."),
    row("DB_POOL_WARN_UTILIZATION_PCT", "thresholds.utilization_pct", "80",
        Kind::Number(|s| &mut s.thresholds.utilization_pct, 0.0..=100.0),
        "Warn above this share of connections checked out, in percent."),
    row("DB_POOL_WARN_OVERFLOW_PCT", "thresholds.overflow_pct", "80",
        Kind::Number(|s| &mut s.thresholds.overflow_pct, 0.0..=100.0),
        "Warn above this share of the overflow in use, in percent."),
    row("DB_POOL_WARN_TIMEOUTS_PER_MINUTE", "thresholds.timeouts_per_minute", "1",
        Kind::Number(|s| &mut s.thresholds.timeouts_per_minute, 0.0..=1_000_000.0),
        "Warn above this many checkouts timed out, a minute."),
    row("DB_POOL_WARN_IDLE_IN_TRANSACTION", "thresholds.idle_in_transaction", "5",
        Kind::Count(|s| &mut s.thresholds.idle_in_transaction, 0..=MOST),
        "Warn above this many sessions idle in a transaction."),
    row("DB_POOL_WARN_AVERAGE_WAIT", "thresholds.average_wait", "50ms",
        Kind::Time(|s| &mut s.thresholds.average_wait, Duration::ZERO),
        "Warn above this average wait for a connection."),
    row("DB_POOL_WARN_LONGEST_QUERY", "thresholds.longest_query", "30",
        Kind::Time(|s| &mut s.thresholds.longest_query, Duration::ZERO),
        "Warn when a query has been running for longer."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_without_a_default_has_none() {
        let row = hinted(row("DB_X", "x", "", Kind::Name, "x"), &[("0", "off")]);
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
        for variable in VARIABLES {
            if let Some(default) = variable.default() {
                variable.kind().set(&mut settings, default).unwrap();
                assert_eq!(settings, expected, "{}", variable.name());
            }
        }
    }

    #[test]
    fn every_row_has_a_place_of_its_own() {
        // Writes something else through each row, and sees exactly one more field change.
        let fields = |settings: &Settings| {
            // A field a line, also where it is `Some`.
            let text = format!("{settings:#?}")
                .replace("Some(\n        ", "Some(")
                .replace(",\n    ),", "),");
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        for variable in VARIABLES.iter().skip(3) {
            let before = Settings::new("app.db");
            let mut after = before.clone();
            let other = match variable.kind() {
                Kind::Flag(slot) => (!*slot(&mut after)).to_string(),
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
        for (at, variable) in VARIABLES.iter().enumerate() {
            let plain = |c: char| c.is_ascii_uppercase() || c == '_';
            assert!(variable.name().chars().all(plain), "{}", variable.name());
            for other in &VARIABLES[at + 1..] {
                assert_ne!(variable.name(), other.name());
                assert_ne!(variable.field(), other.field());
            }
        }
    }
}
