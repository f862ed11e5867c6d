//! Records how requests use the pool, by route.

use std::collections::HashMap;
use std::panic::Location;
use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry_semantic_conventions::attribute::{HTTP_REQUEST_METHOD, HTTP_ROUTE};
use tokio::time::Instant;

use crate::record::buckets::{Buckets, COUNTS, SECONDS};
use crate::record::by_route::{ByRoute, ROUTES, bounded};
use crate::request::attribution::{Attribution, Tally};

/// The requests that used one pool.
#[derive(Debug)]
pub(crate) struct Requests {
    /// Histograms of the use per request, in the order of [`Used::values`](crate::request::attribution::Used::values).
    pub(crate) routes: HashMap<Key, [Buckets; 5]>,
    /// Requests that exceeded the N+1 threshold.
    pub(crate) repeated: ByRoute<Repeated>,
}

/// A route and a method.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) route: Option<Arc<str>>,
    pub(crate) method: &'static str,
}

/// The last statement that a request of a route sent too often.
#[derive(Debug, Default)]
pub(crate) struct Repeated {
    /// Text without values.
    pub(crate) text: String,
    /// Operation and tables.
    pub(crate) summary: String,
    /// The source line that checked out the connection; set with the rest.
    pub(crate) caller: Option<&'static Location<'static>>,
}

impl Requests {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            routes: HashMap::new(),
            repeated: ByRoute::new(now),
        }
    }

    pub(crate) fn ended(&mut self, request: &Attribution, tally: &Tally) {
        let other = |key| Key {
            route: Some(Arc::from("_OTHER")),
            ..key
        };
        let used = bounded(&mut self.routes, ROUTES, Key::of(request), other);
        let all = used.or_insert_with(|| {
            let boundaries = [COUNTS, COUNTS, SECONDS, SECONDS, SECONDS];
            boundaries.map(Buckets::new)
        });
        for (buckets, value) in all.iter_mut().zip(tally.used.values()) {
            buckets.record(value);
        }
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
