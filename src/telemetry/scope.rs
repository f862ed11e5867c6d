//! The instrumentation scope of all telemetry of this crate.

use opentelemetry::InstrumentationScope;

/// Returns the scope, with the version of this crate and of the semantic conventions.
pub(crate) fn scope() -> InstrumentationScope {
    InstrumentationScope::builder(env!("CARGO_PKG_NAME"))
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_schema_url(opentelemetry_semantic_conventions::SCHEMA_URL)
        .build()
}
