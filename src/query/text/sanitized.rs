//! The text of a statement, with a `?` for each literal.
//!
//! A list of values becomes one `?`, and only the first row of `VALUES` is kept. Otherwise there would
//! be a different text for every number of values.

use super::boundary;
use super::double_quotes::Names;
use super::keyword::Keyword;
use super::lexer::{Token, TokenKind};
use super::values::Values;
use crate::settings::DatabaseKind;

/// The maximum length of the text in bytes, without the `…` that marks a cut text.
pub(super) const LONGEST: usize = 2048;

pub(super) struct Sanitized {
    text: String,
    /// The previous token, as far as it determines the meaning of the next one.
    before: Preceding,
    list: Option<ValueList>,
    rows: Rows,
    values: Values,
    /// SQLite reads `"text"` as a string where it is not a name.
    names: Option<Names>,
    /// Whether a list with numbered binds was shortened. The numbers of later binds depend on its
    /// length, so they are hidden.
    renumbered: bool,
    full: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Preceding {
    /// `IN` or `ARRAY`: the following parentheses contain a list of values.
    List,
    Values,
    Dot,
    /// `::`, followed by a type.
    Colon,
    Other,
}

/// A list that has contained only values so far.
struct ValueList {
    /// The position in the text after its opening parenthesis.
    start: usize,
    depth: u32,
    numbered: bool,
    empty: bool,
}

/// The position in the rows of `VALUES`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rows {
    None,
    /// In the first row, at this depth of parentheses.
    First(u32),
    /// After a row.
    Between,
    /// In a further row, which is omitted, at this depth of parentheses; 0 before its first one.
    Further(u32),
}

impl Sanitized {
    pub(super) fn new(dialect: DatabaseKind, length: usize) -> Self {
        Self {
            text: String::with_capacity(length.min(LONGEST) + '…'.len_utf8()),
            before: Preceding::Other,
            list: None,
            rows: Rows::None,
            values: Values::default(),
            names: (dialect == DatabaseKind::Sqlite).then(Names::default),
            renumbered: false,
            full: false,
        }
    }

    pub(super) fn push(&mut self, token: &Token<'_>) {
        let is_name = self.names.as_mut().is_none_or(|names| {
            let is_name = names.is_name(token);
            names.follow(token);
            is_name
        });
        let value = self.values.hide(token);
        if self.full || self.left_out(token) {
            return;
        }
        let literal = self.is_literal(token, is_name);
        let shown = match token.kind {
            _ if literal || value => "?",
            TokenKind::Placeholder if self.renumbered && is_numbered(token) => "?",
            _ => token.text,
        };
        self.write(shown, token.spaced);
        self.follow_list(token, literal);
        self.begin(token);
        self.before = before(token);
        if self.list.is_none() && self.text.len() > LONGEST {
            self.cut();
        }
    }

    /// Returns the text. `more` means that the statement was not read to its end.
    pub(super) fn finish(mut self, more: bool) -> String {
        if let Some(list) = self.list.take() {
            // The list did not end within the part that was read.
            self.text.truncate(list.start);
            self.text.push('?');
        }
        if more && !self.full {
            self.cut();
        }
        let end = self.text.trim_end_matches([';', ' ']).len();
        self.text.truncate(end);
        self.text
    }

    fn write(&mut self, piece: &str, spaced: bool) {
        // A long list is shortened when it ends. If it is not a list of values, the text is cut.
        if self.text.len() > LONGEST {
            return;
        }
        if spaced && !self.text.is_empty() {
            self.text.push(' ');
        }
        self.text.push_str(&piece[..boundary(piece, LONGEST + 1)]);
    }

    fn cut(&mut self) {
        self.text.truncate(boundary(&self.text, LONGEST));
        self.text.push('…');
        self.full = true;
    }

    fn is_literal(&self, token: &Token<'_>, is_name: bool) -> bool {
        match token.kind {
            TokenKind::Literal => true,
            TokenKind::Word(Keyword::Truth) => self.before != Preceding::Dot && token.next != b'.',
            TokenKind::Quoted => token.text.starts_with('"') && !is_name,
            _ => false,
        }
    }

    /// Returns whether the token belongs to an omitted row of values.
    fn left_out(&mut self, token: &Token<'_>) -> bool {
        let (rows, out) = match (self.rows, token.kind) {
            (Rows::First(depth), TokenKind::Symbol(b'(')) => (Rows::First(depth + 1), false),
            (Rows::First(1), TokenKind::Symbol(b')')) => (Rows::Between, false),
            (Rows::First(depth), TokenKind::Symbol(b')')) => (Rows::First(depth - 1), false),
            (Rows::Between, TokenKind::Symbol(b',')) if token.next == b'(' => {
                (Rows::Further(0), true)
            }
            (Rows::Further(1), TokenKind::Symbol(b')')) => (Rows::Between, true),
            (Rows::Further(depth), TokenKind::Symbol(b'(')) => (Rows::Further(depth + 1), true),
            (Rows::Further(depth), TokenKind::Symbol(b')')) => (Rows::Further(depth - 1), true),
            (Rows::Further(depth), _) => {
                self.renumbered |= is_numbered(token);
                (Rows::Further(depth), true)
            }
            (Rows::Between, _) => (Rows::None, false),
            (rows, _) => (rows, false),
        };
        self.rows = rows;
        out
    }

    /// Begins a list or the first row of values if the token opens one.
    fn begin(&mut self, token: &Token<'_>) {
        let opens = matches!(token.kind, TokenKind::Symbol(b'(' | b'['));
        match self.before {
            Preceding::List if opens && self.list.is_none() => {
                self.list = Some(ValueList {
                    start: self.text.len(),
                    depth: 1,
                    numbered: false,
                    empty: true,
                });
            }
            Preceding::Values if opens && self.rows == Rows::None => self.rows = Rows::First(1),
            _ => {}
        }
    }

    /// Continues a list, and shortens it at its end.
    fn follow_list(&mut self, token: &Token<'_>, literal: bool) {
        let Some(list) = &mut self.list else {
            return;
        };
        let value = match token.kind {
            TokenKind::Symbol(b'(' | b'[') => {
                list.depth += 1;
                true
            }
            TokenKind::Symbol(b')' | b']') => {
                list.depth -= 1;
                true
            }
            TokenKind::Symbol(b',' | b':' | b'-' | b'+') | TokenKind::Placeholder => true,
            TokenKind::Word(Keyword::Nothing | Keyword::Array) => true,
            TokenKind::Word(_) => literal || self.before == Preceding::Colon,
            _ => literal,
        };
        if !value {
            self.list = None;
            return;
        }
        list.numbered |= is_numbered(token);
        if list.depth > 0 {
            list.empty = false;
            return;
        }
        if !list.empty {
            self.text.truncate(list.start);
            self.text.push('?');
            self.text.push_str(token.text);
            self.renumbered |= list.numbered;
        }
        self.list = None;
    }
}

fn before(token: &Token<'_>) -> Preceding {
    match token.kind {
        TokenKind::Word(Keyword::In | Keyword::Array) => Preceding::List,
        TokenKind::Word(Keyword::Values) => Preceding::Values,
        TokenKind::Symbol(b'.') => Preceding::Dot,
        TokenKind::Symbol(b':') => Preceding::Colon,
        _ => Preceding::Other,
    }
}

/// Returns whether the token is a numbered placeholder: `$1` or `?1`, but not `?` or `:name`.
fn is_numbered(token: &Token<'_>) -> bool {
    token.kind == TokenKind::Placeholder
        && token.text.len() > 1
        && token.text[1..].bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns whether a quoted name does not need its quotes.
pub(super) fn looks_like_a_name(quoted: &str) -> bool {
    let name = quoted.get(1..quoted.len() - 1).unwrap_or_default();
    let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    name.chars().all(plain) && name.starts_with(|c: char| !c.is_numeric())
}
