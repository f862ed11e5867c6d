//! Describes a statement for telemetry: its text without data, a summary, and its operation.
//!
//! There is no SQL parser here. A lexer (`lexer.rs`) distinguishes literals, names and words by the
//! rules of each database. Two consumers of its tokens write at the same time: `sanitized.rs` writes
//! the text, and `summary.rs` the summary of [OpenTelemetry's conventions]. There is one pass, without
//! regular expressions, over the first 16 KiB of a statement.
//!
//! The content of a literal is never shown, nor anything after an unterminated one. This assumes two
//! default settings of the server: Postgres has `standard_conforming_strings` on, and MySQL does not
//! have `NO_BACKSLASH_ESCAPES`. SQLite reads `"text"` as a string if there is no such column. It is
//! hidden where a value is likely: after an operator, in `VALUES` and `IN`, or if it does not look like
//! a name.
//!
//! [OpenTelemetry's conventions]: https://opentelemetry.io/docs/specs/semconv/db/database-spans/

mod blanks;
mod keyword;
mod levels;
mod lexer;
mod sanitized;
mod statement;
mod summary;

use std::borrow::Cow;

use self::lexer::Lexer;
use self::sanitized::Sanitized;
use self::summary::Summary;
use crate::checkout::query_context::Statement;
use crate::settings::DatabaseKind;

/// The description of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Described {
    /// The statement without literals and comments, and with shortened lists of values, at most 2 KiB.
    /// Empty if it was not requested.
    pub(crate) text: String,
    /// Its operations and their targets (`INSERT shipping_details SELECT orders`), at most 255
    /// bytes. Empty if it was not requested, or if the statement does not begin with an SQL keyword.
    pub(crate) summary: String,
    /// Its first operation in capitals; `None` if the statement does not begin with an SQL keyword. For
    /// several statements `BATCH`, followed by their operation if all have the same.
    pub(crate) operation: Option<Cow<'static, str>>,
}

/// The maximum number of bytes read from a statement.
const READ: usize = 16 * 1024;

/// Describes a statement, which must not contain bind values.
pub(crate) fn describe(
    statement: &str,
    dialect: DatabaseKind,
    want_text: bool,
    want_summary: bool,
) -> Described {
    let read = &statement[..boundary(statement, READ)];
    let mut text = want_text.then(|| Sanitized::new(dialect, read.len()));
    let mut summary = Summary::new(want_summary);
    for token in Lexer::new(read, dialect) {
        if let Some(text) = &mut text {
            text.push(&token);
        }
        summary.push(&token);
    }
    let (summary, operation) = summary.finish();
    Described {
        text: text.map_or_else(String::new, |text| {
            text.finish(read.len() < statement.len())
        }),
        summary,
        operation,
    }
}

/// Reads a statement into the form that observers keep.
pub(crate) fn read(statement: &str, dialect: DatabaseKind) -> Statement {
    let described = describe(statement, dialect, true, true);
    Statement {
        text: described.text.into(),
        summary: described.summary.into(),
        operation: described.operation.map(Into::into),
    }
}

/// Returns only the summary; `None` if it is empty.
pub(crate) fn summary(statement: &str, dialect: DatabaseKind) -> Option<String> {
    let summary = describe(statement, dialect, false, true).summary;
    (!summary.is_empty()).then_some(summary)
}

/// Returns the last character boundary that is at most `most` bytes from the start.
fn boundary(text: &str, most: usize) -> usize {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    end
}

#[cfg(test)]
mod tests;
