//! Which of several servers a URL asks for: `target_session_attrs`.

use std::pin::pin;

use futures_util::future::{Either, select};
use tokio_postgres::{Client, Connection, Error, SimpleQueryMessage, Socket};

use super::tap::Tap;
use super::tls::Transport;

/// The values of `target_session_attrs`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Role {
    /// Any server.
    #[default]
    Any,
    /// A server whose sessions may write.
    ReadWrite,
    /// A server whose sessions may not write.
    ReadOnly,
    /// A server that is not in recovery.
    Primary,
    /// A server in recovery.
    Standby,
    /// A standby if one of the servers is, otherwise any.
    PreferStandby,
}

impl Role {
    pub(super) const ALL: [Self; 6] = [
        Self::Any,
        Self::ReadWrite,
        Self::ReadOnly,
        Self::Primary,
        Self::Standby,
        Self::PreferStandby,
    ];

    /// Returns the value of `target_session_attrs`, as written in a URL.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::ReadWrite => "read-write",
            Self::ReadOnly => "read-only",
            Self::Primary => "primary",
            Self::Standby => "standby",
            Self::PreferStandby => "prefer-standby",
        }
    }

    /// Returns what a session is instead, if it is not what this asks for.
    ///
    /// As libpq does, reads what the server reported at the session's start (Postgres 14 and later),
    /// and otherwise queries it.
    pub(super) async fn mismatch(
        self,
        client: &Client,
        connection: &mut Connection<Socket, Tap<Transport>>,
    ) -> Result<Option<&'static str>, Error> {
        let standby = reported(connection, "in_hot_standby");
        let read_only = reported(connection, "default_transaction_read_only");
        match self {
            Self::Any => Ok(None),
            Self::ReadWrite | Self::ReadOnly => {
                let read_only = match (read_only, standby) {
                    (Some(read_only), Some(standby)) => read_only || standby,
                    _ => query(client, connection, "SHOW transaction_read_only").await?,
                };
                let found = if read_only { "read-only" } else { "read-write" };
                Ok((read_only != (self == Self::ReadOnly)).then_some(found))
            }
            Self::Primary | Self::Standby | Self::PreferStandby => {
                let standby = match standby {
                    Some(standby) => standby,
                    None => {
                        query(client, connection, "SELECT pg_catalog.pg_is_in_recovery()").await?
                    }
                };
                let found = if standby { "a standby" } else { "a primary" };
                Ok((standby == (self == Self::Primary)).then_some(found))
            }
        }
    }
}

/// Returns whether the server has reported that a parameter is on; `None` if it does not report it.
fn reported(connection: &Connection<Socket, Tap<Transport>>, name: &str) -> Option<bool> {
    connection.parameter(name).map(|value| value == "on")
}

/// Returns whether the server answers with a true value.
pub(super) async fn query(
    client: &Client,
    connection: &mut Connection<Socket, Tap<Transport>>,
    statement: &str,
) -> Result<bool, Error> {
    let answer = pin!(client.simple_query(statement));
    let answer = match select(answer, &mut *connection).await {
        Either::Left((answer, _)) => answer?,
        // The connection has failed. The query ends with its error, or with "connection closed".
        Either::Right((Err(error), _)) => return Err(error),
        Either::Right((Ok(()), answer)) => answer.await?,
    };
    let value = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    Ok(matches!(value, Some("on" | "t")))
}
