//! The statements that use most connection time.

use serde::Serialize;

/// What one statement has used within the last five minutes.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StatementShare {
    /// What it does, to which tables: `SELECT orders`; its text, without values, with
    /// `DB_POOL_QUERY_TEXT`.
    pub statement: String,
    /// Its part of the time of all statements, in percent.
    pub share_pct: f64,
    /// Its time, in seconds.
    pub seconds: f64,
    /// How often it was sent.
    pub executions: u64,
    /// How long it took on average, in milliseconds.
    pub mean_ms: f64,
}
