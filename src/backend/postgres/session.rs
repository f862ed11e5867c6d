//! Postgres as a [`Backend`]: dialling through the wire, and what the wire tells afterwards.

use std::sync::Arc;
use std::time::Duration;

use diesel::QueryResult;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use futures_util::future::BoxFuture;

use super::activity::activity;
use super::connect::{Cancel, connect};
use super::url::Target;
use super::wire::Wire;
use crate::backend::dial::ping;
use crate::backend::{Activity, Backend, ConnectError, Dial, Dialed, Session};
use crate::checkout::TransactionState;
use crate::settings::{DatabaseKind, DatabaseUrl};

impl Backend for AsyncPgConnection {
    const KIND: DatabaseKind = DatabaseKind::Postgres;

    fn dialer(url: &DatabaseUrl) -> Result<Box<dyn Dial<Self>>, String> {
        Ok(Box::new(Target::parse(url.expose())?))
    }

    fn probe(&mut self) -> BoxFuture<'_, QueryResult<()>> {
        Box::pin(self.batch_execute("SELECT 1"))
    }

    fn activity(&mut self) -> BoxFuture<'_, QueryResult<Activity>> {
        Box::pin(activity(self))
    }
}

impl Dial<AsyncPgConnection> for Target {
    fn dial(&self) -> BoxFuture<'_, Result<Dialed<AsyncPgConnection>, ConnectError>> {
        Box::pin(async {
            let connected = connect(self).await?;
            let session = PgSession {
                wire: connected.wire,
                cancel: connected.cancel,
            };
            Ok(Dialed {
                connection: connected.connection,
                session: Some(Arc::new(session)),
            })
        })
    }

    fn ping<'a>(
        &'a self,
        connection: &'a mut AsyncPgConnection,
    ) -> BoxFuture<'a, Result<(), ConnectError>> {
        Box::pin(ping(connection))
    }
}

/// A connection whose messages are read, but for one over a Unix socket.
#[derive(Debug)]
struct PgSession {
    wire: Option<Arc<Wire>>,
    cancel: Cancel,
}

impl Session for PgSession {
    fn process_id(&self) -> Option<u64> {
        u64::try_from(self.wire.as_ref()?.process_id()?).ok()
    }

    fn is_closed(&self) -> bool {
        self.wire.as_ref().is_some_and(|wire| wire.is_closed())
    }

    fn outstanding(&self) -> Option<u32> {
        self.wire.as_ref()?.outstanding()
    }

    fn transaction(&self) -> Option<TransactionState> {
        self.wire.as_ref()?.transaction()
    }

    fn busy(&self) -> Option<Duration> {
        self.wire.as_ref()?.busy()
    }

    fn cancel(&self) -> Option<BoxFuture<'static, ()>> {
        let cancel = self.cancel.clone();
        Some(Box::pin(async move {
            // Best effort: the connection is closed whatever comes of it.
            let _ = cancel.cancel().await;
        }))
    }
}
