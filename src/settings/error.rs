//! One error that lists everything that is wrong, so that nobody restarts an app once a mistake.

use std::fmt;

use super::DatabaseUrl;

/// Values longer than this are cut in messages, in characters.
const SHOWN: usize = 80;

/// Everything that is wrong with the settings, in one error.
///
/// Printed, it has a line for each problem; so has its `Debug`, which is what a `main` that returns
/// it prints. Neither shows a password.
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
    /// The problems one by one, in the order of the settings.
    #[must_use]
    pub fn problems(&self) -> impl ExactSizeIterator<Item = &Problem> {
        self.problems.iter()
    }

    /// `value`, unless there are problems.
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

/// One wrong setting: what it is called, what it was, what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    variable: String,
    state: State,
    expected: String,
    hint: Option<String>,
}

/// What is the matter with the setting.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Wrong(String),
    NotSet,
    NotText,
    SetTwice,
    Unknown,
}

impl Problem {
    /// The variable as it was read, prefix included (`REPLICA_DB_POOL_SIZE`), or the field
    /// (`pool_size`) when the settings are from a config file or from code.
    #[must_use]
    pub fn variable(&self) -> &str {
        &self.variable
    }

    /// The value, fit to be shown: without secrets, and cut if it is long. `None` if there is none.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        match &self.state {
            State::Wrong(value) => Some(value),
            _ => None,
        }
    }

    /// What is allowed.
    #[must_use]
    pub fn expected(&self) -> &str {
        &self.expected
    }

    /// What to do about it, where there is more to say than what is allowed.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    pub(crate) fn wrong(variable: impl Into<String>, value: &str, expected: String) -> Self {
        Self::with_state(variable, State::Wrong(shown(value)), expected)
    }

    pub(super) fn not_set(variable: impl Into<String>, expected: String) -> Self {
        Self::with_state(variable, State::NotSet, expected)
    }

    pub(crate) fn not_text(variable: impl Into<String>, expected: String) -> Self {
        Self::with_state(variable, State::NotText, expected)
    }

    pub(super) fn set_twice(variable: impl Into<String>) -> Self {
        Self::with_state(variable, State::SetTwice, "one value".to_owned())
    }

    pub(super) fn unknown(variable: &str) -> Self {
        Self::with_state(
            shown(variable),
            State::Unknown,
            "the name of a setting".to_owned(),
        )
    }

    pub(crate) fn with_hint(mut self, hint: Option<impl Into<String>>) -> Self {
        self.hint = hint.map(Into::into);
        self
    }

    fn with_state(variable: impl Into<String>, state: State, expected: String) -> Self {
        Self {
            variable: variable.into(),
            state,
            expected,
            hint: None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.variable)?;
        match &self.state {
            State::Wrong(value) => write!(f, "={value:?}")?,
            State::NotSet => f.write_str(" is not set")?,
            State::NotText => f.write_str(" is not UTF-8")?,
            State::SetTwice => f.write_str(" is set twice")?,
            State::Unknown => f.write_str(" is unknown")?,
        }
        write!(f, ": expected {}", self.expected)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// A value as a message may show it.
fn shown(value: &str) -> String {
    let safe = masked(value);
    match safe.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &safe[..end]),
        None => safe,
    }
}

/// Hides what may be a URL, for people paste it into the wrong variable, too.
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
    fn one_problem_is_one_line_and_several_have_a_line_each() {
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
    fn a_problem_can_be_taken_apart() {
        let problem = problem("ten").with_hint(Some("set 10"));
        assert_eq!(problem.variable(), "DB_POOL_SIZE");
        assert_eq!(problem.value(), Some("ten"));
        assert_eq!(problem.expected(), "a number");
        assert_eq!(problem.hint(), Some("set 10"));
        assert_eq!(Problem::set_twice("echo").value(), None);
    }

    #[test]
    fn a_value_cannot_forge_a_line_nor_fill_the_log() {
        let text = problem(&format!("1\n{}", "é".repeat(1000))).to_string();
        assert!(text.starts_with(r#"DB_POOL_SIZE="1\nééé"#), "{text}");
        assert!(text.chars().count() < 130);
    }

    #[test]
    fn a_url_in_the_wrong_variable_keeps_its_password() {
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
