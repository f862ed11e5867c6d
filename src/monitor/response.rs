//! Builds the HTTP responses of reports and refusals.

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue,
    REFERRER_POLICY, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use super::route::REPORTS;
use crate::advice::WhatIfError;
use crate::metrics::prometheus::Page;

const JSON: &str = "application/json";

/// Returns a report, with the status 503 unless it is `ok`.
pub(super) fn report(ok: bool, report: &impl Serialize) -> Response<Full<Bytes>> {
    let status = match ok {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    match serde_json::to_vec(report) {
        Ok(body) => answer(status, JSON, body),
        Err(_) => problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the report could not be serialized",
        ),
    }
}

/// Returns the metrics. The status is always 200, because a scraper discards the body of any other.
pub(super) fn metrics(page: &Page<'_>) -> Response<Full<Bytes>> {
    let (kind, body) = (page.format.content_type(), page.to_string().into_bytes());
    by_accept(answer(StatusCode::OK, kind, body))
}

/// Returns what the page shows, as JSON.
pub(super) fn live(body: Bytes) -> Response<Full<Bytes>> {
    answer(StatusCode::OK, JSON, body)
}

/// Returns the live page.
pub(super) fn page(page: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut answer = answer(StatusCode::OK, "text/html; charset=utf-8", page);
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, super::page::POLICY),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        answer
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    by_accept(answer)
}

/// Adds `Vary: Accept`, because the response depends on that header.
pub(super) fn by_accept(mut answer: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    let accept = HeaderValue::from_static("Accept");
    answer.headers_mut().insert(VARY, accept);
    answer
}

/// Why a request gets no report. The response does not quote the request, except for the parameters of
/// `optimize`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ErrorResponse {
    #[error("no such report: the reports are {}", reports())]
    NotFound,
    /// Only `healthcheck` is served, and the request is for another path.
    #[error("no such report: only healthcheck is served here")]
    OnlyHealthcheck,
    #[error("reports accept only GET and HEAD")]
    MethodNotAllowed,
    /// The request does not carry the token.
    #[error("reports require the monitor's token: send it as `Authorization: Bearer <token>`")]
    Unauthorized,
    /// The app's check rejected the request.
    #[error("this request may not read reports")]
    Forbidden,
    #[error(transparent)]
    WhatIf(#[from] WhatIfError),
}

/// Returns the names of the reports: `status, health and metrics`.
fn reports() -> String {
    let names = REPORTS.map(|(name, ..)| name);
    let (last, others) = names.split_last().unwrap_or((&"", &[]));
    format!("{} and {last}", others.join(", "))
}

pub(super) fn refusal(refusal: &ErrorResponse) -> Response<Full<Bytes>> {
    let (status, header) = match refusal {
        ErrorResponse::WhatIf(_) => (StatusCode::BAD_REQUEST, None),
        ErrorResponse::NotFound | ErrorResponse::OnlyHealthcheck => (StatusCode::NOT_FOUND, None),
        ErrorResponse::MethodNotAllowed => {
            (StatusCode::METHOD_NOT_ALLOWED, Some((ALLOW, "GET, HEAD")))
        }
        ErrorResponse::Unauthorized => {
            (StatusCode::UNAUTHORIZED, Some((WWW_AUTHENTICATE, "Bearer")))
        }
        ErrorResponse::Forbidden => (StatusCode::FORBIDDEN, None),
    };
    let mut answer = problem(status, &refusal.to_string());
    if let Some((name, value)) = header {
        let value = HeaderValue::from_static(value);
        answer.headers_mut().insert(name, value);
    }
    answer
}

fn problem(status: StatusCode, detail: &str) -> Response<Full<Bytes>> {
    let body = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": detail,
    });
    answer(
        status,
        "application/problem+json",
        body.to_string().into_bytes(),
    )
}

fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let body = body.into();
    let length = HeaderValue::from(body.len());
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_LENGTH, length);
    response
}
