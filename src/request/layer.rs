use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::request::Parts;
use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::{Span, Tracer, TracerProvider};
use tower_layer::Layer;

use super::method::KNOWN;
use super::route::OwnRule;
use super::routes::{LIMIT, Routes};
use super::service::Attributed;
use crate::telemetry::Tracing;
use crate::telemetry::scope;

/// Attributes an HTTP service's use of all pools to its requests and their routes, and opens a span
/// for a request if no span is current.
///
/// Works on any `Service<http::Request<_>, Response = http::Response<_>>`. A request lasts until its
/// response's body has been sent or dropped. Under axum, add the layer with `Router::layer`: the
/// route is not known yet in a layer around the whole router. If one layer is nested in another, the
/// inner one does the counting, and the span of the outer one receives the route and the sum.
///
/// Create one layer and clone it, as `Router::layer` does: clones share the set of known routes and
/// the limit on its size.
#[derive(Clone)]
#[must_use = "a layer does nothing until it is put around a service"]
pub struct RequestLayer {
    options: Arc<Options>,
}

/// The options of a layer.
#[derive(Clone)]
pub(super) struct Options {
    pub(super) own_rule: Option<Arc<OwnRule>>,
    pub(super) routes: Arc<Routes>,
    /// The methods that telemetry reports by name.
    pub(super) methods: Cow<'static, [&'static str]>,
    pub(super) tracing: Arc<Tracing>,
    pub(super) url_path: bool,
}

impl RequestLayer {
    /// Creates a layer that takes the route from the extension [`Route`](crate::service::Route), else from
    /// axum's `MatchedPath`, and creates spans with the global tracer provider, even if that is set
    /// later.
    pub fn new() -> Self {
        Self {
            options: Arc::new(Options {
                own_rule: None,
                routes: Arc::new(Routes::with_limit(LIMIT)),
                methods: Cow::Borrowed(KNOWN),
                tracing: Arc::new(Tracing::new(None)),
                url_path: true,
            }),
        }
    }

    /// Sets a function that is asked for the route first.
    ///
    /// It returns the template of the path, such as `/users/{id}`, never the path itself, or `None`
    /// to fall back to the extension and axum's `MatchedPath`.
    ///
    /// ```
    /// let layer = poolscope::RequestLayer::new().route(|parts| {
    ///     let mut path = parts.uri.path().split('/').skip(1);
    ///     match (path.next()?, path.next(), path.next()) {
    ///         ("users", None, _) => Some("/users"),
    ///         ("users", Some(_), None) => Some("/users/{id}"),
    ///         _ => None,
    ///     }
    /// });
    /// ```
    pub fn route<F, R>(self, rule: F) -> Self
    where
        F: Fn(&Parts) -> Option<R> + Send + Sync + 'static,
        R: AsRef<str>,
    {
        let own = move |parts: &Parts, routes: &Routes| routes.get(rule(parts)?.as_ref());
        self.with(|options| options.own_rule = Some(Arc::new(own)))
    }

    /// Sets the maximum number of distinct routes; further routes are counted as `_OTHER`. Defaults to
    /// 200.
    pub fn max_routes(self, limit: usize) -> Self {
        self.with(|options| options.routes = Arc::new(Routes::with_limit(limit)))
    }

    /// Sets the methods that are reported by name; all others are reported as `_OTHER`. Defaults to
    /// the methods of RFC 9110, `PATCH` and `QUERY`.
    pub fn known_methods(self, methods: impl IntoIterator<Item = &'static str>) -> Self {
        self.with(|options| options.methods = methods.into_iter().collect())
    }

    /// Sets whether a span records the path (`url.path`), as OpenTelemetry's conventions require.
    ///
    /// Turn it off if the app's paths contain secrets. The query string is never recorded. Defaults
    /// to `true`.
    pub fn url_path(self, recorded: bool) -> Self {
        self.with(|options| options.url_path = recorded)
    }

    /// Sets the provider whose tracer creates the spans. Defaults to the global provider, even if that
    /// is set later.
    pub fn tracer_provider<P>(self, provider: P) -> Self
    where
        P: TracerProvider + Send + Sync + 'static,
        P::Tracer: Tracer + Send + Sync + 'static,
        <P::Tracer as Tracer>::Span: Span + Send + Sync + 'static,
    {
        let tracer = BoxedTracer::new(Box::new(provider.tracer_with_scope(scope())));
        self.with(|options| options.tracing = Arc::new(Tracing::new(Some(tracer))))
    }

    fn with(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(Arc::make_mut(&mut self.options));
        self
    }
}

impl Default for RequestLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for RequestLayer {
    type Service = Attributed<S>;

    fn layer(&self, inner: S) -> Attributed<S> {
        Attributed {
            inner,
            options: Arc::clone(&self.options),
        }
    }
}

impl fmt::Debug for RequestLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestLayer")
            .field("own_rule", &self.options.own_rule.is_some())
            .field("methods", &self.options.methods)
            .field("url_path", &self.options.url_path)
            .finish_non_exhaustive()
    }
}
