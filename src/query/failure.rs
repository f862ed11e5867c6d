//! Classifies diesel's errors: how a query failed, and whether its connection is lost.

use std::borrow::Cow;

use diesel::result::{DatabaseErrorKind, Error};

use crate::query::context::QueryFailure;

/// Returns how a query failed, by the server's SQLSTATE if the wire has seen it.
pub(super) fn failure(error: &Error, sqlstate: Option<[u8; 5]>) -> QueryFailure {
    match sqlstate {
        Some(code) => by_code(code),
        None => QueryFailure {
            error_type: Cow::Borrowed(kind(error)),
            status_code: None,
        },
    }
}

pub(super) fn by_code(sqlstate: [u8; 5]) -> QueryFailure {
    let code = String::from_utf8_lossy(&sqlstate).into_owned();
    QueryFailure {
        error_type: Cow::Owned(code.clone()),
        status_code: Some(code),
    }
}

fn kind(error: &Error) -> &'static str {
    match error {
        Error::DatabaseError(kind, info) => match kind {
            DatabaseErrorKind::UniqueViolation => "unique_violation",
            DatabaseErrorKind::ForeignKeyViolation => "foreign_key_violation",
            DatabaseErrorKind::NotNullViolation => "not_null_violation",
            DatabaseErrorKind::CheckViolation => "check_violation",
            DatabaseErrorKind::ExclusionViolation => "exclusion_violation",
            DatabaseErrorKind::RestrictViolation => "restrict_violation",
            DatabaseErrorKind::SerializationFailure => "serialization_failure",
            DatabaseErrorKind::ReadOnlyTransaction => "read_only_transaction",
            DatabaseErrorKind::UnableToSendCommand => "unable_to_send_command",
            DatabaseErrorKind::ClosedConnection => "connection_closed",
            _ if is_lost(info.message()) => "connection_closed",
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

/// The beginnings of the error texts that mean that a connection is lost.
const CONNECTION_FAILURES: [&str; 10] = [
    // mysql_async: the socket failed, the connection was closed, or its state cannot be trusted.
    "Input/output error",
    "Driver error",
    // MySQL and MariaDB: 1927, 1053, 4031.
    "Connection was killed",
    "Server shutdown in progress",
    "The client was disconnected",
    // tokio-postgres, and Postgres: 57P01, 57P02.
    "connection closed",
    "terminating connection",
    "server closed the connection",
    "Connection to the server is closed",
    // 57P03.
    "the database system is",
];

fn is_lost(message: &str) -> bool {
    CONNECTION_FAILURES
        .iter()
        .any(|start| message.starts_with(start))
}

/// Returns whether a query's error means that its connection is lost or its server is not ready.
///
/// A later attempt on another connection may succeed, so answer such an error with 503, not 500.
///
/// diesel passes on neither Postgres' SQLSTATE nor MySQL's code of these errors. They are therefore
/// recognized by the error's kind or, if the kind is unknown, by the beginning of its text. Texts in
/// a language other than English (`lc_messages`) are not recognized.
///
/// ```
/// use diesel::result::{DatabaseErrorKind, Error};
///
/// let lost = Error::DatabaseError(DatabaseErrorKind::ClosedConnection, Box::new(String::new()));
/// assert!(poolscope::backend::is_connection_failure(&lost));
/// assert!(!poolscope::backend::is_connection_failure(&Error::NotFound));
/// ```
#[must_use]
pub fn is_connection_failure(error: &Error) -> bool {
    match error {
        Error::DatabaseError(
            DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand,
            _,
        )
        | Error::BrokenTransactionManager => true,
        Error::RollbackErrorOnCommit {
            rollback_error,
            commit_error,
        } => is_connection_failure(rollback_error) || is_connection_failure(commit_error),
        // diesel-async passes on mysql_async's errors, and Postgres' errors that end a session,
        // without their codes.
        Error::DatabaseError(DatabaseErrorKind::Unknown, info) => is_lost(info.message()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinguishes_lost_connections_from_failed_statements() {
        let of = |kind, text: &str| {
            is_connection_failure(&Error::DatabaseError(kind, Box::new(text.to_owned())))
        };
        assert!(of(DatabaseErrorKind::UnableToSendCommand, ""));
        assert!(of(
            DatabaseErrorKind::Unknown,
            "Input/output error: Broken pipe"
        ));
        assert!(!of(DatabaseErrorKind::UniqueViolation, "duplicate key"));
        assert!(!of(DatabaseErrorKind::Unknown, "syntax error"));
    }

    #[test]
    fn prefers_the_sqlstate_and_never_exposes_the_servers_text() {
        let error = Error::DatabaseError(
            DatabaseErrorKind::UniqueViolation,
            Box::new("Key (email)=(ada@example.org) exists".to_owned()),
        );
        let known = failure(&error, Some(*b"23505"));
        assert_eq!(known.error_type, "23505");
        assert_eq!(known.status_code.as_deref(), Some("23505"));
        let unknown = failure(&error, None);
        assert_eq!(unknown.error_type, "unique_violation");
        assert_eq!(unknown.status_code, None);
        let lost = Error::DatabaseError(
            DatabaseErrorKind::Unknown,
            Box::new("Input/output error: reset".to_owned()),
        );
        assert_eq!(failure(&lost, None).error_type, "connection_closed");
    }
}
