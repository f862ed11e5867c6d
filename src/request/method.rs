//! The HTTP methods that telemetry reports by name.

use std::borrow::Cow;

use http::Method;

/// The name of every other method in telemetry, because clients may send any word.
pub(super) const OTHER: &str = "_OTHER";

/// The methods known by default: those of RFC 9110, `PATCH` and `QUERY`, as OpenTelemetry's conventions
/// specify.
const KNOWN: &[&str] = &[
    "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE", "QUERY",
];

#[derive(Debug, Clone)]
pub(super) struct Methods(Cow<'static, [&'static str]>);

impl Methods {
    pub(super) fn only(known: impl IntoIterator<Item = &'static str>) -> Self {
        Self(known.into_iter().collect())
    }

    /// Returns the method's name if it is known, else [`OTHER`].
    pub(super) fn name(&self, method: &Method) -> &'static str {
        let known = self.0.iter().find(|known| **known == method.as_str());
        known.copied().unwrap_or(OTHER)
    }
}

impl Default for Methods {
    fn default() -> Self {
        Self(Cow::Borrowed(KNOWN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_methods_are_reported_as_other() {
        let methods = Methods::default();
        assert_eq!(methods.name(&Method::GET), "GET");
        assert_eq!(methods.name(&Method::PATCH), "PATCH");
        for word in ["PROPFIND", "get", "BREW"] {
            assert_eq!(methods.name(&word.parse().unwrap()), OTHER, "{word}");
        }
    }

    #[test]
    fn the_list_can_be_replaced() {
        let methods = Methods::only(["GET", "PROPFIND"]);
        assert_eq!(methods.name(&"PROPFIND".parse().unwrap()), "PROPFIND");
        assert_eq!(methods.name(&Method::POST), OTHER);
    }
}
