//! Finds misspelt names of settings.

use std::ffi::OsStr;
use std::fmt;

use strsim::levenshtein;

use super::{Settings, former};

/// A variable that looks like a setting of this crate but is not one; see
/// [`Settings::unknown_variables`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownVariable {
    name: String,
    suggestion: Option<String>,
}

impl UnknownVariable {
    /// Returns the name as it is set, prefix included.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the name that was probably meant, prefix included; `None` if no name is close.
    #[must_use]
    pub fn suggestion(&self) -> Option<&str> {
        self.suggestion.as_deref()
    }
}

impl fmt::Display for UnknownVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not a setting and is ignored", self.name)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; did you mean {suggestion}?"),
            None => Ok(()),
        }
    }
}

impl Settings {
    /// Returns those of `names` that look like misspelt settings, for a warning in the log.
    ///
    /// These are the unknown names that start with `DB_POOL`, and those that differ from a setting
    /// by one or two letters. An app's own `DB_HOST` is not among them.
    ///
    /// ```
    /// use poolscope::Settings;
    ///
    /// let names = ["PATH", "DB_HOST", "DB_POOL_SZIE"]; // or std::env::vars_os().map(|(name, _)| name)
    /// let [unknown] = &Settings::unknown_variables("", names)[..] else { panic!() };
    /// assert_eq!(
    ///     unknown.to_string(),
    ///     "DB_POOL_SZIE is not a setting and is ignored; did you mean DB_POOL_SIZE?"
    /// );
    /// ```
    #[must_use]
    pub fn unknown_variables(
        prefix: &str,
        names: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Vec<UnknownVariable> {
        let known = || Self::variables().iter().map(super::Variable::name);
        let mut unknown: Vec<_> = names
            .into_iter()
            .filter_map(|name| {
                let name = name.as_ref().to_str()?;
                let bare = name.strip_prefix(prefix)?;
                // A former variable is an error of its own.
                let is_former = |name: &str| former::names().any(|former| former == name);
                if known().any(|known| known == bare) || is_former(bare) {
                    return None;
                }
                let suggestion =
                    nearest(bare, known().chain(former::names())).filter(|known| !is_former(known));
                let close = suggestion.is_some_and(|known| levenshtein(bare, known) <= 2);
                (bare.starts_with("DB_POOL") || close).then(|| UnknownVariable {
                    name: name.to_owned(),
                    suggestion: suggestion.map(|known| format!("{prefix}{known}")),
                })
            })
            .collect();
        unknown.sort_by(|a, b| a.name.cmp(&b.name));
        unknown
    }
}

/// Returns the closest name in `known`; `None` if more than a third of the letters differ.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A name from outside can have any length, and the time to compare it grows with the length.
    const LONGEST: usize = 100;
    if name.len() > LONGEST {
        return None;
    }
    known
        .map(|known| (levenshtein(name, known), known))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= name.len() / 3)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suggestions(prefix: &str, names: &[&str]) -> Vec<String> {
        Settings::unknown_variables(prefix, names)
            .iter()
            .map(|unknown| format!("{} {}", unknown.name(), unknown.suggestion().unwrap_or("-")))
            .collect()
    }

    #[test]
    fn an_unknown_variable_suggests_a_setting() {
        let said = |name| Settings::unknown_variables("", [name])[0].to_string();
        assert_eq!(
            said("DB_POOL_SZIE"),
            "DB_POOL_SZIE is not a setting and is ignored; did you mean DB_POOL_SIZE?"
        );
        assert!(said("DB_POOL_FROBNICATION_QUOTIENT").ends_with("and is ignored"));
    }

    #[test]
    fn typing_errors_are_found_and_an_apps_own_variables_are_not() {
        let names = [
            "DB_MAX_OVERFLOWS",
            "DB_POOL_MAX_OVERFLOW",
            "DB_POOL_PREPING",
            "DB_POOL_ZZZZZZZZZZZZZZ",
            "DB_POOL_QUEUE_INTERVALL",
            "DATABASE_URI",
            "DB_HOST",
            "DB_NAME",
            "DB_PASSWORD",
            "DATABASE_URL_TEST",
            "REPLICA_DB_POOL_SZIE",
            "HOME",
            "",
        ];
        assert_eq!(
            suggestions("", &names),
            [
                "DATABASE_URI DATABASE_URL",
                "DB_MAX_OVERFLOWS DB_MAX_OVERFLOW",
                "DB_POOL_MAX_OVERFLOW DB_MAX_OVERFLOW",
                "DB_POOL_PREPING DB_POOL_PRE_PING",
                "DB_POOL_QUEUE_INTERVALL -",
                "DB_POOL_ZZZZZZZZZZZZZZ -",
            ]
        );
        assert_eq!(
            suggestions("REPLICA_", &names),
            ["REPLICA_DB_POOL_SZIE REPLICA_DB_POOL_SIZE"]
        );
    }

    #[test]
    fn no_setting_is_unknown() {
        let names = Settings::variables()
            .iter()
            .map(super::super::Variable::name);
        assert_eq!(Settings::unknown_variables("", names), []);
        // Reading the environment reports it.
        assert_eq!(
            Settings::unknown_variables("", ["DB_POOL_QUEUE_INTERVAL"]),
            []
        );
    }

    #[test]
    fn a_name_of_any_length_is_compared() {
        assert_eq!(nearest(&"x".repeat(1 << 20), ["x"].into_iter()), None);
    }
}
