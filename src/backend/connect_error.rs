//! Why a connection to the database could not be opened.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::settings::DatabaseUrl;

/// Why a connection to the database could not be opened: the kind for programs and metrics, the
/// message for people.
///
/// The message never contains a password. It does name the host, the user and the database, so it
/// belongs in logs and in the answers of the monitoring routes, not in an answer to the public.
///
/// ```
/// # use poolscope::{ConnectError, ConnectErrorKind};
/// let error = ConnectError::new(ConnectErrorKind::Unreachable, "connection refused (127.0.0.1:5432)", None);
/// assert_eq!(error.kind().as_str(), "unreachable");
/// assert_eq!(error.to_string(), "connection refused (127.0.0.1:5432)");
/// ```
#[derive(Debug, Clone)]
pub struct ConnectError {
    kind: ConnectErrorKind,
    message: String,
    code: Option<String>,
    /// Those who wait for a dial are not told: they will hear otherwise, or are served otherwise.
    unheard: bool,
}

/// What kind of obstacle it was; each needs a different person to remove it.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectErrorKind {
    /// Nobody answers at this address: refused, reset, no route, or a host name that does not
    /// resolve.
    Unreachable,
    /// The server does not let this user in: wrong password, unknown user, no permission.
    Authentication,
    /// The server, or this user's limit on it, has no connection to spare.
    TooManyConnections,
    /// The server is starting up or shutting down, and will answer later.
    Starting,
    /// TLS could not be agreed on, or the server's certificate was not accepted.
    Tls,
    /// No answer in time.
    TimedOut,
    /// The server is there; the database is not, or accepts no connections.
    Database,
    /// The connection's settings contradict themselves, or ask for what this build does not have.
    Configuration,
    /// Anything else; the message says what.
    Other,
}

impl ConnectError {
    /// An error of this kind; `message` starts in lower case, has no full stop and no secrets.
    ///
    /// `code` is the server's own: an SQLSTATE on Postgres, an error number on MySQL.
    pub fn new(kind: ConnectErrorKind, message: impl Into<String>, code: Option<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            code,
            unheard: false,
        }
    }

    /// What a pool that was closed says instead of opening one more.
    pub(crate) fn pool_closed() -> Self {
        Self::new(ConnectErrorKind::Other, "the pool is closed", None)
    }

    /// What a dial says that would open more connections than the pool may have.
    pub(crate) fn no_room() -> Self {
        let why = "the pool has as many connections as it may have";
        Self::new(ConnectErrorKind::Other, why, None).unheard()
    }

    /// The same, for nobody who waits.
    pub(crate) fn unheard(self) -> Self {
        Self {
            unheard: true,
            ..self
        }
    }

    /// Whether it is [`no_room`](Self::no_room).
    pub(crate) fn is_no_room(&self) -> bool {
        self.unheard && !self.is_absence()
    }

    pub(crate) fn is_unheard(&self) -> bool {
        self.unheard
    }

    /// The same, with what is known of the outage.
    pub(crate) fn during_outage(self, lasts: Duration, tried: Duration) -> Self {
        let message = format!(
            "{}; the database has been down for {:.1} s, last tried {:.1} s ago",
            self.message,
            lasts.as_secs_f64(),
            tried.as_secs_f64()
        );
        Self { message, ..self }
    }

    /// Whether nobody is there, rather than somebody who refuses.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(
            self.kind,
            ConnectErrorKind::Unreachable | ConnectErrorKind::Starting | ConnectErrorKind::TimedOut
        )
    }

    /// The same without what this URL keeps secret.
    pub(crate) fn redacted(self, url: &DatabaseUrl) -> Self {
        Self {
            message: url.redact(&self.message),
            ..self
        }
    }

    /// What kind of obstacle it was.
    pub fn kind(&self) -> ConnectErrorKind {
        self.kind
    }

    /// The server's own code, if the server answered at all: an SQLSTATE on Postgres, an error
    /// number on MySQL.
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// What happened, for a human reader; the wording may change between versions.
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

impl ConnectErrorKind {
    /// A fixed name of few values, fit for a metric's `error.type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Authentication => "authentication",
            Self::TooManyConnections => "too_many_connections",
            Self::Starting => "starting",
            Self::Tls => "tls",
            Self::TimedOut => "timed_out",
            Self::Database => "database",
            Self::Configuration => "configuration",
            Self::Other => "other",
        }
    }

    /// The kind of a failure of the socket itself.
    ///
    /// Resolving a name has no [`io::ErrorKind`] of its own, so whatever is not known to be
    /// something else counts as unreachable.
    pub(crate) fn of_io(error: &io::Error) -> Self {
        // Out of file descriptors, here or in the whole system: the trouble is ours, not the
        // server's.
        const ENFILE: i32 = 23;
        const EMFILE: i32 = 24;
        if matches!(error.raw_os_error(), Some(ENFILE | EMFILE)) {
            return Self::Other;
        }
        #[cfg(feature = "tls")]
        if error
            .get_ref()
            .is_some_and(|inner| inner.is::<rustls::Error>())
        {
            return Self::Tls;
        }
        match error.kind() {
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::InvalidData
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::OutOfMemory => Self::Other,
            _ => Self::Unreachable,
        }
    }
}

impl fmt::Display for ConnectErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The words for a failure of the socket, without the operating system's number.
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
    fn socket_failures_are_told_apart() {
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
