//! Opens a connection with a tap on it, and describes why an attempt failed.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use diesel::ConnectionError;
use diesel_async::AsyncPgConnection;
use tokio_postgres::CancelToken;

use super::open::open;
use super::tls::Connector;
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
/// The time limit of the target covers the session's start, up to the authentication. The caller
/// must set a limit for the whole attempt, which includes the session's set-up.
pub(crate) async fn connect(target: &Target) -> Result<Connected, ConnectError> {
    let (opened, connector) = open(target).await?;
    let token = opened.client.cancel_token();
    let cancel = Cancel {
        token,
        connector,
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
    /// Sends a cancel request over a separate connection, with the same TLS settings.
    ///
    /// The server does not report whether it acted on the request. The request has no effect if no
    /// command is running, and it cancels the next command if that has already begun. Therefore use
    /// it only on a connection that will be closed.
    pub(crate) async fn cancel(mut self) -> Result<(), ConnectError> {
        let request = self.token.cancel_query(&mut self.connector);
        let result = request.await;
        result.map_err(|error| describe(&error).at(self.target.addresses()))
    }
}

/// Describes the cause; tokio-postgres itself reports only "error connecting to server".
pub(super) fn describe(error: &tokio_postgres::Error) -> ConnectError {
    if let Some(answer) = error.as_db_error() {
        let code = answer.code().code();
        return ConnectError::new(
            kind_of(code, answer.message()),
            lower_first(answer.message()),
            Some(code.to_owned()),
        );
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
    let kind = code
        .as_deref()
        .map_or(ConnectErrorKind::Other, |code| kind_of(code, &why));
    ConnectError::new(
        kind,
        format!("setting up the session failed: {}", lower_first(&why)),
        code,
    )
}

/// Returns the error kind that an SQLSTATE stands for while connecting.
fn kind_of(sqlstate: &str, message: &str) -> ConnectErrorKind {
    match sqlstate {
        // The connection exceptions, which poolers send if their server is gone.
        code if code.starts_with("08") && code != "08P01" => ConnectErrorKind::Unreachable,
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
        // A pooler has one code for all its own errors. That of PgBouncer is 08P01, protocol_violation.
        _ => ConnectErrorKind::of_text(message),
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn the_kind_follows_from_the_sqlstate() {
        for (code, message, kind) in [
            ("28P01", "", ConnectErrorKind::Authentication),
            ("28000", "", ConnectErrorKind::Authentication),
            ("53300", "", ConnectErrorKind::TooManyConnections),
            ("57P03", "", ConnectErrorKind::Starting),
            ("3D000", "", ConnectErrorKind::Database),
            ("08006", "", ConnectErrorKind::Unreachable),
            ("XX000", "", ConnectErrorKind::Other),
            (
                "08P01",
                "invalid frontend message type",
                ConnectErrorKind::Other,
            ),
        ] {
            assert_eq!(kind_of(code, message), kind, "{code} {message}");
        }
    }

    #[test]
    fn a_pooler_without_its_server_is_unreachable() {
        for (message, kind) in [
            (
                "server login has been failing, try again later (server_login_retry)",
                ConnectErrorKind::Unreachable,
            ),
            (
                "server login has been failing, cached error: connect failed (server_login_retry)",
                ConnectErrorKind::Unreachable,
            ),
            ("server conn crashed?", ConnectErrorKind::Unreachable),
            ("client_login_timeout", ConnectErrorKind::Unreachable),
            ("query_wait_timeout", ConnectErrorKind::Unreachable),
            (
                "pgbouncer cannot connect to server",
                ConnectErrorKind::Unreachable,
            ),
            (
                "no more connections allowed (max_client_conn)",
                ConnectErrorKind::TooManyConnections,
            ),
            ("no such database: shop", ConnectErrorKind::Database),
            ("no such user: app", ConnectErrorKind::Authentication),
        ] {
            assert_eq!(kind_of("08P01", message), kind, "{message}");
        }
    }
}
