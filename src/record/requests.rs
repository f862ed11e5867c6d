//! Records how requests use the pool, by route.

use std::collections::HashMap;
use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry_semantic_conventions::attribute::{HTTP_REQUEST_METHOD, HTTP_ROUTE};
use tokio::time::Instant;

use crate::checkout::query_context::Repeat;
use crate::recent::{Marker, Recent};
use crate::record::buckets::{Buckets, COUNTS, SECONDS};
use crate::request::attribution::{Attribution, Tally};

/// Maximum number of pairs of route and method recorded separately, in case a request layer has no bound.
/// Further ones share `_OTHER`.
const ROUTES: usize = 2000;

/// The requests that used one pool.
#[derive(Debug)]
pub(crate) struct Requests {
    routes: HashMap<Key, PerRequest>,
    repeated: HashMap<Option<Arc<str>>, Repeated>,
    marker: Marker,
}

/// A route and a method.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) route: Option<Arc<str>>,
    pub(crate) method: &'static str,
}

/// Histograms of the use per request, in the order of [`Used::values`](crate::request::attribution::Used).
pub(crate) type PerRequest = [Buckets; 5];

/// Requests of one route that exceeded the N+1 threshold.
#[derive(Debug, Clone, Default)]
pub(crate) struct Repeated {
    pub(crate) requests: Recent<u64>,
    /// Text of the last such statement, without values.
    pub(crate) text: String,
    /// Its operation and tables.
    pub(crate) summary: String,
}

impl Requests {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            routes: HashMap::new(),
            repeated: HashMap::new(),
            marker: Marker::new(now),
        }
    }

    pub(crate) fn ended(&mut self, request: &Attribution, tally: &Tally) {
        let mut key = Key::of(request);
        if self.routes.len() >= ROUTES && !self.routes.contains_key(&key) {
            key.route = Some(Arc::from("_OTHER"));
        }
        let boundaries = [COUNTS, COUNTS, SECONDS, SECONDS, SECONDS];
        let histograms = self.routes.entry(key);
        let histograms = histograms.or_insert_with(|| boundaries.map(Buckets::new));
        for (histogram, value) in histograms.iter_mut().zip(tally.used.values()) {
            histogram.record(value);
        }
    }

    /// Records a request that sent the same statement more often than the N+1 threshold. `first` is
    /// whether it is the first such statement of the request.
    pub(crate) fn repeated(
        &mut self,
        route: Option<&Arc<str>>,
        statement: &Repeat<'_>,
        first: bool,
        now: Instant,
    ) {
        self.advance(now);
        let mut route = route.cloned();
        if self.repeated.len() >= ROUTES && !self.repeated.contains_key(&route) {
            route = Some(Arc::from("_OTHER"));
        }
        let repeated = self.repeated.entry(route).or_default();
        repeated.requests.total += u64::from(first);
        statement.text.clone_into(&mut repeated.text);
        statement.summary.clone_into(&mut repeated.summary);
    }

    pub(crate) fn routes(&self) -> impl Iterator<Item = (&Key, &PerRequest)> {
        self.routes.iter()
    }

    pub(crate) fn all_repeated(
        &mut self,
        now: Instant,
    ) -> impl Iterator<Item = (Option<&Arc<str>>, &Repeated)> {
        self.advance(now);
        self.repeated
            .iter()
            .map(|(route, repeated)| (route.as_ref(), repeated))
    }

    fn advance(&mut self, now: Instant) {
        let all = self
            .repeated
            .values_mut()
            .map(|repeated| &mut repeated.requests);
        self.marker.advance(now, all);
    }
}

/// Returns the attribute `http.route`; `None` without a route.
pub(crate) fn route_attribute(route: Option<&Arc<str>>) -> Option<KeyValue> {
    route.map(|route| KeyValue::new(HTTP_ROUTE, Arc::clone(route)))
}

impl Key {
    pub(crate) fn of(request: &Attribution) -> Self {
        Self {
            route: request.route.clone(),
            method: request.method,
        }
    }

    pub(crate) fn attributes(&self) -> Vec<KeyValue> {
        let method = KeyValue::new(HTTP_REQUEST_METHOD, self.method);
        route_attribute(self.route.as_ref())
            .into_iter()
            .chain([method])
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_routes_are_one() {
        let now = Instant::now();
        let mut requests = Requests::new(now);
        let statement = Repeat {
            text: "SELECT ?",
            summary: "SELECT",
            times: 20,
        };
        for number in 0..2 * ROUTES {
            let route = Arc::from(format!("/{number}"));
            requests.repeated(Some(&route), &statement, true, now);
        }
        let all: Vec<_> = requests.all_repeated(now).collect();
        assert_eq!(all.len(), ROUTES + 1);
        let other = all
            .iter()
            .find(|(route, _)| route.is_some_and(|it| &**it == "_OTHER"));
        assert_eq!(other.unwrap().1.requests.total, ROUTES as u64);
    }
}
