use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{Method, Request, Response};
use http_body_util::Full;
use tower_service::Service;

use super::accept::Accept;
use super::access::Access;
use super::page::{self, content::Content};
use super::response::{self, ErrorResponse, by_accept, metrics, refusal, report};
use super::route::{REPORTS, Route, mount, route};
use super::snapshots::{Kind, Snapshots};
use crate::advice::WhatIf;
use crate::metrics::prometheus::Page;
use crate::observe::Observe;
use crate::report::live::Extent;
use crate::report::{Source, SourceFacts};
use crate::settings::{Secret, Settings, SettingsError};

/// Serves the monitoring routes of one pool, as a tower service over any request body.
///
/// It works under `axum::Router::nest_service` and directly behind hyper: the prefix, by default
/// `/api/v1/monitoring/pool`, is stripped from the path if it is present.
///
/// Any request can see all reports, unless a token ([`bearer_token`](Self::bearer_token)) or a check
/// ([`authorize`](Self::authorize)) is set. Access control applies to these routes only: reports from
/// code are always complete.
#[derive(Clone)]
pub struct Monitor<S> {
    pool: Observe<S>,
    prefix: Arc<str>,
    access: Access,
    snapshots: Arc<Snapshots>,
}

impl<S: Source + Clone> Observe<S> {
    /// Returns a service with the monitoring routes of this pool.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] mod doc {
    /// use poolscope::{Pool, Settings};
    /// use poolscope::backend::AsyncSqliteConnection;
    /// use tower::ServiceExt;
    ///
    /// # #[tokio::main] pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?; let url = format!("sqlite://{}/app.db", folder.path().display());
    /// let pool = Pool::<AsyncSqliteConnection>::builder(Settings::new(url)).build()?;
    /// let request = http::Request::get("/api/v1/monitoring/pool/healthcheck").body(())?;
    /// let answer = pool.monitor().oneshot(request).await?;
    /// assert_eq!(answer.status(), 200);
    /// # Ok(()) }
    /// # } #[cfg(feature = "sqlite")] fn main() { doc::main().unwrap() } #[cfg(not(feature = "sqlite"))] fn main() {}
    /// ```
    #[must_use]
    pub fn monitor(&self) -> Monitor<S> {
        Monitor {
            pool: self.clone(),
            prefix: Arc::from("/api/v1/monitoring/pool"),
            access: Access {
                settings: self.get_ref().facts().settings,
                check: None,
                page: true,
            },
            snapshots: Arc::default(),
        }
    }
}

impl<S> Monitor<S> {
    /// Sets the path at which the service is mounted, for servers that do not strip it. Defaults to
    /// `/api/v1/monitoring/pool`.
    #[must_use]
    pub fn prefix(mut self, prefix: impl AsRef<str>) -> Self {
        self.prefix = Arc::from(prefix.as_ref().trim_end_matches('/'));
        self
    }

    /// Requires this token as `Authorization: Bearer …`; other requests get 401. Defaults to
    /// `DB_POOL_MONITOR_TOKEN`, and to no token for an existing pool.
    ///
    /// Only `healthcheck` also answers requests without the token, because not every load balancer can
    /// send a header. Its reason is then one of a few fixed texts without host names or numbers.
    ///
    /// # Errors
    /// Returns an error if the token is too short to be a secret, or is not a valid header value.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] mod doc {
    /// # use poolscope::{Pool, Settings};
    /// # use poolscope::backend::AsyncSqliteConnection;
    /// # use tower::ServiceExt;
    /// # #[tokio::main] pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?; let url = format!("sqlite://{}/app.db", folder.path().display());
    /// # let pool = Pool::<AsyncSqliteConnection>::builder(Settings::new(url)).build()?;
    /// let monitor = pool.monitor().bearer_token("mW9xJ4cQ7tRb2VzK")?;
    ///
    /// let request = http::Request::get("/status").body(())?;
    /// assert_eq!(monitor.clone().oneshot(request).await?.status(), 401);
    /// let request = http::Request::get("/status")
    ///     .header("Authorization", "Bearer mW9xJ4cQ7tRb2VzK")
    ///     .body(())?;
    /// assert_eq!(monitor.oneshot(request).await?.status(), 200);
    /// # Ok(()) }
    /// # } #[cfg(feature = "sqlite")] fn main() { doc::main().unwrap() } #[cfg(not(feature = "sqlite"))] fn main() {}
    /// ```
    pub fn bearer_token(mut self, token: impl Into<Secret>) -> Result<Self, SettingsError> {
        let token = token.into();
        Settings::check_token(&token)?;
        Arc::make_mut(&mut self.access.settings).monitor_token = Some(token);
        Ok(self)
    }

    /// Requires that requests pass this check; other requests get 403. If a token is set too, a request
    /// must pass both. `healthcheck` answers every request, as with
    /// [`bearer_token`](Self::bearer_token), and gives its full reason only to those that pass.
    ///
    /// If the check is asynchronous, or responds on its own (with a redirect to a login page), wrap the
    /// monitor in a tower layer instead: it is an ordinary service.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] mod doc {
    /// # use poolscope::{Pool, Settings};
    /// # use poolscope::backend::AsyncSqliteConnection;
    /// # #[tokio::main] pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?; let url = format!("sqlite://{}/app.db", folder.path().display());
    /// # let pool = Pool::<AsyncSqliteConnection>::builder(Settings::new(url)).build()?;
    /// /// A request extension set by the app's own middleware.
    /// #[derive(Clone)]
    /// struct Session { is_operator: bool }
    ///
    /// let monitor = pool.monitor().authorize(|request| {
    ///     let session = request.extensions.get::<Session>();
    ///     session.is_some_and(|session| session.is_operator)
    /// });
    /// # drop(monitor); Ok(()) }
    /// # } #[cfg(feature = "sqlite")] fn main() { doc::main().unwrap() } #[cfg(not(feature = "sqlite"))] fn main() {}
    /// ```
    #[must_use]
    pub fn authorize(mut self, check: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.access.check = Some(Arc::new(check));
        self
    }

    /// Sets whether the routes show the source lines of call sites. If not, call sites are still
    /// distinguished by label and route. Defaults to the setting
    /// [`monitor_source_lines`](Settings::monitor_source_lines), which is true.
    ///
    /// Reports from code ([`Observe::health`]), logs and spans always show them.
    #[must_use]
    pub fn source_lines(mut self, shown: bool) -> Self {
        Arc::make_mut(&mut self.access.settings).monitor_source_lines = shown;
        self
    }

    /// Sets whether a browser gets the live page at the path of the mount. If not, it gets the list of the
    /// routes, as other clients do. Defaults to true.
    #[must_use]
    pub fn page(mut self, shown: bool) -> Self {
        self.access.page = shown;
        self
    }

    /// Serves only `healthcheck`, for a public listener; every other path is 404. Unless the request
    /// passes a token or a check, the reason is one of a few fixed texts without host names or numbers.
    #[must_use]
    pub fn only_healthcheck(mut self) -> Self {
        Arc::make_mut(&mut self.access.settings).monitor_only_healthcheck = true;
        self
    }

    /// Takes the token and visibility from the settings that begin with `monitor_`, and replaces earlier
    /// ones. This is for an existing pool, which has no settings; other pools apply theirs already.
    ///
    /// # Errors
    /// Returns the same errors as [`bearer_token`](Self::bearer_token).
    pub fn settings(mut self, settings: &Settings) -> Result<Self, SettingsError> {
        if let Some(token) = &settings.monitor_token {
            Settings::check_token(token)?;
        }
        self.access.settings = Arc::new(settings.clone());
        Ok(self)
    }
}

impl<S: Source> Monitor<S> {
    /// Answers the request if it may have a report; otherwise returns why it is refused.
    async fn answer(&self, request: &Parts) -> Result<Response<Full<Bytes>>, ErrorResponse> {
        let (pool, settings) = (&self.pool, &*self.access.settings);
        let route = route(request.uri.path(), &self.prefix);
        if settings.monitor_only_healthcheck && route != Some(Route::Healthcheck) {
            return Err(ErrorResponse::OnlyHealthcheck);
        }
        let accept = Accept::of(&request.headers);
        let is_read = [Method::GET, Method::HEAD].contains(&request.method);
        let wants_page =
            self.access.page && is_read && route == Some(Route::Index) && accept.prefers_html();
        let admitted = self.access.admit(request);
        // Without data the page needs no token: it asks for it.
        if wants_page && admitted.is_err() {
            self.access.admit_without_token(request)?;
            return Ok(response::page(page::page(&Content::without_data())));
        }
        let is_restricted = settings.monitor_token.is_some() || self.access.check.is_some();
        let is_public = settings.monitor_only_healthcheck && !is_restricted;
        let shows_reasons = admitted.is_ok() && !is_public;
        // Checked before the path, so that a denied request cannot find out which reports exist.
        if route != Some(Route::Healthcheck) {
            admitted?;
        }
        let route = match route.ok_or(ErrorResponse::NotFound)? {
            Route::Health if accept.prefers_metrics() => Route::Metrics,
            route => route,
        };
        if let Some(path) = self.path(request) {
            pool.recorder.mounted(&mount(path, route));
        }
        if !is_read {
            return Err(ErrorResponse::MethodNotAllowed);
        }
        let facts = || SourceFacts {
            source_lines: settings.monitor_source_lines,
            ..pool.get_ref().facts()
        };
        let shared = |kind| self.shared(kind, &facts());
        Ok(match route {
            Route::Index if wants_page => response::page(shared(Kind::Page)),
            Route::Live => {
                let query = request.uri.query().unwrap_or_default();
                let mut pairs = form_urlencoded::parse(query.as_bytes());
                let whole = pairs.any(|(name, value)| name == "hour" && value == "1");
                response::live(shared(if whole { Kind::Whole } else { Kind::Latest }))
            }
            Route::Index => by_accept(report(true, &index())),
            Route::Status => report(true, &pool.status()),
            Route::Health => {
                let health = pool.health_by(facts()).await;
                by_accept(report(health.can_serve(), &health))
            }
            Route::Metrics => {
                // The metrics report whether the database can be reached, also for an unused pool.
                pool.ask_database().await;
                metrics(&Page {
                    recorder: &pool.recorder,
                    format: accept.format(),
                    source_lines: settings.monitor_source_lines,
                })
            }
            Route::Connections => {
                let connections = pool.connections_by(facts()).await;
                report(!connections.too_many_idle_in_transaction, &connections)
            }
            Route::Optimize => {
                let what_if = WhatIf::from_query(request.uri.query().unwrap_or_default())?;
                report(true, &pool.optimize_by(facts(), what_if).await)
            }
            Route::Healthcheck => {
                let check = pool.healthcheck().await;
                let check = match shows_reasons {
                    true => check,
                    false => check.in_short(),
                };
                report(check.is_ok(), &check)
            }
        })
    }
}

impl<S: Source> Monitor<S> {
    /// Returns the whole path of the request; `None` if a router may have stripped it.
    fn path<'a>(&self, request: &'a Parts) -> Option<&'a str> {
        #[cfg(feature = "axum")]
        if let Some(original) = request.extensions.get::<axum::extract::OriginalUri>() {
            return Some(original.path());
        }
        let path = request.uri.path();
        path.starts_with(&*self.prefix).then_some(path)
    }

    /// Returns an answer that all viewers share.
    fn shared(&self, kind: Kind, facts: &SourceFacts) -> Bytes {
        let live = |extent| self.pool.live_by(facts, extent);
        let json = |extent| serde_json::to_vec(&live(extent)).unwrap_or_default();
        self.snapshots.get(kind, facts.source_lines, || match kind {
            Kind::Page => page::page(&Content::of(&live(Extent::Latest))).into_bytes(),
            Kind::Latest => json(Extent::Latest),
            Kind::Whole => json(Extent::Whole),
        })
    }
}

/// Returns the list of the routes.
fn index() -> serde_json::Value {
    let reports = REPORTS.map(|(name, _, content)| (name.to_owned(), content.into()));
    serde_json::json!({ "reports": serde_json::Map::from_iter(reports) })
}

impl<S, B> Service<Request<B>> for Monitor<S>
where
    S: Source + Clone,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (request, _unread) = request.into_parts();
        let monitor = self.clone();
        Box::pin(async move {
            let answer = monitor.answer(&request).await;
            let mut answer = answer.unwrap_or_else(|why| refusal(&why));
            // The response to HEAD has the `Content-Length` of the response to GET.
            if request.method == Method::HEAD {
                *answer.body_mut() = Full::default();
            }
            Ok(answer)
        })
    }
}

impl<S> fmt::Debug for Monitor<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor")
            .field("pool", &self.pool)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}
