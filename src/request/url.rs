//! The URL attributes of a request's span. Parts that may contain a secret by design, such as the query
//! or a password, are not recorded.

use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use opentelemetry::KeyValue;
use opentelemetry_semantic_conventions::attribute::{
    SERVER_ADDRESS, SERVER_PORT, URL_PATH, URL_SCHEME,
};

pub(super) fn attributes(parts: &Parts, with_path: bool, attributes: &mut Vec<KeyValue>) {
    attributes.push(KeyValue::new(URL_SCHEME, scheme(parts)));
    if with_path {
        attributes.push(KeyValue::new(URL_PATH, parts.uri.path().to_owned()));
    }
    let of_header = || Authority::try_from(parts.headers.get(HOST)?.as_bytes()).ok();
    if let Some(server) = parts.uri.authority().cloned().or_else(of_header) {
        attributes.push(KeyValue::new(SERVER_ADDRESS, server.host().to_owned()));
        if let Some(port) = server.port_u16() {
            attributes.push(KeyValue::new(SERVER_PORT, i64::from(port)));
        }
    }
}

/// Returns the scheme that the client used, according to `x-forwarded-proto` if that is present.
fn scheme(parts: &Parts) -> &'static str {
    let forwarded = || {
        let said = parts.headers.get("x-forwarded-proto")?.to_str().ok()?;
        said.split(',').next().map(str::trim)
    };
    match forwarded().or_else(|| parts.uri.scheme_str()) {
        Some(scheme) if scheme.eq_ignore_ascii_case("https") => "https",
        _ => "http",
    }
}
