use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use tower_service::Service;

use super::accept::Accept;
use super::answer::{Answer, by_accept, metrics, refusal, report};
use super::route::{Route, route};
use crate::observe::Observe;
use crate::report::Source;

/// The monitoring routes of one pool, as a tower service over any request body.
///
/// It works under `axum::Router::nest_service`, behind bare hyper, and with the whole path left
/// on: the prefix, by default `/api/v1/monitoring/pool`, is taken off when it is there.
pub struct Monitor<S> {
    pool: Observe<S>,
    prefix: Arc<str>,
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
        let method = request.method().clone();
        match route(&method, request.uri().path(), &self.prefix) {
            Err(no_route) => Box::pin(std::future::ready(Ok(refusal(&method, no_route)))),
            Ok(route) => {
                let pool = self.pool.clone();
                let accept = Accept::of(request.headers());
                Box::pin(async move { Ok(answer(&pool, route, &method, accept).await) })
            }
        }
    }
}

async fn answer<S: Source>(
    pool: &Observe<S>,
    route: Route,
    method: &Method,
    accept: Accept,
) -> Answer {
    let ok_if = |ok: bool| {
        if ok {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    match route {
        Route::Status => report(method, StatusCode::OK, &pool.status()),
        Route::Health if !accept.prefers_metrics() => {
            let health = pool.health().await;
            by_accept(report(method, ok_if(health.can_serve()), &health))
        }
        Route::Health | Route::Metrics => {
            // For the metrics tell whether it can be reached, also of a pool that nobody uses.
            pool.ask_database().await;
            metrics(method, &pool.recorder, accept.format())
        }
        Route::Connections => {
            let connections = pool.connections().await;
            report(
                method,
                ok_if(!connections.too_many_idle_in_transaction),
                &connections,
            )
        }
        Route::Optimize => report(method, StatusCode::OK, &pool.optimize().await),
        Route::Healthcheck => {
            let check = pool.healthcheck().await;
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
        }
    }
}

impl<S> fmt::Debug for Monitor<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor")
            .field("pool", &self.pool)
            .field("prefix", &self.prefix)
            .finish()
    }
}
