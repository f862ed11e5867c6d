//! Opens a connection with a tap on it, and says why when it cannot.

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

/// A connection just opened, and what belongs to it.
pub(crate) struct Connected {
    /// The connection, as diesel-async would have made it.
    pub(crate) connection: AsyncPgConnection,
    /// Its readings; `None` on a Unix socket, which cannot be tapped.
    pub(crate) wire: Option<Arc<Wire>>,
    /// Stops what the server is doing for it.
    pub(crate) cancel: Cancel,
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connected")
            .field("wire", &self.wire)
            .finish_non_exhaustive()
    }
}

/// Opens a connection. There is no limit on how long that takes but the URL's `connect_timeout`,
/// which bounds the socket only: the caller sets one.
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

/// A session before diesel-async takes it over.
pub(super) struct Opened {
    pub(super) client: Client,
    pub(super) connection: Connection<Socket, Tap<Transport>>,
    pub(super) wire: Option<Arc<Wire>>,
    connector: Connector,
}

/// Opens a session, up to the server's being ready.
pub(super) async fn open(target: &Target) -> Result<Opened, ConnectError> {
    let mut connector = new_connector(target)?;
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

/// Asks the server to stop what it is doing for one connection. A clone does the same.
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
    /// How long asking may take.
    pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);

    /// Sends the request over a connection of its own, under the same rules of TLS as the first.
    ///
    /// Whether the server heeds it is not told; if nothing is under way it has no effect, and if
    /// the next command has begun it hits that one. So it is for a connection that will be closed.
    pub(crate) async fn cancel(mut self) -> Result<(), ConnectError> {
        let request = self.token.cancel_query(&mut self.connector);
        match tokio::time::timeout(Self::TIMEOUT, request).await {
            Ok(result) => result.map_err(|error| describe(&error, &self.target)),
            Err(_) => {
                let message = format!(
                    "no answer to a request to cancel ({})",
                    self.target.addresses()
                );
                Err(ConnectError::new(ConnectErrorKind::TimedOut, message, None))
            }
        }
    }
}

fn new_connector(target: &Target) -> Result<Connector, ConnectError> {
    Connector::new(target.tls())
        .map_err(|reason| ConnectError::new(ConnectErrorKind::Configuration, reason, None))
}

/// Says what happened and to whom; tokio-postgres itself says only "error connecting to server".
fn describe(error: &tokio_postgres::Error, target: &Target) -> ConnectError {
    let addresses = target.addresses();
    if let Some(answer) = error.as_db_error() {
        let code = answer.code().code();
        return ConnectError::new(
            kind_of(code),
            lower_first(answer.message()),
            Some(code.to_owned()),
        );
    }
    let source = error.source();
    if let Some(ours) = source.and_then(|source| source.downcast_ref::<ConnectError>()) {
        return ConnectError::new(
            ours.kind(),
            format!("{} ({addresses})", ours.message()),
            None,
        );
    }
    if let Some(io) = source.and_then(|source| source.downcast_ref::<io::Error>()) {
        return ConnectError::new(
            ConnectErrorKind::of_io(io),
            format!("{} ({addresses})", io_message(io)),
            None,
        );
    }
    if error.is_closed() {
        let message = format!("the server closed the connection ({addresses})");
        return ConnectError::new(ConnectErrorKind::Unreachable, message, None);
    }
    let what = error.to_string();
    let message = match source.map(ToString::to_string) {
        // Before 0.7.13, Display had the source's text in it already.
        Some(why) if !what.contains(&why) => format!("{what}: {why}"),
        _ => what.clone(),
    };
    let kind = match &*message {
        message if message.contains("password missing") => ConnectErrorKind::Authentication,
        message if message.starts_with("authentication error") => ConnectErrorKind::Authentication,
        message if message.starts_with("invalid configuration") => ConnectErrorKind::Configuration,
        message if message.starts_with("error performing TLS") => ConnectErrorKind::Tls,
        _ => ConnectErrorKind::Other,
    };
    ConnectError::new(kind, format!("{message} ({addresses})"), None)
}

/// diesel-async sets the time zone and the encoding of each new session.
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
        format!("setting up the session: {}", lower_first(&why)),
        code,
    )
}

/// What the server's answer means for somebody who wants to connect.
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
        // statement_timeout and the like on the way in.
        "57014" | "57P05" => ConnectErrorKind::TimedOut,
        // A session variable in `options` that the server does not know or will not take.
        "22023" | "42704" | "42601" => ConnectErrorKind::Configuration,
        code if code.starts_with("28") => ConnectErrorKind::Authentication,
        _ => ConnectErrorKind::Other,
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn the_servers_code_tells_the_kind() {
        assert_eq!(kind_of("28P01"), ConnectErrorKind::Authentication);
        assert_eq!(kind_of("28000"), ConnectErrorKind::Authentication);
        assert_eq!(kind_of("53300"), ConnectErrorKind::TooManyConnections);
        assert_eq!(kind_of("57P03"), ConnectErrorKind::Starting);
        assert_eq!(kind_of("3D000"), ConnectErrorKind::Database);
        assert_eq!(kind_of("XX000"), ConnectErrorKind::Other);
    }
}
