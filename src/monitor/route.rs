//! Maps a request's path to a report.

/// A report that has a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReportRoute {
    Status,
    Health,
    Connections,
    Optimize,
    Healthcheck,
    Metrics,
}

/// Returns the route of a path, with or without the prefix: a router may have stripped it. `None` if
/// there is no such route.
pub(super) fn route(path: &str, prefix: &str) -> Option<ReportRoute> {
    let rest = match path.strip_prefix(prefix) {
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    };
    let name = rest.strip_prefix('/').unwrap_or(rest);
    Some(match name.strip_suffix('/').unwrap_or(name) {
        "status" => ReportRoute::Status,
        "health" => ReportRoute::Health,
        "connections" => ReportRoute::Connections,
        "optimize" => ReportRoute::Optimize,
        "healthcheck" => ReportRoute::Healthcheck,
        "metrics" => ReportRoute::Metrics,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PREFIX: &str = "/api/v1/monitoring/pool";

    #[test]
    fn a_path_matches_with_and_without_the_prefix() {
        for path in ["/status", "/status/", "/api/v1/monitoring/pool/status"] {
            assert_eq!(route(path, PREFIX), Some(ReportRoute::Status), "{path}");
        }
        assert_eq!(route("/healthcheck", ""), Some(ReportRoute::Healthcheck));
    }

    #[test]
    fn other_paths_match_no_route() {
        for path in [
            "",
            "/",
            "//status",
            "/Status",
            "/status/x",
            "/api/v1/monitoring/poolstatus",
            "/api/v1/monitoring/pool",
        ] {
            assert_eq!(route(path, PREFIX), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_path_panics(path in any::<String>(), prefix in any::<String>()) {
            let _ = route(&path, &prefix);
        }
    }
}
