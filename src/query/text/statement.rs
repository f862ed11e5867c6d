//! Finds the operations of one statement and their targets.

mod commands;

use super::keyword::Keyword;
use super::levels::{Levels, is_set, set};
use super::lexer::{Kind, Token};
use super::sanitized::looks_like_a_name;
use super::summary::LONGEST;

/// Maximum number of common table expressions whose names are remembered.
const CTES: usize = 16;

/// Reads one statement.
pub(super) struct Statement<'a> {
    /// The position in the text where its summary begins.
    start: usize,
    full: bool,
    stage: Stage,
    expected: Expected,
    before: Before,
    /// The main operation, as opposed to those of common table expressions.
    operation: Option<&'static str>,
    /// Whether an operation follows, as after `EXPLAIN` and `PREPARE`.
    introduces: bool,
    /// Whether the created object contains statements. Then nothing is read after its name.
    has_body: bool,
    levels: Levels,
    /// The position in the text where the last operation or target begins.
    target: usize,
    ctes: [&'a str; CTES],
    named: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Start,
    /// QueryDurations and tables are searched for.
    Query,
    /// `ROLLBACK`, `START`, `RELEASE`: the next words determine the operation.
    Transaction,
    /// The summary is complete.
    Done,
    /// Statements nested in the statement, which are not part of the summary.
    Body,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Nothing,
    /// A table, or a list of them.
    Table,
    /// The single target of the operation, which may look like a function: `CALL f()`.
    Target,
    /// The part of a name after a dot.
    Part,
    Cte,
    /// `TABLE`, `INDEX`, …
    Object,
    /// The conflict resolution of SQLite: `UPDATE OR IGNORE t`.
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
    /// Creates a statement whose summary begins at this position in the text.
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

    /// Returns whether no token of the statement was read.
    pub(super) fn is_empty(&self) -> bool {
        self.stage == Stage::Start && self.before == Before::Nothing
    }

    /// Returns whether the position is in nested statements, whose semicolons do not end the statement.
    pub(super) fn is_body(&self) -> bool {
        self.stage == Stage::Body
    }

    pub(super) fn main_operation(&self) -> Option<&'static str> {
        self.operation
    }

    /// Reads a token. If `wanted` is set, writes the summary to the text.
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

    /// Returns whether the token begins an operation. `UPDATE` may be part of `FOR UPDATE` and `ON
    /// UPDATE`, and `REPLACE` may be a function.
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
        // MySQL has `UPDATE a, b SET`, and Postgres has `UPDATE a SET … FROM b`.
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

    /// Reads a name, which is a target if one is expected.
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

/// The summary being written.
struct Text<'t> {
    text: &'t mut String,
    wanted: bool,
}

impl Text<'_> {
    /// Adds a piece. If it does not fit, removes the whole name that it is a part of.
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

/// Returns a name without its quotes if it does not need them.
fn bare<'a>(token: &Token<'a>) -> &'a str {
    match token.kind {
        Kind::Quoted if looks_like_a_name(token.text) => &token.text[1..token.text.len() - 1],
        _ => token.text,
    }
}
