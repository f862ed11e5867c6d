//! A little traffic, so that there is something to see.

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

/// About five requests a second, through the app as if from outside, until the pool drains.
pub async fn run<C: Backend>(app: Router, pool: Pool<C>) {
    for path in PATHS.iter().cycle() {
        if pool.status().state != Availability::Open {
            return;
        }
        let request = Request::get(*path)
            .body(Body::empty())
            .expect("a valid request");
        let Ok(answer) = app.clone().oneshot(request).await;
        // No need to hammer a database that is down, nor to fill the log.
        let failed = answer.status().is_server_error();
        // To its end, as a client would: a request lasts as long as its answer.
        let _ = answer.into_body().collect().await;
        sleep(if failed {
            Duration::from_secs(10)
        } else {
            Duration::from_millis(200)
        })
        .await;
    }
}
