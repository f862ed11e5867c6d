//! Opening one connection, and what is known of it from then on.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use diesel::QueryResult;
use diesel::result::ConnectionError;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, PoolError};
use futures_util::future::BoxFuture;
use opentelemetry::KeyValue;
use opentelemetry_semantic_conventions::attribute::{DB_NAMESPACE, SERVER_ADDRESS, SERVER_PORT};

use super::{Backend, ConnectError, ConnectErrorKind};
use crate::checkout::TransactionState;

/// How connections are to be opened, beyond what the URL says.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct DialOptions {
    /// Whether sessions tell the server whose they are, where it has a place for it.
    pub application_name: bool,
}

/// Opens connections, and probes them.
#[doc(hidden)]
pub trait Dial<C>: Send + Sync {
    /// Opens one.
    fn dial(&self) -> BoxFuture<'_, Result<Dialed<C>, ConnectError>>;

    /// What telemetry says of the database: its name, and where it is, as far as that is known.
    fn attributes(&self) -> Vec<KeyValue> {
        Vec::new()
    }

    /// Probes one.
    fn ping<'a>(&'a self, connection: &'a mut C) -> BoxFuture<'a, Result<(), ConnectError>>;
}

/// A connection just opened.
#[doc(hidden)]
pub struct Dialed<C> {
    /// The connection.
    pub connection: C,
    /// What can be told of it without asking the server, where that is anything.
    pub session: Option<Arc<dyn Session>>,
}

/// What a backend can tell of an open connection while somebody else uses it.
#[doc(hidden)]
pub trait Session: fmt::Debug + Send + Sync {
    /// The server's id of the session.
    fn process_id(&self) -> Option<u64>;

    /// Whether the server is known to have closed it.
    fn is_closed(&self) -> bool {
        false
    }

    /// Commands sent and not yet answered.
    fn outstanding(&self) -> Option<u32> {
        None
    }

    /// The state of the transaction, raw SQL included.
    fn transaction(&self) -> Option<TransactionState> {
        None
    }

    /// Time the server has been at work.
    fn busy(&self) -> Option<Duration> {
        None
    }

    /// The number of the last command sent, where commands are seen.
    fn sent(&self) -> Option<u64> {
        None
    }

    /// The number of the last command answered.
    fn answered(&self) -> Option<u64> {
        None
    }

    /// What the server has answered to these commands so far; `None` of one that is too long ago.
    fn outcome(&self, commands: RangeInclusive<u64>) -> Option<Outcome> {
        let _ = commands;
        None
    }

    /// Calls back when the server is done with a command, or will never be: at once, if that is so
    /// already.
    fn when_answered(&self, command: u64, done: Box<dyn FnOnce() + Send>) {
        let _ = command;
        done();
    }

    /// Stops what the server is doing for this session.
    fn cancel(&self) -> Option<BoxFuture<'static, ()>> {
        None
    }
}

/// What a server has answered to some commands.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Whether that is all.
    pub answered: bool,
    /// The SQLSTATE of the first error.
    pub error: Option<[u8; 5]>,
    /// Rows sent.
    pub rows: u64,
}

impl<C> fmt::Debug for Dialed<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialed")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// Dials through diesel-async's own manager: with the app's set-up, and without a wire.
impl<C: Backend> Dial<C> for AsyncDieselConnectionManager<C>
where
    Self: bb8::ManageConnection<Connection = C, Error = PoolError>,
{
    fn dial(&self) -> BoxFuture<'_, Result<Dialed<C>, ConnectError>> {
        Box::pin(async {
            let connection = bb8::ManageConnection::connect(self)
                .await
                .map_err(from_diesel)?;
            Ok(Dialed {
                connection,
                session: None,
            })
        })
    }

    fn ping<'a>(&'a self, connection: &'a mut C) -> BoxFuture<'a, Result<(), ConnectError>> {
        Box::pin(async {
            bb8::ManageConnection::is_valid(self, connection)
                .await
                .map_err(from_diesel)
        })
    }
}

/// Reads what diesel-async leaves of a driver's error: mostly its text.
pub(crate) fn from_diesel(error: PoolError) -> ConnectError {
    match error {
        PoolError::ConnectionError(ConnectionError::CouldntSetupConfiguration(error))
        | PoolError::QueryError(error) => from_query(&error),
        PoolError::ConnectionError(error) => from_text(&error.to_string()),
    }
}

pub(crate) fn from_query(error: &diesel::result::Error) -> ConnectError {
    if crate::query::is_connection_failure(error) {
        return ConnectError::new(ConnectErrorKind::Unreachable, error.to_string(), None);
    }
    from_text(&error.to_string())
}

fn from_text(text: &str) -> ConnectError {
    let has = |any: &[&str]| any.iter().any(|part| text.contains(part));
    let kind = if has(&["password authentication failed", "Access denied"]) {
        ConnectErrorKind::Authentication
    } else if has(&[
        "too many clients",
        "Too many connections",
        "remaining connection slots",
    ]) {
        ConnectErrorKind::TooManyConnections
    } else if has(&["starting up", "shutting down"]) {
        ConnectErrorKind::Starting
    } else if has(&["Unknown database", "does not exist"]) {
        ConnectErrorKind::Database
    } else if has(&[
        "refused",
        "error connecting",
        "Input/output error",
        "timed out",
        "reset",
    ]) {
        ConnectErrorKind::Unreachable
    } else {
        ConnectErrorKind::Other
    };
    ConnectError::new(kind, text, None)
}

/// The attributes of a database on a server.
pub(crate) fn place(
    database: Option<&str>,
    address: Option<&str>,
    port: Option<u16>,
) -> Vec<KeyValue> {
    let database = database.map(|name| KeyValue::new(DB_NAMESPACE, Arc::<str>::from(name)));
    let address = address.map(|name| KeyValue::new(SERVER_ADDRESS, Arc::<str>::from(name)));
    let port = port.map(|port| KeyValue::new(SERVER_PORT, i64::from(port)));
    [database, address, port].into_iter().flatten().collect()
}

/// A backend's ping as a [`Dial`] tells it.
pub(crate) async fn ping<C: Backend>(connection: &mut C) -> Result<(), ConnectError> {
    let answer: QueryResult<()> = Backend::probe(connection).await;
    answer.map_err(|error| from_query(&error))
}
