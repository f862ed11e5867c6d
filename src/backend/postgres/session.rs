//! Implements [`Backend`] for Postgres: connects with a tap, and serves the readings of the
//! [`Wire`].

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use diesel::QueryResult;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use futures_util::future::BoxFuture;
use opentelemetry::KeyValue;

use super::activity::activity;
use super::application_name;
use super::connect::{Cancel, connect};
use super::reset::reset;
use super::url::Target;
use super::wire::Wire;
use crate::backend::dial::place;
use crate::backend::{
    Activity, Backend, ConnectError, Credentials, Dial, DialOptions, Dialed, Errors, Outcome,
    Readings, Session,
};
use crate::settings::{DatabaseKind, DatabaseUrl};

impl Backend for AsyncPgConnection {
    const KIND: DatabaseKind = DatabaseKind::Postgres;

    fn dialer(url: &DatabaseUrl, options: DialOptions) -> Result<Box<dyn Dial<Self>>, String> {
        let mut target = Target::parse(url.expose())?;
        target.limit = options.connect_timeout;
        if options.application_name && !target.has_application_name() {
            target.set_application_name(&application_name::of_this_process());
        }
        Ok(Box::new(target))
    }

    fn probe(&mut self) -> BoxFuture<'_, QueryResult<()>> {
        Box::pin(self.batch_execute("SELECT 1"))
    }

    fn activity(&mut self) -> BoxFuture<'_, QueryResult<Activity>> {
        Box::pin(activity(self))
    }
}

impl Dial<AsyncPgConnection> for Target {
    fn dial<'a>(
        &'a self,
        credentials: Option<&'a Credentials>,
    ) -> BoxFuture<'a, Result<Dialed<AsyncPgConnection>, ConnectError>> {
        Box::pin(async move {
            let connected = match credentials {
                None => connect(self).await?,
                Some(credentials) => connect(&self.with_credentials(credentials)).await?,
            };
            let session = PgSession {
                wire: connected.wire,
                cancel: connected.cancel,
            };
            Ok(Dialed {
                connection: connected.connection,
                session: Some(Arc::new(session)),
                asked_read_only: self.asks_read_only(),
            })
        })
    }

    fn reset<'a>(
        &'a self,
        connection: &'a mut AsyncPgConnection,
    ) -> Option<BoxFuture<'a, QueryResult<()>>> {
        Some(Box::pin(reset(connection)))
    }

    fn attributes(&self) -> Vec<KeyValue> {
        // If the URL names no database, its name is that of the user.
        let database = self.database().or_else(|| self.user());
        place(
            database,
            self.host(),
            (!self.is_unix()).then(|| self.port()),
        )
    }
}

/// The session of a connection. A connection over a Unix socket has no wire.
#[derive(Debug)]
struct PgSession {
    wire: Option<Arc<Wire>>,
    cancel: Cancel,
}

impl Session for PgSession {
    fn process_id(&self) -> Option<u64> {
        u64::try_from(self.wire.as_ref()?.process_id()?).ok()
    }

    fn readings(&self) -> Readings {
        let wire = self.wire.as_ref();
        wire.map_or_else(Readings::default, |wire| wire.readings())
    }

    fn take_invalidating(&self) -> Errors {
        let wire = self.wire.as_ref();
        wire.map_or(Errors::NONE, |wire| wire.take_invalidating())
    }

    fn read_only(&self) -> Option<bool> {
        self.wire.as_ref()?.read_only()
    }

    fn busy(&self) -> Option<Duration> {
        self.wire.as_ref()?.busy()
    }

    fn sent(&self) -> Option<u64> {
        self.wire.as_ref()?.sent()
    }

    fn answered(&self) -> Option<u64> {
        self.wire.as_ref()?.answered()
    }

    fn outcome(&self, commands: RangeInclusive<u64>) -> Option<Outcome> {
        let wire = self.wire.as_ref()?;
        let mut all = Outcome {
            // Must be read first: the outcome of an answered command is already stored.
            answered: wire.answered()? >= *commands.end(),
            error: None,
            rows: 0,
        };
        for command in commands {
            let (error, rows) = wire.outcome(command)?;
            all.error = all.error.or(error);
            all.rows += rows;
        }
        Some(all)
    }

    fn code_of(&self, text: &str) -> Option<[u8; 5]> {
        self.wire.as_ref()?.code_of(text)
    }

    fn ended_by(&self) -> Option<[u8; 5]> {
        self.wire.as_ref()?.fatal()
    }

    fn when_answered(&self, command: u64, done: Box<dyn FnOnce() + Send>) {
        match &self.wire {
            Some(wire) => wire.when_answered(command, done),
            None => done(),
        }
    }

    fn set_idle(&self, idle: bool) {
        if let Some(wire) = &self.wire {
            wire.set_idle(idle);
        }
    }

    fn is_notified_while_idle(&self) -> bool {
        self.wire
            .as_ref()
            .is_some_and(|wire| wire.is_notified_while_idle())
    }

    fn cancel(&self) -> Option<BoxFuture<'static, Result<bool, ConnectError>>> {
        let cancel = self.cancel.clone();
        // The server does not say whether it has the session.
        Some(Box::pin(
            async move { cancel.cancel().await.map(|()| true) },
        ))
    }
}
