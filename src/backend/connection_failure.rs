//! Recognizes errors that mean that a connection is lost.

use diesel::result::{DatabaseErrorKind, Error};

/// The beginnings of the error texts that mean that a connection is lost.
const CONNECTION_FAILURES: [&str; 15] = [
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
    // PgBouncer, whose code for all its own errors is 08P01.
    "server conn crashed?",
    "server login has been failing",
    "pgbouncer cannot connect to server",
    "client_login_timeout",
    "query_wait_timeout",
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
    fn lost_connections_differ_from_failed_statements() {
        let of = |kind, text: &str| {
            is_connection_failure(&Error::DatabaseError(kind, Box::new(text.to_owned())))
        };
        assert!(of(DatabaseErrorKind::UnableToSendCommand, ""));
        assert!(of(
            DatabaseErrorKind::Unknown,
            "Input/output error: Broken pipe"
        ));
        assert!(of(DatabaseErrorKind::Unknown, "server conn crashed?"));
        assert!(!of(DatabaseErrorKind::UniqueViolation, "duplicate key"));
        assert!(!of(DatabaseErrorKind::Unknown, "syntax error"));
    }
}
