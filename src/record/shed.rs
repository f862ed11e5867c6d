//! Counts the checkouts that were shed, by route.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use crate::recent::{Marker, Recent};

/// Maximum number of routes counted separately, in case a request layer has no bound. Further routes
/// share `_OTHER`.
const ROUTES: usize = 1000;

/// Shed checkouts by route; `None` is a checkout outside of a request.
#[derive(Debug)]
pub(crate) struct ShedByRoute {
    routes: HashMap<Option<Arc<str>>, Recent<u64>>,
    marker: Marker,
}

/// Shed checkouts of one route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShedCount {
    pub(crate) total: u64,
    /// Within the last five minutes.
    pub(crate) recent: u64,
}

impl ShedByRoute {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            // Exported as 0 from the start, so that the first one shed is an increase.
            routes: HashMap::from([(None, Recent::default())]),
            marker: Marker::new(now),
        }
    }

    pub(crate) fn add(&mut self, route: Option<&Arc<str>>, now: Instant) {
        self.marker.advance(now, self.routes.values_mut());
        let mut route = route.cloned();
        if self.routes.len() >= ROUTES && !self.routes.contains_key(&route) {
            route = Some(Arc::from("_OTHER"));
        }
        self.routes.entry(route).or_default().total += 1;
    }

    /// Returns the counts of all routes, in no particular order.
    pub(crate) fn read(&mut self, now: Instant) -> Vec<(Option<Arc<str>>, ShedCount)> {
        self.marker.advance(now, self.routes.values_mut());
        let each = self.routes.iter().map(|(route, shed)| {
            let (total, recent) = (shed.total, shed.recent());
            (route.clone(), ShedCount { total, recent })
        });
        each.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn routes_beyond_the_bound_are_counted_as_other() {
        let now = Instant::now();
        let mut shed = ShedByRoute::new(now);
        for number in 0..ROUTES + 50 {
            shed.add(Some(&Arc::from(format!("/{number}"))), now);
        }
        shed.add(None, now);
        let read = shed.read(now);
        assert_eq!(read.len(), ROUTES + 1);
        let other = read
            .iter()
            .find(|(route, _)| route.as_deref() == Some("_OTHER"));
        assert_eq!(other.unwrap().1.total, 51);
        assert_eq!(
            read.iter().map(|(_, shed)| shed.total).sum::<u64>(),
            ROUTES as u64 + 51
        );
    }

    #[test]
    fn old_checkouts_count_only_in_the_total() {
        let now = Instant::now();
        let mut shed = ShedByRoute::new(now);
        shed.add(None, now);
        let count = shed.read(now + Duration::from_secs(3600))[0].1;
        assert_eq!(
            count,
            ShedCount {
                total: 1,
                recent: 0
            }
        );
    }
}
