//! Reads single variables, and collects what is wrong with them.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::exports::Signal;
use crate::settings::Problem;

/// The longest of all times, in milliseconds: a day.
const LONGEST: u64 = 24 * 3600 * 1000;

/// Where variables are looked up, and what was wrong with those read so far.
pub(super) struct Variables<'a> {
    lookup: &'a dyn Fn(&str) -> Option<OsString>,
    problems: Vec<Problem>,
}

/// A variable with its value.
#[derive(Debug, Clone)]
pub(super) struct Set {
    pub(super) name: String,
    pub(super) value: String,
}

impl<'a> Variables<'a> {
    pub(super) fn new(lookup: &'a dyn Fn(&str) -> Option<OsString>) -> Self {
        Self {
            lookup,
            problems: Vec::new(),
        }
    }

    /// What was wrong.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// One problem a variable: three signals may read the same.
    pub(super) fn report(&mut self, problem: Problem) {
        if !self
            .problems
            .iter()
            .any(|other| other.variable() == problem.variable())
        {
            self.problems.push(problem);
        }
    }

    /// The value without the space around it; an empty one counts as not set.
    pub(super) fn find(&mut self, name: &str) -> Option<Set> {
        let value = (self.lookup)(name)?;
        match value.into_string() {
            Ok(text) => Some(text.trim())
                .filter(|text| !text.is_empty())
                .map(|text| Set {
                    name: name.to_owned(),
                    value: text.to_owned(),
                }),
            Err(_) => {
                self.report(Problem::not_text(name, "text".to_owned()));
                None
            }
        }
    }

    /// `OTEL_EXPORTER_OTLP_TRACES_<what>`, else `OTEL_EXPORTER_OTLP_<what>`.
    pub(super) fn of_exporter(&mut self, signal: Signal, what: &str) -> Option<Set> {
        self.find(&exporter_variable(signal, what))
            .or_else(|| self.find(&format!("OTEL_EXPORTER_OTLP_{what}")))
    }

    /// One of a few words, in any case.
    pub(super) fn choice<T: Copy>(
        &mut self,
        found: Option<Set>,
        choices: &[(&str, T)],
        hint: Option<&str>,
    ) -> Option<T> {
        let found = found?;
        let chosen = choices
            .iter()
            .find(|(word, _)| found.value.eq_ignore_ascii_case(word));
        if chosen.is_none() {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            self.wrong(&found, &one_of(&words), hint);
        }
        chosen.map(|(_, value)| *value)
    }

    pub(super) fn flag(&mut self, name: &str) -> bool {
        let found = self.find(name);
        self.choice(found, &[("true", true), ("false", false)], None)
            .unwrap_or(false)
    }

    pub(super) fn count(
        &mut self,
        name: &str,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> (u64, bool) {
        let Some(found) = self.find(name) else {
            return (default, false);
        };
        match found.value.parse() {
            Ok(count) if range.contains(&count) => (count, true),
            _ => {
                let expected = format!("a whole number from {} to {}", range.start(), range.end());
                self.wrong(&found, &expected, None);
                (default, false)
            }
        }
    }

    /// Milliseconds, as the standard has them.
    pub(super) fn milliseconds(&mut self, found: Option<Set>, default: Duration) -> Duration {
        let Some(found) = found else {
            return default;
        };
        match found.value.parse() {
            Ok(ms @ 1..=LONGEST) => Duration::from_millis(ms),
            _ => {
                let digits = found.value.trim_end_matches(|c: char| !c.is_ascii_digit());
                let hint = (digits.len() < found.value.len())
                    .then_some("the unit is always milliseconds: leave it out");
                let expected = format!("milliseconds, a whole number from 1 to {LONGEST} (a day)");
                self.wrong(&found, &expected, hint);
                default
            }
        }
    }

    pub(super) fn wrong(&mut self, found: &Set, expected: &str, hint: Option<&str>) {
        let problem = Problem::wrong(&*found.name, &found.value, expected.to_owned());
        self.report(problem.with_hint(hint));
    }

    /// As [`wrong`](Self::wrong), of a value that may hold a secret.
    pub(super) fn wrong_secret(&mut self, found: &Set, expected: &str, hint: &str) {
        let problem = Problem::wrong(&*found.name, "(not shown)", expected.to_owned());
        self.report(problem.with_hint(Some(hint)));
    }
}

/// `OTEL_EXPORTER_OTLP_TRACES_<what>`.
pub(super) fn exporter_variable(signal: Signal, what: &str) -> String {
    format!("OTEL_EXPORTER_OTLP_{}_{what}", signal.in_variables())
}

fn one_of(words: &[&str]) -> String {
    match words {
        [all @ .., last] if !all.is_empty() => format!("{} or {last}", all.join(", ")),
        _ => words.concat(),
    }
}
