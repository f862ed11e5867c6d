//! How much the spans of queries record.

/// The spans that a pool creates for queries.
///
/// It is set by `DB_POOL_QUERY_SPANS`, or by `query_spans` in a config file, as `off`, `summary` or
/// `text`.
///
/// ```
/// use poolscope::Settings;
/// use poolscope::settings::QuerySpans;
///
/// let mut settings = Settings::new("sqlite://app.db");
/// assert_eq!(settings.query_spans, QuerySpans::Text);
/// settings.query_spans = QuerySpans::Summary;
/// ```
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QuerySpans {
    /// No spans of queries and transactions.
    Off,
    /// A span for each query, named after its operation and table (`SELECT orders`).
    Summary,
    /// As [`Summary`](Self::Summary), and the span records the statement as `db.query.text`, without
    /// bind values and literals. The default.
    Text,
}

impl QuerySpans {
    pub(super) const EXPECTED: &str = "off, summary or text";

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Summary => "summary",
            Self::Text => "text",
        }
    }

    pub(super) fn find(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "off" => Some(Self::Off),
            "summary" => Some(Self::Summary),
            "text" => Some(Self::Text),
            _ => None,
        }
    }
}
