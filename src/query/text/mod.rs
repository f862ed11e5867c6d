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
mod lexer;
mod sanitized;
mod session_change;
mod summary;

use self::lexer::{Kind, Lexer};
use self::sanitized::Sanitized;
pub(crate) use self::session_change::{SessionChange, session_change};
use self::summary::Summary;
use crate::checkout::query_context::Statement;
use crate::settings::DatabaseKind;

/// The maximum number of bytes read from a statement.
const READ: usize = 16 * 1024;

/// Describes a statement, which must not contain bind values.
///
/// The text has no literals and comments, and shortened lists of values. The operation is `None`, and
/// the summary empty, if the statement does not begin with an SQL keyword. The operation of several
/// statements is `BATCH`, followed by their operation if all have the same.
pub(crate) fn describe(statement: &str, dialect: DatabaseKind) -> Statement {
    let read = &statement[..boundary(statement, READ)];
    let mut text = Sanitized::new(dialect, read.len());
    let mut summary = Summary::default();
    for token in Lexer::new(read, dialect) {
        text.push(&token);
        summary.push(&token);
    }
    let (summary, operation) = summary.finish();
    Statement {
        text: text.finish(read.len() < statement.len()).into(),
        summary: summary.into(),
        operation: operation.map(Into::into),
    }
}

/// Calls `each` with each statement of a batch.
pub(super) fn each_statement<'a>(
    statements: &'a str,
    dialect: DatabaseKind,
    mut each: impl FnMut(&'a str),
) {
    let mut lexer = Lexer::new(statements, dialect);
    let mut start = 0;
    while let Some(token) = lexer.next() {
        if token.kind == Kind::Symbol(b';') {
            each(&statements[start..lexer.at - 1]);
            start = lexer.at;
        }
    }
    each(&statements[start..]);
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
