//! One error that lists all problems, so that fixing them takes one restart of the app.

use std::fmt;

use super::DatabaseUrl;

/// The maximum length of a value in messages, in characters; longer values are cut.
const SHOWN: usize = 80;

/// All problems with the settings, in one error.
///
/// `Display` and `Debug` print one line per problem. (A `main` that returns the error prints its
/// `Debug`.) Neither shows a password.
///
/// ```
/// use poolscope::Settings;
///
/// let error = Settings::from_lookup("", |name| match name {
///     "DATABASE_URL" => Some("sqlite://app.db".into()),
///     "DB_POOL_SIZE" => Some("ten".into()),
///     "DB_ECHO" => Some("maybe".into()),
///     _ => None,
/// })
/// .unwrap_err();
///
/// assert_eq!(error.problems().count(), 2);
/// assert_eq!(
///     error.to_string(),
///     "2 settings are wrong\n  \
///      DB_POOL_SIZE=\"ten\": expected a whole number from 1 to 10000\n  \
///      DB_ECHO=\"maybe\": expected true or false (or 1/0, yes/no, on/off)"
/// );
/// ```
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub struct SettingsError {
    problems: Vec<Problem>,
}

impl SettingsError {
    /// Returns the problems in the order of the settings.
    #[must_use]
    pub fn problems(&self) -> impl ExactSizeIterator<Item = &Problem> {
        self.problems.iter()
    }

    /// Returns `value` if there are no problems.
    pub(crate) fn unless_none<T>(problems: Vec<Problem>, value: T) -> Result<T, Self> {
        if problems.is_empty() {
            Ok(value)
        } else {
            Err(Self { problems })
        }
    }
}

impl From<Problem> for SettingsError {
    fn from(problem: Problem) -> Self {
        Self {
            problems: vec![problem],
        }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [problem] => write!(f, "a setting is wrong: {problem}"),
            problems => {
                write!(f, "{} settings are wrong", problems.len())?;
                problems
                    .iter()
                    .try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl fmt::Debug for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A wrong setting: its name, its value and the allowed values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    variable: String,
    value: Option<String>,
    /// What is wrong if not the value: ` is not set`.
    what: &'static str,
    expected: String,
    hint: Option<String>,
}

impl Problem {
    /// Returns the name of the variable, prefix included (`REPLICA_DB_POOL_SIZE`), or of the field
    /// (`pool_size`) if the settings are from a config file or from code.
    #[must_use]
    pub fn variable(&self) -> &str {
        &self.variable
    }

    /// Returns the value without secrets, and cut if it is long; `None` if there is no value.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// Returns a description of the allowed values; empty for a variable that is no longer one.
    #[must_use]
    pub fn expected(&self) -> &str {
        &self.expected
    }

    /// Returns a hint on how to fix the problem, if there is one.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    pub(crate) fn wrong(variable: impl Into<String>, value: &str, expected: String) -> Self {
        Self::new(variable, Some(value), "", expected)
    }

    pub(super) fn not_set(variable: impl Into<String>, expected: String) -> Self {
        Self::new(variable, None, " is not set", expected)
    }

    pub(crate) fn not_text(variable: impl Into<String>, expected: String) -> Self {
        Self::new(variable, None, " is not UTF-8", expected)
    }

    pub(super) fn set_twice(variable: impl Into<String>) -> Self {
        Self::new(variable, None, " is set twice", "one value".to_owned())
    }

    pub(super) fn unknown(variable: &str) -> Self {
        let expected = "the name of a setting".to_owned();
        Self::new(shown(variable), None, " is unknown", expected)
    }

    /// A variable that is no longer read. `instead` says what to set.
    pub(super) fn former(variable: String, value: Option<&str>, instead: String) -> Self {
        let what = " is not an environment variable";
        Self::new(variable, value, what, String::new()).with_hint(Some(instead))
    }

    pub(crate) fn with_hint(mut self, hint: Option<impl Into<String>>) -> Self {
        self.hint = hint.map(Into::into);
        self
    }

    fn new(
        variable: impl Into<String>,
        value: Option<&str>,
        what: &'static str,
        expected: String,
    ) -> Self {
        Self {
            variable: variable.into(),
            value: value.map(shown),
            what,
            expected,
            hint: None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.variable)?;
        if let Some(value) = &self.value {
            write!(f, "={value:?}")?;
        }
        f.write_str(self.what)?;
        let hint = self.hint.as_deref().unwrap_or_default();
        match (&*self.expected, hint) {
            ("", hint) => write!(f, ": {hint}"),
            (expected, "") => write!(f, ": expected {expected}"),
            (expected, hint) => write!(f, ": expected {expected}; {hint}"),
        }
    }
}

/// Returns a value as messages show it: without secrets, and cut if it is long.
fn shown(value: &str) -> String {
    let safe = masked(value);
    match safe.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &safe[..end]),
        None => safe,
    }
}

/// Hides the secrets of a text that may be a URL, because URLs are pasted into the wrong variable, too.
pub(super) fn masked(value: &str) -> String {
    if value.contains(['@', '=']) || value.contains("://") {
        DatabaseUrl::from(value).to_string()
    } else {
        value.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(value: &str) -> Problem {
        Problem::wrong("DB_POOL_SIZE", value, "a number".to_owned())
    }

    #[test]
    fn each_problem_is_printed_on_a_line() {
        let one = SettingsError::from(problem("ten"));
        assert_eq!(
            one.to_string(),
            "a setting is wrong: DB_POOL_SIZE=\"ten\": expected a number"
        );
        let two = SettingsError {
            problems: vec![problem("a"), problem("b").with_hint(Some("set 1"))],
        };
        assert_eq!(
            format!("{two:?}"),
            "2 settings are wrong\n  DB_POOL_SIZE=\"a\": expected a number\n  \
             DB_POOL_SIZE=\"b\": expected a number; set 1"
        );
    }

    #[test]
    fn a_problem_returns_its_parts() {
        let problem = problem("ten").with_hint(Some("set 10"));
        assert_eq!(problem.variable(), "DB_POOL_SIZE");
        assert_eq!(problem.value(), Some("ten"));
        assert_eq!(problem.expected(), "a number");
        assert_eq!(problem.hint(), Some("set 10"));
        assert_eq!(Problem::set_twice("echo").value(), None);
    }

    #[test]
    fn a_value_cannot_add_a_line_or_fill_the_log() {
        let text = problem(&format!("1\n{}", "é".repeat(1000))).to_string();
        assert!(text.starts_with(r#"DB_POOL_SIZE="1\nééé"#), "{text}");
        assert!(text.chars().count() < 130);
    }

    #[test]
    fn a_url_in_the_wrong_variable_does_not_show_its_password() {
        for value in [
            "postgres://app:hunter2@db/shop",
            "app:hunter2@db",
            "host=db password=hunter2",
            "nonsense://app:hunter2@db",
        ] {
            let problem = problem(value);
            assert!(!problem.to_string().contains("hunter2"), "{problem}");
            assert!(!format!("{problem:?}").contains("hunter2"));
            assert!(!Problem::unknown(value).to_string().contains("hunter2"));
        }
    }
}
