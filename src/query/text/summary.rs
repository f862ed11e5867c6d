//! The summary of a statement: its operations and their targets, in the order of the statement.
//!
//! Follows OpenTelemetry's "Generating a summary of the query", with two exceptions: operations are
//! always in capitals, and names that do not need their quotes have none.

mod statement_reader;

pub(super) use self::statement_reader::is_command;
use self::statement_reader::{PreviousToken, StatementReader};
use super::boundary;
use super::lexer::{Token, TokenKind};

/// The maximum length of a summary, in bytes.
pub(super) const LONGEST: usize = 255;
const BATCH: &str = "BATCH";

/// The summary of one or several statements.
#[derive(Default)]
pub(super) struct Summary {
    first: Option<StatementReader>,
    current: StatementReader,
    several: bool,
    differs: bool,
}

impl Summary {
    pub(super) fn push(&mut self, token: &Token<'_>) {
        match token.kind {
            TokenKind::Symbol(b';') => self.end_statement(),
            _ => self.current.push(token),
        }
    }

    pub(super) fn finish(mut self) -> String {
        self.end_statement();
        let Some(StatementReader { text, .. }) = self.first else {
            return String::new();
        };
        match text.is_empty() || self.differs {
            _ if !self.several => cut(text),
            true => BATCH.to_owned(),
            false => cut(format!("{BATCH} {text}")),
        }
    }

    fn end_statement(&mut self) {
        let statement = std::mem::take(&mut self.current);
        if statement.before == PreviousToken::Nothing {
            return;
        }
        if let Some(first) = &self.first {
            self.several = true;
            self.differs |= statement.text != first.text;
        } else {
            self.first = Some(statement);
        }
    }
}

/// Cuts a text that is too long after an operation or a target.
fn cut(mut text: String) -> String {
    if text.len() > LONGEST {
        let end = text[..boundary(&text, LONGEST + 1)].rfind(' ');
        text.truncate(end.unwrap_or(0));
    }
    text
}
