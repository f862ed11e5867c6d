//! Checkouts rejected by load shedding, by route.

use serde::Serialize;

use crate::record::interval::Interval;
use crate::record::recorder::Recorder;

/// The number of routes in a report.
const NAMED: usize = 10;

/// Checkouts rejected by load shedding, due to `DB_POOL_MAX_PENDING` or `DB_POOL_QUEUE_TARGET`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ShedReport {
    /// Number of checkouts within the last minute.
    pub last_1m: u64,
    /// Number of checkouts since the start.
    pub total: u64,
    /// The routes with most rejected checkouts within the last five minutes, at most ten.
    pub routes: Vec<ShedRoute>,
}

/// Rejected checkouts of one route.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShedRoute {
    /// The route; `null` for checkouts outside of a [`RequestLayer`](crate::RequestLayer).
    pub route: Option<String>,
    /// Number of checkouts within the last five minutes.
    pub last_5m: u64,
    /// Number of checkouts since the start.
    pub total: u64,
}

impl ShedReport {
    /// Reads the counters; `minute` is the window of the last minute.
    pub(super) fn read(recorder: &Recorder, minute: &Interval) -> Self {
        let mut routes: Vec<_> = recorder
            .shed()
            .into_iter()
            .filter(|(_, shed)| shed.total > 0)
            .map(|(route, shed)| ShedRoute {
                route: route.map(|route| route.to_string()),
                last_5m: shed.recent,
                total: shed.total,
            })
            .collect();
        routes.sort_by(|a, b| {
            let key = |route: &ShedRoute| (route.last_5m, route.total);
            key(b).cmp(&key(a)).then_with(|| a.route.cmp(&b.route))
        });
        let total = routes.iter().map(|route| route.total).sum();
        routes.truncate(NAMED);
        Self {
            last_1m: minute.traffic.shed,
            total,
            routes,
        }
    }

    /// Returns up to three routes with their counts of the last five minutes: `/orders (12), /users (3)`.
    pub(super) fn sentence(&self) -> String {
        let named = self.routes.iter().filter(|route| route.last_5m > 0);
        let named: Vec<_> = named
            .take(3)
            .map(|route| {
                let name = route.route.as_deref().unwrap_or("outside of a request");
                format!("{name} ({})", route.last_5m)
            })
            .collect();
        named.join(", ")
    }
}
