//! Reads the tokens of one statement, and finds its operations and their targets.

use super::super::keyword::Keyword;
use super::super::lexer::{Token, TokenKind};
use super::super::sanitized::looks_like_a_name;

/// The first words of statements that are not queries. Any other first word may be data.
const COMMANDS: &str = "ABORT ALTER ANALYZE ATTACH BEGIN CALL CHECK CHECKPOINT CLOSE CLUSTER COMMENT \
    COMMIT COPY CREATE DEALLOCATE DECLARE DESC DESCRIBE DETACH DISCARD DO DROP END EXEC EXECUTE \
    EXPLAIN FETCH FLUSH GRANT HANDLER IMPORT KILL LISTEN LOAD LOCK MOVE NOTIFY OPTIMIZE PRAGMA \
    PREPARE REFRESH REINDEX RELEASE RENAME REPAIR RESET REVOKE ROLLBACK SAVEPOINT SET SHOW START \
    TABLE TRUNCATE UNLISTEN UNLOCK USE VACUUM VALUES";

/// The objects of `CREATE` and similar commands.
const OBJECTS: &str = "DATABASE DOMAIN EVENT EXTENSION FUNCTION INDEX MATERIALIZED PROCEDURE ROLE RULE \
    SAVEPOINT SCHEMA SEQUENCE TABLE TRANSACTION TRIGGER TYPE USER VIEW";

/// What has been read of one statement.
#[derive(Default)]
pub(super) struct StatementReader {
    pub(super) text: String,
    stage: Stage,
    expected: Expected,
    pub(super) before: PreviousToken,
    /// Whether another operation follows, as after `EXPLAIN` and `PREPARE`.
    introduces: bool,
    depth: u32,
    /// Whether a comma is followed by another table: a bit for each level of parentheses, the
    /// innermost lowest.
    tables: u64,
    /// Whether `FROM` is followed by tables, by level; it is not in `extract(year FROM d)`.
    from: u64,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Start,
    Query,
    /// The summary is complete.
    Done,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Expected {
    #[default]
    Nothing,
    /// A table, or a list of them.
    Table,
    /// The single target of the operation, which may look like a function: `CALL f()`.
    Target,
    /// The part of a name after a dot.
    Part,
    /// One of [`OBJECTS`].
    Object,
    /// The conflict resolution of SQLite: `UPDATE OR IGNORE t`.
    Conflict,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum PreviousToken {
    #[default]
    Nothing,
    Parenthesis,
    Distinct,
    Other,
}

impl StatementReader {
    pub(super) fn push(&mut self, token: &Token<'_>) {
        match self.stage {
            Stage::Start => self.start(token),
            Stage::Query => self.query(token),
            Stage::Done => {}
        }
        self.before = match token.kind {
            TokenKind::Symbol(b'(' | b')') => PreviousToken::Parenthesis,
            TokenKind::Word(Keyword::Distinct) => PreviousToken::Distinct,
            _ => PreviousToken::Other,
        };
    }

    fn start(&mut self, token: &Token<'_>) {
        self.stage = Stage::Query;
        match token.kind {
            TokenKind::Symbol(b'(') => {
                self.open(false);
                self.stage = Stage::Start;
            }
            TokenKind::Word(Keyword::Query(operation)) => self.operation(operation),
            TokenKind::Word(Keyword::With) => {}
            TokenKind::Word(_) => match one_of(COMMANDS, token.text) {
                Some(command) => self.command(command),
                None => self.stage = Stage::Done,
            },
            _ => self.stage = Stage::Done,
        }
    }

    fn command(&mut self, command: &'static str) {
        self.add(command);
        set(
            &mut self.tables,
            matches!(command, "DROP" | "TRUNCATE" | "LOCK"),
        );
        match command {
            "CREATE" | "ALTER" | "DROP" | "REFRESH" | "ROLLBACK" | "RELEASE" | "START" => {
                self.expected = Expected::Object;
            }
            "TRUNCATE" | "LOCK" | "TABLE" => self.expected = Expected::Table,
            "COPY" | "CALL" | "EXEC" | "EXECUTE" | "PRAGMA" => self.expected = Expected::Target,
            "EXPLAIN" | "DESCRIBE" | "DESC" | "PREPARE" | "DECLARE" => self.introduces = true,
            _ => self.stage = Stage::Done,
        }
    }

    fn query(&mut self, token: &Token<'_>) {
        match token.kind {
            _ if self.expected == Expected::Object => self.object(token),
            TokenKind::Symbol(b'(') => {
                let tables = self.expected == Expected::Table;
                self.open(tables);
                if !tables {
                    self.expected = Expected::Nothing;
                }
            }
            TokenKind::Symbol(b')') => {
                self.depth = self.depth.saturating_sub(1);
                self.tables >>= 1;
                self.from >>= 1;
                self.expected = Expected::Nothing;
            }
            TokenKind::Symbol(b',') if is_set(self.tables) => self.expected = Expected::Table,
            TokenKind::Symbol(b'.') if self.expected == Expected::Part => self.text.push('.'),
            TokenKind::Quoted => self.name(token),
            TokenKind::Word(word) => self.word(word, token),
            _ => self.expected = Expected::Nothing,
        }
    }

    /// Reads a word after `CREATE` and similar commands. The names of savepoints and users are
    /// omitted, because they may be different each time.
    fn object(&mut self, token: &Token<'_>) {
        if let TokenKind::Word(_) = token.kind
            && let Some(object) = one_of(OBJECTS, token.text)
        {
            self.add(object);
            self.expected = match object {
                "MATERIALIZED" => Expected::Object,
                "ROLE" | "SAVEPOINT" | "TRANSACTION" | "USER" => Expected::Nothing,
                _ => Expected::Target,
            };
        }
    }

    fn word(&mut self, word: Keyword, token: &Token<'_>) {
        match (self.expected, word) {
            (Expected::Part, _) => self.name(token),
            (Expected::Conflict, _) => self.expected = Expected::Target,
            (_, Keyword::Query(operation)) if self.begins(operation, token) => {
                self.operation(operation);
            }
            (Expected::Table | Expected::Target, Keyword::Or) => self.expected = Expected::Conflict,
            (Expected::Table | Expected::Target, Keyword::Filler) => {}
            (_, Keyword::From) if is_set(self.from) && self.before != PreviousToken::Distinct => {
                set(&mut self.from, false);
                self.expect_tables();
            }
            (_, Keyword::Join) if is_set(self.tables) => self.expected = Expected::Table,
            // `DELETE FROM t USING others`, but not `JOIN t USING (id)`.
            (_, Keyword::Using) if token.next != b'(' => self.expect_tables(),
            (_, Keyword::Clause | Keyword::Values) => {
                set(&mut self.tables, false);
                self.expected = Expected::Nothing;
            }
            _ => self.name(token),
        }
    }

    /// Returns whether the token begins an operation. `UPDATE` may be part of `FOR UPDATE` and `ON
    /// UPDATE`, and `REPLACE` may be a function.
    fn begins(&self, operation: &str, token: &Token<'_>) -> bool {
        let place = self.before == PreviousToken::Parenthesis || self.introduces && self.depth == 0;
        operation == "SELECT" || place && token.next != b'('
    }

    fn operation(&mut self, operation: &'static str) {
        self.add(operation);
        self.introduces = false;
        // MySQL has `UPDATE a, b SET`, and Postgres has `UPDATE a SET … FROM b`.
        set(&mut self.tables, operation == "UPDATE");
        set(
            &mut self.from,
            matches!(operation, "SELECT" | "DELETE" | "UPDATE"),
        );
        self.expected = match operation {
            "SELECT" | "DELETE" => Expected::Nothing,
            "UPDATE" => Expected::Table,
            _ => Expected::Target,
        };
    }

    fn expect_tables(&mut self) {
        set(&mut self.tables, true);
        self.expected = Expected::Table;
    }

    /// Reads a name, which is a target if one is expected.
    fn name(&mut self, token: &Token<'_>) {
        let name = match token.kind {
            TokenKind::Quoted if looks_like_a_name(token.text) => {
                &token.text[1..token.text.len() - 1]
            }
            _ => token.text,
        };
        match std::mem::take(&mut self.expected) {
            Expected::Table if token.next == b'(' => return,
            Expected::Table | Expected::Target => self.add(name),
            Expected::Part => self.text.push_str(name),
            _ => return,
        }
        if token.next == b'.' {
            self.expected = Expected::Part;
        }
    }

    /// Adds an operation or a target.
    fn add(&mut self, piece: &str) {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        self.text.push_str(piece);
    }

    fn open(&mut self, tables: bool) {
        self.depth += 1;
        self.tables = self.tables << 1 | u64::from(tables);
        self.from <<= 1;
    }
}

fn set(bits: &mut u64, on: bool) {
    *bits = *bits & !1 | u64::from(on);
}

fn is_set(bits: u64) -> bool {
    bits & 1 == 1
}

/// Returns whether a statement that is not a query may begin with this word.
pub(in crate::query::text) fn is_command(word: &str) -> bool {
    one_of(COMMANDS, word).is_some()
}

fn one_of(words: &'static str, word: &str) -> Option<&'static str> {
    let mut words = words.split(' ');
    words.find(|known| known.eq_ignore_ascii_case(word))
}
