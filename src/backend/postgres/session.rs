//! Postgres as a [`Backend`]: dialling through the wire, and what the wire tells afterwards.

use std::sync::Arc;
use std::time::Duration;

use diesel::QueryResult;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use futures_util::future::BoxFuture;

use super::activity::activity;
use super::connect::{Cancel, connect};
use super::url::Target;
use super::wire::{self, Wire};
use crate::backend::dial::ping;
use crate::backend::{Activity, Backend, ConnectError, Dial, Dialed, Session};
use crate::checkout::TransactionState;
use crate::settings::{DatabaseKind, DatabaseUrl};

impl Backend for AsyncPgConnection {
    const KIND: DatabaseKind = DatabaseKind::Postgres;
    const SEES_TRANSACTIONS: bool = true;

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
            let session = connected.wire.map(|wire| {
                Arc::new(Wired {
                    wire,
                    cancel: connected.cancel,
                }) as Arc<dyn Session>
            });
            Ok(Dialed {
                connection: connected.connection,
                session,
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

/// A connection whose messages are read.
#[derive(Debug)]
struct Wired {
    wire: Arc<Wire>,
    cancel: Cancel,
}

impl Session for Wired {
    fn process_id(&self) -> Option<u64> {
        self.wire
            .process_id()
            .and_then(|pid| u64::try_from(pid).ok())
    }

    fn is_closed(&self) -> bool {
        self.wire.is_closed()
    }

    fn outstanding(&self) -> Option<u32> {
        self.wire.outstanding()
    }

    fn transaction(&self) -> Option<TransactionState> {
        self.wire.transaction().map(|state| match state {
            wire::TransactionState::Idle => TransactionState::Idle,
            wire::TransactionState::Open => TransactionState::Open,
            wire::TransactionState::Failed => TransactionState::Failed,
        })
    }

    fn busy(&self) -> Option<Duration> {
        self.wire.busy()
    }

    fn cancel(&self) -> Option<BoxFuture<'static, ()>> {
        let cancel = self.cancel.clone();
        Some(Box::pin(async move {
            // Best effort: the connection is closed whatever comes of it.
            let _ = cancel.cancel().await;
        }))
    }
}
