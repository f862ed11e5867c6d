//! The statement of a query without its bind values: its text, the hash of the text, and its effect on
//! the transaction.

use std::fmt::{self, Display, Write};
use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;

use super::text::each_statement;
use crate::settings::DatabaseKind;
use foldhash::quality::{FoldHasher, RandomState};

/// The separator that diesel's `DebugQuery` prints between a statement and its bind values.
const BINDS: &str = " -- binds: ";

/// Maximum capacity, in bytes, of a buffer that is kept for the next statement.
const KEPT: usize = 64 * 1024;

/// The random seed of the hashes, so that a client cannot construct texts that have the same hash.
static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::default);

/// Returns the hash of a query's statement. Printing stops where the bind values begin, so that they
/// are not formatted.
pub(super) fn hash(query: &dyn Display) -> u64 {
    let mut statement = StatementHasher::new(None);
    let _ = write!(statement, "{query}");
    statement.hasher.finish()
}

/// The buffer with the statement printed last.
#[derive(Default)]
pub(super) struct Printed {
    text: String,
    hash: Option<u64>,
}

impl Printed {
    /// Prints the statement of a query, up to the bind values. Returns the same as [`hash`].
    pub(super) fn print(&mut self, query: &dyn Display) -> u64 {
        match self.text.capacity() > KEPT {
            true => self.text = String::new(),
            false => self.text.clear(),
        }
        let mut statement = StatementHasher::new(Some(&mut self.text));
        // A query that cannot be printed cannot be sent either, and diesel reports that error.
        let _ = write!(statement, "{query}");
        let (hash, ended) = (statement.hasher.finish(), statement.ended);
        // A query that is printed in one piece may contain bind values. A statement that contains the
        // separator is cut too early, which is better than showing a value.
        if !ended && let Some(end) = self.text.find(" -- binds: [") {
            self.text.truncate(end);
        }
        self.hash = Some(hash);
        hash
    }

    /// Returns the text of a query's statement, which has this hash. Prints it unless the buffer has
    /// it already.
    pub(super) fn of(&mut self, hash: u64, query: &dyn Display) -> &str {
        if self.hash != Some(hash) {
            self.print(query);
        }
        &self.text
    }

    /// Returns the text of a query's statement, which the caller may swap with another buffer.
    pub(super) fn give(&mut self, hash: u64, query: &dyn Display) -> &mut String {
        self.of(hash, query);
        self.hash = None;
        &mut self.text
    }
}

/// A writer that accepts the pieces of a query up to [`BINDS`].
struct StatementHasher<'a> {
    hasher: FoldHasher<'static>,
    buffer: Option<&'a mut String>,
    ended: bool,
}

impl<'a> StatementHasher<'a> {
    fn new(buffer: Option<&'a mut String>) -> Self {
        Self {
            hasher: SEED.build_hasher(),
            buffer,
            ended: false,
        }
    }
}

impl Write for StatementHasher<'_> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        // The statement is a single earlier piece, even if its text contains the separator.
        self.ended |= piece == BINDS;
        if self.ended {
            return Err(fmt::Error);
        }
        self.hasher.write(piece.as_bytes());
        if let Some(buffer) = &mut self.buffer {
            buffer.push_str(piece);
        }
        Ok(())
    }
}

/// Returns whether a transaction is open after a statement, or after a batch of statements; `None` if
/// none of them begins or ends one.
///
/// It reads the first words of each statement.
pub(super) fn transaction_open(statements: &str, dialect: DatabaseKind) -> Option<bool> {
    let statements = statements.trim_end_matches(|c: char| c == ';' || c.is_whitespace());
    if !statements.contains(';') {
        return open_after_one(statements);
    }
    let (mut open, mut may_have_body) = (None, false);
    each_statement(statements, dialect, |statement| {
        let statement = skip_comments(statement);
        may_have_body |= begins_with(statement, "create");
        // The `END` of a trigger or a procedure ends no transaction.
        if !(may_have_body && begins_with(statement, "end")) {
            open = open_after_one(statement).or(open);
        }
    });
    open
}

fn begins_with(statement: &str, word: &str) -> bool {
    let first = statement.split(|c: char| !c.is_ascii_alphabetic()).next();
    first.is_some_and(|first| first.eq_ignore_ascii_case(word))
}

fn open_after_one(statement: &str) -> Option<bool> {
    let statement = skip_comments(statement);
    let mut words = statement
        .split(|c: char| !c.is_ascii_alphabetic())
        .filter(|word| !word.is_empty());
    let is = |word: Option<&str>, any: &[&str]| {
        word.is_some_and(|word| any.iter().any(|other| word.eq_ignore_ascii_case(other)))
    };
    let first = words.next();
    let begins =
        is(first, &["begin"]) || is(first, &["start"]) && is(words.next(), &["transaction"]);
    // `ROLLBACK TO SAVEPOINT` does not end the transaction.
    let ends = is(first, &["commit", "end", "abort"])
        || is(first, &["rollback"]) && !words.any(|word| is(Some(word), &["to"]));
    (begins || ends).then_some(begins)
}

fn skip_comments(mut statement: &str) -> &str {
    loop {
        statement = statement.trim_start();
        let rest = if let Some(comment) = statement.strip_prefix("/*") {
            comment.split_once("*/").map(|(_, rest)| rest)
        } else if statement.starts_with("--") || statement.starts_with('#') {
            statement.split_once('\n').map(|(_, rest)| rest)
        } else {
            return statement;
        };
        statement = rest.unwrap_or("");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn transaction_effects_are_recognised_by_the_first_words() {
        for (statement, open) in [
            ("BEGIN", Some(true)),
            ("  begin immediate;", Some(true)),
            ("start transaction read only", Some(true)),
            ("/* hint */ -- note\n BEGIN", Some(true)),
            ("START SLAVE", None),
            ("beginning", None),
            ("SELECT 'BEGIN'", None),
            ("COMMIT", Some(false)),
            ("end", Some(false)),
            ("ROLLBACK;", Some(false)),
            ("ROLLBACK TO SAVEPOINT a", None),
            ("BEGIN; INSERT INTO t VALUES (1); COMMIT;", Some(false)),
            ("BEGIN; INSERT INTO t VALUES (1)", Some(true)),
            ("SELECT 1; BEGIN", Some(true)),
            ("SELECT 'COMMIT;'; BEGIN; -- ;", Some(true)),
            ("SELECT 1; BEGIN; SELECT ';'", Some(true)),
            ("COMMIT; BEGIN", Some(true)),
            ("BEGIN; COMMIT; SELECT 1", Some(false)),
            ("BEGIN; SELECT '; COMMIT'", Some(true)),
            ("SELECT 1; SELECT 2", None),
            (
                "CREATE TRIGGER a AFTER INSERT ON t BEGIN DELETE FROM u; END",
                None,
            ),
            (
                "CREATE TRIGGER a AFTER INSERT ON t BEGIN DELETE FROM u; END; BEGIN",
                Some(true),
            ),
            ("SET autocommit=0", None),
            ("", None),
            ("/* never closed", None),
        ] {
            for dialect in [
                DatabaseKind::Postgres,
                DatabaseKind::Mysql,
                DatabaseKind::Sqlite,
            ] {
                assert_eq!(transaction_open(statement, dialect), open, "{statement}");
            }
        }
    }

    /// A bind value that must not be formatted.
    struct Untouchable;

    impl fmt::Debug for Untouchable {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("a bind value was formatted");
        }
    }

    /// Prints itself as diesel's `DebugQuery` does.
    struct Query(&'static str);

    impl Display for Query {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{} -- binds: {:?}", self.0, [Untouchable])
        }
    }

    fn printed(query: &dyn Display) -> String {
        let mut printed = Printed {
            text: "previous content".to_owned(),
            hash: None,
        };
        assert_eq!(printed.print(query), hash(query));
        printed.text
    }

    #[test]
    fn printing_stops_before_the_bind_values() {
        for statement in ["SELECT $1", "SELECT $1 -- binds: [\"of old\"]", ""] {
            assert_eq!(printed(&Query(statement)), statement);
            // When a query finishes, diesel passes the statement as plain text.
            assert_eq!(hash(&Query(statement)), hash(&statement), "{statement}");
        }
    }

    #[test]
    fn texts_that_differ_anywhere_have_different_hashes() {
        let text = "SELECT id, name FROM orders WHERE id = $1 AND state = $2";
        let mut texts = HashSet::new();
        for at in 0..=text.len() {
            texts.insert(text[..at].to_owned());
            texts.insert(format!("{}\0", &text[..at]));
            texts.insert(format!("{}x{}", &text[..at], &text[at..]));
        }
        let hashes: HashSet<_> = texts.iter().map(|text| hash(text)).collect();
        assert_eq!(hashes.len(), texts.len());
    }

    #[test]
    fn bind_values_are_cut_from_text_in_one_piece() {
        assert_eq!(
            printed(&"SELECT $1 -- binds: [\"secret\", \" -- binds: [\"]"),
            "SELECT $1"
        );
        assert_eq!(printed(&"SELECT 1"), "SELECT 1");
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn a_diesel_query_is_printed_without_bind_values() {
        use diesel::prelude::*;

        diesel::table! {
            users (id) { id -> Integer, name -> Text, }
        }
        let query = users::table
            .select(users::id)
            .filter(users::name.eq("secret"));
        let query = diesel::debug_query::<diesel::pg::Pg, _>(&query);
        assert!(query.to_string().ends_with(" -- binds: [\"secret\"]"));
        assert_eq!(
            printed(&query),
            r#"SELECT "users"."id" FROM "users" WHERE ("users"."name" = $1)"#
        );
    }

    #[test]
    fn a_huge_buffer_is_not_kept() {
        let mut printed = Printed {
            text: String::with_capacity(2 * KEPT),
            hash: None,
        };
        printed.print(&"SELECT 1");
        assert!(printed.text.capacity() <= KEPT);
        assert_eq!(printed.text, "SELECT 1");
    }
}
