//! Content negotiation by the `Accept` header: JSON, metrics or HTML.

use http::HeaderMap;
use http::header::ACCEPT;

use crate::metrics::prometheus::Format;

/// Weights of the media ranges in a request's `Accept`, in thousandths; `None` if it does not name the
/// range.
///
/// Ranges that cannot be parsed are ignored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Accept {
    /// `application/openmetrics-text`, of any version.
    openmetrics: Option<u16>,
    /// `text/plain` with a `version` parameter, which only Prometheus uses.
    versioned_text: Option<u16>,
    /// `text/plain` without a version.
    plain_text: Option<u16>,
    html: Option<u16>,
    any_text: Option<u16>,
    json: Option<u16>,
    any_application: Option<u16>,
    anything: Option<u16>,
}

impl Accept {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut accept = Self::default();
        for line in headers.get_all(ACCEPT) {
            for range in pieces(&String::from_utf8_lossy(line.as_bytes()), ',') {
                accept.add(range);
            }
        }
        accept
    }

    /// Returns whether a media type specific to metrics ranks above JSON.
    pub(super) fn prefers_metrics(&self) -> bool {
        let metrics = self.openmetrics.max(self.versioned_text);
        let json = self.json.or(self.any_application).or(self.anything);
        metrics.unwrap_or(0) > json.unwrap_or(0)
    }

    /// Returns whether HTML is named and ranks above JSON. A range that merely includes both, such as
    /// `*/*`, does not name it, and ranks below at the same weight.
    pub(super) fn prefers_html(&self) -> bool {
        let html = self.html.unwrap_or(0);
        let range = self.any_application.or(self.anything).unwrap_or(0);
        html > 0 && self.json.map_or(html >= range, |json| html > json)
    }

    /// Returns the metrics format with the higher weight. If the weights are equal, returns OpenMetrics
    /// if it is named explicitly and the text format otherwise.
    pub(super) fn format(&self) -> Format {
        let openmetrics = self.openmetrics.or(self.any_application).or(self.anything);
        let text = self.versioned_text.or(self.plain_text);
        let text = text.or(self.any_text).or(self.anything);
        let (openmetrics, text) = (openmetrics.unwrap_or(0), text.unwrap_or(0));
        let named = self.openmetrics > Some(0);
        if openmetrics > text || (named && openmetrics == text) {
            Format::OpenMetrics
        } else {
            Format::Text
        }
    }

    /// Adds one media range, such as `text/plain;version=0.0.4;q=0.5`. Returns `None` if it is ignored.
    fn add(&mut self, range: &str) -> Option<()> {
        let mut parts = pieces(range, ';');
        let kind = parts.next()?.to_ascii_lowercase();
        let (mut version, mut weight) = (None, 1000);
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name.eq_ignore_ascii_case("q") {
                weight = thousandths(value)?;
            } else if name.eq_ignore_ascii_case("version") {
                version = Some(value);
            }
        }
        let wanted = match (&*kind, version) {
            ("application/openmetrics-text", _) => &mut self.openmetrics,
            // Version 1.0.0 only adds quoted names to 0.0.4, and this page has none.
            ("text/plain", Some("0.0.4" | "1.0.0")) => &mut self.versioned_text,
            ("text/plain", None) => &mut self.plain_text,
            ("text/html", _) => &mut self.html,
            ("text/*", _) => &mut self.any_text,
            ("application/json", _) => &mut self.json,
            ("application/*", _) => &mut self.any_application,
            ("*/*", _) => &mut self.anything,
            _ => return None,
        };
        // A range that is named twice has the higher weight.
        *wanted = (*wanted).max(Some(weight));
        Some(())
    }
}

/// Splits the text at the separators that are not within quotes, and trims the pieces.
fn pieces(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let separates = move |c: char| {
        let literal = std::mem::take(&mut escaped);
        match c {
            _ if literal => {}
            '\\' => escaped = quoted,
            '"' => quoted = !quoted,
            _ => return !quoted && c == separator,
        }
        false
    };
    text.split(separates).map(str::trim)
}

/// Parses a weight from 0 to 1 into thousandths, truncated after the third decimal. `None` if it is
/// invalid.
fn thousandths(weight: &str) -> Option<u16> {
    let (whole, decimals) = weight.split_once('.').unwrap_or((weight, ""));
    if !decimals.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let digits = decimals.bytes().chain(*b"000").take(3);
    let part = digits.fold(0, |part, digit| 10 * part + u16::from(digit - b'0'));
    match whole {
        "0" => Some(part),
        "1" if decimals.bytes().all(|digit| digit == b'0') => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
