use std::fmt;
use std::sync::Arc;

use http::request::Parts;
use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::{Span, Tracer, TracerProvider};
use tower_layer::Layer;

use super::method::Methods;
use super::route::Rule;
use super::routes::Routes;
use super::service::Attributed;
use crate::observe::span::Tracing;
use crate::telemetry::scope;

/// Attributes what an HTTP service uses of all pools to its requests and their routes, and opens a
/// request's span where none is current.
///
/// Works on any `Service<http::Request<_>, Response = http::Response<_>>`. A request lasts until its
/// response's body has been sent or dropped. Under axum, add it with `Router::layer`: around the
/// whole router the route is not known yet. Where a second layer is inside of another, the inner one
/// counts, and the outer one's span gets the route and the sum.
///
/// Make it once and clone it, as `Router::layer` does: its clones share the routes that they have seen,
/// and with them the bound on their number.
#[derive(Clone)]
#[must_use = "a layer does nothing until it is put around a service"]
pub struct RequestLayer {
    options: Arc<Options>,
}

/// What a layer was told.
#[derive(Clone)]
pub(super) struct Options {
    pub(super) rule: Rule,
    pub(super) routes: Arc<Routes>,
    pub(super) methods: Methods,
    pub(super) tracing: Arc<Tracing>,
    pub(super) url_path: bool,
}

impl RequestLayer {
    /// Takes the route from the extension [`Route`](crate::Route), else from axum's `MatchedPath`,
    /// and makes spans with the global tracer provider, also when it is set later.
    pub fn new() -> Self {
        Self {
            options: Arc::new(Options {
                rule: Rule::default(),
                routes: Arc::default(),
                methods: Methods::default(),
                tracing: Arc::new(Tracing::new(None)),
                url_path: true,
            }),
        }
    }

    /// Asks this for the route first: its template such as `/users/{id}`, never the path itself.
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
        self.with(|options| options.rule = Rule::own(rule))
    }

    /// Tells no more routes apart than so many: those that come later are `_OTHER`. Defaults to 200.
    pub fn max_routes(self, limit: usize) -> Self {
        self.with(|options| options.routes = Arc::new(Routes::with_limit(limit)))
    }

    /// Calls only these methods by their name, and all others `_OTHER`. Defaults to those of RFC
    /// 9110, `PATCH` and `QUERY`.
    pub fn known_methods(self, methods: impl IntoIterator<Item = &'static str>) -> Self {
        self.with(|options| options.methods = Methods::only(methods))
    }

    /// Whether a span tells the path, as OpenTelemetry asks for: an app that has secrets in it turns
    /// that off. The query is never told. Defaults to `true`.
    pub fn url_path(self, told: bool) -> Self {
        self.with(|options| options.url_path = told)
    }

    /// Makes spans with this provider. Defaults to the global one, also when it is set later.
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
        Attributed::new(inner, Arc::clone(&self.options))
    }
}

impl fmt::Debug for RequestLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestLayer")
            .field("rule", &self.options.rule)
            .field("methods", &self.options.methods)
            .field("url_path", &self.options.url_path)
            .finish_non_exhaustive()
    }
}
