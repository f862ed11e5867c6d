//! Opens a connection with a tap on it, and describes why an attempt failed.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use diesel::ConnectionError;
use diesel_async::AsyncPgConnection;
use tokio_postgres::{CancelToken, Client, Connection, Socket};

use super::tap::Tap;
use super::tls::{Connector, Transport};
use super::url::Target;
use super::wire::Wire;
use crate::backend::connect_error::{ConnectError, ConnectErrorKind, io_message, lower_first};

/// A newly opened connection, its readings and its cancel handle.
pub(crate) struct Connected {
    /// The connection, set up as diesel-async itself would do it.
    pub(crate) connection: AsyncPgConnection,
    /// The readings of the connection; `None` on a Unix socket, which cannot be tapped.
    pub(crate) wire: Option<Arc<Wire>>,
    /// Cancels the query that the server runs for this connection.
    pub(crate) cancel: Cancel,
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connected")
            .field("wire", &self.wire)
            .finish_non_exhaustive()
    }
}

/// Opens a connection.
///
/// The only time limit here is the URL's `connect_timeout`, which covers the socket alone. The
/// caller must set a limit for the whole attempt.
pub(crate) async fn connect(target: &Target) -> Result<Connected, ConnectError> {
    let opened = open(target).await?;
    let token = opened.client.cancel_token();
    let cancel = Cancel {
        token,
        connector: opened.connector,
        target: target.clone(),
    };
    let wire = opened.wire;
    let connection =
        AsyncPgConnection::try_from_client_and_connection(opened.client, opened.connection)
            .await
            .map_err(|error| setup_failed(&error, wire.as_deref()))?;
    Ok(Connected {
        connection,
        wire,
        cancel,
    })
}

/// A session before it is passed to diesel-async.
pub(super) struct Opened {
    pub(super) client: Client,
    pub(super) connection: Connection<Socket, Tap<Transport>>,
    pub(super) wire: Option<Arc<Wire>>,
    connector: Connector,
}

/// Opens a session and waits until the server is ready for queries.
pub(super) async fn open(target: &Target) -> Result<Opened, ConnectError> {
    let mut connector = Connector::new(target.tls())
        .map_err(|reason| ConnectError::new(ConnectErrorKind::Configuration, reason, None))?;
    let connected = target.config().connect(&mut connector).await;
    let (client, connection) = connected.map_err(|error| describe(&error, target))?;
    let wire = connector.take_wire().filter(|_| !target.is_unix());
    Ok(Opened {
        client,
        connection,
        wire,
        connector,
    })
}

/// Asks the server to cancel the query of one connection. Clones refer to the same connection.
#[derive(Clone)]
pub(crate) struct Cancel {
    token: CancelToken,
    connector: Connector,
    target: Target,
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancel")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl Cancel {
    /// The time limit of a cancel request.
    pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);

    /// Sends a cancel request over a separate connection, with the same TLS settings.
    ///
    /// The server does not report whether it acted on the request. The request has no effect if no
    /// command is running, and it cancels the next command if that has already begun. Therefore use
    /// it only on a connection that will be closed.
    pub(crate) async fn cancel(mut self) -> Result<(), ConnectError> {
        let request = self.token.cancel_query(&mut self.connector);
        match tokio::time::timeout(Self::TIMEOUT, request).await {
            Ok(result) => result.map_err(|error| describe(&error, &self.target)),
            Err(_) => {
                let message = format!(
                    "no answer to the cancel request ({})",
                    self.target.addresses()
                );
                Err(ConnectError::new(ConnectErrorKind::TimedOut, message, None))
            }
        }
    }
}

/// Describes the cause and the addresses; tokio-postgres itself reports only "error connecting to
/// server".
fn describe(error: &tokio_postgres::Error, target: &Target) -> ConnectError {
    if let Some(answer) = error.as_db_error() {
        let code = answer.code().code();
        // A pooler has one code for most of its errors.
        let kind = match kind_of(code) {
            ConnectErrorKind::Other => ConnectErrorKind::of_text(answer.message()),
            kind => kind,
        };
        return ConnectError::new(kind, lower_first(answer.message()), Some(code.to_owned()));
    }
    let source = error.source();
    let (kind, message) =
        if let Some(ours) = source.and_then(|it| it.downcast_ref::<ConnectError>()) {
            (ours.kind(), ours.message().to_owned())
        } else if let Some(io) = source.and_then(|it| it.downcast_ref::<io::Error>()) {
            (ConnectErrorKind::of_io(io), io_message(io))
        } else if error.is_closed() {
            let message = "the server closed the connection".to_owned();
            (ConnectErrorKind::Unreachable, message)
        } else {
            let message = match source {
                Some(why) => format!("{error}: {why}"),
                None => error.to_string(),
            };
            (ConnectErrorKind::of_text(&message), message)
        };
    let message = format!("{message} ({})", target.addresses());
    ConnectError::new(kind, message, None)
}

/// Describes an error of diesel-async's session setup (the time zone and the client encoding).
fn setup_failed(error: &ConnectionError, wire: Option<&Wire>) -> ConnectError {
    let code = wire.and_then(Wire::last_sqlstate);
    let code = code.and_then(|code| String::from_utf8(code.to_vec()).ok());
    let why = match error {
        ConnectionError::CouldntSetupConfiguration(error) => error.to_string(),
        error => error.to_string(),
    };
    let kind = code.as_deref().map_or(ConnectErrorKind::Other, kind_of);
    ConnectError::new(
        kind,
        format!("setting up the session failed: {}", lower_first(&why)),
        code,
    )
}

/// Returns the error kind that an SQLSTATE stands for while connecting.
fn kind_of(sqlstate: &str) -> ConnectErrorKind {
    match sqlstate {
        // insufficient_privilege: "permission denied for database", which needs a GRANT.
        "42501" => ConnectErrorKind::Authentication,
        "53300" => ConnectErrorKind::TooManyConnections,
        // admin_shutdown, crash_shutdown, cannot_connect_now.
        "57P01" | "57P02" | "57P03" => ConnectErrorKind::Starting,
        // invalid_catalog_name; object_not_in_prerequisite_state: "not currently accepting
        // connections".
        "3D000" | "55000" => ConnectErrorKind::Database,
        // A timeout, such as statement_timeout, while the session is set up.
        "57014" | "57P05" => ConnectErrorKind::TimedOut,
        // A session variable in `options` that the server does not know or does not accept.
        "22023" | "42704" | "42601" => ConnectErrorKind::Configuration,
        code if code.starts_with("28") => ConnectErrorKind::Authentication,
        _ => ConnectErrorKind::Other,
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn the_kind_follows_from_the_sqlstate() {
        assert_eq!(kind_of("28P01"), ConnectErrorKind::Authentication);
        assert_eq!(kind_of("28000"), ConnectErrorKind::Authentication);
        assert_eq!(kind_of("53300"), ConnectErrorKind::TooManyConnections);
        assert_eq!(kind_of("57P03"), ConnectErrorKind::Starting);
        assert_eq!(kind_of("3D000"), ConnectErrorKind::Database);
        assert_eq!(kind_of("XX000"), ConnectErrorKind::Other);
    }
}
