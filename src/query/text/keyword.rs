//! The SQL keywords that affect the text or the summary of a statement.

/// The meaning of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    /// Begins a statement that reads or writes rows: `SELECT`.
    Query(&'static str),
    /// Begins any other statement: `COMMIT`.
    Command(&'static str),
    /// A kind of database object that is created, altered and dropped: `TABLE`.
    Object(&'static str),
    /// A word between an operation and its target: `ONLY`, `IF NOT EXISTS`.
    Filler,
    /// Ends a list of tables: `WHERE`.
    Clause,
    /// `TRUE` and `FALSE`.
    Truth,
    /// A word followed by a value: `LIKE`.
    Operator,
    /// `NULL` and `DEFAULT`: a value in a list of values.
    Nothing,
    As,
    Array,
    Distinct,
    For,
    From,
    In,
    Join,
    Or,
    To,
    Transaction,
    Using,
    Values,
    With,
    /// A name, or a keyword without effect here.
    Other,
}

/// The maximum length of a keyword, in bytes. Longer words are names.
const LONGEST: usize = 16;

impl Keyword {
    pub(super) fn of(word: &str) -> Self {
        let mut capitals = [0; LONGEST];
        let Some(place) = capitals.get_mut(..word.len()) else {
            return Self::Other;
        };
        place.copy_from_slice(word.as_bytes());
        place.make_ascii_uppercase();
        match &*place {
            b"AS" => Self::As,
            b"ARRAY" => Self::Array,
            b"DISTINCT" => Self::Distinct,
            b"FOR" => Self::For,
            b"FROM" => Self::From,
            b"IN" => Self::In,
            b"JOIN" | b"STRAIGHT_JOIN" => Self::Join,
            b"OR" => Self::Or,
            b"TO" => Self::To,
            b"TRANSACTION" => Self::Transaction,
            b"USING" => Self::Using,
            b"VALUES" => Self::Values,
            b"WITH" => Self::With,
            b"TRUE" | b"FALSE" => Self::Truth,
            b"NULL" | b"DEFAULT" => Self::Nothing,
            b"WHERE" | b"GROUP" | b"ORDER" | b"HAVING" | b"LIMIT" | b"OFFSET" | b"WINDOW"
            | b"UNION" | b"INTERSECT" | b"EXCEPT" | b"RETURNING" | b"WHEN" => Self::Clause,
            b"ONLY" | b"IF" | b"NOT" | b"EXISTS" | b"INTO" | b"LATERAL" | b"CONCURRENTLY"
            | b"RECURSIVE" | b"IGNORE" | b"LOW_PRIORITY" | b"HIGH_PRIORITY" | b"DELAYED"
            | b"QUICK" | b"ON" | b"TABLES" => Self::Filler,
            b"LIKE" | b"ILIKE" | b"GLOB" | b"MATCH" | b"REGEXP" | b"IS" | b"BETWEEN"
            | b"ESCAPE" | b"THEN" | b"ELSE" => Self::Operator,
            capitals => known(capitals),
        }
    }
}

fn known(capitals: &[u8]) -> Keyword {
    let find = |words: &[&'static str]| {
        let mut words = words.iter();
        words.find(|word| word.as_bytes() == capitals).copied()
    };
    if let Some(word) = find(&QUERIES) {
        return Keyword::Query(word);
    }
    // Most words are names, which are in none of the lists. The search is cheap because slices of
    // different lengths are unequal without comparing their bytes.
    if let Some(word) = find(&OBJECTS) {
        return Keyword::Object(word);
    }
    find(&COMMANDS).map_or(Keyword::Other, Keyword::Command)
}

const QUERIES: [&str; 6] = ["SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE"];

const OBJECTS: [&str; 17] = [
    "TABLE",
    "INDEX",
    "VIEW",
    "MATERIALIZED",
    "SEQUENCE",
    "SCHEMA",
    "DATABASE",
    "TYPE",
    "DOMAIN",
    "EXTENSION",
    "ROLE",
    "USER",
    "FUNCTION",
    "PROCEDURE",
    "TRIGGER",
    "EVENT",
    "RULE",
];

const COMMANDS: [&str; 57] = [
    "ABORT",
    "ALTER",
    "ANALYZE",
    "ATTACH",
    "BEGIN",
    "CALL",
    "CHECK",
    "CHECKPOINT",
    "CLOSE",
    "CLUSTER",
    "COMMENT",
    "COMMIT",
    "COPY",
    "CREATE",
    "DEALLOCATE",
    "DECLARE",
    "DESC",
    "DESCRIBE",
    "DETACH",
    "DISCARD",
    "DO",
    "DROP",
    "END",
    "EXEC",
    "EXECUTE",
    "EXPLAIN",
    "FETCH",
    "FLUSH",
    "GRANT",
    "HANDLER",
    "IMPORT",
    "KILL",
    "LISTEN",
    "LOAD",
    "LOCK",
    "MOVE",
    "NOTIFY",
    "OPTIMIZE",
    "PRAGMA",
    "PREPARE",
    "REFRESH",
    "REINDEX",
    "RELEASE",
    "RENAME",
    "REPAIR",
    "RESET",
    "REVOKE",
    "ROLLBACK",
    "SAVEPOINT",
    "SET",
    "SHOW",
    "START",
    "TRUNCATE",
    "UNLISTEN",
    "UNLOCK",
    "USE",
    "VACUUM",
];
