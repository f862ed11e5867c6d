//! Classifies diesel's errors: how a query failed.

use std::borrow::Cow;

use diesel::result::{DatabaseErrorKind, Error};

use crate::backend::is_lost;
use crate::checkout::query_context::QueryFailure;

/// Returns how a query failed, by the server's SQLSTATE if the wire has seen it.
pub(super) fn failure(error: &Error, sqlstate: Option<[u8; 5]>) -> QueryFailure {
    match sqlstate {
        Some(code) => by_code(code),
        None => QueryFailure {
            error_type: Cow::Borrowed(error_type(error)),
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

/// Returns the kind of an error, without the server's text.
pub(crate) fn error_type(error: &Error) -> &'static str {
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

#[cfg(test)]
mod tests {
    use super::*;

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
