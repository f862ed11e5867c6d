//! Reads the beginning of a statement, and the words after `CREATE` and similar commands.

use super::{Expected, Stage, Statement, Text};
use crate::query::text::keyword::Keyword;
use crate::query::text::levels::set;
use crate::query::text::lexer::{Kind, Token};

impl<'a> Statement<'a> {
    pub(super) fn start(&mut self, token: &Token<'a>, text: &mut Text<'_>) {
        let Kind::Word(word) = token.kind else {
            match token.kind {
                Kind::Symbol(b'(') => self.levels.open(),
                _ => self.stage = Stage::Done,
            }
            return;
        };
        self.stage = Stage::Query;
        match word {
            Keyword::Query(operation) => self.operation(operation, text),
            Keyword::With => self.with(),
            Keyword::Values => {
                self.command("VALUES", text);
            }
            Keyword::Object("TABLE") => {
                self.command("TABLE", text);
                self.expected = Expected::Table;
            }
            Keyword::Command(command) => {
                self.command(command, text);
                self.after_command(command);
            }
            _ => self.stage = Stage::Done,
        }
    }

    fn after_command(&mut self, command: &'static str) {
        let tables = matches!(command, "DROP" | "TRUNCATE" | "LOCK");
        set(&mut self.levels.tables, tables);
        match command {
            "CREATE" | "ALTER" | "DROP" | "REFRESH" => self.expected = Expected::Object,
            "TRUNCATE" | "LOCK" => self.expected = Expected::Table,
            "COPY" | "CALL" | "EXEC" | "EXECUTE" | "PRAGMA" => self.expected = Expected::Target,
            "EXPLAIN" | "DESCRIBE" | "DESC" | "PREPARE" | "DECLARE" => self.introduces = true,
            "ROLLBACK" | "RELEASE" | "START" => self.stage = Stage::Transaction,
            _ => self.stage = Stage::Done,
        }
    }

    /// Reads the words after `ROLLBACK`, `START` and `RELEASE`. The names of savepoints are omitted,
    /// because they may be different each time.
    pub(super) fn transaction(&mut self, token: &Token<'_>, text: &mut Text<'_>) {
        let more = match (self.operation, token.kind) {
            (Some("START"), Kind::Word(Keyword::Transaction)) => "TRANSACTION",
            (Some("ROLLBACK"), Kind::Word(Keyword::To)) => "TO SAVEPOINT",
            // `ROLLBACK WORK TO …`, `ROLLBACK TRANSACTION TO …`.
            (Some("ROLLBACK"), _) => return,
            (Some("RELEASE"), _) => "SAVEPOINT",
            _ => {
                self.stage = Stage::Done;
                return;
            }
        };
        self.add(more, text);
        self.stage = Stage::Done;
    }

    fn command(&mut self, command: &'static str, text: &mut Text<'_>) {
        self.operation = Some(command);
        self.add(command, text);
    }

    pub(super) fn object(&mut self, object: &'static str, text: &mut Text<'_>) {
        self.add(object, text);
        self.expected = match object {
            "MATERIALIZED" => Expected::Object,
            "USER" | "ROLE" => Expected::Nothing,
            _ => Expected::Target,
        };
        if matches!(
            object,
            "FUNCTION" | "PROCEDURE" | "TRIGGER" | "EVENT" | "RULE"
        ) && self.operation == Some("CREATE")
        {
            self.has_body = true;
        }
    }
}
