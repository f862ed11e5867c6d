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

fn accept(lines: &[&str]) -> Accept {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(ACCEPT, HeaderValue::from_bytes(line.as_bytes()).unwrap());
    }
    Accept::of(&headers)
}

#[test]
fn health_returns_metrics_to_scrapers_and_json_to_others() {
    use Format::{OpenMetrics, Text};
    for (header, health, page) in [
        (PROMETHEUS_2, true, OpenMetrics),
        (PROMETHEUS_3, true, OpenMetrics),
        (PROMETHEUS_3_NATIVE, true, OpenMetrics),
        (OM, true, OpenMetrics),
        (
            "Application/OpenMetrics-Text; Version=1.0.0; Q=0.2",
            true,
            OpenMetrics,
        ),
        ("text/plain;version=0.0.4", true, Text),
        ("text/plain; version=\"0.0.4\"; charset=utf-8", true, Text),
        ("text/plain;version=1.0.0;escaping=underscores", true, Text),
        // Telegraf, vmagent.
        ("text/plain;version=0.0.4;q=1,*/*;q=0.1", true, Text),
        // By weight, not by order.
        (
            "application/json;q=0.3, text/plain;version=0.0.4;q=0.4",
            true,
            Text,
        ),
        (
            "application/json, application/openmetrics-text;q=0.9",
            false,
            OpenMetrics,
        ),
        (
            "application/openmetrics-text;q=0.9,text/plain;version=0.0.4",
            true,
            Text,
        ),
        (
            "application/openmetrics-text;q=0.001,*/*;q=0",
            true,
            OpenMetrics,
        ),
        // An equal weight does not rank above JSON.
        (
            "application/json, application/openmetrics-text",
            false,
            OpenMetrics,
        ),
        ("application/openmetrics-text, */*", false, OpenMetrics),
        (
            "text/plain;version=0.0.4;q=0.5, application/*;q=0.5",
            false,
            Text,
        ),
        // The most specific range determines the weight of JSON.
        (
            "application/openmetrics-text;q=0.5, application/json;q=0.1, */*",
            true,
            Text,
        ),
        (
            "text/plain;version=0.0.4;q=0.2, application/*;q=0.1, */*;q=0.9",
            true,
            Text,
        ),
        ("application/openmetrics-text;q=0", false, Text),
        ("application/openmetrics-text;q=0, */*", false, Text),
        (FIREFOX, false, Text),
        (CHROME, false, Text),
        ("*/*", false, Text),
        ("text/plain", false, Text),
        ("text/plain;charset=utf-8", false, Text),
        ("text/plain;version=0.0.1", false, Text),
        ("text/*", false, Text),
        ("application/*", false, OpenMetrics),
        ("application/json", false, Text),
        ("image/png", false, Text),
        ("", false, Text),
    ] {
        let accept = accept(&[header]);
        assert_eq!(accept.prefers_metrics(), health, "{header}");
        assert_eq!(accept.format(), page, "{header}");
    }
    assert_eq!(accept(&[]), Accept::default());
}

#[test]
fn several_lines_are_one_list() {
    let lines = [
        "application/json;q=0.5",
        "text/plain;version=0.0.4;q=0.7, image/png",
    ];
    assert!(accept(&lines).prefers_metrics());
    assert_eq!(accept(&lines), accept(&[&lines.join(",")]));
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
        "x/y;z=\"a, application/openmetrics-text\"",
        "x/y;z=\"\\\", application/openmetrics-text\"",
        ",;=,\"",
    ] {
        assert_eq!(accept(&[broken]), Accept::default(), "{broken}");
        let list = format!("{OM};q=0.5,,{broken}");
        assert_eq!(
            accept(&[&list]),
            accept(&["application/openmetrics-text;q=0.5"]),
            "{list}"
        );
    }
}

#[test]
fn a_weight_is_truncated_to_three_decimals() {
    for (text, weight) in [
        ("0", 0),
        ("0.", 0),
        ("0.5", 500),
        ("0.05", 50),
        ("0.1239", 123),
        ("1", 1000),
        ("1.000", 1000),
    ] {
        assert_eq!(thousandths(text), Some(weight), "{text}");
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
        let accept = Accept::of(&headers);
        // Random bytes name nothing.
        prop_assert!(!accept.prefers_metrics());
    }

    #[test]
    fn no_plausible_header_panics(pieces in prop::collection::vec(prop::sample::select(&[
        OM, "text/plain", "version=0.0.4", "application/json", "*/*", "q=0.5", "q=1", "q", ";", ";", ",", "\"", "\\", "=", " ",
    ][..]), 0..40)) {
        let header = pieces.concat();
        let accept = accept(&[&header]);
        prop_assert!(!accept.prefers_metrics() || header.contains(OM) || header.contains("version=0.0.4"));
    }

    /// Compares the ranking with a reference model that needs no parser.
    #[test]
    fn the_highest_weight_decides(
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
        prop_assert_eq!(accept(&[&header]).prefers_metrics(), wanted > json.or(any).unwrap_or(0), "{}", header);
    }
}

#[test]
fn html_is_for_those_who_name_it_above_json() {
    for header in [
        FIREFOX,
        CHROME,
        "text/html",
        "TEXT/HTML; charset=utf-8",
        "text/html, */*",
        "text/html, */*; q=0.01",
        // w3m.
        "text/html, text/*;q=0.5, image/*, application/*",
        "application/json;q=0.9, text/html",
        "text/html;q=0.1, application/json;q=0",
    ] {
        assert!(accept(&[header]).prefers_html(), "{header}");
    }
    for header in [
        // curl, wget, fetch.
        "*/*",
        "",
        "text/*",
        "text/html;q=0",
        "text/html, application/json",
        // axios.
        "application/json, text/plain, */*",
        "application/json, text/html;q=0.9",
        "text/html;q=0.5, */*;q=0.8",
        "text/html;q=2",
        PROMETHEUS_2,
        PROMETHEUS_3,
        PROMETHEUS_3_NATIVE,
    ] {
        assert!(!accept(&[header]).prefers_html(), "{header}");
    }
    assert!(!accept(&[]).prefers_html());
}
