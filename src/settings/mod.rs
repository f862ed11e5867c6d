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
//! A new setting is a field in `fields.rs`, a row in `variables.rs` and a method of `PoolBuilder`. The tests then
//! require its line in `docs/configuration.md`, and in `.env.example` if it has a variable.

mod config_file;
mod contradictions;
mod database_url;
mod duration;
mod environment;
mod error;
mod fields;
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
pub use self::fields::Settings;
pub use self::nested_checkouts::NestedCheckouts;
pub use self::preset::Preset;
pub use self::query_spans::QuerySpans;
pub use self::reset_on_return::ResetOnReturn;
pub use self::secret::Secret;
pub use self::suggest::UnknownVariable;
pub use self::thresholds::Thresholds;
pub use self::variables::Variable;

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
