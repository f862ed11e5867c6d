//! The routes of an app: each text is stored once, and their number is limited.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::method::OTHER;

/// Default maximum number of distinct routes.
pub(super) const LIMIT: usize = 200;

#[derive(Debug)]
pub(super) struct Routes {
    // Read by every request, and written once per route.
    known: RwLock<HashSet<Arc<str>>>,
    limit: usize,
    other: Arc<str>,
    limit_logged: AtomicBool,
}

impl Routes {
    pub(super) fn with_limit(limit: usize) -> Self {
        Self {
            known: RwLock::default(),
            limit,
            other: Arc::from(OTHER),
            limit_logged: AtomicBool::new(false),
        }
    }

    /// Returns the shared copy of this route, or [`OTHER`] if the limit is reached. Returns `None` for
    /// an empty route.
    pub(super) fn get(&self, route: &str) -> Option<Arc<str>> {
        if route.is_empty() {
            return None;
        }
        let found = |known: &HashSet<Arc<str>>| match known.get(route) {
            Some(route) => Some(Arc::clone(route)),
            None => (known.len() >= self.limit).then(|| self.one_too_many()),
        };
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = found(&known) {
            return Some(found);
        }
        drop(known);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // Another request may have added it, or reached the limit.
        Some(found(&known).unwrap_or_else(|| {
            let route: Arc<str> = Arc::from(route);
            known.insert(Arc::clone(&route));
            route
        }))
    }

    fn one_too_many(&self) -> Arc<str> {
        if !self.limit_logged.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                target: "poolscope",
                limit = self.limit,
                "more routes than the limit of {}: all further routes are counted as {OTHER}. A route is a template \
                 such as /users/{{id}}, never a path; if the app has more routes, raise the limit with \
                 RequestLayer::max_routes",
                self.limit,
            );
        }
        Arc::clone(&self.other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_kept_once() {
        let routes = Routes::with_limit(LIMIT);
        let first = routes.get("/users/{id}").unwrap();
        let again = routes.get(&String::from("/users/{id}")).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        assert_eq!(routes.get(""), None);
    }

    #[test]
    fn routes_beyond_the_limit_share_one_label() {
        let routes = Routes::with_limit(2);
        let known: Vec<_> = ["/a", "/b"].map(|route| routes.get(route).unwrap()).into();
        let others: Vec<_> = (0..1000)
            .map(|n| routes.get(&format!("/users/{n}")).unwrap())
            .collect();
        assert!(others.iter().all(|other| Arc::ptr_eq(other, &others[0])));
        assert_eq!(&*others[0], "_OTHER");
        assert!(Arc::ptr_eq(&routes.get("/b").unwrap(), &known[1]));
        assert_eq!(routes.known.read().unwrap().len(), 2);
    }

    #[test]
    fn concurrent_callers_respect_the_limit_and_agree() {
        let routes = Routes::with_limit(10);
        let ask = || -> Vec<_> {
            let all = (0..20).map(|n| routes.get(&format!("/{n}")).unwrap());
            all.collect()
        };
        let answers: Vec<Vec<Arc<str>>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(routes.known.read().unwrap().len(), 10);
        for (n, first) in answers[0].iter().enumerate() {
            let known = routes.get(&format!("/{n}")).unwrap();
            for answer in &answers {
                // A route that was once counted as `_OTHER` is never added later.
                assert!(Arc::ptr_eq(&answer[n], &known), "{first} {}", answer[n]);
            }
        }
    }
}
