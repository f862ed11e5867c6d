//! N+1: requests that send the same statement again and again.

use serde::Serialize;
use tokio::time::Instant;

use super::judge::Finding;
use crate::observe::recorder::Recorder;

/// How many routes a report names.
const NAMED: usize = 5;

/// A route whose requests have sent one statement more often than `DB_POOL_N_PLUS_ONE`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RepeatedStatement {
    /// The route; `null` for requests without one.
    pub route: Option<String>,
    /// Such requests within the last five minutes.
    pub requests_last_5m: u64,
    /// Such requests since the start.
    pub requests: u64,
    /// The last of these statements: its summary, or its text with `DB_POOL_QUERY_TEXT`; never a
    /// value.
    pub statement: String,
}

impl RepeatedStatement {
    /// All routes with such requests within the last five minutes, those with most first.
    pub(super) fn read(recorder: &Recorder, query_text: bool) -> Vec<Self> {
        let mut requests = recorder.requests();
        let mut all: Vec<_> = requests
            .all_repeated(Instant::now())
            .map(|(route, repeated)| Self {
                route: route.map(|route| route.to_string()),
                requests_last_5m: repeated.requests.recent(),
                requests: repeated.requests.total,
                statement: match query_text {
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

    pub(super) fn finding(all: &[Self]) -> Option<Finding> {
        let worst = all.first()?;
        let route = worst
            .route
            .as_deref()
            .unwrap_or("a request without a route");
        Some(Finding {
            warning: format!(
                "N+1: {route} sends the same statement again and again ({}), in {} requests within the last 5 minutes",
                worst.statement, worst.requests_last_5m,
            ),
            recommendation: "Fetch the rows in one query (a join, or `belonging_to`/`eq_any` over all ids): each repetition is one more round trip while a connection is held.".to_owned(),
        })
    }
}
