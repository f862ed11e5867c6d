//! Sends requests to the monitoring routes, as an HTTP server would.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use poolscope::backend::Backend;
use poolscope::{Monitor, PoolBuilder};
use serde_json::Value;
use tower::{Service, ServiceExt};

use crate::support::http::Response;
pub use crate::support::waiting::{PATIENCE, until};

pub const ROUTES: [&str; 6] = [
    "status",
    "health",
    "connections",
    "optimize",
    "healthcheck",
    "live",
];

/// Raises the slow-checkout threshold, so that a slow connect causes no warning.
pub fn patient<C: Backend>(builder: PoolBuilder<C>) -> PoolBuilder<C> {
    builder.settings(|settings| settings.thresholds.average_wait = PATIENCE)
}

/// `GET` of a report, by name or path.
pub async fn get<S>(monitor: Monitor<S>, report: &str) -> Response
where
    Monitor<S>: Service<Request<()>, Response = http::Response<Full<Bytes>>, Error = Infallible>,
{
    send(monitor, Method::GET, report).await
}

pub async fn send<S>(monitor: Monitor<S>, method: Method, report: &str) -> Response
where
    Monitor<S>: Service<Request<()>, Response = http::Response<Full<Bytes>>, Error = Infallible>,
{
    let path = format!("/{}", report.trim_start_matches('/'));
    let request = Request::builder().method(method).uri(path).body(());
    call(monitor, request.expect("a valid request")).await
}

pub async fn call<S>(monitor: Monitor<S>, request: Request<()>) -> Response
where
    Monitor<S>: Service<Request<()>, Response = http::Response<Full<Bytes>>, Error = Infallible>,
{
    let answer = monitor.oneshot(request).await;
    let (head, body) = answer.expect("infallible").into_parts();
    Response {
        status: head.status,
        headers: head.headers,
        body: body.collect().await.expect("infallible").to_bytes(),
    }
}

/// The names in a JSON object.
pub fn names(object: &Value) -> Vec<&str> {
    let object = object.as_object().expect("an object");
    object.keys().map(String::as_str).collect()
}

/// The strings in a JSON array.
pub fn strings(array: &Value) -> Vec<&str> {
    let array = array.as_array().expect("an array");
    array
        .iter()
        .map(|text| text.as_str().expect("a string"))
        .collect()
}
