//! Which routes lose requests to the pool's overload.

use serde::Serialize;
use tokio::time::Instant;

use crate::observe::recorder::Recorder;
use crate::observe::window::Slot;

/// How many routes a report names.
const NAMED: usize = 10;

/// Checkouts turned away for load's sake, by `DB_POOL_MAX_PENDING` or `DB_POOL_QUEUE_TARGET`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ShedReport {
    /// Within the last minute.
    pub last_minute: u64,
    /// Since the start.
    pub total: u64,
    /// The routes that lost most within the last five minutes, at most ten.
    pub routes: Vec<ShedRoute>,
}

/// What one route lost.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShedRoute {
    /// The route; `null` for checkouts outside of a [`RequestLayer`](crate::RequestLayer).
    pub route: Option<String>,
    /// Within the last five minutes.
    pub last_5_minutes: u64,
    /// Since the start.
    pub total: u64,
}

impl ShedReport {
    pub(super) fn read(recorder: &Recorder, minute: &Slot) -> Self {
        let mut routes: Vec<_> = recorder
            .shed(Instant::now())
            .into_iter()
            .filter(|(_, shed)| shed.total > 0)
            .map(|(route, shed)| ShedRoute {
                route: route.map(|route| route.to_string()),
                last_5_minutes: shed.recent,
                total: shed.total,
            })
            .collect();
        routes.sort_by(|a, b| {
            let key = |route: &ShedRoute| (route.last_5_minutes, route.total);
            key(b).cmp(&key(a)).then_with(|| a.route.cmp(&b.route))
        });
        let total = routes.iter().map(|route| route.total).sum();
        routes.truncate(NAMED);
        Self {
            last_minute: minute.shed,
            total,
            routes,
        }
    }

    /// `/orders (12), /users (3)`, of the last minutes.
    pub(super) fn sentence(&self) -> String {
        let named = self.routes.iter().filter(|route| route.last_5_minutes > 0);
        let named: Vec<_> = named
            .take(3)
            .map(|route| {
                let name = route.route.as_deref().unwrap_or("outside of a request");
                format!("{name} ({})", route.last_5_minutes)
            })
            .collect();
        named.join(", ")
    }
}
