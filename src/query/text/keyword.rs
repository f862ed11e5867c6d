//! The SQL keywords that affect the text or the summary of a statement.

/// The meaning of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    /// Begins a statement that reads or writes rows: `SELECT`.
    Query(&'static str),
    /// A word between an operation and its target: `ONLY`, `IF NOT EXISTS`.
    Filler,
    /// Ends a list of tables: `WHERE`.
    Clause,
    /// `TRUE` and `FALSE`.
    Truth,
    /// `NULL` and `DEFAULT`: a value in a list of values.
    Nothing,
    Array,
    Distinct,
    From,
    In,
    Join,
    Or,
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
            b"SELECT" => Self::Query("SELECT"),
            b"INSERT" => Self::Query("INSERT"),
            b"UPDATE" => Self::Query("UPDATE"),
            b"DELETE" => Self::Query("DELETE"),
            b"REPLACE" => Self::Query("REPLACE"),
            b"MERGE" => Self::Query("MERGE"),
            b"ARRAY" => Self::Array,
            b"DISTINCT" => Self::Distinct,
            b"FROM" => Self::From,
            b"IN" => Self::In,
            b"JOIN" | b"STRAIGHT_JOIN" => Self::Join,
            b"OR" => Self::Or,
            b"USING" => Self::Using,
            b"VALUES" => Self::Values,
            b"WITH" => Self::With,
            b"TRUE" | b"FALSE" => Self::Truth,
            b"NULL" | b"DEFAULT" => Self::Nothing,
            b"WHERE" | b"GROUP" | b"ORDER" | b"HAVING" | b"LIMIT" | b"OFFSET" | b"WINDOW"
            | b"UNION" | b"INTERSECT" | b"EXCEPT" | b"RETURNING" | b"WHEN" | b"SET" | b"FETCH"
            | b"FOR" => Self::Clause,
            b"ONLY" | b"IF" | b"NOT" | b"EXISTS" | b"INTO" | b"LATERAL" | b"CONCURRENTLY"
            | b"RECURSIVE" | b"IGNORE" | b"LOW_PRIORITY" | b"HIGH_PRIORITY" | b"DELAYED"
            | b"QUICK" | b"ON" | b"TABLE" | b"TABLES" => Self::Filler,
            _ => Self::Other,
        }
    }
}
