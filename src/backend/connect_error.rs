//! The error of a failed connection attempt.

mod kind;

use std::fmt;
use std::io;
use std::time::Duration;

pub use self::kind::ConnectErrorKind;
use crate::settings::{DatabaseUrl, Secret};

/// The error returned when a connection to the database cannot be opened.
///
/// The [kind](Self::kind) is meant for programs and metrics, the [message](Self::message) for
/// people.
///
/// The message never contains a password. It may name the host, the user and the database. Show it
/// in logs and in the responses of the monitoring routes, but not in responses to the public.
///
/// ```
/// # use poolscope::backend::{ConnectError, ConnectErrorKind};
/// let error = ConnectError::new(ConnectErrorKind::Unreachable, "connection refused (127.0.0.1:5432)", None);
/// assert_eq!(error.kind().as_str(), "unreachable");
/// assert_eq!(error.to_string(), "connection refused (127.0.0.1:5432)");
/// ```
#[derive(Debug, Clone)]
pub struct ConnectError {
    kind: ConnectErrorKind,
    message: String,
    code: Option<String>,
    /// If set, this error is not delivered to waiting checkouts. They get another error, or a
    /// connection from elsewhere.
    unheard: bool,
}

impl ConnectError {
    /// Creates an error of the given kind.
    ///
    /// `message` should start in lower case, end without a full stop, and contain no secrets.
    /// `code` is the server's error code: an SQLSTATE on Postgres, an error number on MySQL, `None`
    /// if the server sent none.
    pub fn new(kind: ConnectErrorKind, message: impl Into<String>, code: Option<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            code,
            unheard: false,
        }
    }

    /// Returns the error of a connection attempt in a closed pool.
    pub(crate) fn pool_closed() -> Self {
        Self::new(ConnectErrorKind::Other, "the pool is closed", None)
    }

    /// Returns the error of a connection attempt that took longer than its time limit.
    pub(crate) fn no_connection_within(limit: Duration) -> Self {
        let why = format!("no connection within {limit:?}");
        Self::new(ConnectErrorKind::TimedOut, why, None)
    }

    /// Returns the error of an attempt that would exceed the pool's maximum number of connections.
    pub(crate) fn no_room() -> Self {
        let why = "the pool is at its maximum number of connections";
        Self::new(ConnectErrorKind::Other, why, None).unheard()
    }

    /// Marks the error as not to be delivered to waiting checkouts.
    pub(crate) fn unheard(self) -> Self {
        Self {
            unheard: true,
            ..self
        }
    }

    /// Returns whether this is the error made by [`no_room`](Self::no_room).
    pub(crate) fn is_no_room(&self) -> bool {
        self.unheard && !self.is_absence()
    }

    /// Returns whether the error is not delivered to waiting checkouts.
    pub(crate) fn is_unheard(&self) -> bool {
        self.unheard
    }

    /// Appends to the message how long the outage has lasted, and how long ago the database was
    /// last tried.
    pub(crate) fn during_outage(self, lasts: Duration, tried: Duration) -> Self {
        let message = format!(
            "{}; the database has been down for {:.1} s, last tried {:.1} s ago",
            self.message,
            lasts.as_secs_f64(),
            tried.as_secs_f64()
        );
        Self { message, ..self }
    }

    /// Returns whether the server is absent, as opposed to present and rejecting the connection.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(
            self.kind,
            ConnectErrorKind::Unreachable | ConnectErrorKind::Starting | ConnectErrorKind::TimedOut
        )
    }

    /// Appends to the message where the attempt was made.
    pub(crate) fn at(self, place: impl fmt::Display) -> Self {
        let message = format!("{} ({place})", self.message);
        Self { message, ..self }
    }

    /// Returns whether the server will go on rejecting the connection until somebody changes a setting.
    pub(crate) fn is_lasting(&self) -> bool {
        matches!(
            self.kind,
            ConnectErrorKind::Authentication
                | ConnectErrorKind::Tls
                | ConnectErrorKind::Database
                | ConnectErrorKind::Configuration
        )
    }

    /// Removes the secrets of this URL from the message.
    pub(crate) fn redacted(self, url: &DatabaseUrl) -> Self {
        Self {
            message: url.redact(&self.message),
            ..self
        }
    }

    /// Removes this secret from the message.
    pub(crate) fn without(self, secret: &Secret) -> Self {
        Self {
            message: secret.redact(&self.message),
            ..self
        }
    }

    /// Returns the kind of the error.
    pub fn kind(&self) -> ConnectErrorKind {
        self.kind
    }

    /// Returns the server's error code: an SQLSTATE on Postgres, an error number on MySQL.
    ///
    /// `None` if the server did not respond, or sent no code.
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// Returns the description for a human reader. The wording may change between versions.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConnectError {}

/// Describes a socket error, without the operating system's error number.
pub(crate) fn io_message(error: &io::Error) -> String {
    let words = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::ConnectionReset => "connection reset",
        io::ErrorKind::ConnectionAborted => "connection aborted",
        io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
            "the server closed the connection"
        }
        io::ErrorKind::TimedOut => "connection timed out",
        io::ErrorKind::HostUnreachable => "host unreachable",
        io::ErrorKind::NetworkUnreachable => "network unreachable",
        _ => return lower_first(&error.to_string()),
    };
    words.to_owned()
}

/// Lower-cases the first letter, unless the word is an abbreviation such as `TLS`.
pub(crate) fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if first.is_uppercase() && !second.is_uppercase() => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_errors_are_classified() {
        let kind = |kind: io::ErrorKind| ConnectErrorKind::of_io(&kind.into());
        assert_eq!(
            kind(io::ErrorKind::ConnectionRefused),
            ConnectErrorKind::Unreachable
        );
        assert_eq!(kind(io::ErrorKind::TimedOut), ConnectErrorKind::TimedOut);
        assert_eq!(
            kind(io::ErrorKind::PermissionDenied),
            ConnectErrorKind::Other
        );
        let descriptors = io::Error::from_raw_os_error(24);
        assert_eq!(
            ConnectErrorKind::of_io(&descriptors),
            ConnectErrorKind::Other
        );
        let lookup = io::Error::other("failed to lookup address information");
        assert_eq!(
            ConnectErrorKind::of_io(&lookup),
            ConnectErrorKind::Unreachable
        );
    }

    #[test]
    fn texts_are_classified() {
        for (text, kind) in [
            (
                "FATAL: role \"app\" does not exist",
                ConnectErrorKind::Authentication,
            ),
            (
                "FATAL: PAM authentication failed for user \"app\"",
                ConnectErrorKind::Authentication,
            ),
            (
                "FATAL: SASL authentication failed",
                ConnectErrorKind::Authentication,
            ),
            (
                "Access denied, this account is locked",
                ConnectErrorKind::Authentication,
            ),
            (
                "permission denied for database \"shop\"",
                ConnectErrorKind::Authentication,
            ),
            (
                "FATAL: database \"shop\" does not exist",
                ConnectErrorKind::Database,
            ),
            (
                "relation \"orders\" does not exist",
                ConnectErrorKind::Other,
            ),
            ("Unknown database 'shop'", ConnectErrorKind::Database),
            (
                "the database system is starting up",
                ConnectErrorKind::Starting,
            ),
            (
                "Input/output error: broken pipe",
                ConnectErrorKind::Unreachable,
            ),
        ] {
            assert_eq!(ConnectErrorKind::of_text(text), kind, "{text}");
        }
    }

    #[test]
    fn messages_start_in_lower_case_but_abbreviations_stay() {
        let refused = io::Error::from_raw_os_error(111);
        assert_eq!(io_message(&refused), "connection refused");
        assert_eq!(
            io_message(&io::Error::other("Name or service not known")),
            "name or service not known"
        );
        assert_eq!(lower_first("TLS is off"), "TLS is off");
        assert_eq!(lower_first(""), "");
    }

    #[test]
    fn an_error_shows_its_message_and_keeps_its_code() {
        let error = ConnectError::new(
            ConnectErrorKind::Starting,
            "the database system is starting up",
            Some("57P03".into()),
        );
        assert_eq!(error.to_string(), "the database system is starting up");
        assert_eq!(error.message(), error.to_string());
        assert_eq!(error.code(), Some("57P03"));
        assert_eq!(error.kind().to_string(), "starting");
    }
}
