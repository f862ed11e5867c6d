//! The statements that take most query time.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;

use super::timings::{millis, percent, round, seconds};
use crate::record::recorder::Recorder;
use crate::record::statements::OTHER;

/// The number of statements in a report.
const NAMED: usize = 10;

/// The query time used by one statement within the last five minutes.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StatementShare {
    /// The summary of the statement: `SELECT orders`; its text, without values, with
    /// `DB_POOL_QUERY_TEXT`. `_OTHER` for statements beyond the limit of distinct ones.
    pub statement: String,
    /// Share of the time of all statements, in percent.
    pub share_pct: f64,
    /// Total time, in seconds.
    pub seconds: f64,
    /// Number of executions.
    pub executions: u64,
    /// Mean time, in milliseconds.
    pub mean_ms: f64,
}

impl StatementShare {
    /// Returns the statements that took most time within the last five minutes, in descending order, at
    /// most ten: by text if `query_text`, else by summary. Neither has values.
    pub(crate) fn read(recorder: &Recorder, query_text: bool) -> Vec<Self> {
        let all = recorder.statements().into_iter();
        Self::of(all.map(|(statement, spent)| {
            let (text, summary) = (&*statement.text, &*statement.summary);
            // Beyond the limit no text is kept, and a text that begins with no word has no summary.
            let name = match (query_text && !text.is_empty(), summary.is_empty()) {
                (true, _) => text,
                (false, false) => summary,
                (false, true) => OTHER,
            };
            (name.to_owned(), spent.recent.count, spent.recent.time)
        }))
    }

    /// `used` has the name, the number of executions and the total time; equal names are added up.
    fn of(used: impl IntoIterator<Item = (String, u64, Duration)>) -> Vec<Self> {
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
                share_pct: percent(time.as_secs_f64() / all.max(1e-9)),
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
    fn equal_names_are_added_up_and_sorted_by_time() {
        let used = [
            ("SELECT a", 10, 100),
            ("SELECT b", 1, 500),
            ("SELECT a", 30, 900),
            ("SELECT c", 0, 0),
        ];
        let used = used
            .map(|(name, count, millis)| (name.to_owned(), count, Duration::from_millis(millis)));
        let read = StatementShare::of(used);
        assert_eq!(read.len(), 2);
        assert_eq!((&*read[0].statement, read[0].executions), ("SELECT a", 40));
        assert_eq!((read[0].share_pct, read[0].mean_ms), (66.7, 25.0));
        assert_eq!((read[1].share_pct, read[1].seconds), (33.3, 0.5));
        let many = (0..50).map(|n| (format!("{n}"), 1, Duration::from_secs(n)));
        let read = StatementShare::of(many);
        assert_eq!((read.len(), &*read[0].statement), (NAMED, "49"));
        assert!(StatementShare::of([]).is_empty());
    }
}
