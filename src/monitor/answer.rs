//! Reports and refusals as HTTP answers.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, VARY};
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use super::prometheus::{Format, Page};
use super::route::NoRoute;
use crate::observe::recorder::Recorder;

pub(super) type Answer = Response<Full<Bytes>>;

pub(super) fn report(method: &Method, status: StatusCode, report: &impl Serialize) -> Answer {
    match serde_json::to_vec(report) {
        Ok(body) => answer(method, status, "application/json", body),
        Err(error) => problem(
            method,
            StatusCode::INTERNAL_SERVER_ERROR,
            &error.to_string(),
        ),
    }
}

/// A scraper throws away what is no 200, so this is one whatever the metrics say.
pub(super) fn metrics(method: &Method, recorder: &Recorder, format: Format) -> Answer {
    let page = Page { recorder, format }.to_string().into_bytes();
    by_accept(answer(method, StatusCode::OK, format.content_type(), page))
}

/// Tells caches that another `Accept` may get another answer.
pub(super) fn by_accept(mut answer: Answer) -> Answer {
    let accept = HeaderValue::from_static("Accept");
    answer.headers_mut().insert(VARY, accept);
    answer
}

pub(super) fn refusal(method: &Method, refusal: NoRoute) -> Answer {
    let mut response = problem(method, refusal.status(), refusal.detail());
    if refusal == NoRoute::MethodNotAllowed {
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

fn problem(method: &Method, status: StatusCode, detail: &str) -> Answer {
    let body = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": detail,
    });
    answer(
        method,
        status,
        "application/problem+json",
        body.to_string().into_bytes(),
    )
}

fn answer(method: &Method, status: StatusCode, kind: &'static str, body: Vec<u8>) -> Answer {
    let length = HeaderValue::from(body.len());
    // HEAD tells the length of what GET would send.
    let body = if method == Method::HEAD {
        Bytes::new()
    } else {
        Bytes::from(body)
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_LENGTH, length);
    response
}
