//! The summary of a statement: its operations and their targets, in the order of the statement.
//!
//! Follows OpenTelemetry's "Generating a summary of the query", with two exceptions: operations are
//! always in capitals, and names that do not need their quotes have none. Names of common table
//! expressions are omitted, because they are not tables.

use std::borrow::Cow;

use super::lexer::{Kind, Token};
use super::statement::Statement;

/// The maximum length of a summary, in bytes.
pub(super) const LONGEST: usize = 255;
const BATCH: &str = "BATCH";

pub(super) struct Summary<'a> {
    wanted: bool,
    /// The summary of the first statement, followed by that of the current one.
    text: String,
    statement: Statement<'a>,
    first: Option<First>,
    same_summary: bool,
    same_operation: bool,
    several: bool,
}

/// The summary's length and the operation of the first of several statements.
#[derive(Clone, Copy)]
struct First {
    length: usize,
    operation: Option<&'static str>,
}

impl<'a> Summary<'a> {
    pub(super) fn new(wanted: bool) -> Self {
        Self {
            wanted,
            text: String::new(),
            statement: Statement::new(0),
            first: None,
            same_summary: true,
            same_operation: true,
            several: false,
        }
    }

    pub(super) fn push(&mut self, token: &Token<'a>) {
        match token.kind {
            Kind::Symbol(b';') if !self.statement.is_body() => self.end_statement(),
            _ => self.statement.push(token, &mut self.text, self.wanted),
        }
    }

    pub(super) fn finish(mut self) -> (String, Option<Cow<'static, str>>) {
        self.end_statement();
        let operation = self.first.and_then(|first| first.operation);
        if !self.several {
            return (self.text, operation.map(Cow::Borrowed));
        }
        let operation = match operation {
            Some(operation) if self.same_operation => Cow::Owned(format!("{BATCH} {operation}")),
            _ => Cow::Borrowed(BATCH),
        };
        let fits = BATCH.len() + 1 + self.text.len() <= LONGEST;
        let text = match self.wanted {
            true if self.same_summary && fits && !self.text.is_empty() => {
                format!("{BATCH} {}", self.text)
            }
            true => BATCH.to_owned(),
            false => String::new(),
        };
        (text, Some(operation))
    }

    fn end_statement(&mut self) {
        if self.statement.is_empty() {
            return;
        }
        let operation = self.statement.main_operation();
        match self.first {
            None => {
                let length = self.text.len();
                self.first = Some(First { length, operation });
            }
            Some(first) => {
                self.several = true;
                self.same_operation &= operation == first.operation;
                self.same_summary &= self.text[..first.length] == self.text[first.length..];
                self.text.truncate(first.length);
            }
        }
        self.statement = Statement::new(self.text.len());
    }
}
