//! The methods of [`PoolBuilder`] that set a setting, each under the name of its field.

use std::time::Duration;

use super::builder::PoolBuilder;
use crate::backend::Backend;
use crate::settings::{
    DatabaseUrl, NestedCheckouts, Preset, QuerySpans, ResetOnReturn, Secret, Settings, Thresholds,
};

/// The settings. [`build`](Self::build) checks their ranges. A method without a variable sets what only
/// code and config files have.
impl<C: Backend> PoolBuilder<C> {
    /// Sets the URL of the database. Defaults to the one of the settings that the builder started
    /// from. `DATABASE_URL`.
    pub fn database_url(mut self, url: impl Into<DatabaseUrl>) -> Self {
        self.settings.database_url = url.into();
        self
    }

    /// Sets `pool_size`, `max_overflow`, `pool_timeout` and `echo` to those of a preset, and so replaces
    /// what was set before. No preset by default. `DB_POOL_PRESET`.
    pub fn preset(mut self, preset: Preset) -> Self {
        self.settings = self.settings.preset(preset);
        self
    }

    /// Sets the pool's name in telemetry and reports: 1 to 64 characters out of `A-Z a-z 0-9 _ . -`.
    /// Defaults to `default`. Two pools of one app need different names. `DB_POOL_NAME`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = Some(name.into());
        self
    }

    /// Sets how many connections are kept open, 1 to 10000. Defaults to 10. `DB_POOL_SIZE`.
    pub fn pool_size(mut self, connections: u32) -> Self {
        self.settings.pool_size = connections;
        self
    }

    /// Sets how many connections are opened beyond `pool_size` under load, 0 to 10000. The two
    /// together are at most 10000. Defaults to 20. `DB_MAX_OVERFLOW`.
    pub fn max_overflow(mut self, connections: u32) -> Self {
        self.settings.max_overflow = connections;
        self
    }

    /// Sets the most connections that are ever open, as bb8's `max_size`: `pool_size` to this number, and
    /// `max_overflow` to 0.
    pub fn max_size(self, connections: u32) -> Self {
        self.pool_size(connections).max_overflow(0)
    }

    /// Sets the total time limit of a checkout, 1 ms to 7 days. Defaults to 30 s. `DB_POOL_TIMEOUT`.
    pub fn pool_timeout(mut self, timeout: Duration) -> Self {
        self.settings.pool_timeout = timeout;
        self
    }

    /// Sets the age at which a connection is replaced at its next checkout, 1 ms to 7 days. Defaults to
    /// one hour; `None` means never. `DB_POOL_RECYCLE`.
    pub fn pool_recycle(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.settings.pool_recycle = age.into();
        self
    }

    /// Sets whether connections are pinged before use. Defaults to true. `DB_POOL_PRE_PING`.
    pub fn pool_pre_ping(mut self, ping: bool) -> Self {
        self.settings.pool_pre_ping = ping;
        self
    }

    /// Sets the idle time below which a connection is not pinged before use, 0 to 7 days. Defaults to
    /// 500 ms; zero pings always.
    pub fn pre_ping_bypass(mut self, idle: Duration) -> Self {
        self.settings.pre_ping_bypass = idle;
        self
    }

    /// Sets the time limit for the answer to a ping, and for a hook with a reset, 1 ms to 7 days, after
    /// which the connection is closed. Defaults to 2 s, and is never more than the rest of the checkout's `pool_timeout`.
    pub fn pre_ping_timeout(mut self, timeout: Duration) -> Self {
        self.settings.pre_ping_timeout = timeout;
        self
    }

    /// Sets the time limit for opening one connection, 1 ms to 7 days. Defaults to 10 s.
    /// `DB_POOL_CONNECT_TIMEOUT`.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// Sets how many connections are opened at the same time, 1 to 10000, so that a recovering
    /// database is not overrun. Defaults to 8.
    pub fn max_connecting(mut self, connections: u32) -> Self {
        self.settings.max_connecting = connections;
        self
    }

    /// Sets the maximum random reduction of each connection's `pool_recycle` in percent, 0 to 50, so
    /// that a pool's connections do not all expire at once. Defaults to 10.
    pub fn recycle_jitter_pct(mut self, percent: f64) -> Self {
        self.settings.recycle_jitter_pct = percent;
        self
    }

    /// Sets when the session of a returned connection is reset. Defaults to
    /// [`ResetOnReturn::WhenDirty`]. `DB_POOL_RESET_ON_RETURN`.
    pub fn reset_on_return(mut self, when: ResetOnReturn) -> Self {
        self.settings.reset_on_return = when;
        self
    }

    /// Sets the idle time after which a connection is pinged in the background, 1 ms to 7 days, so that
    /// firewalls do not drop it. Defaults to `None`: never. `DB_POOL_KEEPALIVE`.
    pub fn keepalive(mut self, idle: impl Into<Option<Duration>>) -> Self {
        self.settings.keepalive = idle.into();
        self
    }

    /// Sets the time in which `pool_size` connections are opened in the background at start, 1 ms to
    /// 7 days. Defaults to `None`: connections are opened on demand. `DB_POOL_WARM_UP`.
    pub fn warm_up(mut self, deadline: impl Into<Option<Duration>>) -> Self {
        self.settings.warm_up = deadline.into();
        self
    }

    /// Sets the maximum number of waiting checkouts, 1 to 10000000; one more fails at once. Defaults to
    /// `None`: no limit. `DB_POOL_MAX_PENDING`.
    pub fn max_pending(mut self, checkouts: impl Into<Option<u32>>) -> Self {
        self.settings.max_pending = checkouts.into();
        self
    }

    /// Sets the queue-time target (CoDel), 1 ms to 7 days. If every checkout admitted during one
    /// `queue_interval` queued longer than this, those that queued twice as long are rejected.
    /// Defaults to `None`: never. `DB_POOL_QUEUE_TARGET`.
    pub fn queue_target(mut self, target: impl Into<Option<Duration>>) -> Self {
        self.settings.queue_target = target.into();
        self
    }

    /// Sets the time for which queue times must exceed `queue_target` before load is shed, 1 ms to
    /// 7 days. Defaults to 100 ms.
    pub fn queue_interval(mut self, interval: Duration) -> Self {
        self.settings.queue_interval = interval;
        self
    }

    /// Sets whether checkouts fail at once, instead of waiting, while the pool is suspended. Defaults to
    /// false.
    pub fn fail_when_suspended(mut self, fail: bool) -> Self {
        self.settings.fail_when_suspended = fail;
        self
    }

    /// Sets what happens to a checkout of a request that already holds a connection while the pool is
    /// full. Defaults to [`NestedCheckouts::Warn`].
    pub fn nested_checkouts(mut self, policy: NestedCheckouts) -> Self {
        self.settings.nested_checkouts = policy;
        self
    }

    /// Sets whether each statement is logged, without its bind values. Defaults to false. `DB_ECHO`.
    pub fn echo(mut self, echo: bool) -> Self {
        self.settings.echo = echo;
        self
    }

    /// Sets whether `echo` also logs the bind values, which may be secrets. Defaults to false.
    /// `DB_ECHO_BINDS`.
    pub fn echo_binds(mut self, echo: bool) -> Self {
        self.settings.echo_binds = echo;
        self
    }

    /// Sets the hold time above which a connection is reported as a possible leak, 1 ms to 7 days.
    /// Defaults to 60 s; `None` means never. `DB_POOL_LEAK_THRESHOLD`.
    pub fn leak_threshold(mut self, hold: impl Into<Option<Duration>>) -> Self {
        self.settings.leak_threshold = hold.into();
        self
    }

    /// Sets the wait above which a checkout is logged, 1 ms to 7 days. Defaults to 50 ms; `None` means
    /// never. `DB_POOL_SLOW_WAIT`.
    pub fn slow_wait(mut self, wait: impl Into<Option<Duration>>) -> Self {
        self.settings.slow_wait = wait.into();
        self
    }

    /// Sets whether `connections` shows the query texts of this pool's own sessions, and `health`
    /// those of repeated statements. Defaults to false. `DB_POOL_QUERY_TEXT`.
    pub fn query_text(mut self, shown: bool) -> Self {
        self.settings.query_text = shown;
        self
    }

    /// Sets whether the first word of each statement is inspected on MySQL and SQLite, to detect a
    /// `BEGIN` sent as plain SQL. On Postgres it is always detected. Defaults to true.
    pub fn raw_transactions(mut self, detect: bool) -> Self {
        self.settings.raw_transactions = detect;
        self
    }

    /// Sets whether Postgres sessions carry `service@instance` as their `application_name`, unless the
    /// URL sets one. Defaults to true. `DB_POOL_APPLICATION_NAME`.
    pub fn application_name(mut self, set: bool) -> Self {
        self.settings.application_name = set;
        self
    }

    /// Sets which spans queries have. Defaults to [`QuerySpans::Text`]. `DB_POOL_QUERY_SPANS`.
    pub fn query_spans(mut self, spans: QuerySpans) -> Self {
        self.settings.query_spans = spans;
        self
    }

    /// Sets the number of runs of one statement in one request above which it is reported as an N+1,
    /// 1 to 10000. Defaults to 10; `None` means never. `DB_POOL_N_PLUS_ONE`.
    pub fn n_plus_one(mut self, runs: impl Into<Option<u32>>) -> Self {
        self.settings.n_plus_one = runs.into();
        self
    }

    /// Sets the target for the wait of 95 of 100 checkouts, 1 ms to 7 days, used by alerts and advice.
    /// Defaults to 5 ms. `DB_POOL_TARGET_WAIT`.
    pub fn target_wait(mut self, wait: Duration) -> Self {
        self.settings.target_wait = wait;
        self
    }

    /// Sets the growth of the measured arrival rate that the advice plans for in percent, 0 to 1000.
    /// Defaults to 20.
    pub fn advice_headroom_pct(mut self, percent: f64) -> Self {
        self.settings.advice_headroom_pct = percent;
        self
    }

    /// Sets the number of replicas of this service that share the server's connections, 1 to 10000.
    /// Defaults to `None`: counted from the server's sessions. `DB_POOL_REPLICAS`.
    pub fn replicas(mut self, replicas: impl Into<Option<u32>>) -> Self {
        self.settings.replicas = replicas.into();
        self
    }

    /// Sets the token that requests to the monitoring routes must carry as `Authorization: Bearer …`,
    /// except to `healthcheck`: 16 to 256 characters out of `A-Z a-z 0-9 - . _ ~ + / =`. Without one,
    /// which is the default, the routes are open. `DB_POOL_MONITOR_TOKEN`.
    pub fn monitor_token(mut self, token: impl Into<Secret>) -> Self {
        self.settings.monitor_token = Some(token.into());
        self
    }

    /// Sets whether the use of the pool per request is in the metrics, as five histograms: 71 series for
    /// each route and method. Defaults to false.
    pub fn request_metrics(mut self, recorded: bool) -> Self {
        self.settings.request_metrics = recorded;
        self
    }

    /// Sets whether the monitoring routes show the source lines that check out connections. Logs, spans
    /// and reports read from code always show them. Defaults to true.
    pub fn monitor_source_lines(mut self, shown: bool) -> Self {
        self.settings.monitor_source_lines = shown;
        self
    }

    /// Sets whether `healthcheck` is the only monitoring route. Defaults to false.
    pub fn monitor_only_healthcheck(mut self, only: bool) -> Self {
        self.settings.monitor_only_healthcheck = only;
        self
    }

    /// Sets the limits above which the health report warns; [`Thresholds`] has their defaults and ranges.
    pub fn thresholds(mut self, thresholds: Thresholds) -> Self {
        self.settings.thresholds = thresholds;
        self
    }

    /// Changes any of the settings with a closure.
    pub fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;
    use crate::Pool;
    use crate::backend::AsyncSqliteConnection;

    fn builder() -> PoolBuilder<AsyncSqliteConnection> {
        Pool::builder(Settings::new("sqlite://app.db"))
    }

    #[test]
    fn every_setting_has_a_method() {
        let second = Duration::from_secs(1);
        let thresholds = Thresholds {
            utilization_pct: 90.0,
            ..Thresholds::default()
        };
        let changed = builder()
            .database_url("sqlite://other.db")
            .name("orders")
            .pool_size(1)
            .max_overflow(1)
            .pool_timeout(second)
            .pool_recycle(None)
            .pool_pre_ping(false)
            .pre_ping_bypass(second)
            .pre_ping_timeout(second)
            .connect_timeout(second)
            .max_connecting(1)
            .recycle_jitter_pct(1.0)
            .reset_on_return(ResetOnReturn::Never)
            .keepalive(second)
            .warm_up(second)
            .max_pending(1)
            .queue_target(second)
            .queue_interval(second)
            .fail_when_suspended(true)
            .nested_checkouts(NestedCheckouts::Deny)
            .echo(true)
            .echo_binds(true)
            .leak_threshold(None)
            .slow_wait(None)
            .query_text(true)
            .raw_transactions(false)
            .application_name(false)
            .query_spans(QuerySpans::Off)
            .n_plus_one(None)
            .target_wait(second)
            .advice_headroom_pct(1.0)
            .replicas(1)
            .monitor_token("mW9xJ4cQ7tRb2VzK")
            .request_metrics(true)
            .monitor_source_lines(false)
            .monitor_only_healthcheck(true)
            .thresholds(thresholds)
            .settings;
        assert!(changed.validate().is_ok());
        // No field of the settings is left at its default.
        let fields = |settings: &Settings| {
            let text = format!("{settings:#?}");
            let mut fields: Vec<String> = Vec::new();
            for line in text.lines() {
                match line.strip_prefix("    ") {
                    Some(field) if field.starts_with(|first: char| first.is_ascii_lowercase()) => {
                        fields.push(field.to_owned());
                    }
                    _ => fields
                        .iter_mut()
                        .last()
                        .into_iter()
                        .for_each(|last| last.push_str(line)),
                }
            }
            fields
        };
        let (before, after) = (fields(&builder().settings), fields(&changed));
        assert_eq!(before.len(), 37);
        for (before, after) in before.iter().zip(&after) {
            assert_ne!(before, after);
        }
    }

    #[test]
    fn a_preset_replaces_what_was_set_before_it() {
        let settings = builder()
            .pool_size(1)
            .preset(Preset::Large)
            .max_overflow(2)
            .settings;
        assert_eq!((settings.pool_size, settings.max_overflow), (30, 2));
        assert_eq!(settings.pool_timeout, Duration::from_secs(20));
    }

    #[tokio::test]
    async fn build_names_the_fields_that_are_wrong() {
        let error = builder()
            .max_connecting(0)
            .keepalive(Duration::ZERO)
            .recycle_jitter_pct(51.0)
            .build()
            .unwrap_err()
            .to_string();
        for line in [
            "3 settings are wrong",
            "max_connecting=\"0\": expected a whole number from 1 to 10000",
            "keepalive=\"0s\": expected a duration from 1ms to 7 days",
            "recycle_jitter_pct=\"51\": expected a number from 0 to 50",
        ] {
            assert!(error.contains(line), "{error}");
        }
        let error = builder()
            .database_url("postgres://db/shop")
            .build()
            .unwrap_err();
        assert_eq!(error.problems().next().unwrap().variable(), "database_url");
    }
}
