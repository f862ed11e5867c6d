//! Splits a statement into literals, names and words, by the rules of each database.

use super::blanks::is_space;
use super::keyword::Keyword;
use crate::settings::DatabaseKind;

/// A piece of a statement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'a> {
    pub(super) kind: TokenKind,
    pub(super) text: &'a str,
    /// Whether white space or a comment precedes it.
    pub(super) spaced: bool,
    /// The next byte that is not white space; 0 at the end. A dot only if a name may follow it.
    pub(super) next: u8,
}

/// The kind of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
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

/// Whether a backslash escapes a quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backslash {
    Escapes,
    Plain,
    /// It depends on a setting of the server.
    Unknown,
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

    fn lex(&mut self) -> TokenKind {
        use DatabaseKind::{Mysql, Postgres, Sqlite};

        let first = self.ahead(0);
        match (first, self.dialect) {
            (b'\'', _) => self.strings(self.backslash()),
            (b'"', Mysql) => self.quoted(b'"', Backslash::Unknown, TokenKind::Literal),
            (b'"', _) | (b'`', Mysql | Sqlite) => self.name(first),
            (b'[', Sqlite) => self.name(b']'),
            (b'$', Postgres) => self.dollar(),
            (b'$', Mysql) if self.begins_dollar_quote() => self.dollar(),
            (b'?', Mysql) => self.one(TokenKind::Placeholder),
            (b'?', Sqlite) => {
                self.at += 1;
                self.skip(|byte| byte.is_ascii_digit());
                TokenKind::Placeholder
            }
            (b':' | b'@' | b'$', Sqlite) if is_word(self.ahead(1)) => {
                self.at += 1;
                self.skip(is_word);
                TokenKind::Placeholder
            }
            (b'/', Mysql) if self.ahead(1) == b'*' => self.hide(),
            // SQLite stops reading at a NUL byte, and it is invalid in the other databases.
            (0, _) => self.hide(),
            (b'.', _) if self.ahead(1).is_ascii_digit() => self.number(),
            (byte, _) if byte.is_ascii_digit() => self.number(),
            (byte, _) if is_word(byte) && (byte != b'$' || self.is(Mysql)) => self.word(),
            (byte, _) => self.one(TokenKind::Symbol(byte)),
        }
    }

    /// Returns what a backslash means in a string without a prefix.
    fn backslash(&self) -> Backslash {
        match self.dialect {
            DatabaseKind::Sqlite => Backslash::Plain,
            _ => Backslash::Unknown,
        }
    }

    /// Returns whether a string such as `$tag$…$tag$` begins here. In MySQL, a name may begin with `$`, too.
    fn begins_dollar_quote(&self) -> bool {
        let rest = &self.bytes[self.at + 1..];
        let tag = rest
            .iter()
            .take_while(|byte| is_word(**byte) && **byte != b'$');
        rest.get(tag.count()) == Some(&b'$')
    }

    fn one(&mut self, kind: TokenKind) -> TokenKind {
        self.at += 1;
        kind
    }

    fn hide(&mut self) -> TokenKind {
        self.at = self.bytes.len();
        TokenKind::Literal
    }

    /// Reads a string from its opening quote, and the strings in following lines that continue it: in
    /// Postgres they are one string, with the escape rules of the first.
    fn strings(&mut self, backslash: Backslash) -> TokenKind {
        loop {
            self.quoted(b'\'', backslash, TokenKind::Literal);
            let end = self.at;
            if !self.is(DatabaseKind::Postgres) || !self.skip_lines() || self.ahead(0) != b'\'' {
                self.at = end;
                return TokenKind::Literal;
            }
        }
    }

    /// Reads from an opening to a closing quote. An unterminated text is hidden.
    fn quoted(&mut self, quote: u8, backslash: Backslash, kind: TokenKind) -> TokenKind {
        self.at += 1;
        // Whether an odd number of backslashes precedes.
        let mut odd = false;
        while let Some(&byte) = self.bytes.get(self.at) {
            self.at += 1;
            let was_odd = odd;
            odd = byte == b'\\' && !was_odd;
            if byte == quote {
                match backslash {
                    Backslash::Escapes if was_odd => continue,
                    // The string ends here or it does not.
                    Backslash::Unknown if was_odd => break,
                    _ => {}
                }
                if self.ahead(0) != quote || quote == b']' {
                    return kind;
                }
                self.at += 1;
            }
        }
        self.hide()
    }

    /// Reads a quoted name, in which a quote is escaped by doubling it. In brackets there is no escape.
    fn name(&mut self, close: u8) -> TokenKind {
        self.quoted(close, Backslash::Plain, TokenKind::Quoted)
    }

    /// Reads `$1`, or a string such as `$tag$…$tag$`.
    fn dollar(&mut self) -> TokenKind {
        if self.ahead(1).is_ascii_digit() {
            self.at += 1;
            self.skip(|byte| byte.is_ascii_digit());
            return TokenKind::Placeholder;
        }
        let start = self.at;
        self.at += 1;
        self.skip(|byte| is_word(byte) && byte != b'$');
        if self.ahead(0) != b'$' {
            self.at = start;
            return self.one(TokenKind::Symbol(b'$'));
        }
        self.at += 1;
        let tag = &self.statement[start..self.at];
        match self.statement[self.at..].find(tag) {
            Some(end) => {
                self.at += end + tag.len();
                TokenKind::Literal
            }
            None => self.hide(),
        }
    }

    /// Reads a number with any characters attached to it: no name that begins with a digit is shown.
    fn number(&mut self) -> TokenKind {
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
        TokenKind::Literal
    }

    /// Reads a word, or a string that it is the prefix of: `E'…'`, `N'…'`, `X'…'`, `B'…'`, `U&'…'`.
    fn word(&mut self) -> TokenKind {
        let start = self.at;
        self.skip(is_word);
        let word = &self.statement[start..self.at];
        if word.len() == 1 {
            match (word.as_bytes()[0].to_ascii_uppercase(), self.ahead(0)) {
                (b'E', b'\'') if self.is(DatabaseKind::Postgres) => {
                    return self.strings(Backslash::Escapes);
                }
                (b'N', b'\'') => return self.strings(self.backslash()),
                (b'X' | b'B', b'\'') => return self.strings(Backslash::Plain),
                (b'U', b'&') if self.is(DatabaseKind::Postgres) => match self.ahead(1) {
                    b'\'' => {
                        self.at += 1;
                        return self.strings(self.backslash());
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
        TokenKind::Word(Keyword::of(word))
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
        let mut next = rest.iter().copied().filter(|byte| !is_space(*byte));
        // A dot joins names only if one follows: `.5` is a number.
        let next = match (next.next(), next.next()) {
            (Some(b'.'), after) if after.is_none_or(|after| after.is_ascii_digit()) => after,
            (next, _) => next,
        };
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
