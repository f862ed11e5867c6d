//! Finds the words that may be data: in settings, options, and statements that are not known.
//!
//! In a query, a word is a keyword or a name. In other statements it may be a value: `SET x = word`, `ALTER
//! ROLE a SET x TO word`, `PRAGMA x(word)`, `DEFAULT word`. A word is shown there only where no value can
//! stand.

use super::keyword::Keyword;
use super::lexer::{Token, TokenKind};
use super::summary::is_command;

/// The words that may follow `=`, `DEFAULT`, `IS` and `PASSWORD` and are not values.
const NO_VALUES: &str = "ALL AS AUTHORIZATION CHARACTER CHARSET COLLATE CONVERSION CURRENT_DATE CURRENT_ROLE \
    CURRENT_TIME CURRENT_TIMESTAMP CURRENT_USER DEFAULT DISTINCT EXPIRE FOR FROM HISTORY LOCALTIME \
    LOCALTIMESTAMP NOT NULL OPTION PASSWORD PRIVILEGES REQUIRE REUSE ROLE SESSION_USER TABLESPACE VALUES";
/// The words of `COPY` after its table.
const OF_COPY: &str = "AS BINARY CSV DEFAULT DELIMITER DELIMITERS ENCODING ESCAPE FORCE FORCE_NOT_NULL \
    FORCE_NULL FORCE_QUOTE FORMAT FREEZE HEADER LOG_VERBOSITY MATCH NOT NULL ON_ERROR PROGRAM QUOTE \
    REJECT_LIMIT STDIN STDOUT TEXT TO WITH";

/// The position in a statement, as far as it decides what a word is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Values {
    kind: StatementKind,
    place: Position,
    depth: u32,
    /// Whether the previous token was a dot.
    dot: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum StatementKind {
    #[default]
    Begin,
    Query,
    Set,
    Pragma,
    Attach,
    Copy,
    Notify,
    Vacuum,
    /// `EXPLAIN` and others, before the query that they introduce.
    Introduction,
    Other,
    Unknown,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Position {
    #[default]
    Plain,
    /// After `SET`, before the name.
    Setting,
    /// After the name of a setting.
    Named,
    /// After `IDENTIFIED`, which `BY` and a password follow.
    Identified,
    /// After `VIRTUAL`: in parentheses follow the arguments of a module.
    Virtual,
    /// Before a value.
    Value,
    /// After a value, which goes on after a dot.
    Valued,
    /// In values, to the end of the statement.
    Values,
}

impl Values {
    /// Returns whether the token is a word or a quoted name that may be data.
    pub(super) fn hide(&mut self, token: &Token<'_>) -> bool {
        let hidden = match token.kind {
            TokenKind::Symbol(b';') => {
                *self = Self::default();
                return false;
            }
            _ if self.kind == StatementKind::Begin => self.begin(token),
            TokenKind::Word(_) | TokenKind::Quoted => self.word(token),
            TokenKind::Symbol(symbol) => {
                self.symbol(symbol);
                false
            }
            _ => {
                self.literal();
                false
            }
        };
        self.dot = token.kind == TokenKind::Symbol(b'.');
        hidden
    }

    fn begin(&mut self, token: &Token<'_>) -> bool {
        self.kind = match token.kind {
            // `(SELECT …) UNION …`.
            TokenKind::Symbol(b'(') => return false,
            TokenKind::Word(Keyword::Query(_) | Keyword::With | Keyword::Values) => {
                StatementKind::Query
            }
            TokenKind::Word(_) if is_command(token.text) => statement(token.text),
            _ => StatementKind::Unknown,
        };
        if self.kind == StatementKind::Set {
            self.place = Position::Setting;
        }
        self.kind == StatementKind::Unknown
            && matches!(token.kind, TokenKind::Word(_) | TokenKind::Quoted)
    }

    fn word(&mut self, token: &Token<'_>) -> bool {
        if self.place == Position::Values {
            return true;
        }
        match self.kind {
            StatementKind::Query => return false,
            StatementKind::Unknown => return true,
            StatementKind::Attach => return !is(token, "AS DATABASE KEY"),
            StatementKind::Copy if self.place == Position::Valued => {
                if is(token, "WHERE") {
                    self.kind = StatementKind::Query;
                }
                return self.kind == StatementKind::Copy && !is(token, OF_COPY);
            }
            StatementKind::Copy => {
                if self.depth == 0 && is(token, "FROM TO") {
                    self.place = Position::Valued;
                }
                return false;
            }
            StatementKind::Vacuum if is(token, "INTO") => self.place = Position::Values,
            StatementKind::Introduction if is_query(token) => self.kind = StatementKind::Query,
            // No other query begins with a reserved word.
            StatementKind::Other if token.kind == TokenKind::Word(Keyword::Query("SELECT")) => {
                self.kind = StatementKind::Query;
            }
            _ => return self.option(token),
        }
        false
    }

    /// Reads a word of a statement with settings or options.
    fn option(&mut self, token: &Token<'_>) -> bool {
        let value = match self.place {
            Position::Value => !is(token, NO_VALUES) && token.next != b'(',
            Position::Valued => self.dot,
            Position::Setting => return self.setting(token),
            // A name, or what is not known after one.
            Position::Named if !is(token, "TO FOR") => !self.dot && self.kind == StatementKind::Set,
            _ => false,
        };
        if value {
            self.place = match self.kind {
                StatementKind::Set => Position::Values,
                _ => Position::Valued,
            };
            return true;
        }
        self.place = match self.place {
            Position::Named if is(token, "TO") => Position::Values,
            Position::Named => Position::Named,
            Position::Identified if is(token, "BY") => Position::Value,
            Position::Virtual => Position::Virtual,
            _ if is(token, "SET") => Position::Setting,
            _ if is(token, "DEFAULT IS") => Position::Value,
            // And not a column with this name.
            _ if is(token, "PASSWORD") && self.depth == 0 => Position::Value,
            _ if is(token, "IDENTIFIED") => Position::Identified,
            _ if is(token, "VIRTUAL") => Position::Virtual,
            _ => Position::Plain,
        };
        false
    }

    /// Reads the word after `SET`, or after another word that belongs to it.
    fn setting(&mut self, token: &Token<'_>) -> bool {
        let of_set = self.kind == StatementKind::Set;
        self.place = match token.next {
            b'=' | b'.' => Position::Named,
            _ if is(
                token,
                "LOCAL SESSION GLOBAL PERSIST PERSIST_ONLY TIME CHARACTER",
            ) =>
            {
                Position::Setting
            }
            _ if is(token, "NAMES ROLE ZONE AUTHORIZATION CHARSET SET") => Position::Values,
            _ if of_set && is(token, "SCHEMA CATALOG") => Position::Values,
            _ if is(token, "CHARACTERISTICS CONSTRAINTS TRANSACTION NOT NULL") => Position::Plain,
            _ if is(token, "DEFAULT") => Position::Value,
            _ => Position::Named,
        };
        false
    }

    fn symbol(&mut self, symbol: u8) {
        match symbol {
            b'(' => self.depth += 1,
            b')' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.place = match (self.kind, self.place, symbol) {
            (StatementKind::Query | StatementKind::Copy, place, _) => place,
            (_, Position::Values, _) => Position::Values,
            (StatementKind::Notify, _, b',') | (StatementKind::Pragma, _, b'=' | b'(') => {
                Position::Values
            }
            (_, Position::Setting | Position::Named, b'=') => Position::Values,
            (StatementKind::Other, Position::Setting | Position::Named, b',') => Position::Plain,
            (_, Position::Virtual, b'(') => Position::Values,
            (_, Position::Plain | Position::Valued | Position::Identified, b'=') => Position::Value,
            (_, Position::Valued, b'.') => Position::Valued,
            (_, Position::Value, b',' | b')') | (_, Position::Valued, _) => Position::Plain,
            (_, place, _) => place,
        };
    }

    fn literal(&mut self) {
        if matches!(self.place, Position::Value | Position::Identified) {
            self.place = Position::Plain;
        }
    }
}

fn statement(command: &str) -> StatementKind {
    let named = |words| any(words, command);
    match () {
        () if named("SET") => StatementKind::Set,
        () if named("PRAGMA") => StatementKind::Pragma,
        () if named("ATTACH DETACH") => StatementKind::Attach,
        () if named("COPY") => StatementKind::Copy,
        () if named("NOTIFY") => StatementKind::Notify,
        () if named("VACUUM") => StatementKind::Vacuum,
        () if named("EXPLAIN DESCRIBE DESC PREPARE DECLARE") => StatementKind::Introduction,
        () => StatementKind::Other,
    }
}

fn is_query(token: &Token<'_>) -> bool {
    matches!(
        token.kind,
        TokenKind::Word(Keyword::Query(_) | Keyword::With | Keyword::Values)
    )
}

/// Returns whether the token is one of these words.
fn is(token: &Token<'_>, words: &str) -> bool {
    matches!(token.kind, TokenKind::Word(_)) && any(words, token.text)
}

fn any(words: &str, word: &str) -> bool {
    words.split(' ').any(|one| one.eq_ignore_ascii_case(word))
}
