//! The kinds of connect errors, and how they are recognized.

use std::fmt;
use std::io;

/// The cause of a [`ConnectError`](super::ConnectError).
///
/// The kinds are divided by who has to act: each needs a different person or a different fix.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectErrorKind {
    /// No server responds at this address: the connection was refused or reset, there is no route,
    /// the host name does not resolve, or a pooler responds that its server is gone. Also if no
    /// server is what the URL's `target_session_attrs` asks for.
    Unreachable,
    /// The server rejects this user: wrong password, unknown user, or missing permission.
    Authentication,
    /// The connection limit of the server, or of this user, is reached.
    TooManyConnections,
    /// The server is starting up or shutting down and does not accept connections yet.
    Starting,
    /// The TLS handshake failed, or the server's certificate was not accepted.
    Tls,
    /// The server did not respond in time.
    TimedOut,
    /// The server is reachable, but the database does not exist or accepts no connections.
    Database,
    /// The connection settings contradict each other, or require something that the server or this
    /// build does not support.
    Configuration,
    /// Any other cause; see the message.
    Other,
}

impl ConnectErrorKind {
    /// Returns a fixed name of low cardinality, suitable for a metric's `error.type`.
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

    /// Returns the kind that the text of an error stands for, if a driver passes on nothing else.
    pub(crate) fn of_text(text: &str) -> Self {
        let parts = [
            (
                Self::Authentication,
                // `role "app" does not exist`, `role "app" is not permitted to log in`.
                // Postgres names the method before "authentication failed": password, PAM, LDAP,
                // GSSAPI, RADIUS and others.
                "authentication failed|password missing|authentication error|pg_hba.conf|\
                 Access denied|Account is locked|Account is blocked|account is locked|\
                 password has expired|permission denied for database|no such user|role \"",
            ),
            (
                Self::TooManyConnections,
                "too many clients|Too many connections|remaining connection slots|\
                 no more connections allowed",
            ),
            (Self::Starting, "starting up|shutting down"),
            (Self::Configuration, "invalid configuration"),
            (Self::Tls, "error performing TLS"),
            // `database "shop" does not exist`.
            (
                Self::Database,
                "Unknown database|no such database|database \"",
            ),
            (
                Self::Unreachable,
                // The second line is what PgBouncer says if its server is gone.
                "refused|error connecting|Input/output error|timed out|reset|\
                 server login has been failing|server conn crashed|query_wait_timeout|\
                 client_login_timeout|cannot connect to server",
            ),
        ];
        let mut kinds = parts.into_iter();
        kinds
            .find(|(_, parts)| parts.split('|').any(|part| text.contains(part)))
            .map_or(Self::Other, |(kind, _)| kind)
    }

    /// Returns the kind of a socket error.
    ///
    /// A failed name lookup has no [`io::ErrorKind`] of its own. Therefore any error that is not
    /// listed here counts as unreachable.
    pub(crate) fn of_io(error: &io::Error) -> Self {
        // This process or this machine is out of file descriptors: not a fault of the server.
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
