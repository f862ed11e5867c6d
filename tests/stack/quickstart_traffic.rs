//! The traces of the quickstart's own traffic.

use crate::app::App;
use crate::support::collector::{self, Collector};

#[tokio::test]
async fn requests_of_the_traffic_are_complete() {
    let Some(collector) = Collector::start(collector::Options::new()) else {
        return;
    };
    let app = App::start(
        "quickstart",
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.http_endpoint()),
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ],
    );
    // Each of its paths occurs at least once.
    let servers =
        |spans: &[crate::support::otlp::Span]| spans.iter().filter(|s| s.kind == 2).count();
    let spans = collector.spans_when(|spans| servers(spans) >= 8).await;
    for span in spans.iter().filter(|span| span.kind == 2) {
        assert!(!span.attributes.contains_key("error.type"), "{span:?}");
        assert_eq!(span.attributes["http.response.status_code"], 200);
    }
    drop(app);
}
