use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tower_layer::Layer;

use super::*;
use crate::observe::ObserveLayer;
use crate::record::checkouts::NotGranted;
use crate::record::inventory::{Counts, Inventory};
use crate::request::attribution::{Attribution, Tally};

const MS: Duration = Duration::from_millis(1);

#[derive(Clone)]
struct Connections;

impl Inventory for Connections {
    fn counts(&self) -> Counts {
        Counts::new(4, 1, 3, 5)
    }

    fn wait_target(&self) -> Option<Duration> {
        Some(5 * MS)
    }

    fn database(&self) -> Vec<KeyValue> {
        vec![KeyValue::new("server.port", 5432)]
    }
}

/// Returns the page of a pool with this name after a request of this route.
fn page(format: Format, pool: &str, route: &str) -> String {
    let recorder = ObserveLayer::new(pool).layer(Connections).recorder;
    recorder.refused(NotGranted::TimedOut, None, Instant::now(), None);
    let request = Attribution::new("GET", Some(Arc::from(route)));
    for queries in [1, 4, 4000] {
        let mut tally = Tally::default();
        (tally.used.checkouts, tally.used.queries, tally.used.held) = (1, queries, 250 * MS);
        recorder.requests().ended(&request, &tally);
    }
    let recorder = &recorder;
    Page {
        recorder,
        format,
        source_lines: true,
    }
    .to_string()
}

/// Returns all lines of a family.
fn lines_of(page: &str, family: &str) -> String {
    let is_of = |line: &&str| {
        let name = line
            .strip_prefix("# ")
            .and_then(|line| line.split(' ').nth(1));
        name.unwrap_or(line).starts_with(family)
    };
    page.lines().filter(is_of).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_page_in_the_text_format() {
    let page = page(Format::Text, "orders", "/users/{id}");
    assert_eq!(
        lines_of(&page, "db_client_connection_count"),
        r#"# HELP db_client_connection_count The number of connections that are currently in the given state
# TYPE db_client_connection_count untyped
db_client_connection_count{db_client_connection_pool_name="orders",db_client_connection_state="idle"} 1
db_client_connection_count{db_client_connection_pool_name="orders",db_client_connection_state="used"} 3"#
    );
    assert_eq!(
        lines_of(&page, "db_client_connection_timeouts"),
        r#"# HELP db_client_connection_timeouts_total The number of connection timeouts that have occurred trying to obtain a connection from the pool
# TYPE db_client_connection_timeouts_total counter
db_client_connection_timeouts_total{db_client_connection_pool_name="orders"} 1"#
    );
    assert_eq!(
        lines_of(&page, "poolscope_wait_target"),
        r#"# HELP poolscope_wait_target_seconds The target for the 95th percentile of the time waited for a connection
# TYPE poolscope_wait_target_seconds gauge
poolscope_wait_target_seconds{db_client_connection_pool_name="orders"} 0.005"#
    );
    assert_eq!(
        lines_of(&page, "poolscope_request_queries"),
        r#"# HELP poolscope_request_queries Queries of one request
# TYPE poolscope_request_queries histogram
poolscope_request_queries_bucket{db_client_connection_pool_name="orders",http_route="/users/{id}",http_request_method="GET",le="1"} 1
poolscope_request_queries_bucket{db_client_connection_pool_name="orders",http_route="/users/{id}",http_request_method="GET",le="2"} 1
poolscope_request_queries_bucket{db_client_connection_pool_name="orders",http_route="/users/{id}",http_request_method="GET",le="5"} 2
poolscope_request_queries_bucket{db_client_connection_pool_name="orders",http_route="/users/{id}",http_request_method="GET",le="10"} 2
poolscope_request_queries_bucket{db_client_connection_pool_name="orders",http_route="/users/{id}",http_request_method="GET",le="20"} 2
poolscope_request_queries_bucket{db_client_connection_pool_name="orders",http_route="/users/{id}",http_request_method="GET",le="50"} 2
poolscope_request_queries_bucket{db_client_connection_pool_name="orders",http_route="/users/{id}",http_request_method="GET",le="100"} 2
poolscope_request_queries_bucket{db_client_connection_pool_name="orders",http_route="/users/{id}",http_request_method="GET",le="200"} 2
poolscope_request_queries_bucket{db_client_connection_pool_name="orders",http_route="/users/{id}",http_request_method="GET",le="500"} 2
poolscope_request_queries_bucket{db_client_connection_pool_name="orders",http_route="/users/{id}",http_request_method="GET",le="1000"} 2
poolscope_request_queries_bucket{db_client_connection_pool_name="orders",http_route="/users/{id}",http_request_method="GET",le="+Inf"} 3
poolscope_request_queries_sum{db_client_connection_pool_name="orders",http_route="/users/{id}",http_request_method="GET"} 4005
poolscope_request_queries_count{db_client_connection_pool_name="orders",http_route="/users/{id}",http_request_method="GET"} 3"#
    );
    assert!(
        page.contains(r#"server_port="5432",le="0.0001"} 0"#),
        "{page}"
    );
    assert!(
        !page.contains("# UNIT") && !page.contains("# EOF"),
        "{page}"
    );
}

#[test]
fn a_page_in_openmetrics() {
    let page = page(Format::OpenMetrics, "orders", "/users/{id}");
    assert_eq!(
        lines_of(&page, "db_client_connection_timeouts"),
        r#"# TYPE db_client_connection_timeouts counter
# HELP db_client_connection_timeouts The number of connection timeouts that have occurred trying to obtain a connection from the pool
db_client_connection_timeouts_total{db_client_connection_pool_name="orders"} 1"#
    );
    let held = lines_of(&page, "poolscope_request_held_time");
    let held: Vec<_> = held.lines().collect();
    assert_eq!(
        held[..4],
        [
            "# TYPE poolscope_request_held_time_seconds histogram",
            "# UNIT poolscope_request_held_time_seconds seconds",
            "# HELP poolscope_request_held_time_seconds Time that one request held connections",
            r#"poolscope_request_held_time_seconds_bucket{db_client_connection_pool_name="orders",http_route="/users/{id}",http_request_method="GET",le="0.0001"} 0"#,
        ]
    );
    assert!(
        held.iter().any(|line| line.ends_with(r#"le="0.5"} 3"#)),
        "{held:?}"
    );
    assert!(
        held.iter().any(|line| line.ends_with(r#"le="1.0"} 3"#)),
        "{held:?}"
    );
    assert!(held.last().unwrap().ends_with("} 3"));
    assert!(
        lines_of(&page, "db_client_connection_count")
            .starts_with("# TYPE db_client_connection_count gauge")
    );
    assert!(page.ends_with("\n# EOF\n"));
}

#[test]
fn a_label_cannot_add_a_line() {
    for format in [Format::Text, Format::OpenMetrics] {
        let plain = page(format, "p", "r");
        let hostile = page(format, "\"} 1\n# EOF\n\\", "a\\\"b\nup 1\0\r");
        assert_eq!(hostile.lines().count(), plain.lines().count());
        assert!(hostile.contains(r#"{db_client_connection_pool_name="\"} 1\n# EOF\n\\","#));
        assert!(
            hostile.contains("http_route=\"a\\\\\\\"b\\nup 1\0\r\","),
            "{hostile}"
        );
    }
}

#[test]
fn a_family_without_series_is_left_out() {
    let recorder = ObserveLayer::new("fresh").layer(Connections).recorder;
    for format in [Format::Text, Format::OpenMetrics] {
        let recorder = &recorder;
        let page = Page {
            recorder,
            format,
            source_lines: true,
        }
        .to_string();
        assert_eq!(lines_of(&page, "poolscope_request"), "");
        assert!(!lines_of(&page, "db_client_connection_wait_time_seconds").is_empty());
        // A second page is identical.
        assert_eq!(
            Page {
                recorder,
                format,
                source_lines: true
            }
            .to_string(),
            page
        );
    }
}
