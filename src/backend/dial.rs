//! The interface of a backend to the pool: opens connections, and reads their state.

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

use super::{
    Backend, ConnectError, ConnectErrorKind, Credentials, CredentialsProvider, Errors,
    is_connection_failure,
};
use crate::checkout::TransactionState;

/// Options for opening connections, in addition to the URL.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct DialOptions {
    /// Whether sessions send an application name, if the server supports it.
    pub application_name: bool,
    /// How long opening a connection may take.
    pub connect_timeout: Duration,
    /// Returns the credentials of each login, if they are not in the URL.
    pub credentials: Option<CredentialsProvider>,
}

/// Opens connections, and probes them.
#[doc(hidden)]
pub trait Dial<C: Backend>: Send + Sync {
    /// Opens a connection, with these credentials or else with those of the URL.
    fn dial<'a>(
        &'a self,
        credentials: Option<&'a Credentials>,
    ) -> BoxFuture<'a, Result<Dialed<C>, ConnectError>>;

    /// Returns the telemetry attributes of the database: its name, address and port, if known.
    fn attributes(&self) -> Vec<KeyValue> {
        Vec::new()
    }

    /// Resets the session of a connection to the state in which [`dial`](Self::dial) returned it, and
    /// keeps its prepared statements. `None` if that is not possible.
    fn reset<'a>(&'a self, connection: &'a mut C) -> Option<BoxFuture<'a, QueryResult<()>>> {
        let _ = connection;
        None
    }

    /// Probes a connection.
    fn ping<'a>(&'a self, connection: &'a mut C) -> BoxFuture<'a, Result<(), ConnectError>> {
        Box::pin(async {
            let answer = Backend::probe(connection).await;
            answer.map_err(|error| from_query(&error))
        })
    }
}

/// A newly opened connection.
#[doc(hidden)]
pub struct Dialed<C> {
    /// The connection.
    pub connection: C,
    /// The observed state of the connection; `None` if the backend does not observe it.
    pub session: Option<Arc<dyn Session>>,
    /// Whether the URL or the app's set-up asked for a read-only session.
    pub asked_read_only: bool,
}

/// The observed state of an open connection, readable while a caller uses the connection.
///
/// No method here queries the server, except the future of [`cancel`](Self::cancel). A method
/// returns `None` if the backend does not know the value.
#[doc(hidden)]
pub trait Session: fmt::Debug + Send + Sync {
    /// Returns the server's id of the session.
    fn process_id(&self) -> Option<u64>;

    /// Returns what the session shows at this instant. Called for each checkout and check-in.
    fn readings(&self) -> Readings {
        Readings::default()
    }

    /// Returns the errors since the last call that invalidate the connection.
    fn take_invalidating(&self) -> Errors {
        Errors::default()
    }

    /// Returns whether the session's transactions are read-only unless they say otherwise.
    fn read_only(&self) -> Option<bool> {
        None
    }

    /// Returns the total time that the server has worked on commands of this session.
    fn busy(&self) -> Option<Duration> {
        None
    }

    /// Returns the number of the last command sent.
    fn sent(&self) -> Option<u64> {
        None
    }

    /// Returns the number of the last command answered.
    fn answered(&self) -> Option<u64> {
        None
    }

    /// Returns the server's response to these commands so far.
    ///
    /// `None` if one of the commands is too old to be remembered.
    fn outcome(&self, commands: RangeInclusive<u64>) -> Option<Outcome> {
        let _ = commands;
        None
    }

    /// Returns the SQLSTATE of an error of this session with this text; `None` if there was none lately.
    fn code_of(&self, text: &str) -> Option<[u8; 5]> {
        let _ = text;
        None
    }

    /// Returns the SQLSTATE of the error with which the server ended the session.
    fn ended_by(&self) -> Option<[u8; 5]> {
        None
    }

    /// Calls `done` when the server has answered a command, or when it never will because the
    /// connection is closed.
    ///
    /// Calls it immediately if that is already the case, or if commands are not observed.
    fn when_answered(&self, command: u64, done: Box<dyn FnOnce() + Send>) {
        let _ = command;
        done();
    }

    /// Records whether the connection is idle: nobody should receive notifications on it.
    fn set_idle(&self, idle: bool) {
        let _ = idle;
    }

    /// Returns whether the connection was closed because a notification arrived while it was idle.
    fn is_notified_while_idle(&self) -> bool {
        false
    }

    /// Returns a future that asks the server to cancel the query that it runs for this session, and returns
    /// false if the server has no such session. It has no time limit.
    fn cancel(&self) -> Option<BoxFuture<'static, Result<bool, ConnectError>>> {
        None
    }
}

/// What a session shows at an instant.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Readings {
    /// Whether the connection is known to be closed.
    pub is_closed: bool,
    /// Whether there are errors to [take](Session::take_invalidating).
    pub is_invalidated: bool,
    /// The number of commands sent and not yet answered.
    pub outstanding: Option<u32>,
    /// The state of the transaction, including transactions opened with raw SQL.
    pub transaction: Option<TransactionState>,
}

impl Readings {
    /// Returns whether commands are known to be unanswered.
    pub(crate) fn is_busy(&self) -> bool {
        self.outstanding.is_some_and(|outstanding| outstanding > 0)
    }
}

/// The server's response to some commands.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the response is complete.
    pub answered: bool,
    /// The SQLSTATE of the first error, if there was one.
    pub error: Option<[u8; 5]>,
    /// The number of rows sent so far.
    pub rows: u64,
}

impl<C> fmt::Debug for Dialed<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialed")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// Connects through diesel-async's own manager, with the app's setup function and without observing
/// the connection.
impl<C: Backend> Dial<C> for AsyncDieselConnectionManager<C>
where
    Self: bb8::ManageConnection<Connection = C, Error = PoolError>,
{
    fn dial<'a>(
        &'a self,
        _: Option<&'a Credentials>,
    ) -> BoxFuture<'a, Result<Dialed<C>, ConnectError>> {
        Box::pin(async {
            let connection = bb8::ManageConnection::connect(self)
                .await
                .map_err(from_diesel)?;
            Ok(Dialed {
                connection,
                session: None,
                asked_read_only: false,
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

/// Converts an error of diesel-async, which usually keeps only the text of the driver's error.
pub(crate) fn from_diesel(error: PoolError) -> ConnectError {
    match error {
        PoolError::ConnectionError(error) => from_connection(&error),
        PoolError::QueryError(error) => from_query(&error),
    }
}

/// Converts the error of opening a connection.
pub(crate) fn from_connection(error: &ConnectionError) -> ConnectError {
    if let ConnectionError::CouldntSetupConfiguration(error) = error {
        return from_query(error);
    }
    let text = error.to_string();
    ConnectError::new(ConnectErrorKind::of_text(&text), text, None)
}

/// Converts the error of a query.
pub(crate) fn from_query(error: &diesel::result::Error) -> ConnectError {
    let text = error.to_string();
    let kind = match ConnectErrorKind::of_text(&text) {
        ConnectErrorKind::Other if is_connection_failure(error) => ConnectErrorKind::Unreachable,
        kind => kind,
    };
    ConnectError::new(kind, text, None)
}

/// Returns the telemetry attributes of a database on a server.
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
