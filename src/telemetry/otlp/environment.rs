//! Reads single variables. An unknown value counts as not set and leads to a warning, as the OpenTelemetry
//! specification requires.

use std::ffi::OsString;
use std::ops::RangeInclusive;

use super::stats::Signal;
use crate::settings::Problem;

/// The variables, and the ignored values found so far.
pub(super) struct Environment<'a> {
    pub(super) lookup: &'a dyn Fn(&str) -> Option<OsString>,
    pub(super) warnings: Vec<Problem>,
}

/// A variable with its value.
#[derive(Debug, Clone)]
pub(super) struct Set {
    pub(super) name: String,
    pub(super) value: String,
}

impl Set {
    pub(super) fn problem(&self, expected: &str, hint: Option<&str>) -> Problem {
        Problem::wrong(&*self.name, &self.value, expected.to_owned()).with_hint(hint)
    }
}

impl Environment<'_> {
    /// Adds a warning, unless the variable has one. Three signals may read the same variable.
    pub(super) fn warn(&mut self, problem: Problem) {
        let same = |other: &Problem| other.variable() == problem.variable();
        if !self.warnings.iter().any(same) {
            self.warnings.push(problem);
        }
    }

    /// Returns the value, or warns that without it a signal cannot be exported.
    pub(super) fn or_off<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        const OFF: &str = "the signals that it is for are not exported";
        result
            .map_err(|problem| {
                let hint = match problem.hint() {
                    Some(hint) => format!("{hint}; {OFF}"),
                    None => OFF.to_owned(),
                };
                self.warn(problem.with_hint(Some(hint)));
            })
            .ok()
    }

    /// Returns the trimmed value. An empty one counts as not set.
    pub(super) fn find(&mut self, name: &str) -> Option<Set> {
        let Ok(value) = (self.lookup)(name)?.into_string() else {
            let problem = Problem::not_text(name, "text".to_owned());
            self.warn(problem.with_hint(Some("it counts as not set")));
            return None;
        };
        let value = value.trim();
        (!value.is_empty()).then(|| Set {
            name: name.to_owned(),
            value: value.to_owned(),
        })
    }

    /// Returns the first of these variables that is set.
    pub(super) fn find_first(&mut self, names: &[String]) -> Option<Set> {
        names.iter().find_map(|name| self.find(name))
    }

    /// Reads one of a few words, in upper or lower case. `usual` is used if none is set.
    pub(super) fn word<T: Copy>(
        &mut self,
        names: &[impl AsRef<str>],
        words: &[(&str, T)],
        usual: &str,
    ) -> Option<T> {
        let expected: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        self.first(names, &expected.join(" or "), usual, |value| {
            let mut words = words.iter();
            let word = words.find(|(word, _)| value.eq_ignore_ascii_case(word));
            word.map(|(_, meaning)| *meaning)
        })
    }

    /// Returns which of `words` are in a list with commas; `None` if none of them is. Then `usual` is used.
    pub(super) fn list<const N: usize>(
        &mut self,
        name: &str,
        words: [&str; N],
        usual: &str,
    ) -> Option<[bool; N]> {
        let found = self.find(name)?;
        let value = found.value.to_ascii_lowercase();
        let listed: Vec<_> = value.split(',').map(str::trim).collect();
        let is_known = |word: &&str| word.is_empty() || words.contains(word);
        let known = words.map(|word| listed.contains(&word));
        if !listed.iter().all(is_known) {
            let used: Vec<_> = words.into_iter().filter(|it| listed.contains(it)).collect();
            let used = if used.is_empty() {
                usual
            } else {
                &used.join(",")
            };
            let hint = format!("{used} is used, and others can be set up in code");
            self.warn(found.problem(&words.join(" or "), Some(&hint)));
        }
        known.contains(&true).then_some(known)
    }

    pub(super) fn flag(&mut self, names: &[impl AsRef<str>]) -> bool {
        self.word(names, &[("true", true), ("false", false)], "false") == Some(true)
    }

    pub(super) fn number(
        &mut self,
        names: &[impl AsRef<str>],
        range: RangeInclusive<u64>,
        default: u64,
    ) -> u64 {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let parse = |value: &str| value.parse().ok().filter(|number| range.contains(number));
        let number = self.first(names, &expected, &default.to_string(), parse);
        number.unwrap_or(default)
    }

    /// Returns the first value that can be parsed, and warns of those before it. `usual` is used if there is
    /// none.
    pub(super) fn first<T>(
        &mut self,
        names: &[impl AsRef<str>],
        expected: &str,
        usual: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let mut ignored = Vec::new();
        let mut used = None;
        for name in names {
            let Some(found) = self.find(name.as_ref()) else {
                continue;
            };
            if let Some(value) = parse(&found.value) {
                used = Some((value, found));
                break;
            }
            ignored.push(found);
        }
        let instead = match &used {
            Some((_, found)) => format!("{} is used", found.name),
            None => format!("{usual} is used"),
        };
        for found in ignored {
            self.warn(found.problem(expected, Some(&instead)));
        }
        used.map(|(value, _)| value)
    }
}

/// Returns the variable of one signal's exporter and the one of all exporters, in this order.
pub(super) fn of_exporter(signal: Signal, what: &str) -> [String; 2] {
    let signal = signal.in_variables();
    [
        format!("OTEL_EXPORTER_OTLP_{signal}_{what}"),
        format!("OTEL_EXPORTER_OTLP_{what}"),
    ]
}
