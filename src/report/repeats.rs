//! N+1 queries: requests that repeat the same statement.

use serde::Serialize;
use tokio::time::Instant;

use super::source::SourceFacts;
use super::warnings::Finding;
use crate::record::recorder::Recorder;
use crate::record::usage::{HIDDEN, Site};

/// The number of routes in a report.
const NAMED: usize = 5;

/// A route whose requests have sent one statement more often than `DB_POOL_N_PLUS_ONE`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RepeatedStatement {
    /// The route; `null` for requests without one.
    pub route: Option<String>,
    /// Number of such requests within the last five minutes.
    pub requests_last_5m: u64,
    /// Number of such requests since the start.
    pub requests: u64,
    /// The last repeated statement: its summary, or its text with `DB_POOL_QUERY_TEXT`; never a
    /// bind value.
    pub statement: String,
    /// The source line that checked out the connection it was last sent on; `_HIDDEN` if the routes may
    /// not show source lines.
    pub caller: String,
}

impl RepeatedStatement {
    /// Returns the routes with such requests within the last five minutes, those with the most first.
    pub(super) fn read(recorder: &Recorder, facts: &SourceFacts) -> Vec<Self> {
        let mut requests = recorder.requests();
        let mut all: Vec<_> = requests
            .repeated
            .read(Instant::now())
            .map(|(route, count, repeated)| Self {
                route: route.map(|route| route.to_string()),
                requests_last_5m: count.recent,
                requests: count.total,
                caller: match repeated.caller {
                    Some(caller) if facts.source_lines => {
                        format!("{}:{}", caller.file(), caller.line())
                    }
                    _ => HIDDEN.to_owned(),
                },
                statement: match facts.settings.query_text {
                    true => repeated.text.clone(),
                    false => repeated.summary.clone(),
                },
            })
            .filter(|repeated| repeated.requests_last_5m > 0)
            .collect();
        drop(requests);
        all.sort_by(|a, b| {
            let most = b.requests_last_5m.cmp(&a.requests_last_5m);
            most.then_with(|| a.route.cmp(&b.route))
        });
        all.truncate(NAMED);
        all
    }

    /// Returns the warning for the first of these routes.
    pub(super) fn finding(all: &[Self]) -> Option<Finding> {
        let worst = all.first()?;
        let route = worst
            .route
            .as_deref()
            .unwrap_or("a request without a route");
        let named = Site {
            caller: worst.caller.as_str().into(),
            label: None,
            route: Some(route.into()),
        };
        let named = named.name();
        Some(Finding::new(
            format!(
                "N+1: {named} repeats the same statement within a request ({}), in {} requests within the last 5 minutes",
                worst.statement, worst.requests_last_5m,
            ),
            "Fetch the rows in one query (a join, or `belonging_to`/`eq_any` over all ids): each repetition adds a round trip while the connection is held.",
        ))
    }
}
