//! What-if parameters of the advice: another target, load, number of replicas or pool size.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

use crate::settings::Settings;

/// The number of characters shown of an invalid value.
const SHOWN: usize = 40;

/// A parameter of the route.
struct Parameter<T> {
    name: &'static str,
    kind: &'static str,
    allowed: RangeInclusive<T>,
}

impl<T> Parameter<T> {
    const fn new(name: &'static str, kind: &'static str, allowed: RangeInclusive<T>) -> Self {
        Self {
            name,
            kind,
            allowed,
        }
    }
}

const TARGET: Parameter<f64> = Parameter::new("target_p95_ms", "a number", 0.1..=60_000.0);
const RATE: Parameter<f64> = Parameter::new("rate", "a number", 0.01..=1000.0);
const REPLICAS: Parameter<u32> =
    Parameter::new("replicas", "a whole number", 1..=Settings::MAX_CONNECTIONS);
const POOL_SIZE: Parameter<u32> =
    Parameter::new("pool_size", "a whole number", 1..=Settings::MAX_CONNECTIONS);

impl<T: Display + FromStr + PartialOrd> Parameter<T> {
    fn set(&self, slot: &mut Option<T>, text: &str) -> Result<(), WhatIfError> {
        if slot.is_some() {
            return Err(WhatIfError(format!(
                "{} is given more than once",
                self.name
            )));
        }
        // Rust's parsers would also accept `+5`, `inf` and `NaN`.
        let plain = text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
        *slot = text.parse().ok().filter(|_| plain);
        slot.as_ref().map(drop).ok_or_else(|| self.wrong(text))
    }

    fn check(&self, value: Option<T>) -> Result<(), WhatIfError> {
        match value {
            Some(value) if !self.allowed.contains(&value) => Err(self.wrong(&value.to_string())),
            _ => Ok(()),
        }
    }

    fn wrong(&self, value: &str) -> WhatIfError {
        WhatIfError(format!(
            "{}=\"{}\": expected {} from {} to {}",
            self.name,
            shown(value),
            self.kind,
            self.allowed.start(),
            self.allowed.end(),
        ))
    }
}

/// Circumstances that differ from the measured ones, for
/// [`Observe::optimize_for`](crate::service::Observe::optimize_for). Unset parameters keep the measured values.
///
/// Equivalent to the route's `optimize?target_p95_ms=8&rate=1.5&replicas=4&pool_size=20`:
///
/// ```
/// # #[cfg(feature = "sqlite")] mod doc {
/// use poolscope::{Pool, Settings};
/// use poolscope::backend::AsyncSqliteConnection;
/// use poolscope::report::WhatIf;
/// use std::time::Duration;
///
/// # #[tokio::main] pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?; let url = format!("sqlite://{}/app.db", folder.path().display());
/// let pool = Pool::<AsyncSqliteConnection>::builder(Settings::new(url)).build()?;
/// let what_if = WhatIf::new()
///     .target_p95(Duration::from_millis(8))
///     .rate(1.5)
///     .replicas(4)
///     .pool_size(20);
/// let advice = pool.optimize_for(&what_if).await?;
/// assert_eq!(advice.target_p95_ms, 8.0);
///
/// let error = pool.optimize_for(&WhatIf::new().rate(-1.0)).await.unwrap_err();
/// assert_eq!(error.to_string(), r#"rate="-1": expected a number from 0.01 to 1000"#);
/// # Ok(()) }
/// # } #[cfg(feature = "sqlite")] fn main() { doc::main().unwrap() } #[cfg(not(feature = "sqlite"))] fn main() {}
/// ```
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct WhatIf {
    /// The target for the p95 of the wait in the queue, in milliseconds, instead of
    /// `DB_POOL_TARGET_WAIT`: 0.1 to 60000.
    pub target_p95_ms: Option<f64>,
    /// The factor by which to multiply the measured arrivals: 0.01 to 1000.
    pub rate: Option<f64>,
    /// The number of replicas that share the server, instead of the counted or set number: 1 to 10000.
    /// The arrivals of each replica do not change, except by `rate`.
    pub replicas: Option<u32>,
    /// The total number of connections for which to predict the waits: 1 to 10000.
    pub pool_size: Option<u32>,
}

impl WhatIf {
    /// Creates parameters that change nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the target for the p95 of the wait in the queue: 0.1 ms to 60 s.
    #[must_use]
    pub fn target_p95(mut self, target: Duration) -> Self {
        self.target_p95_ms = Some(target.as_secs_f64() * 1e3);
        self
    }

    /// Multiplies the measured arrivals by this factor: 0.01 to 1000.
    #[must_use]
    pub fn rate(mut self, times: f64) -> Self {
        self.rate = Some(times);
        self
    }

    /// Sets the number of replicas that share the server: 1 to 10000. The arrivals of each replica do
    /// not change.
    #[must_use]
    pub fn replicas(mut self, replicas: u32) -> Self {
        self.replicas = Some(replicas);
        self
    }

    /// Requests the waits with this total number of connections, including overflow: 1 to 10000.
    #[must_use]
    pub fn pool_size(mut self, connections: u32) -> Self {
        self.pool_size = Some(connections);
        self
    }

    /// Parses a query string.
    pub(crate) fn from_query(query: &str) -> Result<Self, WhatIfError> {
        let mut what_if = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "target_p95_ms" => TARGET.set(&mut what_if.target_p95_ms, &value)?,
                "rate" => RATE.set(&mut what_if.rate, &value)?,
                "replicas" => REPLICAS.set(&mut what_if.replicas, &value)?,
                "pool_size" => POOL_SIZE.set(&mut what_if.pool_size, &value)?,
                // The value is not shown, because it may be a misplaced secret.
                _ => {
                    return Err(WhatIfError(format!(
                        "\"{}\" is not a parameter; the parameters are {}, {}, {} and {}",
                        shown(&name),
                        TARGET.name,
                        RATE.name,
                        REPLICAS.name,
                        POOL_SIZE.name,
                    )));
                }
            }
        }
        what_if.check()?;
        Ok(what_if)
    }

    /// Checks that all parameters are within their bounds.
    pub(super) fn check(&self) -> Result<(), WhatIfError> {
        TARGET.check(self.target_p95_ms)?;
        RATE.check(self.rate)?;
        REPLICAS.check(self.replicas)?;
        POOL_SIZE.check(self.pool_size)
    }
}

/// An invalid [`WhatIf`]: names the parameter, its value and the allowed range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WhatIfError(String);

/// Truncates and escapes a received text, so that it can be shown anywhere.
fn shown(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars().take(SHOWN) {
        match c == ' ' || c.is_ascii_graphic() && !"\"&'<>\\`".contains(c) {
            true => shown.push(c),
            false => shown.extend(c.escape_unicode()),
        }
    }
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(query: &str) -> String {
        WhatIf::from_query(query).unwrap_err().to_string()
    }

    #[test]
    fn a_query_string_equals_the_builder() {
        let said = WhatIf::from_query("target_p95_ms=8&rate=1.5&replicas=4&pool_size=20");
        let built = WhatIf::new().target_p95(Duration::from_millis(8)).rate(1.5);
        assert_eq!(said, Ok(built.replicas(4).pool_size(20)));
        for nothing in ["", "&", "&&"] {
            assert_eq!(WhatIf::from_query(nothing), Ok(WhatIf::new()));
        }
        let encoded = WhatIf::from_query("%72ate=%31%2e5&pool_size=%320");
        assert_eq!(encoded, Ok(WhatIf::new().rate(1.5).pool_size(20)));
        let least = "target_p95_ms=0.1&rate=0.01&replicas=1&pool_size=1";
        assert!(WhatIf::from_query(least).is_ok());
        let most = "target_p95_ms=60000&rate=1000&replicas=10000&pool_size=10000";
        assert!(WhatIf::from_query(most).is_ok());
    }

    #[test]
    fn errors_name_the_parameter_and_the_allowed_values() {
        for (query, said) in [
            (
                "target_p95_ms=",
                r#"target_p95_ms="": expected a number from 0.1 to 60000"#,
            ),
            (
                "rate=NaN",
                r#"rate="NaN": expected a number from 0.01 to 1000"#,
            ),
            (
                "rate=1e3",
                r#"rate="1e3": expected a number from 0.01 to 1000"#,
            ),
            ("rate=0", r#"rate="0": expected a number from 0.01 to 1000"#),
            (
                "replicas=0",
                r#"replicas="0": expected a whole number from 1 to 10000"#,
            ),
            (
                "replicas=%2B2",
                r#"replicas="+2": expected a whole number from 1 to 10000"#,
            ),
            (
                "pool_size=2.5",
                r#"pool_size="2.5": expected a whole number from 1 to 10000"#,
            ),
            (
                "pool_size=99999999999",
                r#"pool_size="99999999999": expected a whole number from 1 to 10000"#,
            ),
            (
                "pool_size",
                r#"pool_size="": expected a whole number from 1 to 10000"#,
            ),
            ("rate=1&rate=1", "rate is given more than once"),
            (
                "Rate=1",
                r#""Rate" is not a parameter; the parameters are target_p95_ms, rate, replicas and pool_size"#,
            ),
        ] {
            assert_eq!(error(query), said, "{query}");
        }
        for what_if in [
            WhatIf::new().rate(f64::NAN),
            WhatIf::new().rate(f64::INFINITY),
            WhatIf::new().target_p95(Duration::ZERO),
            WhatIf::new().replicas(0),
            WhatIf::new().pool_size(u32::MAX),
        ] {
            assert!(what_if.check().is_err(), "{what_if:?}");
        }
    }

    #[test]
    fn received_text_is_truncated_and_escaped() {
        assert_eq!(
            shown("<b>\"'&\\`\n\u{e9}"),
            r"\u{3c}b\u{3e}\u{22}\u{27}\u{26}\u{5c}\u{60}\u{a}\u{e9}"
        );
        assert_eq!(shown(&"7".repeat(41)), format!("{}…", "7".repeat(40)));
        let text = error("token=hunter2hunter2");
        assert!(
            text.contains("token") && !text.contains("hunter2"),
            "{text}"
        );
    }

    proptest! {
        #[test]
        fn no_query_panics_or_is_echoed_raw(query in ".{0,200}") {
            if let Err(error) = WhatIf::from_query(&query) {
                let text = error.to_string();
                prop_assert!(!text.contains(['<', '>', '&', '\'', '`', '\n']), "{}", text);
                prop_assert!(text.len() < 700, "{}", text);
            }
        }

        #[test]
        fn parsed_values_are_within_their_bounds(
            name in prop::sample::select(vec!["target_p95_ms", "rate", "replicas", "pool_size"]),
            value in "[0-9.+%eE-]{0,12}",
        ) {
            if let Ok(what_if) = WhatIf::from_query(&format!("{name}={value}")) {
                prop_assert!(what_if.check().is_ok());
                prop_assert_ne!(what_if, WhatIf::new());
            }
        }
    }
}
