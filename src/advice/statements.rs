//! The statements that take most of the time.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;

use super::shares::{NAMED, share};
use crate::report::timings::{millis, round, seconds};

/// What one statement has used within the last five minutes.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StatementShare {
    /// What it does, to which tables: `SELECT orders`; its text, without values, with
    /// `DB_POOL_QUERY_TEXT`. `_OTHER` for those that are not told apart.
    pub statement: String,
    /// Its part of the time of all statements, in percent.
    pub share_pct: f64,
    /// Its time, in seconds.
    pub seconds: f64,
    /// How often it was sent.
    pub executions: u64,
    /// How long it took on average, in milliseconds.
    pub mean_ms: f64,
}

impl StatementShare {
    /// Those that used most, at most ten, the first the most: each by what it is called, how often
    /// it was sent and how long it took. Those of one name are one.
    pub(super) fn read(used: impl IntoIterator<Item = (String, u64, Duration)>) -> Vec<Self> {
        let mut by_name = HashMap::<String, (u64, Duration)>::new();
        for (name, count, time) in used.into_iter().filter(|(_, count, _)| *count > 0) {
            let sum = by_name.entry(name).or_default();
            *sum = (sum.0 + count, sum.1.saturating_add(time));
        }
        let all: f64 = by_name.values().map(|(_, time)| time.as_secs_f64()).sum();
        let mut shares: Vec<_> = by_name
            .into_iter()
            .map(|(statement, (count, time))| Self {
                statement,
                share_pct: share(time.as_secs_f64(), all),
                seconds: seconds(time),
                executions: count,
                mean_ms: round(millis(time) / count as f64, 3),
            })
            .collect();
        shares.sort_by(|a, b| {
            let most = b.seconds.total_cmp(&a.seconds);
            most.then_with(|| a.statement.cmp(&b.statement))
        });
        shares.truncate(NAMED);
        shares
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_one_name_are_one_and_the_first_used_most() {
        let used = [
            ("SELECT a", 10, 100),
            ("SELECT b", 1, 500),
            ("SELECT a", 30, 900),
            ("SELECT c", 0, 0),
        ];
        let used = used
            .map(|(name, count, millis)| (name.to_owned(), count, Duration::from_millis(millis)));
        let read = StatementShare::read(used);
        assert_eq!(read.len(), 2);
        assert_eq!((&*read[0].statement, read[0].executions), ("SELECT a", 40));
        assert_eq!((read[0].share_pct, read[0].mean_ms), (66.7, 25.0));
        assert_eq!((read[1].share_pct, read[1].seconds), (33.3, 0.5));
        let many = (0..50).map(|n| (format!("{n}"), 1, Duration::from_secs(n)));
        let read = StatementShare::read(many);
        assert_eq!((read.len(), &*read[0].statement), (NAMED, "49"));
        assert!(StatementShare::read([]).is_empty());
    }
}
