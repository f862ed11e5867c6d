//! Maps a request's path to a report.

/// What has a route: the page, or a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// The page, or the list of the reports.
    Index,
    Status,
    Health,
    Connections,
    Optimize,
    Healthcheck,
    Metrics,
    Live,
}

/// The reports by name, each with what it contains.
pub(super) const REPORTS: [(&str, Route, &str); 7] = [
    (
        "status",
        Route::Status,
        "the pool's current counts, without a query to the database",
    ),
    (
        "health",
        Route::Health,
        "the whole state with warnings and recommendations; 503 if the pool can't serve",
    ),
    (
        "connections",
        Route::Connections,
        "the server's sessions of this pool, with their holders",
    ),
    (
        "optimize",
        Route::Optimize,
        "the pool size that the load needs, the expected waits, and why",
    ),
    (
        "healthcheck",
        Route::Healthcheck,
        "whether the pool can serve, for load balancers; 503 if not",
    ),
    ("metrics", Route::Metrics, "the metrics, for Prometheus"),
    (
        "live",
        Route::Live,
        "what the page shows; its fields may change",
    ),
];

/// Returns the route of a path, with or without the prefix: a router may have stripped it. `None` if
/// there is no such route.
pub(super) fn route(path: &str, prefix: &str) -> Option<Route> {
    let rest = match path.strip_prefix(prefix) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        _ => path,
    };
    let name = rest.strip_prefix('/').unwrap_or(rest);
    if name.is_empty() {
        return Some(Route::Index);
    }
    let name = name.strip_suffix('/').unwrap_or(name);
    let found = REPORTS.iter().find(|(report, ..)| *report == name);
    found.map(|(_, route, _)| *route)
}

/// Returns where the service is mounted, by the path of a request for one of its routes:
/// `/internal/db/status` is under `/internal/db/`.
pub(super) fn mount(path: &str, route: Route) -> String {
    let path = path.strip_suffix('/').unwrap_or(path);
    match route {
        Route::Index => format!("{path}/"),
        _ => {
            path.rsplit_once('/')
                .map_or("", |(mount, _)| mount)
                .to_owned()
                + "/"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PREFIX: &str = "/api/v1/monitoring/pool";

    #[test]
    fn a_path_matches_with_and_without_the_prefix() {
        for path in ["/status", "/status/", "/api/v1/monitoring/pool/status"] {
            assert_eq!(route(path, PREFIX), Some(Route::Status), "{path}");
        }
        assert_eq!(route("/healthcheck", ""), Some(Route::Healthcheck));
    }

    #[test]
    fn the_index_has_the_path_of_the_mount_with_and_without_a_slash() {
        for path in ["", "/", PREFIX, "/api/v1/monitoring/pool/"] {
            assert_eq!(route(path, PREFIX), Some(Route::Index), "{path}");
        }
        assert_eq!(route("/", ""), Some(Route::Index));
    }

    #[test]
    fn the_mount_is_the_path_without_the_report() {
        for (path, route, expected) in [
            ("", Route::Index, "/"),
            ("/", Route::Index, "/"),
            ("/db", Route::Index, "/db/"),
            ("/db/", Route::Index, "/db/"),
            ("/status", Route::Status, "/"),
            ("/a/db/status", Route::Status, "/a/db/"),
            ("/a/db/status/", Route::Status, "/a/db/"),
        ] {
            assert_eq!(mount(path, route), expected, "{path}");
        }
    }

    #[test]
    fn other_paths_match_no_route() {
        for path in [
            "//",
            "//status",
            "/Status",
            "/status/x",
            "/api/v1/monitoring/poolstatus",
            "/api/v1/monitoring/pool//",
            "/api/v1/monitoring",
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
