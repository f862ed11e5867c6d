//! The HTTP methods that telemetry reports by name.

use http::Method;

/// The name of every other method in telemetry, because clients may send any word.
pub(super) const OTHER: &str = "_OTHER";

/// The methods known by default: those of RFC 9110, `PATCH` and `QUERY`, as OpenTelemetry's conventions
/// specify.
pub(super) const KNOWN: &[&str] = &[
    "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE", "QUERY",
];

/// Returns the method's name if it is one of `known`, else [`OTHER`].
pub(super) fn name(known: &[&'static str], method: &Method) -> &'static str {
    let known = known.iter().find(|known| **known == method.as_str());
    known.copied().unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_methods_are_reported_as_other() {
        assert_eq!(name(KNOWN, &Method::GET), "GET");
        assert_eq!(name(KNOWN, &Method::PATCH), "PATCH");
        for word in ["PROPFIND", "get", "BREW"] {
            assert_eq!(name(KNOWN, &word.parse().unwrap()), OTHER, "{word}");
        }
    }

    #[test]
    fn the_list_can_be_replaced() {
        let known = ["GET", "PROPFIND"];
        assert_eq!(name(&known, &"PROPFIND".parse().unwrap()), "PROPFIND");
        assert_eq!(name(&known, &Method::POST), OTHER);
    }
}
