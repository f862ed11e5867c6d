//! A little traffic, so that the reports have data.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use poolscope::Pool;
use poolscope::backend::Backend;
use poolscope::service::Availability;
use tokio::time::sleep;
use tower::ServiceExt;

const PATHS: [&str; 8] = [
    "/users",
    "/users/1/orders",
    "/n-plus-one",
    "/users",
    "/query?ms=20",
    "/users/2/orders",
    "/transaction?ms=30",
    "/slow?ms=40",
];

/// Sends about five requests a second to the app, as a client would, until the pool drains.
pub async fn run<C: Backend>(app: Router, pool: Pool<C>) {
    for path in PATHS.iter().cycle() {
        if pool.status().state != Availability::Open {
            return;
        }
        let request = Request::get(*path)
            .body(Body::empty())
            .expect("a valid request");
        let Ok(answer) = app.clone().oneshot(request).await;
        // Fewer requests while the database is down, so that they do not fill the log.
        let failed = answer.status().is_server_error();
        // Reads the whole body, as a client would: a request lasts until the end of its response.
        let _ = answer.into_body().collect().await;
        sleep(if failed {
            Duration::from_secs(10)
        } else {
            Duration::from_millis(200)
        })
        .await;
    }
}
