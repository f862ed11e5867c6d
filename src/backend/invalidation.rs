//! The errors that invalidate a connection: it works, and yet it is of no use any more.
//!
//! [`ERRORS`] is the only list of them. A connection on which one of them occurs is closed when it is
//! returned. The models are Postgrex' `disconnect_on_error_codes`, which is empty by default and names
//! `read_only_sql_transaction` as its use, and HikariCP's `ProxyConnection.ERROR_STATES`. Not taken over
//! from HikariCP: the whole class `08`, because a foreign server's lost connection has these codes, too
//! (`postgres_fdw`, `dblink`); `0A000` in general, because it is every feature that is not supported; and
//! MySQL's 1105, because it means "unknown error".
//!
//! SQLite has no such error: it prepares a statement anew if the schema has changed, and a file that may
//! only be read is the same for each connection.

use diesel::result::{DatabaseErrorKind, Error};

use crate::settings::DatabaseKind;

/// An error that invalidates the connection on which it occurs.
#[doc(hidden)]
#[derive(Debug)]
pub struct InvalidatingError {
    pub(crate) database: DatabaseKind,
    /// The SQLSTATE, or the error number of MySQL and MariaDB.
    pub(crate) code: &'static str,
    /// The name of the code in the server's manual.
    pub(crate) name: &'static str,
    /// The functions of the server that report it, if the code alone means other things, too. Postgres
    /// sends their names, and never translates them.
    routines: &'static [&'static str],
    /// The beginnings of its text, where neither the code nor the function is known or is enough.
    begins: &'static [&'static str],
    ends: &'static str,
    /// Whether its text names a statement of the driver, and not one of the app's own.
    names_statement: bool,
    pub(crate) affects: Affects,
    /// What it means, in words for a log. Contains nothing of the statement.
    pub(crate) meaning: &'static str,
}

/// Which connections an error speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Affects {
    /// This session, unless it or its transaction was meant to be read-only. Others may have become
    /// read-only with it.
    ReadOnlySession,
    /// This session alone.
    Session,
    /// Every session that was opened before.
    EarlierSessions,
    /// Every session that was opened before, or none, because the app's statement is wrong. Believed once
    /// in a while.
    PerhapsEarlierSessions,
}

const READ_ONLY: &str = "the session is read-only, and was not opened to be: the primary was demoted or a default changed";
const STALE: &str = "the server no longer knows a prepared statement of this session";
const CHANGED: &str = "a table or a type has changed since the session's statements were prepared";
const ENDING: &str = "the server is about to end the session";

const fn postgres(code: &'static str, name: &'static str, affects: Affects) -> InvalidatingError {
    InvalidatingError {
        database: DatabaseKind::Postgres,
        code,
        name,
        routines: &[],
        begins: &[],
        ends: "",
        names_statement: false,
        affects,
        meaning: ENDING,
    }
}

const fn mysql(code: &'static str, name: &'static str, affects: Affects) -> InvalidatingError {
    InvalidatingError {
        database: DatabaseKind::Mysql,
        ..postgres(code, name, affects)
    }
}

/// The errors that invalidate a connection.
pub(crate) static ERRORS: [InvalidatingError; 15] = [
    // Source: Postgrex; PostgreSQL, tcop/utility.c. A foreign server's has another function.
    InvalidatingError {
        routines: &["PreventCommandIfReadOnly", "PreventCommandDuringRecovery"],
        begins: &["cannot execute "],
        meaning: READ_ONLY,
        ..postgres(
            "25006",
            "read_only_sql_transaction",
            Affects::ReadOnlySession,
        )
    },
    // Source: HikariCP; PostgreSQL, utils/cache/plancache.c: "cached plan must not change result type".
    InvalidatingError {
        routines: &["RevalidateCachedQuery"],
        begins: &["cached plan must not change result type"],
        meaning: CHANGED,
        ..postgres("0A000", "feature_not_supported", Affects::EarlierSessions)
    },
    // Source: Postgrex, which prepares the statement anew; PostgreSQL, commands/prepare.c. After
    // DISCARD ALL, DEALLOCATE ALL, or on another session of a pooler.
    InvalidatingError {
        routines: &[
            "FetchPreparedStatement",
            "exec_bind_message",
            "exec_describe_statement_message",
        ],
        begins: &["prepared statement \""],
        ends: "does not exist",
        names_statement: true,
        meaning: STALE,
        ..postgres("26000", "invalid_sql_statement_name", Affects::Session)
    },
    // Source: PostgreSQL, utils/cache/lsyscache.c: a type was dropped, and perhaps created again with
    // another id. Texts of internal errors are never translated.
    InvalidatingError {
        begins: &["cache lookup failed for type "],
        meaning: CHANGED,
        ..postgres("XX000", "internal_error", Affects::EarlierSessions)
    },
    // Source: PostgreSQL, utils/cache/typcache.c and parser/parse_type.c: "type with OID 1 does not exist".
    InvalidatingError {
        routines: &["lookup_type_cache", "lookup_rowtype_tupdesc_internal"],
        begins: &["type with OID "],
        ends: "does not exist",
        meaning: CHANGED,
        ..postgres("42704", "undefined_object", Affects::EarlierSessions)
    },
    // Source: PostgreSQL, parser/parse_oper.c: `= ANY($1)` with the old id of a type's array is "op ANY/ALL
    // (array) requires array on right side".
    InvalidatingError {
        routines: &["make_scalar_array_op"],
        begins: &["op ANY/ALL (array) requires array on right side"],
        meaning: CHANGED,
        ..postgres(
            "42809",
            "wrong_object_type",
            Affects::PerhapsEarlierSessions,
        )
    },
    // Source: PostgreSQL, tcop/postgres.c: the parameters sent are those of another statement.
    InvalidatingError {
        routines: &["exec_bind_message"],
        begins: &["bind message "],
        meaning: STALE,
        ..postgres("08P01", "protocol_violation", Affects::Session)
    },
    // Source: HikariCP. The server itself closes the connection with these; a pooler may pass them on.
    postgres("57P01", "admin_shutdown", Affects::Session),
    postgres("57P02", "crash_shutdown", Affects::Session),
    postgres("57P03", "cannot_connect_now", Affects::Session),
    // Source: MySQL and MariaDB, --read-only and --super-read-only, also on a reader of Aurora.
    InvalidatingError {
        begins: &[
            "The MySQL server is running with the --read-only",
            "The MySQL server is running with the --super-read-only",
            "The MariaDB server is running with the --read-only",
        ],
        meaning: READ_ONLY,
        ..mysql(
            "1290",
            "ER_OPTION_PREVENTS_STATEMENT",
            Affects::ReadOnlySession,
        )
    },
    // Source: MySQL and MariaDB: the session's transactions are read-only by default. Known by diesel's kind.
    InvalidatingError {
        begins: &["Cannot execute statement in a READ ONLY transaction"],
        meaning: READ_ONLY,
        ..mysql(
            "1792",
            "ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION",
            Affects::ReadOnlySession,
        )
    },
    // Source: MySQL and MariaDB: innodb_read_only, innodb_force_recovery.
    InvalidatingError {
        begins: &["Running in read-only mode"],
        meaning: READ_ONLY,
        ..mysql("1836", "ER_READ_ONLY_MODE", Affects::ReadOnlySession)
    },
    // Source: MySQL and MariaDB: the session was reset, or is another one behind a proxy.
    InvalidatingError {
        begins: &["Unknown prepared statement handler"],
        meaning: STALE,
        ..mysql("1243", "ER_UNKNOWN_STMT_HANDLER", Affects::Session)
    },
    // Source: MySQL, dev.mysql.com "Caching of Prepared Statements": preparing it anew failed three times.
    InvalidatingError {
        begins: &["Prepared statement needs to be re-prepared"],
        meaning: CHANGED,
        ..mysql("1615", "ER_NEED_REPREPARE", Affects::Session)
    },
];

/// Some of [`ERRORS`], as one bit each.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Errors(pub(crate) u32);

const _: () = assert!(ERRORS.len() <= u32::BITS as usize);

impl Errors {
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = &'static InvalidatingError> {
        let bits = ERRORS.iter().enumerate();
        bits.filter_map(move |(at, error)| (self.0 >> at & 1 == 1).then_some(error))
    }

    /// Returns these without those that concern only sessions that became read-only.
    pub(crate) fn without_read_only(self) -> Self {
        self.filter(|error| error.affects != Affects::ReadOnlySession)
    }

    fn filter(self, keeps: impl Fn(&InvalidatingError) -> bool) -> Self {
        let of = |(at, error): (usize, _)| u32::from(keeps(error)) << at;
        Self(
            self.0
                & ERRORS
                    .iter()
                    .enumerate()
                    .map(of)
                    .fold(0, |all, bit| all | bit),
        )
    }

    /// Returns the error of Postgres that has this code, this function and this beginning of its text.
    /// A function and a text that are empty are unknown.
    #[cfg(any(test, feature = "postgres"))]
    pub(crate) fn of_postgres(code: [u8; 5], routine: &[u8], text: &[u8]) -> Self {
        Self(!0).filter(|error| {
            error.database == DatabaseKind::Postgres
                && error.code.as_bytes() == code
                && (!error.names_statement || names_statement(text))
                && if error.routines.is_empty() || routine.is_empty() {
                    // Only the beginning of the text is known.
                    let begins = |with: &&str| {
                        let length = with.len().min(KNOWN_TEXT);
                        text.starts_with(&with.as_bytes()[..length])
                    };
                    error.begins.is_empty() || error.begins.iter().any(begins)
                } else {
                    error.routines.iter().any(|name| name.as_bytes() == routine)
                }
        })
    }

    /// Returns the errors that diesel's error may be. diesel passes on neither the SQLSTATE nor the
    /// number, so a text in another language than English is not recognized.
    pub(crate) fn of_diesel(database: DatabaseKind, error: &Error) -> Self {
        let Error::DatabaseError(kind, info) = error else {
            return Self::NONE;
        };
        match kind {
            DatabaseErrorKind::ReadOnlyTransaction => Self(!0)
                .filter(|error| error.database == database && error.code == by_kind(database)),
            DatabaseErrorKind::Unknown => {
                let text = info.message();
                Self(!0).filter(|error| {
                    error.database == database
                        && error.begins.iter().any(|with| text.starts_with(with))
                        && text.ends_with(error.ends)
                        && (!error.names_statement || names_statement(text.as_bytes()))
                })
            }
            _ => Self::NONE,
        }
    }
}

/// The bytes of a text, or of a function's name, that Postgres' wire keeps.
#[cfg(any(test, feature = "postgres"))]
pub(crate) const KNOWN_TEXT: usize = 64;

/// Returns whether a text contains a name as tokio-postgres gives it to statements: `s` and a number.
fn names_statement(text: &[u8]) -> bool {
    let words = text.split(|byte| !byte.is_ascii_alphanumeric());
    words
        .filter_map(|word| word.strip_prefix(b"s"))
        .any(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

/// The code of diesel's `ReadOnlyTransaction`.
fn by_kind(database: DatabaseKind) -> &'static str {
    match database {
        DatabaseKind::Postgres => "25006",
        DatabaseKind::Mysql => "1792",
        DatabaseKind::Sqlite => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(errors: Errors) -> Vec<&'static str> {
        errors.iter().map(|error| error.code).collect()
    }

    fn of_postgres(code: &[u8; 5], routine: &str, text: &str) -> Vec<&'static str> {
        let text = &text.as_bytes()[..text.len().min(KNOWN_TEXT)];
        codes(Errors::of_postgres(*code, routine.as_bytes(), text))
    }

    #[test]
    fn a_code_is_narrowed_down_by_the_servers_function_and_not_by_a_translated_text() {
        let german = "zwischengespeicherter Plan darf den Ergebnistyp nicht ändern";
        assert_eq!(
            of_postgres(b"0A000", "RevalidateCachedQuery", german),
            ["0A000"]
        );
        let english = "cached plan must not change result type";
        assert_eq!(of_postgres(b"0A000", "", english), ["0A000"]);
        let other = "LIMIT #,# syntax is not supported";
        assert!(of_postgres(b"0A000", "transformLimit", other).is_empty());
        assert!(of_postgres(b"0A000", "", other).is_empty());
        // A foreign server is read-only, not this one.
        let text = "cannot execute INSERT in a read-only transaction";
        assert!(of_postgres(b"25006", "pgfdw_report_error", text).is_empty());
        assert_eq!(
            of_postgres(b"25006", "PreventCommandIfReadOnly", text),
            ["25006"]
        );
        assert_eq!(of_postgres(b"57P01", "ProcessInterrupts", ""), ["57P01"]);
        assert!(of_postgres(b"08006", "pgfdw_report_error", "").is_empty());
        let function = "getBaseTypeAndTypmod";
        assert_eq!(
            of_postgres(b"XX000", function, "cache lookup failed for type 16385"),
            ["XX000"]
        );
        assert!(of_postgres(b"XX000", function, "cache lookup failed for relation 1").is_empty());
        // In English, German and Japanese.
        for text in [
            "prepared statement \"s31\" does not exist",
            "vorbereitete Anweisung »s31« existiert nicht",
            "プリペアド文\"s31\"は存在しません",
        ] {
            assert_eq!(
                of_postgres(b"26000", "FetchPreparedStatement", text),
                ["26000"]
            );
        }
        // The app's own PREPARE and EXECUTE.
        let text = "prepared statement \"orders\" does not exist";
        assert!(of_postgres(b"26000", "FetchPreparedStatement", text).is_empty());
        assert_eq!(of_postgres(b"08P01", "exec_bind_message", ""), ["08P01"]);
        assert!(of_postgres(b"08P01", "SocketBackend", "invalid message").is_empty());
    }

    fn of_diesel(database: DatabaseKind, kind: DatabaseErrorKind, text: &str) -> Vec<&'static str> {
        let error = Error::DatabaseError(kind, Box::new(text.to_owned()));
        codes(Errors::of_diesel(database, &error))
    }

    #[test]
    fn diesels_errors_are_recognized_by_kind_and_text() {
        use DatabaseErrorKind::{ReadOnlyTransaction, UniqueViolation, Unknown};
        use DatabaseKind::{Mysql, Postgres, Sqlite};
        for (database, kind, text, expected) in [
            (
                Postgres,
                ReadOnlyTransaction,
                "in any language",
                &["25006"][..],
            ),
            (Mysql, ReadOnlyTransaction, "in any language", &["1792"]),
            (
                Postgres,
                Unknown,
                "prepared statement \"s3\" does not exist",
                &["26000"],
            ),
            (
                Postgres,
                Unknown,
                "prepared statement \"s3\" already exists",
                &[],
            ),
            (
                Postgres,
                Unknown,
                "cache lookup failed for type 7",
                &["XX000"],
            ),
            (
                Mysql,
                Unknown,
                "The MariaDB server is running with the --read-only option so it cannot execute this statement",
                &["1290"],
            ),
            (
                Mysql,
                Unknown,
                "The MySQL server is running with the --secure-file-priv option so it cannot execute this statement",
                &[],
            ),
            (
                Mysql,
                Unknown,
                "Unknown prepared statement handler (7) given to mysqld_stmt_execute",
                &["1243"],
            ),
            (
                Mysql,
                Unknown,
                "Prepared statement needs to be re-prepared",
                &["1615"],
            ),
            (Mysql, UniqueViolation, "Running in read-only mode", &[]),
            (
                Mysql,
                Unknown,
                "Incorrect integer value: '--read-only' for column n",
                &[],
            ),
            (Sqlite, Unknown, "attempt to write a readonly database", &[]),
            (Sqlite, ReadOnlyTransaction, "", &[]),
        ] {
            assert_eq!(of_diesel(database, kind, text), expected, "{text}");
        }
    }

    #[test]
    fn a_code_stands_for_one_database_and_has_a_name_and_a_meaning() {
        for error in &ERRORS {
            assert_eq!(
                error.code.len(),
                if error.database == DatabaseKind::Postgres {
                    5
                } else {
                    4
                }
            );
            assert!(!error.name.is_empty() && !error.meaning.is_empty());
            assert_ne!(error.database, DatabaseKind::Sqlite);
        }
    }
}
