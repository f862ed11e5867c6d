//! What a statement changes in its session and leaves to the next borrower: settings, locks, temporary
//! tables, subscriptions, prepared statements.
//!
//! The rules look at the first words of each statement and at the names of a few functions. What a
//! function, a procedure or a `DO` block does inside is not seen.

use super::lexer::{Lexer, Token, TokenKind};
use super::{READ, boundary};
use crate::settings::DatabaseKind;

/// What is left in a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum SessionChange {
    /// Nothing, or nothing that outlives the transaction.
    #[default]
    None,
    /// Something that a reset removes, if the database has a reset.
    Resettable,
    /// Something that no reset removes without dropping the statements that diesel has prepared.
    Lasting,
}

/// Returns what a statement, or a batch of statements, leaves in its session.
///
/// A batch that is longer than what is read counts as a change.
pub(crate) fn session_change(statements: &str, dialect: DatabaseKind) -> SessionChange {
    let read = &statements[..boundary(statements, READ)];
    let mut whole = SessionChange::None;
    let mut current = ChangeReader::new(dialect);
    for token in Lexer::new(read, dialect) {
        if token.kind == TokenKind::Symbol(b';') {
            whole = whole.max(current.change);
            current = ChangeReader::new(dialect);
        } else {
            current.push(&token);
        }
    }
    if statements[read.len()..].contains(';') {
        whole = whole.max(SessionChange::Resettable);
    }
    whole.max(current.change)
}

/// One statement of a batch, as read so far.
struct ChangeReader<'a> {
    dialect: DatabaseKind,
    change: SessionChange,
    /// The first word, and the number of tokens so far.
    first: &'a str,
    tokens: usize,
    previous: Option<Token<'a>>,
    /// Whether all words so far can precede `TEMP`: `CREATE OR REPLACE LOCAL`.
    before_temp: bool,
    /// Inside `set_config(…)`: the number of open parentheses.
    set_config: usize,
}

impl<'a> ChangeReader<'a> {
    fn new(dialect: DatabaseKind) -> Self {
        Self {
            dialect,
            change: SessionChange::None,
            first: "",
            tokens: 0,
            previous: None,
            before_temp: true,
            set_config: 0,
        }
    }

    fn leaves(&mut self, change: SessionChange) {
        self.change = self.change.max(change);
    }

    fn push(&mut self, token: &Token<'a>) {
        if self.tokens == 0 {
            self.first = token.text;
        }
        match self.dialect {
            DatabaseKind::Postgres => self.postgres(token),
            DatabaseKind::Mysql => self.mysql(token),
            DatabaseKind::Sqlite => self.sqlite(token),
        }
        self.tokens += 1;
        self.previous = Some(*token);
    }

    fn begins_with(&self, word: &str) -> bool {
        self.first.eq_ignore_ascii_case(word)
    }

    fn follows(&self, word: &str) -> bool {
        self.previous
            .is_some_and(|previous| previous.text.eq_ignore_ascii_case(word))
    }

    fn postgres(&mut self, token: &Token<'a>) {
        use SessionChange::{Lasting, None, Resettable};

        let is = |words: &[&str]| is_any(token.text, words);
        if !matches!(token.kind, TokenKind::Word(_)) {
            self.set_config(token);
            return;
        }
        match self.tokens {
            0 if is(&["set", "reset", "listen"]) => self.leaves(Resettable),
            // Its name is not known here, and diesel may have prepared others.
            0 if is(&["prepare", "load"]) => self.leaves(Lasting),
            // The scope of `SET LOCAL` and the others is the transaction.
            1 if self.begins_with("set") && is(&["local", "transaction", "constraints"]) => {
                self.change = None;
            }
            1 if self.begins_with("prepare") && is(&["transaction"]) => self.change = None,
            // diesel's own statements are gone, and it does not know.
            1.. if is(&["all"]) && self.ends_statements() => self.leaves(Lasting),
            _ => {}
        }
        if self.is_temporary(token)
            || self.begins_with("create") && is(&["pg_temp"])
            || self.begins_with("declare") && self.follows("with") && is(&["hold"])
            || self.follows("into") && !self.begins_with("insert") && is(&["temp", "temporary"])
            || token.next == b'('
                && is(&[
                    "pg_advisory_lock",
                    "pg_advisory_lock_shared",
                    "pg_try_advisory_lock",
                    "pg_try_advisory_lock_shared",
                ])
        {
            self.leaves(Resettable);
        }
        self.set_config(token);
    }

    /// Returns whether the statement is `DISCARD ALL` or `DEALLOCATE ALL`, if the next word is `ALL`.
    fn ends_statements(&self) -> bool {
        self.begins_with("discard") && self.tokens == 1
            || self.begins_with("deallocate") && (self.tokens == 1 || self.follows("prepare"))
    }

    /// Reads the arguments of `set_config(…)`. Its scope is the transaction if the last is `true`.
    fn set_config(&mut self, token: &Token<'a>) {
        match token.kind {
            TokenKind::Symbol(b'(') if self.set_config > 0 || self.follows("set_config") => {
                self.set_config += 1;
            }
            TokenKind::Symbol(b')') if self.set_config > 0 => {
                self.set_config -= 1;
                if self.set_config == 0 && !self.follows("true") {
                    self.leaves(SessionChange::Resettable);
                }
            }
            _ => {}
        }
    }

    /// Returns whether the statement creates something temporary: `CREATE [OR REPLACE] TEMP`.
    fn is_temporary(&mut self, token: &Token<'a>) -> bool {
        let before = self.before_temp;
        let precedes = ["create", "or", "replace", "global", "local"];
        self.before_temp &= is_any(token.text, &precedes);
        before && self.begins_with("create") && is_any(token.text, &["temp", "temporary"])
    }

    fn mysql(&mut self, token: &Token<'a>) {
        use SessionChange::{None, Resettable};

        let is = |words: &[&str]| is_any(token.text, words);
        let symbol = |byte| token.kind == TokenKind::Symbol(byte);
        let changes = match self.tokens {
            0 => is(&["set", "use", "prepare", "lock", "handler", "xa"]),
            // The scope of `SET TRANSACTION` is the next transaction.
            1 if self.begins_with("set")
                && is(&[
                    "global",
                    "persist",
                    "persist_only",
                    "password",
                    "statement",
                    "transaction",
                ]) =>
            {
                self.change = None;
                false
            }
            _ => false,
        };
        // A variable: `SELECT … INTO @a`, `@a := 1`.
        let assigns = symbol(b'@') && self.follows("into")
            || symbol(b'=') && self.follows(":") && !token.spaced;
        if changes
            || assigns
            || self.is_temporary(token)
            || self.begins_with("flush") && self.follows("read") && is(&["lock"])
            || token.next == b'(' && is(&["get_lock"])
        {
            self.leaves(Resettable);
        }
    }

    fn sqlite(&mut self, token: &Token<'a>) {
        let is = |words: &[&str]| is_any(token.text, words);
        // What a file keeps is not of the session.
        let persistent = [
            "user_version",
            "application_id",
            "journal_mode",
            "auto_vacuum",
        ];
        let pragma = self.begins_with("pragma")
            && token.kind == TokenKind::Symbol(b'=')
            && !persistent.iter().any(|name| self.follows(name));
        if pragma
            || self.tokens == 0 && is(&["attach", "detach"])
            || self.is_temporary(token)
            || token.next == b'(' && is(&["load_extension"])
        {
            self.leaves(SessionChange::Resettable);
        }
    }
}

fn is_any(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::SessionChange::{Lasting, None, Resettable};
    use super::*;

    fn assert_all(dialect: DatabaseKind, statements: &[(&str, SessionChange)]) {
        for (statement, change) in statements {
            assert_eq!(session_change(statement, dialect), *change, "{statement}");
        }
    }

    #[test]
    fn what_postgres_keeps_for_the_next() {
        assert_all(
            DatabaseKind::Postgres,
            &[
                ("SELECT 1", None),
                ("", None),
                ("BEGIN; INSERT INTO t VALUES (1); COMMIT", None),
                ("SET search_path = other", Resettable),
                ("set session authorization app", Resettable),
                ("/* a */ SET ROLE app", Resettable),
                ("SET TIME ZONE 'UTC'", Resettable),
                (
                    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
                    Resettable,
                ),
                ("SET LOCAL search_path = other", None),
                ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", None),
                ("SET CONSTRAINTS ALL DEFERRED", None),
                ("SET LOCAL a.b = 1; SET c.d = 2", Resettable),
                ("SET c.d = 2; SET LOCAL a.b = 1", Resettable),
                ("RESET ALL", Resettable),
                ("SELECT 1; SET a.b = 1", Resettable),
                ("UPDATE t SET a = 1", None),
                ("SELECT 'x; SET a = 1'", None),
                ("LISTEN orders", Resettable),
                ("UNLISTEN *", None),
                ("NOTIFY orders", None),
                ("PREPARE a AS SELECT 1", Lasting),
                ("PREPARE TRANSACTION 'a'", None),
                ("EXECUTE a", None),
                ("DEALLOCATE a", None),
                ("DEALLOCATE ALL", Lasting),
                ("DEALLOCATE PREPARE ALL", Lasting),
                ("DISCARD ALL", Lasting),
                ("DISCARD TEMP", None),
                ("SELECT all FROM t", None),
                ("LOAD 'auto_explain'", Lasting),
                ("DECLARE c CURSOR FOR SELECT 1", None),
                ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", Resettable),
                ("DECLARE c CURSOR WITHOUT HOLD FOR SELECT 1", None),
                ("CREATE TEMP TABLE t (n int)", Resettable),
                ("create local temporary table t (n int)", Resettable),
                ("CREATE OR REPLACE TEMP VIEW v AS SELECT 1", Resettable),
                ("CREATE TABLE pg_temp.t (n int)", Resettable),
                ("CREATE TABLE temp (n int)", None),
                ("SELECT 1 INTO TEMP t", Resettable),
                ("INSERT INTO temp VALUES (1)", None),
                ("SELECT pg_advisory_lock(1)", Resettable),
                (
                    "SELECT pg_catalog.pg_try_advisory_lock_shared($1)",
                    Resettable,
                ),
                ("SELECT pg_advisory_xact_lock(1)", None),
                ("SELECT pg_advisory_lock FROM t", None),
                ("SELECT set_config('a.b', $1, true)", None),
                ("SELECT set_config('a.b', lower($1), TRUE), 1", None),
                ("SELECT set_config('a.b', $1, false)", Resettable),
                ("SELECT set_config('a.b', $1, $2)", Resettable),
                (
                    "SELECT set_config('a.b', '1', true), set_config('c.d', '1', false)",
                    Resettable,
                ),
                ("LOCK TABLE t", None),
            ],
        );
    }

    #[test]
    fn what_mysql_keeps_for_the_next() {
        assert_all(
            DatabaseKind::Mysql,
            &[
                ("SELECT 1", None),
                ("SET time_zone = '+01:00'", Resettable),
                ("SET @a = 1", Resettable),
                ("SET autocommit=0", Resettable),
                ("SET NAMES latin1", Resettable),
                ("SET ROLE app", Resettable),
                ("SET TRANSACTION READ ONLY", None),
                ("SET GLOBAL max_connections = 10", None),
                ("SET PASSWORD = 'x'", None),
                ("SET STATEMENT max_statement_time = 1 FOR SELECT 1", None),
                ("UPDATE t SET a = 1", None),
                ("USE other", Resettable),
                ("SELECT * FROM t USE INDEX (a)", None),
                ("PREPARE a FROM 'SELECT 1'", Resettable),
                ("CREATE TEMPORARY TABLE t (n int)", Resettable),
                ("CREATE OR REPLACE TEMPORARY TABLE t (n int)", Resettable),
                ("CREATE TABLE temporary_t (n int)", None),
                ("LOCK TABLES t WRITE", Resettable),
                ("FLUSH TABLES WITH READ LOCK", Resettable),
                ("FLUSH STATUS", None),
                ("SELECT GET_LOCK('a', 1)", Resettable),
                ("SELECT RELEASE_LOCK('a')", None),
                ("SELECT 1 INTO @a", Resettable),
                ("SELECT @a := 1", Resettable),
                ("SELECT @a = 1", None),
                ("HANDLER t OPEN", Resettable),
                ("XA START 'a'", Resettable),
                ("LOAD DATA INFILE 'a' INTO TABLE t", None),
            ],
        );
    }

    #[test]
    fn what_sqlite_keeps_for_the_next() {
        assert_all(
            DatabaseKind::Sqlite,
            &[
                ("SELECT 1", None),
                ("PRAGMA foreign_keys = ON", Resettable),
                ("PRAGMA main.cache_size=10", Resettable),
                ("PRAGMA foreign_keys", None),
                ("PRAGMA table_info(t)", None),
                ("PRAGMA user_version = 3", None),
                ("ATTACH 'a.db' AS a", Resettable),
                ("CREATE TEMP TABLE t (n)", Resettable),
                ("CREATE TABLE temp (n)", None),
                ("SELECT load_extension('a')", Resettable),
            ],
        );
    }

    #[test]
    fn the_unread_rest_of_a_batch_counts_as_a_change() {
        let long = "x".repeat(READ);
        let change = |statement: &str| session_change(statement, DatabaseKind::Postgres);
        assert_eq!(change(&format!("SELECT '{long}'")), None);
        assert_eq!(change(&format!("SELECT '{long}'; SET a.b = 1")), Resettable);
    }
}
