use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use tower_service::Service;

use super::accept::Accept;
use super::access::Access;
use super::answer::{Answer, Refusal, by_accept, metrics, refusal, report};
use super::route::{Route, route};
use crate::advice::WhatIf;
use crate::observe::Observe;
use crate::report::{RouteSettings, Source, SourceFacts};
use crate::settings::{Secret, Settings, SettingsError};

/// The monitoring routes of one pool, as a tower service over any request body.
///
/// It works under `axum::Router::nest_service`, behind bare hyper, and with the whole path left
/// on: the prefix, by default `/api/v1/monitoring/pool`, is taken off when it is there.
///
/// Who reaches it sees everything, unless a token ([`bearer_token`](Self::bearer_token)) or the
/// app's own check ([`authorize`](Self::authorize)) is asked for. Access is a matter of these
/// routes: reports from code are complete in any case.
pub struct Monitor<S> {
    pool: Observe<S>,
    prefix: Arc<str>,
    access: Access,
}

impl<S: Source + Clone> Observe<S> {
    /// The monitoring routes of this pool.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] mod doc {
    /// use poolscope::{AsyncSqliteConnection, Pool, Settings};
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
            access: Access::new(self.get_ref().routes()),
        }
    }
}

impl<S> Monitor<S> {
    /// The path it is mounted at, for servers that do not take it off.
    #[must_use]
    pub fn prefix(mut self, prefix: impl AsRef<str>) -> Self {
        self.prefix = Arc::from(prefix.as_ref().trim_end_matches('/'));
        self
    }

    /// Shows reports only to requests with `Authorization: Bearer …` and this token; the others get
    /// 401. Defaults to `DB_POOL_MONITOR_TOKEN`, and to none over an existing pool.
    ///
    /// `healthcheck` alone is answered to everybody, for not every load balancer can send a header:
    /// without the token its reason is cut to a few fixed words, which name no host and no figure.
    ///
    /// # Errors
    /// A token that is too short to be a secret, or that does not fit into a header.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] mod doc {
    /// # use poolscope::{AsyncSqliteConnection, Pool, Settings};
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
        self.access.settings.token = Some(token);
        Ok(self)
    }

    /// Shows reports only to requests that this check lets pass; the others get 403. With a token
    /// too, a request has to pass both. `healthcheck` stays open as it does with
    /// [`bearer_token`](Self::bearer_token); the check is asked there too, whether to tell more.
    ///
    /// For a check that is asynchronous, or that answers for itself (with a redirect to a login),
    /// put a tower layer around the monitor: it is a service like any other.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] mod doc {
    /// # use poolscope::{AsyncSqliteConnection, Pool, Settings};
    /// # #[tokio::main] pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?; let url = format!("sqlite://{}/app.db", folder.path().display());
    /// # let pool = Pool::<AsyncSqliteConnection>::builder(Settings::new(url)).build()?;
    /// /// What the app's own middleware leaves in a request.
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

    /// Whether the routes name the source lines that take connections; where they do not, labels
    /// and routes still tell places apart. Defaults to `DB_POOL_MONITOR_SOURCE_LINES`, which is true.
    ///
    /// The reports from code ([`Observe::health`]), logs and spans name them in any case.
    #[must_use]
    pub fn source_lines(mut self, shown: bool) -> Self {
        self.access.settings.source_lines = shown;
        self
    }

    /// Serves `healthcheck` and nothing else: every other path is 404. For a listener that the
    /// public reaches. Unless the request passes a token or a check, `healthcheck` tells its
    /// reason only in a few fixed words, which name no host and no figure.
    #[must_use]
    pub fn only_healthcheck(mut self) -> Self {
        self.access.settings.only_healthcheck = true;
        self
    }

    /// Takes access from these settings (those that begin with `monitor_`), in place of what was
    /// said before. For an existing pool, which has no settings of its own; the others do so already.
    ///
    /// # Errors
    /// As [`bearer_token`](Self::bearer_token).
    pub fn settings(mut self, settings: &Settings) -> Result<Self, SettingsError> {
        if let Some(token) = &settings.monitor_token {
            Settings::check_token(token)?;
        }
        self.access.settings = RouteSettings::from(settings);
        Ok(self)
    }

    /// What is to be answered, or why nothing is.
    fn ask(&self, request: &Parts) -> Result<Question, Refusal> {
        let route = route(request.uri.path(), &self.prefix);
        let settings = &self.access.settings;
        if settings.only_healthcheck && route != Some(Route::Healthcheck) {
            return Err(Refusal::OnlyHealthcheck);
        }
        let admitted = self.access.admit(request);
        // Whether a report exists is nobody's business who may not see it.
        if route != Some(Route::Healthcheck) {
            admitted.map_err(Refusal::Denied)?;
        }
        let route = route.ok_or(Refusal::NotFound)?;
        if ![Method::GET, Method::HEAD].contains(&request.method) {
            return Err(Refusal::MethodNotAllowed);
        }
        let what_if = match route {
            Route::Optimize => WhatIf::from_query(request.uri.query().unwrap_or_default()),
            _ => Ok(WhatIf::new()),
        };
        let is_public = settings.only_healthcheck && !self.access.is_restricted();
        Ok(Question {
            route,
            what_if: what_if.map_err(Refusal::WhatIf)?,
            method: request.method.clone(),
            accept: Accept::of(&request.headers),
            source_lines: settings.source_lines,
            reasons: admitted.is_ok() && !is_public,
        })
    }
}

/// What a request asks, and how much it is told.
struct Question {
    route: Route,
    /// Of `optimize`.
    what_if: WhatIf,
    method: Method,
    accept: Accept,
    source_lines: bool,
    /// Whether `healthcheck` tells its whole reason.
    reasons: bool,
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
        match self.ask(&request) {
            Err(why) => Box::pin(std::future::ready(Ok(refusal(&request.method, why)))),
            Ok(question) => {
                let pool = self.pool.clone();
                Box::pin(async move { Ok(answer(&pool, &question).await) })
            }
        }
    }
}

async fn answer<S: Source>(pool: &Observe<S>, question: &Question) -> Answer {
    let Question { method, accept, .. } = question;
    let ok_if = |ok: bool| {
        if ok {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    let facts = || SourceFacts {
        source_lines: question.source_lines,
        ..pool.get_ref().facts()
    };
    match question.route {
        Route::Status => report(method, StatusCode::OK, &pool.status()),
        Route::Health if !accept.prefers_metrics() => {
            let health = pool.health_by(facts()).await;
            by_accept(report(method, ok_if(health.can_serve()), &health))
        }
        Route::Health | Route::Metrics => {
            // For the metrics tell whether it can be reached, also of a pool that nobody uses.
            pool.ask_database().await;
            metrics(
                method,
                &pool.recorder,
                accept.format(),
                question.source_lines,
            )
        }
        Route::Connections => {
            let connections = pool.connections_by(facts()).await;
            report(
                method,
                ok_if(!connections.too_many_idle_in_transaction),
                &connections,
            )
        }
        Route::Optimize => {
            let advice = pool.optimize_by(facts(), question.what_if).await;
            report(method, StatusCode::OK, &advice)
        }
        Route::Healthcheck => {
            let check = pool.healthcheck().await;
            let check = match question.reasons {
                true => check,
                false => check.in_short(),
            };
            report(method, ok_if(check.is_ok()), &check)
        }
    }
}

impl<S> Clone for Monitor<S>
where
    S: Clone,
{
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            prefix: Arc::clone(&self.prefix),
            access: self.access.clone(),
        }
    }
}

impl<S> fmt::Debug for Monitor<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor")
            .field("pool", &self.pool)
            .field("prefix", &self.prefix)
            .field("access", &self.access)
            .finish()
    }
}
