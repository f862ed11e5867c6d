//! Which report a request asks for.

use http::{Method, StatusCode};

/// What has a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Status,
    Health,
    Connections,
    Optimize,
    Healthcheck,
    Metrics,
}

/// What is said to a request that asks for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRoute {
    NotFound,
    MethodNotAllowed,
}

impl NoRoute {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    pub(super) fn detail(self) -> &'static str {
        match self {
            Self::NotFound => {
                "there is no such report; there are status, health, connections, optimize, healthcheck and metrics"
            }
            Self::MethodNotAllowed => "reports are read with GET or HEAD",
        }
    }
}

/// The path may come whole, or with the prefix already taken off by a router.
pub(super) fn route(method: &Method, path: &str, prefix: &str) -> Result<Route, NoRoute> {
    let rest = match path.strip_prefix(prefix) {
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    };
    let name = rest.strip_prefix('/').unwrap_or(rest);
    let route = match name.strip_suffix('/').unwrap_or(name) {
        "status" => Route::Status,
        "health" => Route::Health,
        "connections" => Route::Connections,
        "optimize" => Route::Optimize,
        "healthcheck" => Route::Healthcheck,
        "metrics" => Route::Metrics,
        _ => return Err(NoRoute::NotFound),
    };
    if method == Method::GET || method == Method::HEAD {
        Ok(route)
    } else {
        Err(NoRoute::MethodNotAllowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PREFIX: &str = "/api/v1/monitoring/pool";

    #[test]
    fn with_and_without_the_prefix() {
        for path in ["/status", "/status/", "/api/v1/monitoring/pool/status"] {
            assert_eq!(
                route(&Method::GET, path, PREFIX),
                Ok(Route::Status),
                "{path}"
            );
        }
        assert_eq!(
            route(&Method::HEAD, "/healthcheck", ""),
            Ok(Route::Healthcheck)
        );
    }

    #[test]
    fn anything_else_is_refused() {
        for path in [
            "",
            "/",
            "//status",
            "/Status",
            "/status/x",
            "/api/v1/monitoring/poolstatus",
            "/api/v1/monitoring/pool",
        ] {
            assert_eq!(
                route(&Method::GET, path, PREFIX),
                Err(NoRoute::NotFound),
                "{path}"
            );
        }
        assert_eq!(
            route(&Method::POST, "/status", PREFIX),
            Err(NoRoute::MethodNotAllowed)
        );
        assert_eq!(
            route(&Method::POST, "/nothing", PREFIX),
            Err(NoRoute::NotFound)
        );
    }

    proptest! {
        #[test]
        fn no_path_panics(path in any::<String>(), prefix in any::<String>()) {
            let _ = route(&Method::GET, &path, &prefix);
        }
    }
}
