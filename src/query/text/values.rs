//! Finds the words that may be data: in settings, options, and statements that are not known.
//!
//! In a query, a word is a keyword or a name. In other statements it may be a value: `SET x = word`, `ALTER
//! ROLE a SET x TO word`, `PRAGMA x(word)`, `DEFAULT word`. A word is shown there only where no value can
//! stand.

use super::keyword::Keyword;
use super::lexer::{Kind, Token};
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
    kind: Statement,
    place: Place,
    depth: u32,
    /// Whether the previous token was a dot.
    dot: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Statement {
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
enum Place {
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
            Kind::Symbol(b';') => {
                *self = Self::default();
                return false;
            }
            _ if self.kind == Statement::Begin => self.begin(token),
            Kind::Word(_) | Kind::Quoted => self.word(token),
            Kind::Symbol(symbol) => {
                self.symbol(symbol);
                false
            }
            _ => {
                self.literal();
                false
            }
        };
        self.dot = token.kind == Kind::Symbol(b'.');
        hidden
    }

    fn begin(&mut self, token: &Token<'_>) -> bool {
        self.kind = match token.kind {
            // `(SELECT …) UNION …`.
            Kind::Symbol(b'(') => return false,
            Kind::Word(Keyword::Query(_) | Keyword::With | Keyword::Values) => Statement::Query,
            Kind::Word(_) if is_command(token.text) => statement(token.text),
            _ => Statement::Unknown,
        };
        if self.kind == Statement::Set {
            self.place = Place::Setting;
        }
        self.kind == Statement::Unknown && matches!(token.kind, Kind::Word(_) | Kind::Quoted)
    }

    fn word(&mut self, token: &Token<'_>) -> bool {
        if self.place == Place::Values {
            return true;
        }
        match self.kind {
            Statement::Query => return false,
            Statement::Unknown => return true,
            Statement::Attach => return !is(token, "AS DATABASE KEY"),
            Statement::Copy if self.place == Place::Valued => {
                if is(token, "WHERE") {
                    self.kind = Statement::Query;
                }
                return self.kind == Statement::Copy && !is(token, OF_COPY);
            }
            Statement::Copy => {
                if self.depth == 0 && is(token, "FROM TO") {
                    self.place = Place::Valued;
                }
                return false;
            }
            Statement::Vacuum if is(token, "INTO") => self.place = Place::Values,
            Statement::Introduction if is_query(token) => self.kind = Statement::Query,
            // No other query begins with a reserved word.
            Statement::Other if token.kind == Kind::Word(Keyword::Query("SELECT")) => {
                self.kind = Statement::Query;
            }
            _ => return self.option(token),
        }
        false
    }

    /// Reads a word of a statement with settings or options.
    fn option(&mut self, token: &Token<'_>) -> bool {
        let value = match self.place {
            Place::Value => !is(token, NO_VALUES) && token.next != b'(',
            Place::Valued => self.dot,
            Place::Setting => return self.setting(token),
            // A name, or what is not known after one.
            Place::Named if !is(token, "TO FOR") => !self.dot && self.kind == Statement::Set,
            _ => false,
        };
        if value {
            self.place = match self.kind {
                Statement::Set => Place::Values,
                _ => Place::Valued,
            };
            return true;
        }
        self.place = match self.place {
            Place::Named if is(token, "TO") => Place::Values,
            Place::Named => Place::Named,
            Place::Identified if is(token, "BY") => Place::Value,
            Place::Virtual => Place::Virtual,
            _ if is(token, "SET") => Place::Setting,
            _ if is(token, "DEFAULT IS") => Place::Value,
            // And not a column with this name.
            _ if is(token, "PASSWORD") && self.depth == 0 => Place::Value,
            _ if is(token, "IDENTIFIED") => Place::Identified,
            _ if is(token, "VIRTUAL") => Place::Virtual,
            _ => Place::Plain,
        };
        false
    }

    /// Reads the word after `SET`, or after another word that belongs to it.
    fn setting(&mut self, token: &Token<'_>) -> bool {
        let of_set = self.kind == Statement::Set;
        self.place = match token.next {
            b'=' | b'.' => Place::Named,
            _ if is(
                token,
                "LOCAL SESSION GLOBAL PERSIST PERSIST_ONLY TIME CHARACTER",
            ) =>
            {
                Place::Setting
            }
            _ if is(token, "NAMES ROLE ZONE AUTHORIZATION CHARSET SET") => Place::Values,
            _ if of_set && is(token, "SCHEMA CATALOG") => Place::Values,
            _ if is(token, "CHARACTERISTICS CONSTRAINTS TRANSACTION NOT NULL") => Place::Plain,
            _ if is(token, "DEFAULT") => Place::Value,
            _ => Place::Named,
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
            (Statement::Query | Statement::Copy, place, _) => place,
            (_, Place::Values, _) => Place::Values,
            (Statement::Notify, _, b',') | (Statement::Pragma, _, b'=' | b'(') => Place::Values,
            (_, Place::Setting | Place::Named, b'=') => Place::Values,
            (Statement::Other, Place::Setting | Place::Named, b',') => Place::Plain,
            (_, Place::Virtual, b'(') => Place::Values,
            (_, Place::Plain | Place::Valued | Place::Identified, b'=') => Place::Value,
            (_, Place::Valued, b'.') => Place::Valued,
            (_, Place::Value, b',' | b')') | (_, Place::Valued, _) => Place::Plain,
            (_, place, _) => place,
        };
    }

    fn literal(&mut self) {
        if matches!(self.place, Place::Value | Place::Identified) {
            self.place = Place::Plain;
        }
    }
}

fn statement(command: &str) -> Statement {
    let named = |words| any(words, command);
    match () {
        () if named("SET") => Statement::Set,
        () if named("PRAGMA") => Statement::Pragma,
        () if named("ATTACH DETACH") => Statement::Attach,
        () if named("COPY") => Statement::Copy,
        () if named("NOTIFY") => Statement::Notify,
        () if named("VACUUM") => Statement::Vacuum,
        () if named("EXPLAIN DESCRIBE DESC PREPARE DECLARE") => Statement::Introduction,
        () => Statement::Other,
    }
}

fn is_query(token: &Token<'_>) -> bool {
    matches!(
        token.kind,
        Kind::Word(Keyword::Query(_) | Keyword::With | Keyword::Values)
    )
}

/// Returns whether the token is one of these words.
fn is(token: &Token<'_>, words: &str) -> bool {
    matches!(token.kind, Kind::Word(_)) && any(words, token.text)
}

fn any(words: &str, word: &str) -> bool {
    words.split(' ').any(|one| one.eq_ignore_ascii_case(word))
}
