//! Describes a statement for telemetry: its text without data, and a summary.
//!
//! There is no SQL parser here. A lexer (`lexer.rs`) distinguishes literals, names and words by the
//! rules of each database. Two consumers of its tokens write at the same time: `sanitized.rs` writes
//! the text, and `summary.rs` the summary of [OpenTelemetry's conventions]. There is one pass, without
//! regular expressions, over the first 16 KiB of a statement.
//!
//! What is not known to be a keyword or a name is not shown. The content of a literal is never shown, nor
//! anything after an unterminated one. Whether a backslash escapes a quote depends on settings of the server
//! (`standard_conforming_strings`, `NO_BACKSLASH_ESCAPES`), so nothing is shown after a string in which that
//! matters. A word in a statement that is not a query may be a value (`values.rs`), and so may SQLite's
//! `"text"` (`double_quotes.rs`).
//!
//! [OpenTelemetry's conventions]: https://opentelemetry.io/docs/specs/semconv/db/database-spans/

mod blanks;
mod double_quotes;
mod keyword;
mod lexer;
mod sanitized;
mod session_change;
mod summary;
mod values;

use self::lexer::{Lexer, TokenKind};
use self::sanitized::Sanitized;
pub(crate) use self::session_change::{SessionChange, session_change};
use self::summary::Summary;
use crate::checkout::query_context::Statement;
use crate::settings::DatabaseKind;

/// The maximum number of bytes read from a statement.
const READ: usize = 16 * 1024;

/// Describes a statement, which must not contain bind values.
///
/// The text has no literals and comments, and shortened lists of values. The summary is empty if the statement
/// does not begin with an SQL keyword. That of several statements is `BATCH`, followed by their summary if all
/// have the same.
pub(crate) fn describe(statement: &str, dialect: DatabaseKind) -> Statement {
    let read = &statement[..boundary(statement, READ)];
    let mut text = Sanitized::new(dialect, read.len());
    let mut summary = Summary::default();
    for token in Lexer::new(read, dialect) {
        text.push(&token);
        summary.push(&token);
    }
    Statement {
        text: text.finish(read.len() < statement.len()).into(),
        summary: summary.finish().into(),
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
        if token.kind == TokenKind::Symbol(b';') {
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
