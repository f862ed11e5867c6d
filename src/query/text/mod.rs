//! What telemetry tells of a statement: its text without data, a summary, and its operation.
//!
//! There is no SQL parser here. A lexer (`lexer.rs`) tells literals, names and words apart, by the
//! rules of each database, and two readers of its tokens write at the same time: `sanitized.rs` the
//! text, and `summary.rs` the summary of [OpenTelemetry's conventions]. One pass, no regular
//! expressions, and of a statement that is longer than 16 KiB only that much is read.
//!
//! What was in a literal is never told, nor anything behind one that does not end. Two things rest
//! on the server's being set up as it is by default: that Postgres has
//! `standard_conforming_strings` on, and that MySQL has no `NO_BACKSLASH_ESCAPES`. SQLite takes
//! `"text"` for a string where there is no such column; it is hidden where a value is likely (after
//! an operator, in `VALUES` and `IN`, or when it does not look like a name).
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
use crate::occupant::Statement;
use crate::settings::DatabaseKind;

/// What can be told of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Described {
    /// The statement without literals and comments, lists of values shortened, at most 2 KiB. Empty
    /// if it was not asked for.
    pub(crate) text: String,
    /// Its operations and their targets (`INSERT shipping_details SELECT orders`), at most 255
    /// bytes. Empty if it was not asked for, or if the statement begins with no word of SQL.
    pub(crate) summary: String,
    /// Its first operation in capitals; `None` if the statement begins with no word of SQL. Of
    /// several statements `BATCH`, followed by their operation if they have the same.
    pub(crate) operation: Option<Cow<'static, str>>,
}

/// No more of a statement is read than this.
const READ: usize = 16 * 1024;

/// Reads a statement, which is without bind values already.
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

/// What an observer keeps of a statement.
pub(crate) fn read(statement: &str, dialect: DatabaseKind) -> Statement {
    let told = describe(statement, dialect, true, true);
    Statement {
        text: told.text.into(),
        summary: told.summary.into(),
        operation: told.operation.map(Into::into),
    }
}

/// The summary alone, where there is one.
pub(crate) fn summary(statement: &str, dialect: DatabaseKind) -> Option<String> {
    let summary = describe(statement, dialect, false, true).summary;
    (!summary.is_empty()).then_some(summary)
}

/// The end of a character, at most so many bytes from the start.
fn boundary(text: &str, most: usize) -> usize {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    end
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
