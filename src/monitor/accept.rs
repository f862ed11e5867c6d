//! Content negotiation by the `Accept` header.

use http::HeaderMap;
use http::header::ACCEPT;

/// Returns whether a media type specific to metrics ranks above JSON. Ranges that cannot be parsed are
/// ignored, and a range that is named twice has the higher weight.
pub(super) fn prefers_metrics(headers: &HeaderMap) -> bool {
    let mut metrics = 0.0_f32;
    // Weights of `application/json`, `application/*` and `*/*`: the most specific one counts.
    let mut json = [None; 3];
    for line in headers.get_all(ACCEPT) {
        let line = String::from_utf8_lossy(line.as_bytes());
        for (kind, version, weight) in line.split(',').filter_map(parse) {
            let at = match (&*kind, version) {
                // Version 1.0.0 only adds quoted names to 0.0.4, and the page has none. Who asks for
                // OpenMetrics reads the text format as well.
                ("application/openmetrics-text", _) | ("text/plain", Some("0.0.4" | "1.0.0")) => {
                    metrics = metrics.max(weight);
                    continue;
                }
                ("application/json", _) => 0,
                ("application/*", _) => 1,
                ("*/*", _) => 2,
                _ => continue,
            };
            json[at] = Some(json[at].map_or(weight, |other: f32| other.max(weight)));
        }
    }
    metrics > json.into_iter().flatten().next().unwrap_or(0.0)
}

/// Parses a media range, such as `text/plain;version=0.0.4;q=0.5`, into its type, version and weight.
fn parse(range: &str) -> Option<(String, Option<&str>, f32)> {
    let mut parts = range.split(';').map(str::trim);
    let kind = parts.next()?.to_ascii_lowercase();
    let (mut version, mut weight) = (None, 1.0);
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        let (name, value) = (name.trim(), value.trim().trim_matches('"'));
        if name.eq_ignore_ascii_case("q") {
            weight = value
                .parse()
                .ok()
                .filter(|weight| (0.0..=1.0).contains(weight))?;
        } else if name.eq_ignore_ascii_case("version") {
            version = Some(value);
        }
    }
    Some((kind, version, weight))
}

#[cfg(test)]
mod tests;
