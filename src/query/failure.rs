//! Classifies diesel's errors: how a query failed.
//!
//! One error has one `error.type`, whoever saw it first. On Postgres it is the SQLSTATE, found by the
//! number of the command, else by the text of the error, else by diesel's kind. MySQL's and SQLite's codes
//! do not reach diesel, so there it is diesel's kind.

use std::borrow::Cow;

use diesel::result::{DatabaseErrorKind, Error};

use crate::backend::{Session, is_connection_failure};
use crate::checkout::query_context::QueryFailure;
use crate::settings::DatabaseKind;

/// Returns how a query failed. `sqlstate` is that of the query's own commands.
pub(super) fn failure(
    error: &Error,
    sqlstate: Option<[u8; 5]>,
    database: DatabaseKind,
    session: Option<&dyn Session>,
) -> QueryFailure {
    let by_text = || match error {
        Error::DatabaseError(_, info) => session?.code_of(info.message()),
        _ => None,
    };
    let by_kind = || match error {
        Error::DatabaseError(kind, _) if database == DatabaseKind::Postgres => code_of(kind),
        _ => None,
    };
    if let Some(code) = sqlstate.or_else(by_text).or_else(by_kind) {
        return by_code(code);
    }
    if matches!(error, Error::DatabaseError(..)) && is_connection_failure(error) {
        return lost(session);
    }
    QueryFailure {
        error_type: Cow::Borrowed(error_type(error)),
        status_code: None,
    }
}

pub(super) fn by_code(sqlstate: [u8; 5]) -> QueryFailure {
    let code = String::from_utf8_lossy(&sqlstate).into_owned();
    QueryFailure {
        error_type: Cow::Owned(code.clone()),
        status_code: Some(code),
    }
}

/// Returns how a query failed whose connection was lost: with the server's last error, if it sent one.
pub(super) fn lost(session: Option<&dyn Session>) -> QueryFailure {
    session
        .and_then(Session::ended_by)
        .map_or(QueryFailure::LOST, by_code)
}

/// Returns the only SQLSTATE of Postgres that diesel-async converts to this kind.
fn code_of(kind: &DatabaseErrorKind) -> Option<[u8; 5]> {
    Some(*match kind {
        DatabaseErrorKind::UniqueViolation => b"23505",
        DatabaseErrorKind::ForeignKeyViolation => b"23503",
        DatabaseErrorKind::NotNullViolation => b"23502",
        DatabaseErrorKind::CheckViolation => b"23514",
        DatabaseErrorKind::ExclusionViolation => b"23P01",
        DatabaseErrorKind::RestrictViolation => b"23001",
        DatabaseErrorKind::SerializationFailure => b"40001",
        DatabaseErrorKind::ReadOnlyTransaction => b"25006",
        _ => return None,
    })
}

/// Returns the kind of an error, without the server's text.
pub(crate) fn error_type(error: &Error) -> &'static str {
    match error {
        Error::DatabaseError(kind, _) => match kind {
            DatabaseErrorKind::UniqueViolation => "unique_violation",
            DatabaseErrorKind::ForeignKeyViolation => "foreign_key_violation",
            DatabaseErrorKind::NotNullViolation => "not_null_violation",
            DatabaseErrorKind::CheckViolation => "check_violation",
            DatabaseErrorKind::ExclusionViolation => "exclusion_violation",
            DatabaseErrorKind::RestrictViolation => "restrict_violation",
            DatabaseErrorKind::SerializationFailure => "serialization_failure",
            DatabaseErrorKind::ReadOnlyTransaction => "read_only_transaction",
            _ => "database_error",
        },
        Error::NotFound => "not_found",
        Error::QueryBuilderError(_) => "query_builder_error",
        Error::SerializationError(_) => "serialization_error",
        Error::DeserializationError(_) => "deserialization_error",
        Error::BrokenTransactionManager => "broken_transaction_manager",
        Error::RollbackErrorOnCommit { .. } => "rollback_error_on_commit",
        _ => "_OTHER",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DatabaseKind::{Mysql, Postgres};

    /// A session in which the server has sent one error, and ended it with another.
    #[derive(Debug)]
    struct Ended;

    impl Session for Ended {
        fn process_id(&self) -> Option<u64> {
            None
        }

        fn code_of(&self, text: &str) -> Option<[u8; 5]> {
            (text == "relation does not exist").then_some(*b"42P01")
        }

        fn ended_by(&self) -> Option<[u8; 5]> {
            Some(*b"57P01")
        }
    }

    fn error(kind: DatabaseErrorKind, text: &str) -> Error {
        Error::DatabaseError(kind, Box::new(text.to_owned()))
    }

    fn kinds(failure: &QueryFailure) -> (&str, Option<&str>) {
        (&failure.error_type, failure.status_code.as_deref())
    }

    #[test]
    fn an_error_has_one_type_whoever_saw_it_and_never_the_servers_text() {
        let unique = error(
            DatabaseErrorKind::UniqueViolation,
            "Key (email)=(ada@example.org) exists",
        );
        for code in [Some(*b"23505"), None] {
            let known = failure(&unique, code, Postgres, None);
            assert_eq!(kinds(&known), ("23505", Some("23505")));
        }
        let unknown = failure(&unique, None, Mysql, None);
        assert_eq!(kinds(&unknown), ("unique_violation", None));
        // In a pipeline, only the text leads to the code.
        let missing = error(DatabaseErrorKind::Unknown, "relation does not exist");
        let by_text = failure(&missing, None, Postgres, Some(&Ended));
        assert_eq!(kinds(&by_text), ("42P01", Some("42P01")));
        let untapped = failure(&missing, None, Postgres, None);
        assert_eq!(kinds(&untapped), ("database_error", None));
    }

    #[test]
    fn a_lost_connection_is_the_servers_last_error_if_there_was_one() {
        for (kind, text) in [
            (DatabaseErrorKind::Unknown, "Input/output error: reset"),
            (DatabaseErrorKind::UnableToSendCommand, "connection closed"),
            (DatabaseErrorKind::ClosedConnection, ""),
        ] {
            let lost = error(kind, text);
            let silent = failure(&lost, None, Postgres, None);
            assert_eq!(kinds(&silent), ("connection_closed", None));
            let ended = failure(&lost, None, Postgres, Some(&Ended));
            assert_eq!(kinds(&ended), ("57P01", Some("57P01")));
        }
    }
}
