//! Counts by route.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::Arc;

use tokio::time::Instant;

use crate::recent::{Marker, Recent, Sum};

/// Maximum number of routes counted separately, in case a request layer has no bound. Further routes
/// share `_OTHER`.
pub(super) const ROUTES: usize = 2000;

/// A count and further data for each route. `None` is work outside of a request.
#[derive(Debug)]
pub(crate) struct ByRoute<T> {
    routes: HashMap<Option<Arc<str>>, (Recent<u64>, T)>,
    marker: Marker,
}

impl<T: Default> ByRoute<T> {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            routes: HashMap::new(),
            marker: Marker::new(now),
        }
    }

    /// Adds to the count of a route. Returns its further data.
    pub(crate) fn add(&mut self, route: Option<&Arc<str>>, count: u64, now: Instant) -> &mut T {
        self.advance(now);
        let other = |_| Some(Arc::from("_OTHER"));
        let (counted, data) = bounded(&mut self.routes, ROUTES, route.cloned(), other).or_default();
        counted.total += count;
        data
    }

    /// Returns the counts of all routes, in no particular order.
    pub(crate) fn read(
        &mut self,
        now: Instant,
    ) -> impl Iterator<Item = (Option<&Arc<str>>, Sum<u64>, &T)> {
        self.advance(now);
        let each = self.routes.iter();
        each.map(|(route, (counted, data))| (route.as_ref(), counted.read(), data))
    }

    fn advance(&mut self, now: Instant) {
        let all = self.routes.values_mut().map(|(counted, _)| counted);
        self.marker.advance(now, all);
    }
}

/// Returns the entry of a key, or that of `other` if the key is new and there are `most` keys.
pub(super) fn bounded<K: Hash + Eq, V>(
    map: &mut HashMap<K, V>,
    most: usize,
    key: K,
    other: impl FnOnce(K) -> K,
) -> Entry<'_, K, V> {
    let is_other = map.len() >= most && !map.contains_key(&key);
    map.entry(if is_other { other(key) } else { key })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn routes_beyond_the_bound_are_counted_as_other() {
        let now = Instant::now();
        let mut counts = ByRoute::<()>::new(now);
        for number in 0..ROUTES + 50 {
            counts.add(Some(&Arc::from(format!("/{number}"))), 1, now);
        }
        counts.add(None, 1, now);
        let read: HashMap<_, _> = counts
            .read(now)
            .map(|(route, count, ())| (route.cloned(), count.total))
            .collect();
        assert_eq!(read.len(), ROUTES + 1);
        assert_eq!(read[&Some(Arc::from("_OTHER"))], 51);
        assert_eq!(read.values().sum::<u64>(), ROUTES as u64 + 51);
    }

    #[test]
    fn old_counts_are_only_in_the_total() {
        let now = Instant::now();
        let mut counts = ByRoute::<()>::new(now);
        counts.add(None, 1, now);
        let later = now + Duration::from_secs(3600);
        let (total, recent) = (1, 0);
        let read: Vec<_> = counts.read(later).collect();
        assert_eq!(read, [(None, Sum { total, recent }, &())]);
    }
}
