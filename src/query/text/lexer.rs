//! Splits a statement into literals, names and words, by the rules of each database.

use super::blanks::is_space;
use super::keyword::Keyword;
use crate::settings::DatabaseKind;

/// A piece of a statement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    /// Whether white space or a comment precedes it.
    pub(super) spaced: bool,
    /// The next byte that is not white space; 0 at the end.
    pub(super) next: u8,
}

/// The kind of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name or a keyword.
    Word(Keyword),
    /// A name in quotes.
    Quoted,
    /// Data, which is never shown. Includes everything after an unterminated token.
    Literal,
    /// A placeholder for a bind value.
    Placeholder,
    /// Any other character.
    Symbol(u8),
}

/// Reads a statement from left to right. Non-ASCII bytes occur only in words and within quotes, so each
/// token begins and ends at a character boundary.
pub(super) struct Lexer<'a> {
    pub(super) statement: &'a str,
    pub(super) bytes: &'a [u8],
    /// The number of bytes read.
    pub(super) at: usize,
    pub(super) dialect: DatabaseKind,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(statement: &'a str, dialect: DatabaseKind) -> Self {
        Self {
            statement,
            bytes: statement.as_bytes(),
            at: 0,
            dialect,
        }
    }

    /// Returns the byte at this distance from the current position; 0 beyond the end.
    pub(super) fn ahead(&self, by: usize) -> u8 {
        self.bytes.get(self.at + by).copied().unwrap_or(0)
    }

    /// Skips bytes while the predicate holds.
    pub(super) fn skip(&mut self, such: impl Fn(u8) -> bool) {
        while self.bytes.get(self.at).copied().is_some_and(&such) {
            self.at += 1;
        }
    }

    pub(super) fn is(&self, dialect: DatabaseKind) -> bool {
        self.dialect == dialect
    }

    fn lex(&mut self) -> Kind {
        use DatabaseKind::{Mysql, Postgres, Sqlite};

        let first = self.ahead(0);
        match (first, self.dialect) {
            (b'\'', dialect) => self.strings(dialect == Mysql),
            (b'"', Mysql) => self.quoted(b'"', true, Kind::Literal),
            (b'"', _) | (b'`', Mysql | Sqlite) => self.name(first),
            (b'[', Sqlite) => self.name(b']'),
            (b'$', Postgres) => self.dollar(),
            (b'?', Mysql) => self.one(Kind::Placeholder),
            (b'?', Sqlite) => {
                self.at += 1;
                self.skip(|byte| byte.is_ascii_digit());
                Kind::Placeholder
            }
            (b':' | b'@' | b'$', Sqlite) if is_word(self.ahead(1)) => {
                self.at += 1;
                self.skip(is_word);
                Kind::Placeholder
            }
            (b'/', Mysql) if self.ahead(1) == b'*' => self.hide(),
            // SQLite stops reading at a NUL byte, and it is invalid in the other databases.
            (0, _) => self.hide(),
            (b'.', _) if self.ahead(1).is_ascii_digit() => self.number(),
            (byte, _) if byte.is_ascii_digit() => self.number(),
            (byte, _) if is_word(byte) && (byte != b'$' || self.is(Mysql)) => self.word(),
            (byte, _) => self.one(Kind::Symbol(byte)),
        }
    }

    fn one(&mut self, kind: Kind) -> Kind {
        self.at += 1;
        kind
    }

    fn hide(&mut self) -> Kind {
        self.at = self.bytes.len();
        Kind::Literal
    }

    /// Reads a string from its opening quote, and the strings in following lines that continue it: in
    /// Postgres they are one string, with the escape rules of the first.
    fn strings(&mut self, backslash: bool) -> Kind {
        loop {
            self.quoted(b'\'', backslash, Kind::Literal);
            let end = self.at;
            if !self.is(DatabaseKind::Postgres) || !self.skip_lines() || self.ahead(0) != b'\'' {
                self.at = end;
                return Kind::Literal;
            }
        }
    }

    /// Reads from an opening to a closing quote. An unterminated text is hidden.
    fn quoted(&mut self, quote: u8, backslash: bool, kind: Kind) -> Kind {
        self.at += 1;
        while let Some(&byte) = self.bytes.get(self.at) {
            self.at += 1;
            if byte == b'\\' && backslash {
                self.at += 1;
            } else if byte == quote {
                if self.ahead(0) != quote || quote == b']' {
                    return kind;
                }
                self.at += 1;
            }
        }
        self.hide()
    }

    /// Reads a quoted name, in which a quote is escaped by doubling it. In brackets there is no escape.
    fn name(&mut self, close: u8) -> Kind {
        self.quoted(close, false, Kind::Quoted)
    }

    /// Reads `$1`, or a string such as `$tag$…$tag$`.
    fn dollar(&mut self) -> Kind {
        if self.ahead(1).is_ascii_digit() {
            self.at += 1;
            self.skip(|byte| byte.is_ascii_digit());
            return Kind::Placeholder;
        }
        let start = self.at;
        self.at += 1;
        self.skip(|byte| is_word(byte) && byte != b'$');
        if self.ahead(0) != b'$' {
            self.at = start;
            return self.one(Kind::Symbol(b'$'));
        }
        self.at += 1;
        let tag = &self.statement[start..self.at];
        match self.statement[self.at..].find(tag) {
            Some(end) => {
                self.at += end + tag.len();
                Kind::Literal
            }
            None => self.hide(),
        }
    }

    /// Reads a number with any characters attached to it: no name that begins with a digit is shown.
    fn number(&mut self) -> Kind {
        let hex = self.ahead(0) == b'0' && matches!(self.ahead(1), b'x' | b'X');
        let mut last = 0;
        while let Some(&byte) = self.bytes.get(self.at) {
            let goes_on = match byte {
                b'+' | b'-' => {
                    !hex && matches!(last, b'e' | b'E') && self.ahead(1).is_ascii_digit()
                }
                b'.' => true,
                _ => is_word(byte) && byte != b'$',
            };
            if !goes_on {
                break;
            }
            last = byte;
            self.at += 1;
        }
        Kind::Literal
    }

    /// Reads a word, or a string that it is the prefix of: `E'…'`, `N'…'`, `X'…'`, `B'…'`, `U&'…'`.
    fn word(&mut self) -> Kind {
        let start = self.at;
        self.skip(is_word);
        let word = &self.statement[start..self.at];
        if word.len() == 1 {
            match (word.as_bytes()[0].to_ascii_uppercase(), self.ahead(0)) {
                (b'E', b'\'') if self.is(DatabaseKind::Postgres) => return self.strings(true),
                (b'N', b'\'') => return self.strings(self.is(DatabaseKind::Mysql)),
                (b'X' | b'B', b'\'') => return self.strings(false),
                (b'U', b'&') if self.is(DatabaseKind::Postgres) => match self.ahead(1) {
                    b'\'' => {
                        self.at += 1;
                        return self.strings(false);
                    }
                    b'"' => {
                        self.at += 1;
                        return self.name(b'"');
                    }
                    _ => {}
                },
                _ => {}
            }
        }
        Kind::Word(Keyword::of(word))
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let spaced = self.skip_blanks();
        let start = self.at;
        if start >= self.bytes.len() {
            return None;
        }
        let kind = self.lex();
        // If an escape is the last byte, the position is beyond the end.
        self.at = self.at.min(self.bytes.len());
        let rest = &self.bytes[self.at..];
        let next = rest.iter().copied().find(|byte| !is_space(*byte));
        Some(Token {
            kind,
            text: &self.statement[start..self.at],
            spaced,
            next: next.unwrap_or(0),
        })
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || !byte.is_ascii()
}
