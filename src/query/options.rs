use opentelemetry::KeyValue;
use opentelemetry_semantic_conventions::attribute::DB_SYSTEM_NAME;

use crate::settings::{DatabaseKind, QuerySpans, ResetOnReturn, Settings};

/// Which telemetry of a pool's queries is recorded, and how.
#[derive(Debug, Clone)]
pub(crate) struct QueryOptions {
    pub(crate) kind: DatabaseKind,
    /// The attributes of the database: `db.system.name`, and its address if it is known.
    pub(crate) attributes: Vec<KeyValue>,
    pub(crate) spans: bool,
    pub(crate) span_text: bool,
    pub(crate) echo: bool,
    pub(crate) echo_binds: bool,
    /// A statement sent more often than this in one request is reported; `None` = never.
    pub(crate) n_plus_one: Option<u32>,
    /// Whether statements are inspected for what they leave in their session.
    pub(crate) session_changes: bool,
}

impl QueryOptions {
    /// Takes the settings that concern queries. `place` has the attributes of the database's address.
    pub(crate) fn new(kind: DatabaseKind, settings: &Settings, place: Vec<KeyValue>) -> Self {
        let mut attributes = vec![KeyValue::new(DB_SYSTEM_NAME, kind.system_name())];
        attributes.extend(place);
        Self {
            kind,
            attributes,
            spans: settings.query_spans != QuerySpans::Off,
            span_text: settings.query_spans == QuerySpans::Text,
            echo: settings.echo,
            echo_binds: settings.echo_binds,
            n_plus_one: settings.n_plus_one,
            session_changes: settings.reset_on_return != ResetOnReturn::Never,
        }
    }
}
