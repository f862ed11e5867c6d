use http::HeaderValue;
use proptest::prelude::*;

use super::*;

const OM: &str = "application/openmetrics-text";
/// The `Accept` header of Prometheus 2.42.
const PROMETHEUS_2: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
/// The `Accept` header of Prometheus 3.
const PROMETHEUS_3: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
/// The `Accept` header of Prometheus 3 with native histograms enabled.
const PROMETHEUS_3_NATIVE: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
const FIREFOX: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
const CHROME: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7";

fn accept(lines: &[&str]) -> bool {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(ACCEPT, HeaderValue::from_bytes(line.as_bytes()).unwrap());
    }
    prefers_metrics(&headers)
}

#[test]
fn health_returns_metrics_to_scrapers_and_json_to_others() {
    for (header, metrics) in [
        (PROMETHEUS_2, true),
        (PROMETHEUS_3, true),
        (PROMETHEUS_3_NATIVE, true),
        (OM, true),
        ("Application/OpenMetrics-Text; Version=1.0.0; Q=0.2", true),
        ("text/plain;version=0.0.4", true),
        ("text/plain; version=\"0.0.4\"; charset=utf-8", true),
        ("text/plain;version=1.0.0;escaping=underscores", true),
        // Telegraf, vmagent.
        ("text/plain;version=0.0.4;q=1,*/*;q=0.1", true),
        // By weight, not by order.
        (
            "application/json;q=0.3, text/plain;version=0.0.4;q=0.4",
            true,
        ),
        (
            "application/json, application/openmetrics-text;q=0.9",
            false,
        ),
        (
            "application/openmetrics-text;q=0.9,text/plain;version=0.0.4",
            true,
        ),
        ("application/openmetrics-text;q=0.001,*/*;q=0", true),
        // An equal weight does not rank above JSON.
        ("application/json, application/openmetrics-text", false),
        ("application/openmetrics-text, */*", false),
        ("text/plain;version=0.0.4;q=0.5, application/*;q=0.5", false),
        // The most specific range determines the weight of JSON.
        (
            "application/openmetrics-text;q=0.5, application/json;q=0.1, */*",
            true,
        ),
        (
            "text/plain;version=0.0.4;q=0.2, application/*;q=0.1, */*;q=0.9",
            true,
        ),
        ("application/openmetrics-text;q=0", false),
        ("application/openmetrics-text;q=0, */*", false),
        (FIREFOX, false),
        (CHROME, false),
        ("*/*", false),
        ("text/plain", false),
        ("text/plain;charset=utf-8", false),
        ("text/plain;version=0.0.1", false),
        ("text/*", false),
        ("application/*", false),
        ("application/json", false),
        ("image/png", false),
        ("", false),
    ] {
        assert_eq!(accept(&[header]), metrics, "{header}");
    }
    assert!(!accept(&[]));
}

#[test]
fn several_lines_are_one_list() {
    let lines = [
        "application/json;q=0.5",
        "text/plain;version=0.0.4;q=0.7, image/png",
    ];
    assert!(accept(&lines));
    assert!(accept(&[&lines.join(",")]));
}

#[test]
fn invalid_ranges_are_ignored() {
    for broken in [
        "application/openmetrics-text;q=2",
        "application/openmetrics-text;q=1.001",
        "application/openmetrics-text;q=-1",
        "application/openmetrics-text;q=much",
        "application/openmetrics-text;q=",
        "application/openmetrics-text;q=0.5.5",
        "application/openmetrics-text;q=\u{0661}",
        "application /openmetrics-text",
        "openmetrics-text",
        "\"application/openmetrics-text",
        ",;=,\"",
    ] {
        assert!(!accept(&[broken]), "{broken}");
        let (more, less) = ("application/json;q=0.4", "application/json;q=0.6");
        assert!(
            accept(&[&format!("{OM};q=0.5,,{broken}"), more]),
            "{broken}"
        );
        assert!(
            !accept(&[&format!("{OM};q=0.5,,{broken}"), less]),
            "{broken}"
        );
    }
}

proptest! {
    #[test]
    fn no_header_panics(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..4)) {
        let mut headers = HeaderMap::new();
        for line in lines {
            if let Ok(line) = HeaderValue::from_bytes(&line) {
                headers.append(ACCEPT, line);
            }
        }
        // Random bytes name nothing.
        prop_assert!(!prefers_metrics(&headers));
    }

    #[test]
    fn no_plausible_header_panics(pieces in prop::collection::vec(prop::sample::select(&[
        OM, "text/plain", "version=0.0.4", "application/json", "*/*", "q=0.5", "q=1", "q", ";", ";", ",", "\"", "\\", "=", " ",
    ][..]), 0..40)) {
        let header = pieces.concat();
        prop_assert!(!accept(&[&header]) || header.contains(OM) || header.contains("version=0.0.4"));
    }

    /// Compares the ranking with a reference model that needs no parser.
    #[test]
    fn weights_decide(
        openmetrics in prop::option::of(0_u16..=1000),
        text in prop::option::of(0_u16..=1000),
        plain in prop::option::of(0_u16..=1000),
        json in prop::option::of(0_u16..=1000),
        any in prop::option::of(0_u16..=1000),
        order in Just((0..5).collect::<Vec<usize>>()).prop_shuffle(),
    ) {
        let named = [
            (OM, openmetrics), ("text/plain;version=0.0.4", text), ("text/plain", plain), ("application/json", json), ("*/*", any),
        ];
        let ranges = order.iter().filter_map(|&at| {
            let (name, weight) = named[at];
            weight.map(|weight| format!("{name};q={}.{:03}", weight / 1000, weight % 1000))
        });
        let header = ranges.collect::<Vec<_>>().join(", ");
        let wanted = openmetrics.unwrap_or(0).max(text.unwrap_or(0));
        prop_assert_eq!(accept(&[&header]), wanted > json.or(any).unwrap_or(0), "{}", header);
    }
}
