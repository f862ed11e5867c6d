//! Ends an abandoned query on the server before its connection is closed.
//!
//! A server does not notice that a client has gone while it works on a statement. If the connection were
//! closed at once, its session would go on beside its successor's, and callers that give up would open more
//! sessions than the pool may have. So the connection stays open, and counts as open, until the server has
//! ended the statement.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use diesel::connection::InstrumentationEvent;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, select};
use tokio::time::{sleep, timeout};

use super::entry::Entry;
use super::lease::Lease;
use super::own_pool::OwnShared;
use crate::backend::{Backend, ConnectError, Session};
use crate::record::pool_events::CloseReason;
use crate::settings::DatabaseKind;

/// How often the server is asked again at the latest, because a request may be lost.
const AGAIN: u32 = 30;

impl<C: Backend> Entry<C> {
    /// Returns whether the connection was returned while a query ran.
    pub(super) fn abandons_query(&self) -> bool {
        self.state.queries.in_flight() > 0
            && self.retired.is_none()
            // A panic may have left any state.
            && !std::thread::panicking()
            && !self.is_gone(&self.readings())
    }

    /// Ends the queries in flight for their observers.
    fn abandon(&mut self, reason: CloseReason) {
        self.retired = Some(reason);
        self.lent = false;
        self.state.queries.returned();
        self.state.queries.give_up();
        // Drops the instrumentation, which ends the spans.
        self.connection_mut()
            .set_instrumentation(|_: InstrumentationEvent<'_>| {});
    }
}

impl<C: Backend> Lease<C> {
    /// Closes the connection and drops the permit. If the server still works on a query, ends that first, in
    /// the background.
    pub(super) fn cancel(mut self, reason: CloseReason, permit: Box<dyn Send>) {
        let entry = self.entry();
        if entry.state.queries.in_flight() == 0 && !entry.readings().is_busy() {
            return self.retire(reason);
        }
        // The query may also have failed without a report from diesel-async: on MySQL, if the socket dies
        // while the last statement is closed.
        if entry.readings().outstanding.is_none() {
            entry.own.policy.suspect(entry.generation);
        }
        entry.abandon(reason);
        let own = Arc::clone(&entry.own);
        let runtime = own.policy.runtime().clone();
        // If the runtime has shut down, the task is dropped at once together with the connection.
        runtime.spawn(async move {
            self.ended(&own).await;
            drop(self);
            drop(permit);
        });
    }

    /// Asks the server to end the abandoned query, and waits until it has, or cannot be reached.
    async fn ended(&mut self, own: &Arc<OwnShared<C>>) {
        let entry = self.entry();
        // SQLite's query was waited for when it was dropped.
        if entry.readings().outstanding == Some(0) || C::KIND == DatabaseKind::Sqlite {
            return;
        }
        let session = entry.state.session.clone();
        // The answer to another command comes after that to the query. Any answer will do, and so will the end
        // of the connection.
        let answer = Backend::probe(entry.connection_mut());
        let answered = pin!(AssertUnwindSafe(answer).catch_unwind());
        let given_up = pin!(ask_until_unreachable(session, own));
        select(answered, given_up).await;
    }
}

/// Asks the server to end the query of a session. Asks again while the server can be reached: a request may
/// be lost, and not every statement listens to it. Returns when the server cannot be reached or no longer
/// has the session, and if the pool is closed.
async fn ask_until_unreachable<C: Backend>(
    session: Option<Arc<dyn Session>>,
    own: &Arc<OwnShared<C>>,
) {
    let mut seconds = 0_u32;
    while own.pool().is_some() {
        if seconds.is_power_of_two() || seconds.is_multiple_of(AGAIN) {
            let request = session.as_ref().and_then(|session| session.cancel());
            let Some(request) = request else {
                // A connection of the app's own dial cannot be cancelled, nor the server be asked.
                return sleep(own.policy.settings.connect_timeout).await;
            };
            match ask(request, own).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) if error.is_absence() => return,
                // The server has answered.
                Err(_) => {}
            }
        }
        sleep(Duration::from_secs(1)).await;
        seconds += 1;
        if seconds == 1 {
            let why = "its caller has given up, and the server still works on its query; it counts as open \
                until that ends";
            own.policy
                .notify(|observer| observer.closed_because(why, ""));
        }
    }
}

type Asked = Result<bool, ConnectError>;

/// Sends one request, within the connect timeout.
///
/// If the network is silent, a new connection must find that out, and it may need the place of this one.
/// So one request at a time is left to itself after the pre-ping timeout, and its connection is closed.
async fn ask<C: Backend>(request: BoxFuture<'static, Asked>, own: &Arc<OwnShared<C>>) -> Asked {
    let settings = &own.policy.settings;
    let limit = settings.connect_timeout;
    let sending = {
        let own = Arc::clone(own);
        async move {
            // On MySQL this takes a login.
            if C::KIND != DatabaseKind::Mysql {
                return request.await;
            }
            let permit = own.policy.limiter.permit_outside().await?;
            let asked = request.await;
            permit.ended_outside(asked.as_ref().err());
            asked
        }
    };
    let mut sending = Box::pin(async move {
        let late = |_| Err(ConnectError::no_connection_within(limit));
        timeout(limit, sending).await.unwrap_or_else(late)
    });
    if let Ok(asked) = timeout(settings.pre_ping_timeout, &mut sending).await {
        return asked;
    }
    match Arc::clone(&own.policy.unanswered).try_acquire_owned() {
        Ok(only) => {
            own.policy.runtime().spawn(async move {
                let _ = sending.await;
                drop(only);
            });
            Err(ConnectError::no_connection_within(
                settings.pre_ping_timeout,
            ))
        }
        Err(_) => sending.await,
    }
}
