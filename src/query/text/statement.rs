//! One statement: which operations it has, and on what.

mod commands;

use super::keyword::Keyword;
use super::levels::{Levels, is_set, set};
use super::lexer::{Kind, Token};
use super::sanitized::looks_like_a_name;
use super::summary::LONGEST;

/// So many names of common table expressions are remembered.
const CTES: usize = 16;

/// Reads one statement.
pub(super) struct Statement<'a> {
    /// Where in the text its summary begins.
    start: usize,
    full: bool,
    stage: Stage,
    expected: Expected,
    before: Before,
    /// The main operation: not those of common table expressions.
    operation: Option<&'static str>,
    /// `EXPLAIN`, `PREPARE` and the like: an operation follows.
    introduces: bool,
    /// What is created has statements of its own: no more than its name is read.
    has_body: bool,
    levels: Levels,
    /// Where in the text the last target begins.
    target: usize,
    ctes: [&'a str; CTES],
    named: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Start,
    /// Operations and tables are looked for.
    Query,
    /// `ROLLBACK`, `START`, `RELEASE`: the words behind it tell what it is.
    Transaction,
    /// All was read that is told.
    Done,
    /// Statements within a statement, which are not told.
    Body,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Nothing,
    /// A table, or a list of them.
    Table,
    /// The one thing that the operation is about, which may look like a function: `CALL f()`.
    Target,
    /// What follows a dot.
    Part,
    Cte,
    /// `TABLE`, `INDEX`, …
    Object,
    /// What SQLite does about a conflict: `UPDATE OR IGNORE t`.
    Conflict,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Open,
    Close,
    As,
    Distinct,
    For,
    Other,
}

impl<'a> Statement<'a> {
    /// One whose summary begins here in the text.
    pub(super) fn new(start: usize) -> Self {
        Self {
            start,
            full: false,
            stage: Stage::Start,
            expected: Expected::Nothing,
            before: Before::Nothing,
            operation: None,
            introduces: false,
            has_body: false,
            levels: Levels::default(),
            target: start,
            ctes: [""; CTES],
            named: 0,
        }
    }

    /// Whether nothing was read of it.
    pub(super) fn is_empty(&self) -> bool {
        self.stage == Stage::Start && self.before == Before::Nothing
    }

    /// Whether its semicolons do not end it.
    pub(super) fn is_body(&self) -> bool {
        self.stage == Stage::Body
    }

    pub(super) fn main_operation(&self) -> Option<&'static str> {
        self.operation
    }

    /// Reads on, and writes what is told, if that is wanted.
    pub(super) fn push(&mut self, token: &Token<'a>, text: &mut String, wanted: bool) {
        let mut text = Text { text, wanted };
        match self.stage {
            Stage::Start => self.start(token, &mut text),
            Stage::Query => self.query(token, &mut text),
            Stage::Transaction => self.transaction(token, &mut text),
            Stage::Done | Stage::Body => {}
        }
        self.before = match token.kind {
            Kind::Symbol(b'(') => Before::Open,
            Kind::Symbol(b')') => Before::Close,
            Kind::Word(Keyword::As) => Before::As,
            Kind::Word(Keyword::Distinct) => Before::Distinct,
            Kind::Word(Keyword::For) => Before::For,
            _ => Before::Other,
        };
    }

    fn query(&mut self, token: &Token<'a>, text: &mut Text<'_>) {
        match token.kind {
            Kind::Symbol(b'(') => {
                let tables = self.expected == Expected::Table;
                self.levels.open();
                set(&mut self.levels.tables, tables);
                if !tables {
                    self.expected = Expected::Nothing;
                }
            }
            Kind::Symbol(b')') => {
                self.levels.close();
                self.expected = Expected::Nothing;
            }
            Kind::Symbol(b',') => {
                self.expected = if is_set(self.levels.ctes) {
                    Expected::Cte
                } else if is_set(self.levels.tables) {
                    Expected::Table
                } else {
                    Expected::Nothing
                };
            }
            Kind::Symbol(b'.') if self.expected == Expected::Part => text.push(".", self),
            Kind::Quoted => self.name(token, text),
            Kind::Word(word) => self.word(word, token, text),
            // `CREATE DEFINER = 'x'@'y' PROCEDURE`.
            _ if self.expected == Expected::Object => {}
            _ => self.expected = Expected::Nothing,
        }
    }

    fn word(&mut self, word: Keyword, token: &Token<'a>, text: &mut Text<'_>) {
        match (self.expected, word) {
            (Expected::Part, _) => self.name(token, text),
            (Expected::Conflict, _) => self.expected = Expected::Target,
            (Expected::Object, Keyword::Object(object)) => self.object(object, text),
            (Expected::Object, _) => {}
            (_, Keyword::Query(operation)) if self.begins(operation, token) => {
                self.operation(operation, text);
            }
            (_, Keyword::With) if self.may_have_ctes() => self.with(),
            (Expected::Table | Expected::Target, Keyword::Or) => self.expected = Expected::Conflict,
            (Expected::Table | Expected::Target | Expected::Cte, Keyword::Filler) => {}
            (Expected::Table, Keyword::Object("TABLE")) => {}
            (_, Keyword::From) => self.from(),
            (_, Keyword::Join) => {
                if is_set(self.levels.tables) && self.before != Before::For {
                    self.expected = Expected::Table;
                }
            }
            (_, Keyword::Using) => {
                // `JOIN t USING (id)`, or `DELETE FROM t USING others`.
                if token.next != b'(' {
                    self.expect_tables();
                }
            }
            (_, Keyword::Clause | Keyword::Values) => self.end_tables(),
            (_, Keyword::Command("SET" | "FETCH")) | (_, Keyword::For) => self.end_tables(),
            _ => self.name(token, text),
        }
    }

    /// Whether an operation begins here: `UPDATE` may stand in `FOR UPDATE` and `ON UPDATE`, and
    /// `REPLACE` may be a function.
    fn begins(&self, operation: &str, token: &Token<'_>) -> bool {
        if operation == "SELECT" {
            return true;
        }
        let place = match self.before {
            Before::Open => true,
            Before::Close => is_set(self.levels.ctes),
            Before::As => self.operation == Some("PREPARE"),
            _ => false,
        };
        token.next != b'(' && (place || (self.introduces && self.levels.depth == 0))
    }

    fn may_have_ctes(&self) -> bool {
        match self.before {
            Before::Open => true,
            Before::As => self.levels.depth == 0,
            _ => {
                let insert = matches!(self.operation, Some("INSERT" | "REPLACE"));
                self.levels.depth == 0 && (insert || self.introduces)
            }
        }
    }

    fn with(&mut self) {
        self.introduces = false;
        set(&mut self.levels.ctes, true);
        self.expected = Expected::Cte;
    }

    fn operation(&mut self, operation: &'static str, text: &mut Text<'_>) {
        let main = self.levels.ctes == 0 || is_set(self.levels.ctes);
        if main && self.operation.is_none() {
            self.operation = Some(operation);
        }
        self.add(operation, text);
        self.introduces = false;
        set(&mut self.levels.ctes, false);
        // `UPDATE a, b SET` is MySQL's, `UPDATE a SET … FROM b` is Postgres'.
        set(&mut self.levels.tables, operation == "UPDATE");
        set(
            &mut self.levels.from,
            matches!(operation, "SELECT" | "DELETE" | "UPDATE"),
        );
        self.expected = match operation {
            "SELECT" | "DELETE" => Expected::Nothing,
            "UPDATE" => Expected::Table,
            _ => Expected::Target,
        };
    }

    fn from(&mut self) {
        if is_set(self.levels.from) && self.before != Before::Distinct {
            set(&mut self.levels.from, false);
            self.expect_tables();
        }
    }

    fn expect_tables(&mut self) {
        set(&mut self.levels.tables, true);
        self.expected = Expected::Table;
    }

    fn end_tables(&mut self) {
        set(&mut self.levels.tables, false);
        self.expected = Expected::Nothing;
    }

    /// A name, which is a target if one is expected.
    fn name(&mut self, token: &Token<'a>, text: &mut Text<'_>) {
        let expected = std::mem::replace(&mut self.expected, Expected::Nothing);
        let name = bare(token);
        match expected {
            Expected::Cte => {
                if let Some(place) = self.ctes.get_mut(self.named) {
                    *place = name;
                    self.named += 1;
                }
                return;
            }
            Expected::Table if token.next == b'(' => return,
            Expected::Table if token.next != b'.' && self.is_cte(name) => return,
            Expected::Table | Expected::Target => self.add(name, text),
            Expected::Part => text.push(name, self),
            Expected::Object => {
                self.expected = Expected::Object;
                return;
            }
            Expected::Nothing | Expected::Conflict => return,
        }
        if token.next == b'.' {
            self.expected = Expected::Part;
        } else if matches!(self.operation, Some("CALL" | "EXEC" | "EXECUTE" | "PRAGMA")) {
            self.stage = Stage::Done;
        } else if self.has_body {
            self.stage = Stage::Body;
        }
    }

    fn is_cte(&self, name: &str) -> bool {
        let mut ctes = self.ctes[..self.named].iter();
        ctes.any(|cte| cte.eq_ignore_ascii_case(name))
    }

    /// Adds an operation or a target.
    fn add(&mut self, piece: &str, text: &mut Text<'_>) {
        self.target = text.text.len();
        if text.text.len() > self.start {
            text.push(" ", self);
        }
        text.push(piece, self);
    }
}

/// The summary that is written.
struct Text<'t> {
    text: &'t mut String,
    wanted: bool,
}

impl Text<'_> {
    /// Adds a piece, or takes back the whole of what it is a part of, if it does not fit.
    fn push(&mut self, piece: &str, statement: &mut Statement<'_>) {
        if !self.wanted || statement.full {
            return;
        }
        if self.text.len() - statement.start + piece.len() > LONGEST {
            statement.full = true;
            self.text.truncate(statement.target);
            return;
        }
        self.text.push_str(piece);
    }
}

/// A name without its quotes, where it can do without.
fn bare<'a>(token: &Token<'a>) -> &'a str {
    match token.kind {
        Kind::Quoted if looks_like_a_name(token.text) => &token.text[1..token.text.len() - 1],
        _ => token.text,
    }
}
