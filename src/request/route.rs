//! Finds the route of a request.

use std::borrow::Cow;
use std::sync::Arc;

#[cfg(feature = "axum")]
use axum::extract::MatchedPath;
use http::request::Parts;

use super::layer::Options;
use super::routes::Routes;

/// The template of a request's path, such as `/users/{id}`.
///
/// A router, or a middleware that knows the route, inserts it into the request's extensions before
/// [`RequestLayer`](crate::RequestLayer) sees the request. Do not use the path itself, because each
/// distinct value adds a series to every metric by route.
///
/// ```
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(poolscope::service::Route::new("/users/{id}"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route(Cow<'static, str>);

impl Route {
    /// Creates a route with this template.
    #[must_use]
    pub fn new(template: impl Into<Cow<'static, str>>) -> Self {
        Self(template.into())
    }

    /// Returns the template.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A function of the app that finds the route of a request.
pub(super) type OwnRule = dyn Fn(&Parts, &Routes) -> Option<Arc<str>> + Send + Sync;

impl Options {
    /// Finds a request's route by the app's own function, else by the extension [`Route`], else by
    /// axum's `MatchedPath`.
    pub(super) fn route(&self, parts: &Parts) -> Option<Arc<str>> {
        let routes = &self.routes;
        let own = self.own_rule.as_ref();
        let route = own
            .and_then(|own| own(parts, routes))
            .or_else(|| routes.get(parts.extensions.get::<Route>()?.as_str()));
        #[cfg(feature = "axum")]
        let route = route.or_else(|| routes.get(parts.extensions.get::<MatchedPath>()?.as_str()));
        route
    }
}
