//! Finds the places in SQLite's statements where only a name can stand.
//!
//! Everywhere else, SQLite reads `"text"` as a string if there is no such column.

use super::keyword::Keyword;
use super::lexer::{Token, TokenKind};

/// The words that a name follows.
const BEFORE_NAMES: &str =
    "AS COLLATE COLUMN INDEX INTO JOIN REFERENCES SAVEPOINT SET TABLE TO TRIGGER UPDATE VIEW";

/// The position in a statement, as far as it decides whether a name is expected.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Names {
    /// Whether the next token can only be a name.
    expected: bool,
    dot: bool,
    distinct: bool,
    creates: bool,
    started: bool,
    depth: u32,
    list: ColumnList,
}

/// A list of columns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum ColumnList {
    #[default]
    None,
    /// After `INTO`, before the name of the table.
    Into,
    /// After the name of the table of `INTO`.
    Target,
    /// In the columns of `INSERT`, to the next parenthesis.
    Columns,
    /// After `CREATE TABLE`: a column begins after a parenthesis or a comma, outside of further ones.
    Table,
}

impl Names {
    /// Returns whether the token can only be a name.
    pub(super) fn is_name(&self, token: &Token<'_>) -> bool {
        self.expected || self.dot || token.next == b'.'
    }

    pub(super) fn follow(&mut self, token: &Token<'_>) {
        let is = |words: &str| {
            matches!(token.kind, TokenKind::Word(_))
                && words
                    .split(' ')
                    .any(|one| one.eq_ignore_ascii_case(token.text))
        };
        if token.kind == TokenKind::Symbol(b';') {
            *self = Self::default();
            return;
        }
        if !self.started {
            (self.started, self.creates) = (true, is("CREATE"));
        }
        let dot = std::mem::replace(&mut self.dot, token.kind == TokenKind::Symbol(b'.'));
        let distinct = std::mem::replace(&mut self.distinct, is("DISTINCT"));
        self.expected = match token.kind {
            TokenKind::Word(_) if dot => false,
            TokenKind::Word(Keyword::From) => !distinct,
            // `CREATE INDEX i ON "t"`, but not `JOIN t ON "a" = 1`.
            TokenKind::Word(_) if is("ON") => std::mem::take(&mut self.creates),
            TokenKind::Word(_) if is("EXISTS") => token.next == b'"',
            TokenKind::Word(_) => is(BEFORE_NAMES),
            TokenKind::Symbol(b'(' | b',') => self.begins_column(token),
            _ => false,
        };
        match token.kind {
            TokenKind::Symbol(b'(') => self.depth += 1,
            TokenKind::Symbol(b')') => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.list = match (self.list, token.kind) {
            (_, TokenKind::Word(_)) if !dot && is("INTO") => ColumnList::Into,
            (_, TokenKind::Word(_)) if !dot && is("TABLE") && self.creates => ColumnList::Table,
            (ColumnList::Into, TokenKind::Word(_) | TokenKind::Quoted) => ColumnList::Target,
            (ColumnList::Target, TokenKind::Symbol(b'.')) => ColumnList::Into,
            (ColumnList::Target, TokenKind::Symbol(b'(')) => ColumnList::Columns,
            (
                ColumnList::Columns,
                TokenKind::Symbol(b',') | TokenKind::Word(_) | TokenKind::Quoted,
            ) => ColumnList::Columns,
            (ColumnList::Table, TokenKind::Word(_)) if is("AS SELECT USING") => ColumnList::None,
            (ColumnList::Table, _) => ColumnList::Table,
            _ => ColumnList::None,
        };
    }

    fn begins_column(&self, token: &Token<'_>) -> bool {
        let opens = token.kind == TokenKind::Symbol(b'(');
        match self.list {
            ColumnList::Target => opens,
            ColumnList::Columns => !opens,
            ColumnList::Table => self.depth == u32::from(!opens),
            _ => false,
        }
    }
}
