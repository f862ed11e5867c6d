//! Reads all settings from any source and collects the problems.

use super::error::masked;
use super::secret::HIDDEN;
use super::value::ValueKind;
use super::variables::{self, Variable};
use super::{Problem, Settings, SettingsError, contradictions, former};

/// The source of settings, which determines the name of each setting in errors.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source<'a> {
    /// The environment. Every variable starts with the prefix.
    Environment { prefix: &'a str },
    /// The fields of a config file or of the struct itself.
    Fields,
}

impl Source<'_> {
    /// Returns the settings that this source can have.
    fn settings(self) -> impl Iterator<Item = &'static Variable> {
        let others = match self {
            Self::Environment { .. } => &[],
            Self::Fields => variables::WITHOUT_VARIABLE,
        };
        Settings::variables().iter().chain(others)
    }

    pub(super) fn name_of(self, variable: &Variable) -> String {
        match self {
            Self::Environment { prefix } => format!("{prefix}{}", variable.name()),
            Self::Fields => variable.field().to_owned(),
        }
    }

    /// Returns the name of the setting with this field.
    pub(super) fn name_of_field(self, field: &str) -> String {
        self.settings()
            .find(|variable| variable.field() == field)
            .map_or_else(|| field.to_owned(), |variable| self.name_of(variable))
    }
}

/// The value found under the name of a setting.
#[derive(Debug)]
pub(super) enum RawValue {
    Text(String),
    NotUtf8,
}

/// Reads every setting through `find`, which takes its name. `problems` are those found earlier.
pub(super) fn read(
    source: Source<'_>,
    mut problems: Vec<Problem>,
    mut find: impl FnMut(&str) -> Option<RawValue>,
) -> Result<Settings, SettingsError> {
    let mut settings = Settings::new("");
    let mut unread = Vec::new();
    let found: Vec<_> = source
        .settings()
        .map(|variable| find(&source.name_of(variable)))
        .collect();
    for (variable, found) in source.settings().zip(&found) {
        // Read secrets before any other value, so that no message shows one.
        if let (ValueKind::Secret(_), Some(RawValue::Text(text))) = (variable.kind(), found)
            && !text.trim().is_empty()
        {
            variable.kind().set(&mut settings, text.trim());
        }
    }
    for (variable, found) in source.settings().zip(found) {
        let problem = match found {
            Some(RawValue::Text(text)) if !text.trim().is_empty() => {
                apply(variable, source, &mut settings, text.trim())
            }
            Some(RawValue::NotUtf8) => Some(Problem::not_text(
                source.name_of(variable),
                variable.kind().expected(),
            )),
            // An empty text counts as not set: docker-compose turns `${DB_POOL_SIZE:-}` into one.
            _ => missing(variable, source),
        };
        if let Some(problem) = problem {
            unread.push(variable.field());
            problems.push(problem);
        }
    }
    problems.extend(contradictions::find(&settings, source, &unread));
    if let Source::Environment { prefix } = source {
        problems.extend(former::find(prefix, &settings, find));
    }
    SettingsError::unless_none(problems, settings)
}

/// Checks settings that were built in code.
pub(super) fn check(settings: &Settings) -> Result<(), SettingsError> {
    // The table's slots are mutable references, so this needs a copy; it is not modified.
    let mut copy = settings.clone();
    let mut problems = Vec::new();
    let mut wrong = Vec::new();
    for variable in variables::all() {
        if let Some(value) = variable.kind().out_of_bounds(&mut copy) {
            problems.push(problem(variable, Source::Fields, settings, &value));
            wrong.push(variable.field());
        }
    }
    problems.extend(contradictions::find(settings, Source::Fields, &wrong));
    SettingsError::unless_none(problems, ())
}

fn apply(
    variable: &Variable,
    source: Source<'_>,
    settings: &mut Settings,
    text: &str,
) -> Option<Problem> {
    let kind = variable.kind();
    let good = kind.set(settings, text).is_some() && kind.out_of_bounds(settings).is_none();
    (!good).then(|| problem(variable, source, settings, text))
}

fn problem(variable: &Variable, source: Source<'_>, settings: &Settings, value: &str) -> Problem {
    let name = source.name_of(variable);
    if let ValueKind::Url = variable.kind() {
        return settings.database_url.problem(name);
    }
    let hint = variable.hint(value).or_else(|| quoted(value));
    let value = match variable.kind() {
        ValueKind::Secret(_) => HIDDEN.to_owned(),
        _ => redact(settings, value),
    };
    Problem::wrong(name, &value, variable.kind().expected()).with_hint(hint)
}

/// Takes the secrets of the settings out of the value of another one.
pub(super) fn redact(settings: &Settings, value: &str) -> String {
    let value = match &settings.monitor_token {
        Some(token) => token.redact(value),
        None => value.to_owned(),
    };
    // The URL's password may have been pasted without the URL.
    settings.database_url.redact(&masked(&value))
}

fn missing(variable: &Variable, source: Source<'_>) -> Option<Problem> {
    let ValueKind::Url = variable.kind() else {
        return None;
    };
    let name = source.name_of(variable);
    let examples = match source {
        Source::Environment { prefix } if !prefix.is_empty() && !prefix.ends_with('_') => format!(
            "the prefix {prefix:?} is taken as it is: pass \"{prefix}_\" to read {prefix}_{}",
            variable.name()
        ),
        Source::Environment { .. } => format!(
            "for example {name}=postgres://user:password@localhost:5432/app or {name}=sqlite://app.db"
        ),
        Source::Fields => {
            "for example postgres://user:password@localhost:5432/app or sqlite://app.db".to_owned()
        }
    };
    Some(Problem::not_set(name, variable.kind().expected()).with_hint(Some(examples)))
}

/// Returns a hint for a quoted value: `docker run --env-file` and some `.env` readers keep quotes.
fn quoted(value: &str) -> Option<&'static str> {
    let quoted = |quote| value.len() > 1 && value.starts_with(quote) && value.ends_with(quote);
    (quoted('"') || quoted('\'')).then_some("the quotes are part of the value: remove them")
}
