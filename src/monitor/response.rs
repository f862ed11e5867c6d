//! Builds the HTTP responses of reports and refusals.

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, VARY, WWW_AUTHENTICATE,
};
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use super::access::Denied;
use crate::advice::WhatIfError;
use crate::metrics::prometheus::{Format, Page};
use crate::record::recorder::Recorder;

pub(super) type Answer = Response<Full<Bytes>>;

pub(super) fn report(method: &Method, status: StatusCode, report: &impl Serialize) -> Answer {
    match serde_json::to_vec(report) {
        Ok(body) => answer(method, status, "application/json", body),
        Err(_) => problem(
            method,
            StatusCode::INTERNAL_SERVER_ERROR,
            "the report could not be serialized",
        ),
    }
}

/// Returns the metrics. The status is always 200, because a scraper discards the body of any other.
pub(super) fn metrics(
    method: &Method,
    recorder: &Recorder,
    format: Format,
    source_lines: bool,
) -> Answer {
    let page = Page {
        recorder,
        format,
        source_lines,
    };
    let page = page.to_string().into_bytes();
    by_accept(answer(method, StatusCode::OK, format.content_type(), page))
}

/// Adds `Vary: Accept`, because the response depends on that header.
pub(super) fn by_accept(mut answer: Answer) -> Answer {
    let accept = HeaderValue::from_static("Accept");
    answer.headers_mut().insert(VARY, accept);
    answer
}

/// Why a request gets no report. The response does not quote the request, except for the parameters of
/// `optimize`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ErrorResponse {
    #[error(
        "no such report: the reports are status, health, connections, optimize, healthcheck and metrics"
    )]
    NotFound,
    /// Only `healthcheck` is served, and the request is for another path.
    #[error("no such report: only healthcheck is served here")]
    OnlyHealthcheck,
    #[error("reports accept only GET and HEAD")]
    MethodNotAllowed,
    #[error(transparent)]
    Denied(Denied),
    #[error(transparent)]
    WhatIf(WhatIfError),
}

pub(super) fn refusal(method: &Method, refusal: &ErrorResponse) -> Answer {
    let (status, header) = match refusal {
        ErrorResponse::WhatIf(_) => (StatusCode::BAD_REQUEST, None),
        ErrorResponse::NotFound | ErrorResponse::OnlyHealthcheck => (StatusCode::NOT_FOUND, None),
        ErrorResponse::MethodNotAllowed => {
            (StatusCode::METHOD_NOT_ALLOWED, Some((ALLOW, "GET, HEAD")))
        }
        ErrorResponse::Denied(Denied::Unauthorized) => {
            (StatusCode::UNAUTHORIZED, Some((WWW_AUTHENTICATE, "Bearer")))
        }
        ErrorResponse::Denied(Denied::Forbidden) => (StatusCode::FORBIDDEN, None),
    };
    let mut answer = problem(method, status, &refusal.to_string());
    if let Some((name, value)) = header {
        let value = HeaderValue::from_static(value);
        answer.headers_mut().insert(name, value);
    }
    answer
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
    // The response to HEAD has the `Content-Length` of the response to GET.
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
